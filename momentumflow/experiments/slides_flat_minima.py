"""Momentum ends at flatter minima.

Ghosh et al. (ICLR 2023), two-parameter example: E(w₁, w₂) = ½(y - w₁w₂x)² has the hyperbola w₁w₂x = y as
its minima, of sharpness tr ∇²E = x²(w₁² + w₂²). Heavy ball follows the flow of E + (1+λ)h/(4(1-λ)²)|∇E|²,
IGR-M; at a fixed effective rate h/(1-λ) the weight of |∇E|² grows with λ, and the end becomes flatter.
"""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.integrate import solve_ivp

import momentumflow as mf

from .. import _plot
from .._progress import Progress
from .checks import Check

# From an independent run of the slides' setting: the slides show curves, no numbers.
_REFERENCE = {0.0: 3.790, 0.5: 3.583, 0.8: 3.012, 0.9: 2.119}
_RUN = "Ghosh et al. (ICLR 2023), two-parameter example: an independent run of its setting"


@dataclass(frozen=True)
class Config:
    """The setting of the slides: E, the start (w₁, w₂), the effective learning rate h/(1-λ), the λs."""

    x: float = 1.0
    y: float = 0.6
    start: tuple[float, float] = (2.8, 3.4)
    effective_learning_rate: float = 1e-2
    momenta: tuple[float, ...] = tuple(_REFERENCE)
    steps: int = 50_000
    shown_steps: int = 2_000


PRESETS = {
    "quick": Config(),
    "full": Config(momenta=tuple(round(0.05 * k, 2) for k in range(19))),
}


def run(config: Config, progress: Progress) -> xr.Dataset:
    """Heavy ball for every λ at once, and the gradient flow by scipy."""
    problem = mf.ProductLoss(config.x, config.y)
    path = np.asarray(_paths(config, problem, jnp.asarray(config.momenta, float)))
    flow = _gradient_flow(config)
    sharpness = [float(problem.sharpness(end)) for end in path[:, -1]]
    return xr.Dataset(
        {
            "path": (
                ("momentum", "iteration", "component"),
                path[:, : config.shown_steps + 1],
                {"symbol": "w"},
            ),
            "end": (("momentum", "component"), path[:, -1], {"symbol": "w"}),
            "sharpness": ("momentum", sharpness, {"symbol": "tr ∇²E"}),
            "residual": ("momentum", np.abs(config.y - config.x * np.prod(path[:, -1], axis=-1))),
            "flow": (("flow_time", "component"), flow.T, {"symbol": "w"}),
            "flow_sharpness": ((), config.x**2 * np.sum(flow[:, -1] ** 2), {"symbol": "tr ∇²E"}),
        },
        {
            "momentum": ("momentum", np.asarray(config.momenta), {"symbol": "λ"}),
            "iteration": ("iteration", np.arange(config.shown_steps + 1), {"symbol": "n"}),
            "component": ["w1", "w2"],
        },
        {"x": config.x, "y": config.y, "effective_learning_rate": config.effective_learning_rate},
    )


@eqx.filter_jit
def _paths(config: Config, problem: mf.ProductLoss, momenta: Float[Array, " m"]) -> Float[Array, "m n 2"]:
    def one(momentum: Float[Array, ""]) -> Float[Array, "n 2"]:
        method = mf.heavy_ball(config.effective_learning_rate * (1 - momentum), momentum)
        return mf.iterate(method, problem, jnp.asarray(config.start), config.steps).params

    return eqx.filter_vmap(one)(momenta)


def _gradient_flow(config: Config) -> np.ndarray:
    """w(t), shape (2, times): an independent route, by scipy and a gradient written by hand."""

    def field(_: float, w: np.ndarray) -> np.ndarray:
        return config.x * (config.y - w[0] * w[1] * config.x) * w[::-1]

    time = config.effective_learning_rate * config.steps
    return solve_ivp(field, (0, time), config.start, method="DOP853", rtol=1e-12, atol=1e-14).y


def checks(data: xr.Dataset) -> list[Check]:
    """The reference run, the conserved quantity of the gradient flow, and the trend."""
    sharpness = data["sharpness"]
    near_reference = [
        Check(f"final sharpness, λ = {lam:g}", sharpness.sel(momentum=lam), s, 0.01 * s, "within", _RUN)
        for lam, s in _REFERENCE.items()
    ]
    slope = float(sharpness.sortby("momentum").diff("momentum").max())
    trend = "Ghosh et al. (ICLR 2023): the weight of IGR-M grows with λ at a fixed h/(1-λ)"
    conserved = "w₁²-w₂² is conserved by the gradient flow and w₁w₂x = y at its end"
    return [
        *near_reference,
        Check(
            "gradient flow: final sharpness",
            data["flow_sharpness"],
            _conserved(data),
            1e-6,
            "within",
            conserved,
        ),
        Check("largest change of sharpness from one λ to the next", slope, 0.0, 0.0, "at most", trend),
        Check(
            "largest residual |y - w₁w₂x| at the end",
            data["residual"].max(),
            0.0,
            1e-9,
            "within",
            "a minimum of E",
        ),
    ]


def _conserved(data: xr.Dataset) -> float:
    """x²(w₁² + w₂²) from w₁² - w₂² as at the start and w₁w₂ = y/x."""
    w1, w2 = data["flow"].values[0]
    return data.attrs["x"] ** 2 * float(np.hypot(w1**2 - w2**2, 2 * data.attrs["y"] / data.attrs["x"]))


def plot(data: xr.Dataset) -> Figure:
    """Left: the last part of the paths over E. Right: final sharpness against λ."""
    shown = [lam for lam in _REFERENCE if lam in data["momentum"].values]
    colors = dict(zip(shown, _plot.sequence(len(shown)), strict=True))
    with _plot.style():
        figure = _plot.figure(7.2, 3.6)
        left, right = figure.subplots(1, 2)
        _draw_paths(left, data, colors)
        _draw_sharpness(right, data, colors)
    return figure


def _draw_paths(ax: Axes, data: xr.Dataset, colors: dict[float, Any]) -> None:
    x, y = data.attrs["x"], data.attrs["y"]
    w1, w2 = np.meshgrid(np.linspace(0.05, 0.85, 200), np.linspace(1.25, 2.2, 200))
    levels = [0.003, 0.01, 0.03, 0.1, 0.3]
    ax.contour(w1, w2, (y - x * w1 * w2) ** 2 / 2, levels=levels, colors="#cfcfcf", linewidths=0.7)
    ax.plot(w1[0], y / (x * w1[0]), color="#a0a0a0", lw=3, solid_capstyle="butt", label="minima of E")
    ax.plot(*data["flow"].values.T, **_plot.of("gradient flow (2)").line(label="gradient flow"))
    for lam, color in colors.items():
        ax.plot(*data["path"].sel(momentum=lam).values.T, color=color, lw=1.1, label=f"λ = {lam:g}")
    for lam, color in colors.items():
        ax.plot(
            *data["end"].sel(momentum=lam).values, "o", color=color, markeredgecolor="white", ms=8, zorder=5
        )
    ax.set(
        xlim=(0.05, 0.85),
        ylim=(1.25, 2.2),
        xlabel="$w_1$",
        ylabel="$w_2$",
        title="Heavy ball near its end (dots)",
    )
    ax.grid(False)
    ax.legend(
        loc="lower right", handlelength=1.6, frameon=True, edgecolor="none", framealpha=1, borderaxespad=0.1
    )


def _draw_sharpness(ax: Axes, data: xr.Dataset, colors: dict[float, Any]) -> None:
    curve = data["sharpness"].sortby("momentum")
    ax.axhline(float(data["flow_sharpness"]), **_plot.of("gradient flow (2)").line())
    ax.text(
        0, float(data["flow_sharpness"]) + 0.03, "gradient flow", va="bottom", color="#555555", fontsize=9
    )
    ax.plot(curve["momentum"], curve, color="#a0a0a0", lw=1)
    for lam, color in colors.items():
        ax.plot(lam, curve.sel(momentum=lam), "o", color=color, markeredgecolor="white", ms=8)
    rate = data.attrs["effective_learning_rate"]
    ax.set(
        xlabel="momentum λ",
        ylabel=r"$\mathrm{tr}\,\nabla^2E = x^2(w_1^2+w_2^2)$",
        title=f"Final sharpness at h/(1-λ) = {rate:g}",
        ylim=(1.9, 4.15),
    )
