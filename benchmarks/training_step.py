"""Training steps of the paper's autoencoder against PyTorch, side by side in one process; a slice of the whole sweep.

    python -m benchmarks.training_step

First table: heavy ball, the same initial params and batches, PyTorch on two threads, eager and compiled. The last row
is the time that the matrix products of the steps would take at the rate of one plain XLA product of 2048 x 2048
float32 matrices, so that its ratio is the share of that rate which the whole step reaches.

Second table: a slice of Figure 6, the six methods at one h, as the sweep trains them in each layout, against six
eager PyTorch runs one after the other; and the memory of each layout, run by run.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import momentumflow as mf
from benchmarks._bench import compare, environment, report
from momentumflow.problems.networks import MNIST_SIZES
from momentumflow.training import AbstractEnsemble, Apart, grid, run_epoch, six_methods, together
from momentumflow.training.ensemble import begin

BATCHES, BATCH, LEARNING_RATE, MOMENTUM, SIDE, THREADS = 20, 200, 0.1, 0.9, 2048, 2
SLICE = 6


def ours(ensemble: AbstractEnsemble, params: list, batches: np.ndarray) -> Callable[[], float]:
    """An epoch of all runs that returns the mean loss of the first."""
    problem = (ensemble, jnp.asarray(batches))
    carry = [begin(ensemble, [params] * ensemble_size(ensemble))]

    def epoch() -> float:
        carry[0], seen = jax.block_until_ready(run_epoch(problem, carry[0]))
        return float(seen.losses[:, 0].mean())

    return epoch


def ensemble_size(ensemble: AbstractEnsemble) -> int:
    return len(ensemble.methods) if isinstance(ensemble, Apart) else ensemble.runs


def torchs(network: mf.Autoencoder, params: list, batches: np.ndarray, compiled: bool) -> Callable[[], float]:
    """The same in PyTorch."""
    layers: list[torch.nn.Module] = []
    for layer, name in zip(params, network.nonlinearities, strict=True):
        linear = torch.nn.Linear(*layer["weight"].shape)
        linear.weight.data = torch.tensor(np.asarray(layer["weight"]).T.copy())
        linear.bias.data = torch.tensor(np.asarray(layer["bias"]))
        layers += [linear, *([torch.nn.ReLU()] if name == "relu" else [])]
    device = "cuda" if jax.default_backend() == "gpu" and torch.cuda.is_available() else "cpu"
    model, data = torch.nn.Sequential(*layers).to(device), torch.tensor(batches, device=device)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)

    def step(images: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(images), images)
        loss.backward()
        optimizer.step()
        return loss.detach()

    advance = torch.compile(step) if compiled else step

    def epoch() -> float:
        return float(torch.stack([advance(images) for images in data]).mean())

    return epoch


def products(params: list) -> float:
    """Floating-point operations of a step's matrix products: forward, two backward, none to the images."""
    weights = [layer["weight"].size for layer in params]
    return 2.0 * BATCH * (3 * sum(weights) - weights[0])


def product(side: int) -> Callable[[], jax.Array]:
    """A plain product of two square matrices."""
    square = jnp.ones((side, side), jnp.float32)
    multiply = jax.jit(partial(jnp.matmul, precision="highest"))
    return lambda: multiply(square, square)


def steps(network: mf.Autoencoder, params: list, batches: np.ndarray) -> None:
    """One run, step by step."""
    mine = ours(Apart((mf.heavy_ball(LEARNING_RATE, MOMENTUM),), network.loss), params, batches)
    eager, compiled = (torchs(network, params, batches, how) for how in (False, True))
    np.testing.assert_allclose(mine(), eager(), rtol=1e-4)
    share = BATCHES * products(params) / (2 * SIDE**3)
    rows = [compare("PyTorch, eager", mine, eager, pairs=11)]
    try:
        rows.append(compare("PyTorch, torch.compile", mine, compiled, pairs=11))
    except Exception as error:  # no compiler, or one that its C++ does not suit
        print(f"torch.compile does not run here: {type(error).__name__}")
    rows.append(compare(f"{SIDE}^3 product (scaled)", mine, product(SIDE), pairs=11, scale=share))
    aims = {rows[0].peer: ">= 1.8 (CPU), 10 (GPU)", rows[-1].peer: "near 1"}
    report(f"{BATCHES} training steps, {network.sizes}, batch {BATCH}, float32", rows, aims)


def layouts(network: mf.Autoencoder) -> dict[str, list[AbstractEnsemble]]:
    """The slice in programs: without distances one by one and mapped over; with them by family and mapped over."""
    methods = tuple(six_methods(LEARNING_RATE).values())
    pairs = tuple((i, 0 if i < 3 else 3) for i in (1, 2, 4, 5))
    family = ((1, 0), (2, 0))
    return {
        "one by one": [Apart((method,), network.loss) for method in methods],
        "one axis": [together(methods, network.loss)],
        "families, distances": [Apart(methods[i : i + 3], network.loss, family) for i in (0, 3)],
        "one axis, distances": [together(methods, network.loss, pairs)],
    }


def sweep(network: mf.Autoencoder, params: list, batches: np.ndarray) -> None:
    """Six methods at one h, in each layout."""
    peers = [torchs(network, params, batches, False) for _ in range(SLICE)]
    rows = []
    memory = Table("layout", "MB a run", "its arguments, MB a run", title="Memory", caption=environment())
    for name, ensembles in layouts(network).items():
        works = [ours(ensemble, params, batches) for ensemble in ensembles]
        rows.append(compare(name, lambda w=works: [x() for x in w], lambda: [x() for x in peers], pairs=5))
        used = [needed(ensemble, params, batches) for ensemble in ensembles]
        memory.add_row(
            name, *(f"{max(x) / 1e6 / ensemble_size(ensembles[0]):.0f}" for x in zip(*used, strict=True))
        )
    runs = len(grid())
    report(
        f"{SLICE} of {runs} runs of Figure 6, {BATCHES} steps of each, against PyTorch one after the other",
        rows,
    )
    Console(width=110).print(memory)


def needed(ensemble: AbstractEnsemble, params: list, batches: np.ndarray) -> tuple[int, int]:
    """Bytes of temporaries and of arguments of an epoch's program, the batches left out."""
    problem = (ensemble, jnp.asarray(batches))
    about = run_epoch.lower(problem, begin(ensemble, [params] * ensemble_size(ensemble))).compile()
    sizes = about.compiled.memory_analysis()
    return sizes.temp_size_in_bytes, sizes.argument_size_in_bytes - batches.nbytes


def main() -> None:
    torch.set_num_threads(THREADS)
    network = mf.Autoencoder(MNIST_SIZES)
    params = network.init(jax.random.key(0))
    batches = np.random.default_rng(0).uniform(size=(BATCHES, BATCH, MNIST_SIZES[0])).astype(np.float32)
    steps(network, params, batches)
    sweep(network, params, batches)


if __name__ == "__main__":
    main()
