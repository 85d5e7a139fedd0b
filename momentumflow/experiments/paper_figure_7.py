"""How close the methods come to their limits on a network, parameter by parameter.

Kovachki & Stuart (2021), Figure 7 and §5: the order in h of the distance between the parameters of an autoencoder
trained with HB, NAG (λ = 0.9) and with (35), about 1; and with HB-μ, NAG-μ (μ = 1) and with Wilson (36), about ½. At
every step both see the same batch, in file order. Distance: max_n |u_n - u_n'| in the Euclidean norm of all
parameters; slope: that of log distance between neighbouring h.

The limit h → 0 is taken at a fixed final time T = nh (T = n√h for μ), so the number of epochs grows as h falls. Beside
it: the same number of epochs for every h, as the paper trains. Its T shrinks with h, and at last all slopes are 1,
since n steps move the parameters by O(h); the paper's 500 epochs are too long for that to be seen.

Upper row: a small tanh network on scikit-learn's digits, in float64. HB and NAG reach their order where h times the
curvature is below (1-√λ)² = 0.0026, hence the small h. Lower row: the paper's network on MNIST in float32: at the
paper's h, over 1 and (as far as they have been run) 500 epochs, and over a fixed T at smaller h, from the results that
come with the library. The full preset trains what is missing of these.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import momentumflow as mf

from .._progress import Progress
from ..training import Result, Run, grid, load, six_methods
from . import _autoencoder_runs as kept
from . import _figure_7_panels as panels
from . import _lockstep
from .checks import Check

STORED = kept.STORED
# limit, methods, order: each group against its first
GROUPS = {"GF": (("GF", "HB", "NAG"), 1.0), "Wilson": (("Wilson", "HB-mu", "NAG-mu"), 0.5)}
OPTIMIZERS = tuple(name for names, _ in GROUPS.values() for name in names[1:])
TIME, STEPS = "digits, fixed T", "digits, fixed number of steps"
PAPER, PAPER_TIME, SHORT = "500 epochs", "T of 448 epochs at 2^-6", "1 epoch"
SMALL, DOUBLE = "fixed small T", "fixed small T, float64"
_PAPER_H = tuple(2.0**-k for k in range(7))
_FINEST, _COMMON, _SHORT_EPOCHS, _PAPER_EPOCHS = 2.0**-6, 448, 1, 500


@dataclass(frozen=True)
class Config:
    """Of the digits: encoder `sizes`, batches; λ and μ; h = 2^-k for the exponents k; T = nh and T = n√h; epochs.

    Of MNIST: e doublings of one epoch at the `coarsest` h = 2^-k of the fixed T, and whether to train what is missing.
    """

    sizes: tuple[int, ...] = (64, 16, 8)
    batch_size: int = 100
    momentum: float = 0.9
    strong_convexity: float = 1.0
    exponents: tuple[int, ...] = (4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14)
    final_time: float = 0.25
    final_time_strongly_convex: float = 8.0
    epochs: int = 1
    seed: int = 0
    coarsest: tuple[int, ...] = (9, 6)
    doublings: int = 4
    train: bool = False


PRESETS = {"quick": Config(), "full": Config(train=True)}


def run(config: Config, progress: Progress) -> xr.Dataset:
    """Distances of HB, NAG from (35), and of HB-μ, NAG-μ from (36), on every ladder of h."""
    wanted = [*_sweep_runs(_PAPER_EPOCHS), *_sweep_runs(_SHORT_EPOCHS), *_small_runs(config)]
    results = kept.trained(wanted, progress) if config.train else kept.stored(wanted)
    results |= kept.stored(_small_runs(config, "float64"))
    found = _digits(config, progress) | _ladders(config, results)
    rates = sorted({h for _, _, h in found}, reverse=True)
    axes = (panels.LADDERS, OPTIMIZERS, rates)
    cells = [found.get(cell, np.nan) for cell in itertools.product(*axes)]
    table = np.reshape(cells, [len(axis) for axis in axes])
    steps = config.epochs * len(load("digits").batches(config.batch_size))
    return xr.Dataset(
        {"distance": (("ladder", "optimizer", "h"), table, {"symbol": "max |u_n - u_n'|"})},
        {"ladder": list(panels.LADDERS), "optimizer": list(OPTIMIZERS), "h": ("h", rates, {"symbol": "h"})},
        {
            "steps": steps,
            "final_time": config.final_time,
            "final_time_strongly_convex": config.final_time_strongly_convex,
        },
    )


Distances = dict[tuple[str, str, float], float]
"""By ladder, method and h."""


def _digits(config: Config, progress: Progress) -> Distances:
    network = mf.Autoencoder(config.sizes, "tanh")
    params = eqx.filter_jit(network.init)(jax.random.key(config.seed), float)
    batches = jnp.asarray(load("digits").batches(config.batch_size), float)
    epochs = config.epochs * len(batches)
    cells = [(limit, h) for limit in GROUPS for h in (2.0**-k for k in config.exponents)]
    found: Distances = {}
    for done, (limit, h) in enumerate(cells):
        progress.update(done, len(cells), label=f"{limit}, h = 2^{int(np.log2(h))}")
        names = GROUPS[limit][0]
        methods = six_methods(h, config.momentum, config.strong_convexity, names)
        final = config.final_time / h if limit == "GF" else config.final_time_strongly_convex / h**0.5
        counts = jnp.array([round(final), epochs])
        table = _lockstep.distances(tuple(methods.values()), network.loss, params, batches, counts)
        for ladder, row in zip((TIME, STEPS), np.asarray(table), strict=True):
            found |= {(ladder, name, h): float(x) for name, x in zip(names[1:], row, strict=True)}
    return found


def _sweep_runs(epochs: int) -> list[Run]:
    return grid(OPTIMIZERS, _PAPER_H, epochs=epochs)


def _small_runs(config: Config, dtype: str = "float32") -> list[Run]:
    """Twice as many epochs at half the time step."""
    runs = []
    for coarsest, factor, limit in zip(config.coarsest, (2, 4), GROUPS, strict=True):
        for e in range(config.doublings + 1):
            h = 2.0**-coarsest / factor**e
            runs += grid(GROUPS[limit][0][1:], [h], epochs=2**e, dtype=dtype)
    return runs


def _ladders(config: Config, results: dict[Run, Result]) -> Distances:
    """The distances that are known of MNIST."""
    found: Distances = {}
    for epochs, ladder in ((_PAPER_EPOCHS, PAPER), (_SHORT_EPOCHS, SHORT)):
        found |= _known(ladder, _sweep_runs(epochs), results)
    for run in _sweep_runs(_PAPER_EPOCHS):
        if run in results and len(results[run].largest) == run.epochs:
            share = run.learning_rate / _FINEST
            epoch = round(_COMMON / (share if run.method in GROUPS["GF"][0] else share**0.5))
            found[PAPER_TIME, run.method, run.learning_rate] = results[run].largest[epoch - 1] or np.nan
    for dtype, ladder in (("float32", SMALL), ("float64", DOUBLE)):
        found |= _known(ladder, _small_runs(config, dtype), results)
    return found


def _known(ladder: str, runs: Iterable[Run], results: dict[Run, Result]) -> Distances:
    """The largest distance at the end of each run that did not diverge."""
    ended = [run for run in runs if run in results and len(results[run].largest) == run.epochs]
    return {(ladder, run.method, run.learning_rate): results[run].largest[-1] or np.nan for run in ended}


def study(data: xr.Dataset, name: str, ladder: str = TIME) -> mf.ConvergenceStudy:
    """The ladder of one method where it is known."""
    distance = data["distance"].sel(optimizer=name, ladder=ladder).dropna("h")
    digits = ladder in (
        TIME,
        STEPS,
        DOUBLE,
    )  # those in float32 are known to seven digits of params of norm 50
    floor = np.full(distance.shape, 1e-12 if digits else 1e-5)
    return mf.ConvergenceStudy(distance["h"].values, distance.values, floor)


def checks(data: xr.Dataset) -> list[Check]:
    """The last two slopes at fixed T; at fixed epochs, order 1 for all, where one epoch is short; rounding."""
    found = []
    for limit, (names, order) in GROUPS.items():
        for name in names[1:]:
            slopes = study(data, name).last_orders(2)
            worst = slopes[np.argmax(np.abs(slopes - order))] if len(slopes) else np.nan
            source = f"Kovachki & Stuart (2021), Figure 7: around {order:g}"
            found.append(Check(f"{name} to {limit}: order at fixed T", worst, order, 0.15, "within", source))
    for name in OPTIMIZERS:
        last = study(data, name, STEPS).orders[-1]
        text = f"{name}: order over {data.attrs['steps']} steps"
        found.append(Check(text, last, 1, 0.15, "within", "n steps move the parameters by O(h)"))
    return [*found, *_mnist(data), *_rounding(data)]


def _mnist(data: xr.Dataset) -> list[Check]:
    """The last two slopes on the paper's network, at a fixed T and h small enough."""
    found = []
    for limit, (names, order) in GROUPS.items():
        for name, ladder in itertools.product(names[1:], (SMALL, DOUBLE)):
            slopes = study(data, name, ladder).orders[-2:]
            if len(slopes) == 2:
                worst = slopes[np.argmax(np.abs(slopes - order))]
                text = f"MNIST, {name} to {limit}, {ladder}: order, the worse of the last two"
                found.append(Check(text, worst, order, 0.15, "within", "Theorem 2; Wilson et al. (2016)"))
    return found


def _rounding(data: xr.Dataset) -> list[Check]:
    """What float32 does to the distances, where both precisions are known."""
    both = data["distance"].sel(ladder=[SMALL, DOUBLE]).stack(cell=("optimizer", "h")).dropna("cell")
    if not both.sizes["cell"]:
        return []
    gap = np.abs(both.sel(ladder=SMALL) / both.sel(ladder=DOUBLE) - 1).max()
    return [
        Check("MNIST: float32 over float64 distance, less 1, largest", gap, 0, 0.05, "within", "float64 runs")
    ]


def plot(data: xr.Dataset) -> Figure:
    """Slopes against h: left against (35), right against (36); above the digits, below MNIST."""
    return panels.draw(data, study)
