"""A training step of the paper's autoencoder against `torch.optim.SGD`, side by side in one process.

Heavy ball, 784-1000-500-250-30 and its mirror, batch 200, float32, the same initial params and batches. Epochs of
the two alternate, and so does which of them goes first; the ratio is the median over the pairs. The share is the
rate of our step's matrix products over the rate of one plain XLA product of two 2048 x 2048 float32 matrices,
measured between the pairs.

    python -m benchmarks.training_step [--pairs 9] [--threads 2]
"""

import argparse
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import torch

import momentumflow as mf
from momentumflow.problems.networks import MNIST_SIZES
from momentumflow.training.loop import run_epoch

BATCHES, BATCH, LEARNING_RATE, MOMENTUM, SIDE = 20, 200, 0.1, 0.9, 2048


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


def product_rate() -> Callable[[], float]:
    """Operations per second of a plain XLA product."""
    square = jnp.ones((SIDE, SIDE), jnp.float32)
    product = jax.jit(jnp.matmul)
    jax.block_until_ready(product(square, square))
    return lambda: 2 * SIDE**3 / seconds(lambda: product(square, square).block_until_ready())


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    network = mf.Autoencoder(MNIST_SIZES)
    params = network.init(jax.random.key(0))
    batches = np.random.default_rng(0).uniform(size=(BATCHES, BATCH, MNIST_SIZES[0])).astype(np.float32)
    epochs = {
        "momentumflow": ours(network, params, batches),
        "torch.optim.SGD": torchs(network, params, batches),
    }
    rate = product_rate()
    print("mean loss of the first epoch:", {name: round(epoch(), 6) for name, epoch in epochs.items()})

    times: dict[str, list[float]] = {name: [] for name in epochs}
    rates = []
    for pair in range(options.pairs):
        for name in list(epochs)[:: 1 if pair % 2 else -1]:
            times[name].append(seconds(epochs[name]) / BATCHES)
        rates.append(rate())
    report(times, rates, products(params))


def report(times: dict[str, list[float]], rates: list[float], work: float) -> None:
    for name, values in times.items():
        print(f"{name:16} {1e3 * statistics.median(values):6.1f} ms a step (best {1e3 * min(values):.1f} ms)")
    ours, peer = times.values()
    ratio = statistics.median(t / o for o, t in zip(ours, peer, strict=True))
    share = statistics.median(work / o / r for o, r in zip(ours, rates, strict=True))
    plain = f"a plain {SIDE}^3 product, {statistics.median(rates) / 1e9:.0f} GFLOP/s"
    print(f"torch.optim.SGD takes {ratio:.2f} times as long (median of {len(ours)} pairs)")
    print(f"the step's products run at {share:.0%} of the rate of {plain}")


if __name__ == "__main__":
    main()
