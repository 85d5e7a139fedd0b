"""A ravine in continuous time, with and without momentum.

Poster on Qian (1999), Figure 3: m ẅ + μ̃ ẇ = -∇E (2) from rest on E = ½wᵀAw, A = diag(3, 30), m = 2, μ̃ = 4,
against μ̃ ẇ = -∇E. Momentum improves convergence along some directions: along k = 3, below μ̃²/(2m) = 4, the
rate of decay grows from k/μ̃ = 3/4 to μ̃/(2m) = 1; along k = 30 it falls from 15/2 to 1. The poster writes
E = wᵀAw; see Figure 4.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.linalg import expm

import momentumflow as mf

from .. import _plot
from .._progress import Progress
from ..linear import oscillator
from . import _ravine as ravine
from .checks import Check


@dataclass(frozen=True)
class Config(ravine.Setting):
    """The ravine, the final time T and the number of times."""

    final_time: float = 5.0
    points: int = 251


PRESETS = {"quick": Config(), "full": Config(final_time=10.0, points=2001)}


def run(config: Config, progress: Progress) -> xr.Dataset:
    """w(t) and ẇ(t) of both by the library's solver, and by matrix exponentials."""
    times = np.linspace(0, config.final_time, config.points)
    state = jnp.array([config.start, (0.0, 0.0)])
    plain = mf.solve(mf.GradientFlow(), _without(config), state[0], times)
    heavy = mf.solve(mf.GradientFlow(), _with(config), state, times)
    dims = ("momentum", "time", "component")
    return xr.Dataset(
        {
            "path": (dims, np.stack([plain.params, heavy.params[:, 0]]), {"symbol": "w(t)"}),
            "exact": (dims, np.stack([_exact(config, 0.0, times), _exact(config, config.mass, times)])),
            "velocity": (("time", "component"), heavy.params[:, 1], {"symbol": "ẇ(t)"}),
        },
        {
            "momentum": [ravine.PLAIN, ravine.HEAVY],
            "time": ("time", times, {"symbol": "t"}),
            "component": list(ravine.COMPONENTS),
        },
        {"curvatures": config.curvatures, "mass": config.mass, "friction": config.friction},
    )


def _without(config: Config) -> mf.VectorField:
    """ẇ = -∇E/μ̃."""
    curvatures = jnp.array(config.curvatures)
    return mf.VectorField(lambda w: -curvatures * w / config.friction)


def _with(config: Config) -> mf.VectorField:
    """(2) as a field on (w, ẇ)."""
    curvatures = jnp.array(config.curvatures)

    def field(state: Float[Array, "2 d"]) -> Float[Array, "2 d"]:
        w, velocity = state
        return jnp.stack([velocity, (-curvatures * w - config.friction * velocity) / config.mass])

    return mf.VectorField(field)


def _exact(config: Config, mass: float, times: np.ndarray) -> np.ndarray:
    """w(t) by the exponential of each eigenvector's matrix: an independent route."""
    columns = []
    for k, start in zip(config.curvatures, config.start, strict=True):
        matrix = np.array([[-k / config.friction]])
        if mass:
            matrix = np.array([[0, 1], [-k / mass, -config.friction / mass]])
        initial = np.array([start, 0.0])[: len(matrix)]
        columns.append([(expm(matrix * t) @ initial)[0] for t in times])
    return np.array(columns).T


def _rates(data: xr.Dataset) -> dict[str, np.ndarray]:
    """Measured rates of decay along each eigenvector: of w without momentum, of |c₁e^{λ₁t}| with it.

    ẇ - λ₂w = (λ₁-λ₂)c₁e^{λ₁t} leaves one exponential of the two.
    """
    curvatures = np.array(data.attrs["curvatures"])
    _, second = oscillator.continuous_roots(data.attrs["mass"], data.attrs["friction"], curvatures)
    slow = data["velocity"].values - np.asarray(second) * data["path"].sel(momentum=ravine.HEAVY).values
    decaying = {ravine.PLAIN: data["path"].sel(momentum=ravine.PLAIN).values, ravine.HEAVY: slow}
    one = int(np.searchsorted(data["time"], 1.0))  # later the fast exponential is the solver's error
    span = float(data["time"][one])
    return {name: -np.log(np.abs(x[one] / x[0])) / span for name, x in decaying.items()}


def checks(data: xr.Dataset) -> list[Check]:
    """Paths against matrix exponentials; rates against (8), (9); faster along k = 3, slower along k = 30."""
    mass, friction = data.attrs["mass"], data.attrs["friction"]
    gap = abs(data["path"] - data["exact"]).max(["time", "component"])
    found = [
        Check(
            f"{name}: max |w(t) - e^(Mt)w(0)|",
            gap.sel(momentum=name),
            0.0,
            1e-8,
            "within",
            "scipy.linalg.expm",
        )
        for name in (ravine.PLAIN, ravine.HEAVY)
    ]
    measured = _rates(data)
    for i, k in enumerate(data.attrs["curvatures"]):
        exponents = np.roots([mass, friction, k])
        rate = {ravine.PLAIN: k / friction, ravine.HEAVY: -exponents.real.max()}
        found += [
            Check(
                f"k = {k:g}, {name}: rate of decay",
                measured[name][i],
                rate[name],
                1e-6,
                "within",
                "numpy.roots of mλ² + μ̃λ + k"
                if name == ravine.HEAVY
                else "k/μ̃, poster on Qian (1999), eq. (9)",
            )
            for name in (ravine.PLAIN, ravine.HEAVY)
        ]
        speed_up = measured[ravine.HEAVY][i] / measured[ravine.PLAIN][i]
        relation = "at least" if k < friction**2 / (2 * mass) else "at most"
        rule = "poster on Qian (1999), under eq. (9): faster iff k < μ̃²/(2m), Figure 3: along some directions"
        found.append(Check(f"k = {k:g}: speed-up by momentum", speed_up, 1.0, 0.0, relation, rule))
    return found


def plot(data: xr.Dataset) -> Figure:
    """Left: the paths over E. Right: the distance from the minimum along each eigenvector."""
    with _plot.style():
        figure = _plot.figure(8.0, 4.0)
        left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
        ravine.draw_loss(left, data.attrs["curvatures"], (-1.1, 0.5), (-0.6, 0.6))
        for name, style in ravine.STYLES.items():
            left.plot(*data["path"].sel(momentum=name).values.T, color=style.color, lw=1.6)
        left.plot(*data["path"].values[0, 0], "o", color="#555555", ms=6, zorder=5)
        left.set_title(r"$m\ddot w + \tilde\mu\dot w = -Aw$, with $m = 0$ or $m > 0$")
        _draw_components(right, data)
        handles, labels = right.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def _draw_components(ax: Axes, data: xr.Dataset) -> None:
    for line, k, component in zip(("-", "--"), data.attrs["curvatures"], ravine.COMPONENTS, strict=True):
        for name, style in ravine.STYLES.items():
            path = np.abs(data["path"].sel(momentum=name, component=component))
            ax.plot(data["time"], path, color=style.color, ls=line, lw=1.3, label=f"{name}, $k = {k:g}$")
    ax.set(yscale="log", ylim=(1e-4, 1.5), xlabel="time $t$", ylabel="$|w_i|$")
    ax.set_title("Along each eigenvector")
