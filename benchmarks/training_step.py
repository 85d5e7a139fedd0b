"""Training steps of the paper's autoencoder against `torch.optim.SGD`, side by side in one process.

    python -m benchmarks.training_step

Heavy ball, the same initial params and batches, PyTorch on two threads. The second row is the time that the matrix
products of the steps would take at the rate of one plain XLA product of 2048 x 2048 float32 matrices, so that its
ratio is the share of that rate which the whole step reaches.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import torch

import momentumflow as mf
from benchmarks._bench import compare, report
from momentumflow.problems.networks import MNIST_SIZES
from momentumflow.training.loop import run_epoch

BATCHES, BATCH, LEARNING_RATE, MOMENTUM, SIDE, THREADS = 20, 200, 0.1, 0.9, 2048, 2


def ours(network: mf.Autoencoder, params: list, batches: np.ndarray) -> Callable[[], float]:
    """An epoch that returns its mean loss."""
    method = mf.heavy_ball(LEARNING_RATE, MOMENTUM)
    problem = (method, network.loss, jnp.asarray(batches))
    carry = [method.initial_state(jax.tree.map(jnp.copy, params)), jnp.zeros((), int)]

    def epoch() -> float:
        *carry[:], losses = jax.block_until_ready(run_epoch(problem, *carry))
        return float(losses.mean())

    return epoch


def torchs(network: mf.Autoencoder, params: list, batches: np.ndarray) -> Callable[[], float]:
    """The same in eager PyTorch."""
    layers: list[torch.nn.Module] = []
    for layer, name in zip(params, network.nonlinearities, strict=True):
        linear = torch.nn.Linear(*layer["weight"].shape)
        linear.weight.data = torch.tensor(np.asarray(layer["weight"]).T.copy())
        linear.bias.data = torch.tensor(np.asarray(layer["bias"]))
        layers += [linear, *([torch.nn.ReLU()] if name == "relu" else [])]
    model, data = torch.nn.Sequential(*layers), torch.tensor(batches)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)

    def epoch() -> float:
        losses = []
        for images in data:
            optimizer.zero_grad()
            loss = torch.nn.functional.mse_loss(model(images), images)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return float(torch.stack(losses).mean())

    return epoch


def products(params: list) -> float:
    """Floating-point operations of a step's matrix products: forward, two backward, none to the images."""
    weights = [layer["weight"].size for layer in params]
    return 2.0 * BATCH * (3 * sum(weights) - weights[0])


def product(side: int) -> Callable[[], jax.Array]:
    """A plain product of two square matrices."""
    square = jnp.ones((side, side), jnp.float32)
    multiply = jax.jit(jnp.matmul)
    return lambda: multiply(square, square)


def main() -> None:
    torch.set_num_threads(THREADS)
    network = mf.Autoencoder(MNIST_SIZES)
    params = network.init(jax.random.key(0))
    batches = np.random.default_rng(0).uniform(size=(BATCHES, BATCH, MNIST_SIZES[0])).astype(np.float32)
    mine, peer = ours(network, params, batches), torchs(network, params, batches)
    np.testing.assert_allclose(mine(), peer(), rtol=1e-4)
    share = BATCHES * products(params) / (2 * SIDE**3)
    torch_row = compare("torch.optim.SGD, eager", mine, peer, pairs=15)
    product_row = compare(f"{SIDE}^3 product (scaled)", mine, product(SIDE), pairs=15, scale=share)
    aims = {torch_row.peer: ">= 2", product_row.peer: "near 1"}
    report(
        f"{BATCHES} training steps, {network.sizes}, batch {BATCH}, float32", [torch_row, product_row], aims
    )


if __name__ == "__main__":
    main()
