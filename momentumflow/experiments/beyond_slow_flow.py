r"""The slow flow to order 6.

Started on its invariant manifold, momentum stays within O(h^p) of its modified equation cut after h^(p-1),
u̇ = λ̄f + hF₂ + … + h^(p-1)F_p: order 2 is Kovachki & Stuart (2021), (20) with c corrected; the higher ones
are not in the paper. Heavy ball, Nesterov and a = λ/2 on a loss that is not quadratic, its params a pytree.
λ = 0.5 is judged; λ = 0.9 is drawn. The start is the manifold to order 6.

On a quadratic of curvature k the series converges for hk < x₋ only, HB (1-√λ)², NAG ((1-λ)/(1+λ))²: below, each order
up to 6 brings the flow closer to the iterates; above, there is no invariant manifold, and from some order on each
is worse than the last. So h is measured here by hk/x₋, k the largest curvature.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import momentumflow as mf

from .. import _plot
from .._progress import Progress
from .._types import Params
from ..expansion.trees import Tree
from ..linear.family import slow_limit
from . import _slow_orders as slow
from ._slow_orders import ORDERS
from .checks import Check

_LOOKAHEADS = {"HB": 0.0, "NAG": 1.0, "a = λ/2": 0.5}
"""a in units of λ."""
_RADIUS_ORDER = 8


@dataclass(frozen=True)
class Config:
    """λ that is judged and λ that is drawn, the finest exponent of hk/x₋ = 2^0 … 2^-k, λ̄T, u₀; hk/x₋ and u₀ of the
    drawn iterates; hk/x₋ on either side of 1 and their u₀, close to the minimum, where k is met all along."""

    momenta: tuple[float, ...] = (0.5, 0.9)
    finest: int = 5
    effective_time: float = 2.0
    start: tuple[float, float] = (1.8, -0.3)
    drawn: float = 0.9
    drawn_start: tuple[float, float] = (0.9, -0.45)
    around: tuple[float, ...] = (2.5, 1.5, 0.9, 0.5, 0.25)
    near_start: tuple[float, float] = (0.54, -0.09)


PRESETS = {"quick": Config(), "full": Config(finest=7)}


def _method(name: str, lam: float, h: float) -> mf.MomentumMethod:
    return mf.momentum_method(h, lam, _LOOKAHEADS[name] * lam)


def _params(values: tuple[float, float]) -> Params:
    # a dtype of their own, as a solver's states have: the series is traced once
    return {name: jnp.array(value, float) for name, value in zip(slow.NAMES, values, strict=True)}


def run(config: Config, progress: Progress) -> xr.Dataset:
    """Errors of each order along the ladder and on either side of x₋; iterates and flows of heavy ball at one h."""
    ladder = [2.0**-k for k in range(config.finest + 1)]
    cells = [(name, lam) for name in _LOOKAHEADS for lam in config.momenta]
    shape = (len(_LOOKAHEADS), len(config.momenta), len(ORDERS), 2)
    along, near = [], []
    for done, (name, lam) in enumerate(cells):
        progress.update(done, len(cells) + 1, label=f"{name}, λ = {lam:g}")
        along.append([_study(config, name, lam, p, config.start, ladder) for p in ORDERS])
        if lam == config.momenta[0]:
            near.append([_study(config, name, lam, p, config.near_start, config.around)[0] for p in ORDERS])
    progress.update(len(cells), len(cells) + 1, label="flows over iterates")
    errors = np.array(along).reshape(*shape, -1)
    dims = ("optimizer", "momentum", "order")
    radius = np.array([_radius(name, lam) for name, lam in cells]).reshape(shape[:2])
    return xr.Dataset(
        {
            "error": ((*dims, "ratio"), errors[..., 0, :], {"symbol": "max |u_n - u(t_n)|"}),
            "floor": ((*dims, "ratio"), errors[..., 1, :]),
            "error_near": (("optimizer", "order", "around"), near, {"symbol": "max |u_n - u(t_n)|"}),
            "radius": (dims[:2], radius, {"symbol": "radius of the series over x₋"}),
            **_drawn(config),
        },
        {
            "optimizer": list(_LOOKAHEADS),
            "momentum": ("momentum", list(config.momenta), {"symbol": "λ"}),
            "order": ("order", list(ORDERS), {"symbol": "p"}),
            "ratio": ("ratio", ladder, {"symbol": "hk/x₋"}),
            "around": ("around", sorted(config.around, reverse=True), {"symbol": "hk/x₋"}),
        },
        {"curvature": slow.CURVATURE, "drawn": config.drawn, "effective_time": config.effective_time},
    )


@cache
def _limit(name: str, lam: float) -> float:
    """x₋."""
    return float(slow_limit(lam, _LOOKAHEADS[name] * lam))


def _radius(name: str, lam: float) -> float:
    """From two coefficients of f'f'…f, which go like n^(-3/2) x₋^-n as log ρ has a square root there; over x₋."""
    equation = mf.modified_equation(_RADIUS_ORDER, lam, _LOOKAHEADS[name] * lam)
    bamboo = [abs(c) for tree, c in equation.items() if _unbranched(tree)]
    decay = (1 - 1 / _RADIUS_ORDER) ** 1.5
    return bamboo[-2] / bamboo[-1] * decay / _limit(name, lam)


def _unbranched(tree: Tree) -> bool:
    """Whether f'f'…f, the only trees that are not 0 on a quadratic."""
    return not tree or (len(tree) == 1 and _unbranched(tree[0]))


def _study(
    config: Config, name: str, lam: float, size: int, start: tuple[float, float], ratios: Sequence[float]
) -> np.ndarray:
    """Errors and floors, shape (2, ratios)."""
    study = mf.convergence_study(
        lambda h: _method(name, lam, h),
        slow.flow(size),
        slow.loss,
        _params(start),
        [ratio * _limit(name, lam) / slow.CURVATURE for ratio in ratios],
        config.effective_time * (1 - lam),
        start=slow.on_manifold,
        tolerance=1e-13,
    )
    return np.stack([study.errors, study.floors])


def _drawn(config: Config) -> dict[str, tuple]:
    """Heavy ball at the first λ, and every flow at the times of its iterates."""
    lam, params = config.momenta[0], _params(config.drawn_start)
    h = config.drawn * _limit("HB", lam) / slow.CURVATURE
    method, count = _method("HB", lam, h), round(config.effective_time * (1 - lam) / h)
    iterates = mf.iterate(method, slow.loss, params, count, start=slow.on_manifold)
    flows = [
        mf.solve(slow.flow(p)(method), slow.loss, params, iterates.times, tolerance=1e-12) for p in ORDERS
    ]

    def pair(run: mf.Trajectory) -> np.ndarray:
        return np.stack([np.asarray(run.params[name]) for name in slow.NAMES], axis=1)

    return {
        "iterates": (("n", "component"), pair(iterates), {"symbol": "u_n"}),
        "flow": (("order", "n", "component"), np.stack([pair(flow) for flow in flows]), {"symbol": "u(t_n)"}),
        "time": ("n", np.asarray(iterates.times), {"symbol": "t"}),
    }


def checks(data: xr.Dataset) -> list[Check]:
    """Order p for p ≤ 5; the radius of the series; the best order below and above it."""
    return [*_orders(data), *_limits(data)]


def _ladder(data: xr.Dataset, name: str, lam: float, size: int) -> mf.ConvergenceStudy:
    cell = data.sel(optimizer=name, momentum=lam, order=size)
    return mf.ConvergenceStudy(data["ratio"].values, cell["error"].values, cell["floor"].values)


def _orders(data: xr.Dataset) -> list[Check]:
    found, lam = [], float(data["momentum"][0])
    for name in data["optimizer"].values:
        for p in ORDERS[:-1]:
            slopes = _ladder(data, name, lam, p).last_orders(2)
            worst = slopes[np.argmax(np.abs(slopes - p))] if len(slopes) == 2 else np.nan
            source = (
                "Kovachki & Stuart (2021), Theorem 6"
                if p == 2
                else "Hairer, Lubich & Wanner, IX.1: the first term cut"
            )
            tolerance = 0.2 if p >= 4 else 0.1  # the window before rounding is short
            found.append(
                Check(
                    f"{name}, λ = {lam:g}: order of the flow of order {p}",
                    worst,
                    p,
                    tolerance,
                    "within",
                    source,
                )
            )
    return found


def _limits(data: xr.Dataset) -> list[Check]:
    found = [
        Check(
            f"{name}, λ = {lam:g}: radius of the series, from its coefficients, over x₋",
            data["radius"].sel(optimizer=name, momentum=lam), 1, 0.02, "within",
            "x₋ = ((1-√(λ-a(1-λ)))/(1+a))², where the roots meet",
        )
        for name in data["optimizer"].values
        for lam in data["momentum"].values
    ]  # fmt: skip
    for name in data["optimizer"].values:
        for ratio in data["around"].values:
            best = ORDERS[int(data["error_near"].sel(optimizer=name, around=ratio).argmin("order"))]
            where = f"{name}, hk = {ratio:g}x₋: the best order up to {ORDERS[-1]}"
            below = ratio < 1
            expected, relation = (ORDERS[-1], "within") if below else (ORDERS[-1] - 1, "at most")
            source = f"on a quadratic the series {'converges' if below else 'diverges'}"
            found.append(Check(where, best, expected, 0, relation, source))
    return found


def plot(data: xr.Dataset) -> Figure:
    """Errors and their slopes against h; heavy ball between its flows; errors against the order, about x₋."""
    colors = _plot.sequence(len(ORDERS))
    with _plot.style():
        figure = _plot.figure(9.0, 8.8)
        axes = figure.subplots(3, 3, height_ratios=(1.15, 1, 1.05))
        for column, name in zip(axes[:2].T, data["optimizer"].values, strict=True):
            _convergence(column[0], column[1], data, name, colors)
        axes[0, 0].set_ylabel(r"$\max_n|u_n-u(t_n)|$")
        axes[1, 0].set_ylabel(r"$\Delta(h)$")
        _flows(axes[2, 0], axes[2, 1], data, colors)
        _around(axes[2, 2], data)
        handles = [
            Line2D([], [], color=c, marker="o", markersize=4, label=f"order {p}")
            for p, c in zip(ORDERS, colors, strict=True)
        ]
        handles += [
            Line2D(
                [],
                [],
                color="#555555",
                linestyle=":",
                marker="o",
                fillstyle="none",
                markersize=5,
                label=f"λ = {data['momentum'].values[-1]:g}",
            )
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _convergence(upper: Axes, lower: Axes, data: xr.Dataset, name: str, colors: list) -> None:
    for p, color in zip(ORDERS, colors, strict=True):
        for i, lam in enumerate(data["momentum"].values):
            study = _ladder(data, name, lam, p)
            above = study.errors > study.floors
            look = {"color": color, "linewidth": 1.2} | (
                {"marker": "o", "markersize": 3.5} if i == 0
                else {"linestyle": ":", "marker": "o", "markersize": 6, "fillstyle": "none"}
            )  # fmt: skip
            upper.plot(study.learning_rates[above], study.errors[above], **look)
            lower.plot(study.learning_rates[:-1], study.resolved_orders, **look)
        band = 0.2 if p >= 4 else 0.1
        lower.axhspan(p - band, p + band, color="#dddddd", zorder=0, lw=0)
    upper.set(yscale="log", title=name)
    lower.set(xlabel="$hk/x_-$", ylim=(0.5, 6.6), yticks=ORDERS)
    for ax in (upper, lower):
        _plot.log2_axis(ax, data["ratio"].values)


def _flows(plane: Axes, distance: Axes, data: xr.Dataset, colors: list) -> None:
    iterates = data["iterates"].values
    gaps = np.linalg.norm(data["flow"].values - iterates, axis=2)
    zoom = plane.inset_axes((0.06, 0.06, 0.5, 0.5), xticks=[], yticks=[])
    for ax, size in ((plane, 2.8), (zoom, 3.6)):
        for flow, color in zip(data["flow"].values, colors, strict=True):
            ax.plot(*flow.T, color=color, linewidth=1.2)
        ax.plot(*iterates.T, **_plot.of("HB").line(markersize=size, color="black"), zorder=3)
    middle, width = iterates[gaps[2].argmax()], 0.06 * np.ptp(iterates, axis=0)
    low, high = middle - width, middle + width
    zoom.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    zoom.spines[["top", "right"]].set_visible(True)
    mf.plot.contours(slow.loss, _params((0.0, 0.0)), plane)
    plane.indicate_inset_zoom(zoom, edgecolor="#555555")
    for gap, color in zip(gaps, colors, strict=True):
        distance.plot(data["time"][1:], gap[1:], color=color, linewidth=1.2)
    words = f"HB, λ = {data['momentum'].values[0]:g}, $hk={data.attrs['drawn']:g}\\,x_-$"
    plane.set(xlabel="$u_1$", ylabel="$u_2$", title=words)
    distance.set(yscale="log", xlabel="time $t$", ylabel="$|u_n-u(t_n)|$", title=words)


def _around(ax: Axes, data: xr.Dataset) -> None:
    for ratio in data["around"].values:
        errors = data["error_near"].sel(optimizer="HB", around=ratio)
        look = _plot.of("HB").line(linestyle="-") if ratio < 1 else _plot.of("NAG").line(linestyle="--")
        ax.plot(ORDERS, errors, markersize=4, linewidth=1.2, **look)
        words, place = f"$hk={ratio:g}\\,x_-$", (ORDERS[-1], errors[-1])
        ax.annotate(words, place, xytext=(6, 0), textcoords="offset points", fontsize=8, va="center")
    ax.set(yscale="log", xlabel="order $p$", ylabel=r"$\max_n|u_n-u(t_n)|$", xticks=ORDERS, xlim=(0.7, 8.4))
    ax.set_title(f"HB, λ = {data['momentum'].values[0]:g}, near the minimum")
