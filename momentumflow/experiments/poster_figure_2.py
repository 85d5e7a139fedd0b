"""Speed-up of an oscillator by its momentum.

Poster on Qian (1999), eq. (7)-(9) and Figure 2: along an eigenvector of curvature k, m ẅ + μ̃ ẇ = -kw decays
like e^{Re λ₁ t}, without mass like e^{λ₀ t}, λ₀ = -k/μ̃. The speed-up α(k) = |Re λ₁|/|Re λ₀| is above 1 iff
k < μ̃²/(2m), and largest, 2, at k = μ̃²/(4m).
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from scipy.optimize import brentq, minimize_scalar

from .. import _plot
from .._progress import Progress
from ..linear import oscillator
from .checks import Check

_POSTER = "poster on Qian (1999), observations under eq. (9)"


@dataclass(frozen=True)
class Config:
    """Mass m and friction μ̃, the number of curvatures in (0, μ̃²/m]."""

    mass: float = 2.0
    friction: float = 4.0
    points: int = 501


PRESETS = {"quick": Config(), "full": Config(points=5001)}


def run(config: Config, progress: Progress) -> xr.Dataset:
    """α(k) by the library and by numpy's roots; its maximum and its crossing of 1 by search on the latter."""
    scale = config.friction**2 / config.mass
    curvature = scale * np.arange(1, config.points + 1) / config.points

    def by_roots(k: float) -> float:
        exponents = np.roots([config.mass, config.friction, k])
        return abs(exponents.real.max()) / (k / config.friction)

    best = minimize_scalar(
        lambda k: -by_roots(k), bounds=(0, scale), method="bounded", options={"xatol": 1e-10}
    )
    critical = oscillator.critical_curvature(config.mass, config.friction)
    return xr.Dataset(
        {
            "speed_up": ("curvature", oscillator.speed_up(config.mass, config.friction, curvature)),
            "by_roots": ("curvature", [by_roots(k) for k in curvature]),
            "best": ((), best.x, {"symbol": "k"}),
            "gain": ((), -best.fun, {"symbol": "α"}),
            "critical": ((), float(critical), {"symbol": "k"}),
            "critical_speed_up": ((), float(oscillator.speed_up(config.mass, config.friction, critical))),
            "crossing": ((), brentq(lambda k: by_roots(k) - 1, best.x, scale), {"symbol": "k"}),
        },
        {"curvature": ("curvature", curvature, {"symbol": "k"})},
        {"mass": config.mass, "friction": config.friction},
    )


def checks(data: xr.Dataset) -> list[Check]:
    """α against numpy's roots; the best k, its gain and the crossing, found by search, against the poster."""
    best, crossing = (data.attrs["friction"] ** 2 / (factor * data.attrs["mass"]) for factor in (4, 2))
    apart = np.abs(data["curvature"] - crossing) > 1e-9 * crossing
    wrong = apart & ((data["speed_up"] > 1) != (data["curvature"] < crossing))
    gap = np.abs(data["speed_up"] - data["by_roots"]).max()
    search = f"{_POSTER}, against a search on numpy's roots of mλ² + μ̃λ + k"
    rows = (
        ("max |α(k) - α(k) by numpy's roots|", gap, 0.0, 1e-7, "numpy.roots, another algorithm"),
        ("best k, by search", data["best"], best, 1e-6, search),
        ("critical curvature of the library", data["critical"], best, 1e-12, _POSTER),
        ("largest speed-up, by search", data["gain"], 2.0, 1e-4, search),
        ("speed-up at the critical curvature", data["critical_speed_up"], 2.0, 1e-7, _POSTER),
        ("k at which the speed-up is 1, by search", data["crossing"], crossing, 1e-6, search),
        ("curvatures at which α > 1 without k < μ̃²/(2m), or the reverse", wrong.sum(), 0, 0, _POSTER),
    )
    return [Check(name, x, expected, near, "within", source) for name, x, expected, near, source in rows]


def plot(data: xr.Dataset) -> Figure:
    """α(k), with its maximum and the range in which momentum speeds up."""
    mass, friction = data.attrs["mass"], data.attrs["friction"]
    blue, scale = _plot.of("HB").color, friction**2 / mass
    ticks = {"0": 0, r"$\tilde\mu^2/4m$": 1 / 4, r"$\tilde\mu^2/2m$": 1 / 2, r"$\tilde\mu^2/m$": 1}
    with _plot.style():
        figure = _plot.figure(6.0, 3.4)
        ax = figure.subplots()
        ax.axvspan(0, scale / 2, color="#eaf3f9", zorder=0, lw=0)
        ax.axhline(1, **_plot.of("gradient flow (2)").line(), label="without momentum")
        ax.plot(data["curvature"], data["speed_up"], color=blue, lw=2, label="with momentum")
        ax.plot(data["critical"], data["critical_speed_up"], "o", color=blue, ms=7, mec="white", zorder=5)
        labels = [f"{label}\n= {x * scale:g}" if x else label for label, x in ticks.items()]
        ax.set_xticks([x * scale for x in ticks.values()], labels)
        ax.text(scale / 4, 0.42, "momentum is faster", color=blue, ha="center")
        ax.text(scale * 3 / 4, 0.42, "slower", color="#555555", ha="center")
        ax.set(xlim=(0, scale), ylim=(0.3, 2.2), xlabel="curvature $k$")
        ax.set_ylabel(r"$\alpha(k) = |\mathrm{Re}\,\lambda_1|\,/\,|\mathrm{Re}\,\lambda_0|$")
        ax.set_title(rf"Speed-up by momentum, $m = {mass:g}$, $\tilde\mu = {friction:g}$")
        ax.legend(loc="upper right")
    return figure
