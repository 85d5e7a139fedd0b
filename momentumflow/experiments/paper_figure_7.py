"""How close the methods come to their limits on a network, parameter by parameter.

Kovachki & Stuart (2021), Figure 7 and §5: the order in h of the distance between the parameters of an autoencoder
trained with HB, NAG (λ = 0.9) and with (35), about 1; and with HB-μ, NAG-μ (μ = 1) and with Wilson (36), about ½. At
every step both see the same batch, in file order. Distance: max_n |u_n - u_n'| in the Euclidean norm of all
parameters; slope: log₂ of its ratio between neighbouring h.

The limit h → 0 is taken at a fixed final time T = nh (T = n√h for μ), so the number of epochs grows as h falls. Beside
it, hollow: the same number of epochs for every h, as the paper trains. Its T shrinks with h, and at last all slopes are
1, since n steps move the parameters by O(h); the paper's 500 epochs are too long for that to be seen.

Quick: a small tanh network on scikit-learn's digits. HB and NAG reach their order where h times the curvature is below
(1-√λ)² = 0.0026, hence the small h. Full: MNIST, the paper's network, batches, epochs and h.
"""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import momentumflow as mf

from .. import _plot
from .._progress import Progress
from ..problems.networks import MNIST_SIZES
from ..training import load, six_methods
from . import _lockstep
from .checks import Check

# limit, methods, order: each group against its first
_GROUPS = {"GF": (("GF", "HB", "NAG"), 1.0), "Wilson": (("Wilson", "HB-mu", "NAG-mu"), 0.5)}


@dataclass(frozen=True)
class Config:
    """Data, network (encoder `sizes`), batches; λ and μ; h = 2^-k for the exponents k; T = nh and T = n√h; epochs."""

    dataset: str = "digits"
    sizes: tuple[int, ...] = (64, 16, 8)
    hidden: str = "tanh"
    batch_size: int = 100
    momentum: float = 0.9
    strong_convexity: float = 1.0
    exponents: tuple[int, ...] = (4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14)
    final_time: float = 0.25
    final_time_strongly_convex: float = 8.0
    epochs: int = 1
    seed: int = 0


PRESETS = {
    "quick": Config(),
    "full": Config(
        "mnist",
        MNIST_SIZES,
        "relu",
        batch_size=200,
        exponents=(0, 1, 2, 3, 4, 5, 6),
        final_time=2343.75,  # 500 epochs at h = 2^-6
        final_time_strongly_convex=18750.0,
        epochs=500,
    ),
}


def run(config: Config, progress: Progress) -> xr.Dataset:
    """Distances of HB, NAG from (35), and of HB-μ, NAG-μ from (36), over a fixed T and over fixed epochs."""
    network = mf.Autoencoder(config.sizes, config.hidden)
    params = eqx.filter_jit(network.init)(jax.random.key(config.seed), float)
    batches = jnp.asarray(load(config.dataset).batches(config.batch_size), float)
    epochs = config.epochs * len(batches)
    cells = [(limit, h) for limit in _GROUPS for h in (2.0**-k for k in config.exponents)]
    found = []
    for done, (limit, h) in enumerate(cells):
        progress.update(done, len(cells), label=f"{limit}, h = 2^{int(np.log2(h))}")
        methods = six_methods(h, config.momentum, config.strong_convexity, _GROUPS[limit][0])
        final = config.final_time / h if limit == "GF" else config.final_time_strongly_convex / h**0.5
        counts = jnp.array([round(final), epochs])
        found.append(_lockstep.distances(tuple(methods.values()), network.loss, params, batches, counts))
    table = np.asarray(found).reshape(len(_GROUPS), len(config.exponents), 2, 2)
    return xr.Dataset(
        {
            "distance": (
                ("length", "optimizer", "h"),
                table.transpose(2, 0, 3, 1).reshape(2, 4, -1),
                {"symbol": "max |u_n - u_n'|"},
            )
        },
        {
            "length": ["time", "epochs"],
            "optimizer": [name for names, _ in _GROUPS.values() for name in names[1:]],
            "h": ("h", [2.0**-k for k in config.exponents], {"symbol": "h"}),
        },
        {
            "dataset": config.dataset,
            "epochs": config.epochs,
            "steps": epochs,
            "final_time": config.final_time,
            "final_time_strongly_convex": config.final_time_strongly_convex,
        },
    )


def study(data: xr.Dataset, name: str, length: str = "time") -> mf.ConvergenceStudy:
    """The ladder of one method; its distances lie far above rounding."""
    distance = data["distance"].sel(optimizer=name, length=length).values
    return mf.ConvergenceStudy(data["h"].values, distance, np.full(distance.shape, 1e-12))


def checks(data: xr.Dataset) -> list[Check]:
    """The last two slopes at fixed T; at fixed epochs, order 1 for all, where one epoch is short."""
    found = []
    for limit, (names, order) in _GROUPS.items():
        for name in names[1:]:
            slopes = study(data, name).last_orders(2)
            worst = slopes[np.argmax(np.abs(slopes - order))] if len(slopes) else np.nan
            source = f"Kovachki & Stuart (2021), Figure 7: around {order:g}"
            found.append(Check(f"{name} to {limit}: order at fixed T", worst, order, 0.15, "within", source))
    if data.attrs["steps"] > 1000:
        return found
    for name in data["optimizer"].values:
        last = study(data, name, "epochs").orders[-1]
        text = f"{name}: order over {data.attrs['steps']} steps"
        found.append(Check(text, last, 1, 0.15, "within", "n steps move the parameters by O(h)"))
    return found


def plot(data: xr.Dataset) -> Figure:
    """Slopes against h: left against (35), right against (36)."""
    with _plot.style():
        figure = _plot.figure(8.0, 3.4)
        for ax, (limit, (names, order)) in zip(
            figure.subplots(1, 2, sharey=True), _GROUPS.items(), strict=True
        ):
            _panel(ax, data, names[1:], order)
            time = data.attrs["final_time"] if limit == "GF" else data.attrs["final_time_strongly_convex"]
            equation = "(35), $T = nh$" if limit == "GF" else r"(36), $T = n\sqrt{h}$"
            ax.set_title(f"against {equation} = {time:g}; hollow: {data.attrs['steps']} steps", fontsize=9.5)
        figure.axes[0].set_ylabel(r"slope $\Delta(h)$")
    return figure


def _panel(ax: Axes, data: xr.Dataset, names: tuple[str, ...], order: float) -> None:
    h = data["h"].values
    for name in names:
        style = _plot.of(name.replace("mu", "μ"))
        look = style.line(linestyle="-", lw=1.1, markersize=4.5)
        ax.plot(h[:-1], study(data, name).orders, **look, label=name.replace("mu", "μ"))
        hollow = style.line(linestyle=":", lw=1, fillstyle="none", markersize=4.5)
        ax.plot(h[:-1], study(data, name, "epochs").orders, **hollow)
    ax.axhspan(order - 0.15, order + 0.15, color="#dddddd", zorder=0, lw=0)
    _plot.log2_axis(ax, h, most=6)
    ax.invert_xaxis()
    ax.set(xlabel="$h$", ylim=(0, 1.6))
    ax.legend(loc="upper right", ncols=2)
