"""A ravine with and without momentum.

Poster on Qian (1999), Figure 1: momentum adds inertia, like a ball's that rolls down. On E = ½wᵀAw with
A = diag(3, 30) gradient descent crosses the ravine at every step and creeps along it; heavy ball (1) with the
momentum that is best for the flat direction, p = (1-√(εk))², reaches the minimum sooner from the same start.
The figure's loss is not named: the one of the poster's experiments is taken; ε, N and the start are ours.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import momentumflow as mf

from .. import _plot
from .._progress import Progress
from ..linear import oscillator
from . import _ravine as ravine
from .checks import Check


@dataclass(frozen=True)
class Config:
    """The eigenvalues of A, the learning rate ε, the start w₀, the number of iterations N."""

    curvatures: tuple[float, float] = (3.0, 30.0)
    learning_rate: float = 0.06
    start: tuple[float, float] = (-1.0, 0.5)
    steps: int = 25


PRESETS = {"quick": Config(), "full": Config(steps=60)}


def run(config: Config, progress: Progress) -> xr.Dataset:
    """Iterates of both methods, the same by powers of the companion matrix, and the radii."""
    best = float(oscillator.best_momentum(config.learning_rate, min(config.curvatures)))
    momenta = {ravine.PLAIN: 0.0, ravine.HEAVY: best}
    problem, start = mf.Quadratic(config.curvatures), jnp.asarray(config.start)
    iterates, powers, radii = [], [], []
    for done, momentum in enumerate(momenta.values()):
        progress.update(done, len(momenta), label=f"p = {momentum:.3g}")
        method = mf.momentum_method(config.learning_rate, momentum, 0.0)
        iterates.append(mf.iterate(method, problem, start, config.steps).params)
        powers.append(
            ravine.powers(momentum, config.learning_rate, config.curvatures, config.start, config.steps)
        )
        roots = oscillator.discrete_roots(momentum, config.learning_rate, np.array(config.curvatures))
        radii.append(np.abs(roots).max())
    dims = ("momentum", "iteration", "component")
    return xr.Dataset(
        {
            "iterates": (dims, np.array(iterates), {"symbol": "w_n"}),
            "powers": (dims, np.array(powers), {"symbol": "w_n"}),
            "radius": ("momentum", radii, {"symbol": "max |λ|"}),
            "factor": ("momentum", list(momenta.values()), {"symbol": "p"}),
        },
        {
            "momentum": list(momenta),
            "iteration": ("iteration", np.arange(config.steps + 1), {"symbol": "n"}),
            "component": list(ravine.COMPONENTS),
        },
        {"curvatures": config.curvatures, "learning_rate": config.learning_rate},
    )


def checks(data: xr.Dataset) -> list[Check]:
    """Iterates against matrix powers, radii against (12), and what momentum gains."""
    gap = abs(data["iterates"] - data["powers"]).max(["iteration", "component"])
    distance = _distance(data).isel(iteration=-1)
    flat = data.attrs["learning_rate"] * min(data.attrs["curvatures"])
    steep = data.attrs["learning_rate"] * max(data.attrs["curvatures"])
    expected = {ravine.PLAIN: max(abs(1 - flat), abs(1 - steep)), ravine.HEAVY: 1 - np.sqrt(flat)}
    found = []
    for name, radius in expected.items():
        found += [
            Check(
                f"{name}: max |w_n - Aⁿw_0|",
                gap.sel(momentum=name),
                0.0,
                1e-12,
                "within",
                "powers of the companion matrix, poster on Qian (1999), eq. (11)",
            ),
            Check(
                f"{name}: spectral radius",
                data["radius"].sel(momentum=name),
                radius,
                1e-7,  # a double root is the square root of rounding away from itself
                "within",
                "by hand: max |1-εk| without, 1-√(εk) with the best p for the flat direction",
            ),
        ]
    return [
        *found,
        Check(
            f"distance to the minimum after {data.sizes['iteration'] - 1} iterations, with over without",
            distance.sel(momentum=ravine.HEAVY) / distance.sel(momentum=ravine.PLAIN),
            1.0,
            0.0,
            "at most",
            "poster on Qian (1999), Figure 1: momentum helps the speed of convergence",
        ),
    ]


def _distance(data: xr.Dataset) -> xr.DataArray:
    return (data["iterates"] ** 2).sum("component") ** 0.5


def plot(data: xr.Dataset) -> Figure:
    """Left: the paths over E. Right: distance to the minimum against n."""
    with _plot.style():
        figure = _plot.figure(8.0, 3.4)
        left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
        ravine.draw_loss(left, data.attrs["curvatures"], (-1.1, 0.45), (-0.6, 0.6))
        for name, style in ravine.STYLES.items():
            path = data["iterates"].sel(momentum=name)
            label = f"{name}, $p = {float(data['factor'].sel(momentum=name)):.2g}$"
            left.plot(*path.values.T, **style.line(linestyle="-", lw=1.2, ms=5), label=label)
        left.legend(loc="lower right", frameon=True, edgecolor="none", framealpha=1)
        left.set_title(rf"$\frac{{1}}{{2}}w^TAw$, $\varepsilon = {data.attrs['learning_rate']:g}$")
        _draw_distance(right, data)
    return figure


def _draw_distance(ax: Axes, data: xr.Dataset) -> None:
    n, distance = data["iteration"].values, _distance(data)
    powers = {ravine.PLAIN: "{:.2f}^n", ravine.HEAVY: r"n\,{:.2f}^n"}  # of HB's double root
    for name, style in ravine.STYLES.items():
        curve = distance.sel(momentum=name).values
        power = powers[name].format(float(data["radius"].sel(momentum=name)))
        ax.plot(n, curve, **style.line(linestyle="-", lw=1, ms=4), label=rf"$\propto {power}$")
    ax.set(yscale="log", xlabel="iteration $n$", ylabel="$|w_n|$", title="Distance to the minimum")
    ax.legend(loc="lower left")
