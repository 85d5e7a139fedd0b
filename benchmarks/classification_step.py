"""Training steps of a convolutional classifier against `torch.optim.SGD`, side by side in one process.

    python -m benchmarks.classification_step [THREADS]

Heavy ball on random images of CIFAR-10's size: the same network, initial params and batches, PyTorch eager on two
threads, or as many as are given. On a busy machine PyTorch's threads wait for each other and the ratio says nothing:
there compare one core each, `taskset -c 0 python -m benchmarks.classification_step 1`.
"""

import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import torch

import momentumflow as mf
from benchmarks._bench import compare, report
from momentumflow.problems.convolutional import ConvolutionalNetwork
from momentumflow.training.ensemble import Apart, begin, run_epoch

BATCHES, BATCH, LEARNING_RATE, MOMENTUM = 20, 50, 0.01, 0.9
NETWORK = ConvolutionalNetwork((32, 32, 3), channels=(16, 32))

Batches = tuple[np.ndarray, np.ndarray]


def ours(params: list, batches: Batches) -> Callable[[], float]:
    """An epoch that returns its mean loss."""
    alone = Apart((mf.heavy_ball(LEARNING_RATE, MOMENTUM),), NETWORK.loss)
    problem = (alone, jax.tree.map(jnp.asarray, batches))
    carry = [begin(alone, [params])]

    def epoch() -> float:
        carry[0], seen = jax.block_until_ready(run_epoch(problem, carry[0]))
        return float(seen.losses.mean())

    return epoch


def torchs(params: list, batches: Batches) -> Callable[[], float]:
    """The same in eager PyTorch, in its own layout of images and kernels."""
    *kernels, dense = params
    layers: list[torch.nn.Module] = []
    for layer, stride in zip(kernels, NETWORK.each_stride, strict=True):
        weight = np.asarray(layer["weight"]).transpose(3, 2, 0, 1).copy()
        convolution = torch.nn.Conv2d(*weight.shape[1::-1], NETWORK.kernel, stride, NETWORK.kernel // 2)
        convolution.weight.data, convolution.bias.data = torch.tensor(weight), torch.zeros(len(weight))
        layers += [convolution, torch.nn.ReLU()]
    side = int(np.sqrt(NETWORK.features // NETWORK.channels[-1]))
    weight = np.asarray(dense["weight"]).reshape(side, side, NETWORK.channels[-1], -1)
    linear = torch.nn.Linear(NETWORK.features, NETWORK.classes)
    linear.weight.data = torch.tensor(weight.transpose(3, 2, 0, 1).reshape(NETWORK.classes, -1).copy())
    linear.bias.data = torch.zeros(NETWORK.classes)
    model = torch.nn.Sequential(*layers, torch.nn.Flatten(), linear)
    images = torch.tensor(batches[0].transpose(0, 1, 4, 2, 3).copy())
    labels = torch.tensor(batches[1]).long()
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)

    def epoch() -> float:
        losses = []
        for x, y in zip(images, labels, strict=True):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return float(torch.stack(losses).mean())

    return epoch


def main(threads: int = 2) -> None:
    torch.set_num_threads(threads)
    params = NETWORK.init(jax.random.key(0))
    rng = np.random.default_rng(0)
    images = rng.normal(size=(BATCHES, BATCH, *NETWORK.image)).astype(np.float32)
    batches = (images, rng.integers(0, NETWORK.classes, (BATCHES, BATCH)).astype(np.int32))
    mine, peer = ours(params, batches), torchs(params, batches)
    np.testing.assert_allclose(mine(), peer(), rtol=1e-4)
    row = compare("torch.optim.SGD, eager", mine, peer, pairs=15)
    size = f"{NETWORK.image}, channels {NETWORK.channels}, batch {BATCH}"
    title = f"{BATCHES} training steps, {size}, float32, {threads} thread(s)"
    report(title, [row], {row.peer: ">= 1"})


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
