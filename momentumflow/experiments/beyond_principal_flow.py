"""The principal flow in every regime, and where it ends.

On a quadratic each eigenvalue k of the Hessian turns a step into a 2×2 matrix M(x), x = hk. Its real logarithm is a
flow on (u, v) through every iterate, monotone (x < x₋) and rippling (x₋ < x < x₊). Heavy ball flips sign for
(1+√λ)² = x₊ < x < 2(1+λ): two negative roots; Nesterov for 1 = x₊ < x < 2(1+λ)/(1+2λ): det M < 0, which no flow on
(u, v) has, as det e^A = e^{tr A} > 0. There ½ log M² passes through every second iterate. Without momentum it is the
flow of Rosca, Wu, Qin & Dherin (2023), the gradient times log(1-x)/x. On log-cosh, with hk > x₋ all along the
path, it follows the iterates where the slow flow (20) cannot. On quadratics the flows are exponentials of the
library's field, without a solver.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import momentumflow as mf

from .. import _plot
from .._progress import Progress
from ..linear.family import REGIMES, characteristic_roots, flow_limit, slow_limit, stability_limit
from . import _exact_flows as exact
from . import _quadratic as quadratic
from .checks import Check

_LIMITS = {"x₋": slow_limit, "x₊": flow_limit, "stability": stability_limit}
_FINE = 8
"""Points of a curve for each step."""
_GD = (-0.5, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 1.1, 1.3, 1.5, 1.7, 1.9)
_MODELS: dict[str, Callable[[mf.MomentumMethod], mf.AbstractFlow]] = {
    "principal flow": mf.PrincipalFlow,
    "phase flow": mf.PhaseFlow,
    "slow flow (20)": mf.SlowFlow,
    "inertial flow": mf.InertialFlow,
    "momentum ODE (11)": mf.MomentumODE,
}


@dataclass(frozen=True)
class Config:
    """λ, x of the rippling mode, steps, points of the map; h, start, steps and models on log-cosh."""

    momentum: float = 0.9
    rippling: float = 0.3
    steps: int = 100
    points: int = 121
    learning_rate: float = 0.2
    start: tuple[float, float] = (0.8, -0.3)
    path_steps: int = 60
    models: tuple[str, ...] = ("principal flow", "phase flow", "slow flow (20)")


PRESETS = {"quick": Config(), "full": Config(points=1201, path_steps=120, models=tuple(_MODELS))}


def run(config: Config, progress: Progress) -> xr.Dataset:
    """The limits by two routes, the modes with the map over x, gradient descent, and log-cosh."""
    parts = (_limits, _modes, _gradient_descent, _paths)
    found = []
    for done, part in enumerate(parts):
        progress.update(done, len(parts), label=part.__name__.strip("_"))
        found.append(part(config))
    return xr.merge(found).assign_attrs(momentum=config.momentum, learning_rate=config.learning_rate)


def _lookahead(name: str, momentum: float) -> float:
    return momentum if name == "NAG" else 0.0


def _limits(config: Config) -> xr.Dataset:
    """The library's limits and numpy's; between x₊ and instability det M, and whether `solve` refuses."""
    lam, rows = config.momentum, []
    for name in quadratic.METHODS:
        a = _lookahead(name, lam)
        values = [float(f(lam, a)) for f in _LIMITS.values()]
        beyond = (values[1] + values[2]) / 2
        refused = exact.refuses(quadratic.method(name, exact.H, lam), beyond)
        determinant = np.linalg.det(exact.step(beyond, lam, a))
        rows.append((values, [exact.scanned(limit, lam, a) for limit in _LIMITS], determinant, refused))
    limits, scanned, determinants, refusals = (np.array(column) for column in zip(*rows, strict=True))
    return xr.Dataset(
        {
            "value": (("optimizer", "limit"), limits, {"symbol": "hk"}),
            "scanned": (("optimizer", "limit"), scanned, {"symbol": "hk"}),
            "determinant": ("optimizer", determinants, {"symbol": "det M"}),
            "refused": ("optimizer", refusals.astype(float)),
        },
        {"optimizer": list(quadratic.METHODS), "limit": list(_LIMITS)},
    )


def _modes(config: Config) -> xr.Dataset:
    """A mode of each regime, and a map over x: iterates, the flow, their gap at all n or, beyond x₊, at even n."""
    lam, names = config.momentum, quadratic.METHODS
    lookahead = np.array([_lookahead(name, lam) for name in names])
    low, high, stable = (np.asarray(f(lam, lookahead)) for f in _LIMITS.values())
    chosen = np.stack([0.75 * low, np.full(2, config.rippling), (high + stable) / 2], axis=1)
    grid = np.geomspace(1e-3, 4.5, config.points)
    x = np.concatenate([chosen, np.tile(grid, (2, 1))], axis=1)
    cells = (x.ravel(), lam, np.repeat(lookahead, x.shape[1]))
    iterates = np.asarray(exact.iterates(*cells, config.steps)).reshape(*x.shape, -1)
    matrices = np.asarray(exact.field_matrix(*cells, True)).reshape(*x.shape, 2, 2)
    gaps = exact.gaps(exact.powers(matrices, config.steps), iterates)
    every, even = gaps.max(-1), gaps[..., ::2].max(-1)
    slow, fast = (np.abs(root).reshape(x.shape)[:, 3:] for root in characteristic_roots(*cells))
    mode, point = ("optimizer", "regime"), ("optimizer", "hk")
    return xr.Dataset(
        {
            "x": (mode, chosen, {"symbol": "hk"}),
            "iterate": ((*mode, "n"), iterates[:, :3], {"symbol": "u_n"}),
            "curve": (
                (*mode, "time"),
                exact.powers(matrices[:, :3] / _FINE, config.steps * _FINE),
                {"symbol": "u"},
            ),
            "error": (mode, every[:, :3], {"symbol": "max |u_n - u(nh)|"}),
            "even_error": (mode, even[:, :3], {"symbol": "max |u_2n - u(2nh)|"}),
            "map_error": (point, np.where(x < high[:, None], every, even)[:, 3:]),
            "slow_root": (point, slow, {"symbol": "|ρ₁|"}),
            "fast_root": (point, fast, {"symbol": "|ρ₂|"}),
        },
        {
            "optimizer": list(names),
            "regime": list(REGIMES[:3]),
            "n": ("n", np.arange(config.steps + 1), {"symbol": "n"}),
            "time": ("time", np.arange(config.steps * _FINE + 1) / _FINE, {"symbol": "t/h"}),
            "hk": ("hk", grid, {"symbol": "hk"}),
        },
    )


def _gradient_descent(config: Config) -> xr.Dataset:
    factor, error = exact.without_momentum(_GD, steps=20)
    return xr.Dataset(
        {
            "factor": ("gd_hk", factor, {"symbol": "-log|1-hk|/hk"}),
            "gd_error": ("gd_hk", error, {"symbol": "max |u_n - u(nh)|"}),
        },
        {"gd_hk": ("gd_hk", list(_GD), {"symbol": "hk"})},
    )


def _paths(config: Config) -> xr.Dataset:
    """On log-cosh: |u_n - u(nh)| of every model, and the range of hk along the iterates."""
    loss, start = mf.LogCosh([1.0, 2.0]), jnp.array(config.start)
    errors, ranges = [], []
    for name in quadratic.METHODS:
        method = quadratic.method(name, config.learning_rate, config.momentum)
        iterates = mf.iterate(method, loss, start, config.path_steps)
        for model in config.models:
            flow = mf.solve(_MODELS[model](method), loss, start, iterates.times)
            errors.append(np.linalg.norm(flow.params - iterates.params, axis=1))
        curvature = jax.vmap(lambda u: jnp.linalg.eigvalsh(jax.hessian(loss)(u)))(iterates.params)
        x = config.learning_rate * np.asarray(curvature)
        ranges.append([x.min(), x.max()])
    shape = (len(quadratic.METHODS), len(config.models), config.path_steps + 1)
    dims = ("optimizer", "model", "step")
    return xr.Dataset(
        {
            "path_error": (dims, np.reshape(errors, shape), {"symbol": "|u_n - u(nh)|"}),
            "path_hk": (("optimizer", "end"), ranges, {"symbol": "hk"}),
        },
        {
            "optimizer": list(quadratic.METHODS),
            "model": list(config.models),
            "step": ("step", np.arange(shape[-1]), {"symbol": "n"}),
            "end": ["smallest", "largest"],
        },
    )


def checks(data: xr.Dataset) -> list[Check]:
    """Exact below x₊, every second iterate beyond, limits by numpy's eigenvalues, log-cosh."""
    found = []
    for name in data["optimizer"].values:
        of = data.sel(optimizer=name)
        found += [*_mode_checks(name, of), *_limit_checks(name, of), *_path_checks(name, of)]
    x = data["gd_hk"].values
    gap = np.abs(data["factor"].values * x / -np.log(np.abs(1 - x)) - 1).max()
    rosca = "Rosca, Wu, Qin & Dherin (2023), the principal flow, real part"
    rows = (
        ("largest relative gap of the field's factor to -log|1-hk|/hk", gap, 1e-13, rosca),
        ("max |u_n - u(nh)|, even n for hk > 1", data["gd_error"].max(), 1e-12, "u_n = (1-hk)ⁿ"),
    )
    return found + [
        Check(f"GD: {text}", value, 0, near, "within", source) for text, value, near, source in rows
    ]


def _mode_checks(name: str, of: xr.Dataset) -> list[Check]:
    iterates, found = "the iterates of (15) on ½ku², from rest", []
    for regime in of["regime"].values:
        cell = of.sel(regime=regime)
        where = f"{name}, {regime}, hk = {float(cell['x']):.4g}"
        if regime != "sign-flipping":
            found.append(Check(f"{where}: max |u_n - u(nh)|", cell["error"], 0, 1e-12, "within", iterates))
            continue
        found += [
            Check(f"{where}: max |u_2n - u(2nh)|", cell["even_error"], 0, 1e-12, "within", iterates),
            Check(f"{where}: max |u_n - u(nh)|, odd n too", cell["error"], 0.1, 0, "at least", iterates),
        ]
    # close to x₊ log M grows without bound, and with it what rounding leaves
    apart = np.abs(of["hk"] / float(of["value"].sel(limit="x₊")) - 1) > 0.02
    stable = of["hk"] < float(of["value"].sel(limit="stability"))
    largest = of["map_error"].where(apart & stable).max()
    return [
        *found,
        Check(f"{name}: largest error over hk, 2% away from x₊", largest, 0, 1e-11, "within", iterates),
    ]


def _limit_checks(name: str, of: xr.Dataset) -> list[Check]:
    found = []
    for limit in of["limit"].values:
        value, scanned = (of[key].sel(limit=limit) for key in ("value", "scanned"))
        source = "bisection on numpy's eigenvalues of M(x)"
        found.append(Check(f"{name}: {limit}", value, scanned, 1e-9, "within", source))
    where = f"{name}, hk = {float(of['x'].sel(regime='sign-flipping')):.4g}"
    relation = "at most" if name == "NAG" else "at least"
    source = "det M = λ - xa; det e^A > 0 for every A"
    return [
        *found,
        Check(f"{where}: det M", of["determinant"], 0, 0, relation, source),
        Check(
            f"{where}: refused before a solve (1: yes)",
            of["refused"],
            1,
            0,
            "within",
            "M has no real logarithm",
        ),
    ]


def _path_checks(name: str, of: xr.Dataset) -> list[Check]:
    largest, where = of["path_error"].fillna(np.inf).max("step"), f"{name}, log-cosh"
    low, phase = float(of["value"].sel(limit="x₋")), float(largest.sel(model="phase flow"))
    principal, slow = (largest.sel(model=model) for model in ("principal flow", "slow flow (20)"))
    powers = "a fifth of the phase flow's, of order 2 too, which cuts the series in hH"
    series = "beyond x₋ the series of the slow flow diverges, and no invariant graph exists"
    return [
        Check(
            f"{where}: smallest hk on the path", of["path_hk"].sel(end="smallest"), low, 0, "at least", "x₋"
        ),
        Check(f"{where}: largest error of the principal flow", principal, phase / 5, 0, "at most", powers),
        Check(f"{where}: largest error of the slow flow (20)", slow, 1, 0, "at least", series),
    ]


def plot(data: xr.Dataset) -> Figure:
    """A row of modes for each method, then the map and gradient descent, then log-cosh."""
    with _plot.style():
        figure = _plot.figure(10.4, 11.6)
        axes = figure.subplots(4, 3)
        for row, name in zip(axes, data["optimizer"].values, strict=False):
            for ax, regime in zip(row, data["regime"].values, strict=True):
                _draw_mode(ax, data.sel(optimizer=name, regime=regime), name, regime)
            row[0].set_ylabel("$u$")
        for column, name in enumerate(data["optimizer"].values):
            _draw_map(axes[2, column], data.sel(optimizer=name), name)
            _draw_paths(axes[3, column], data.sel(optimizer=name), name)
        axes[2, 0].set_ylabel(r"$|\rho|$ per iteration")
        _draw_gradient_descent(axes[2, 2], data)
        axes[3, 0].set_ylabel(r"$|u_n-u(nh)|$")
        axes[3, 2].set_axis_off()
        title = f"log-cosh, $h$ = {data.attrs['learning_rate']:g}, λ = {data.attrs['momentum']:g}"
        axes[3, 2].legend(*axes[3, 0].get_legend_handles_labels(), loc="center left", title=title)
    return figure


def _draw_mode(ax: Axes, cell: xr.Dataset, name: str, regime: str) -> None:
    flipping = regime == "sign-flipping"
    shown = {"monotone": 100, "rippling": 50, "sign-flipping": 40 if name == "HB" else 12}[regime]
    every = 4 if regime == "monotone" else 1
    n, look = cell["n"].values, _plot.of(name).line(markersize=4.5)
    ax.plot(cell["time"], cell["curve"], **_plot.of("principal flow").line(linestyle="-"), zorder=3)
    ax.plot(n[:: 2 * every], cell["iterate"][:: 2 * every], **look)
    odd = slice(every, None, 2 * every)
    ax.plot(n[odd], cell["iterate"][odd], **look, fillstyle="none" if flipping else "full")
    error, kind = float(cell["even_error" if flipping else "error"]), "even" if flipping else "all"
    ax.set_title(f"{name}, {regime}, $hk$ = {float(cell['x']):.4g}\nerror at {kind} $n$: {error:.0e}")
    ax.set(xlim=(-0.02 * shown, shown), xlabel="iteration $n = t/h$")


def _draw_map(ax: Axes, of: xr.Dataset, name: str) -> None:
    color = _plot.of(name).color
    ax.plot(of["hk"], of["slow_root"], color=color, label=r"$|\rho_1|$")
    ax.plot(of["hk"], of["fast_root"], color=color, linestyle="--", label=r"$|\rho_2|$")
    ax.axhline(1, color="#555555", linewidth=0.8)
    low, high, stable = (float(x) for x in of["value"])
    for x, style in zip((low, high, stable), ("-", "--", ":"), strict=True):
        ax.axvline(x, color="#555555", linestyle=style, linewidth=1.1)
    right = ax.twinx()
    right.plot(of["hk"], of["map_error"], ".", color=_plot.of("principal flow").color, ms=3, label="error")
    right.set(yscale="log", ylim=(1e-17, 1e13))
    right.set_yticks([1e-16, 1e-12, 1e-8])
    right.grid(False)
    ax.set(xscale="log", ylim=(0, 1.3), xlabel="$hk$")
    ax.set_title(
        f"{name}: $x_-$ = {low:.4g} (solid),\n$x_+$ = {high:.4g} (dashed), stable to {stable:.4g} (dotted)"
    )
    handles = [*ax.get_legend_handles_labels()[0], *right.get_legend_handles_labels()[0]]
    ax.legend(handles=handles, loc=(0.03, 0.32))


def _draw_gradient_descent(ax: Axes, data: xr.Dataset) -> None:
    x = np.linspace(1e-3, 2, 800)
    factor = -np.log(np.abs(1 - x)) / x
    ax.plot(x, factor, **_plot.of("principal flow").line(linestyle="-"), label="principal flow")
    ax.plot(x, 1 + x / 2, **_plot.of("slow flow (20)").line(), label="slow flow (20)")
    ax.plot(x, np.ones_like(x), **_plot.of("gradient flow (2)").line(), label="gradient flow (2)")
    ax.plot(data["gd_hk"], data["factor"], **_plot.of("GD").line(marker="o", markersize=4), label="measured")
    ax.set(xlim=(0, 2), ylim=(-0.2, 6), xlabel="$hk$")
    ax.set_title("GD: $\\dot u$ = factor $\\cdot\\, f$,\nevery second iterate beyond $hk = 1$")
    ax.legend(loc=(0.52, 0.5), fontsize=8, handlelength=1.4)


def _draw_paths(ax: Axes, of: xr.Dataset, name: str) -> None:
    for model in of["model"].values:
        look = _plot.of(str(model)).line(
            **({"linestyle": "-", "linewidth": 2} if model == "principal flow" else {})
        )
        ax.plot(of["step"], of["path_error"].sel(model=model), **look, label=str(model))
    low, high = of["path_hk"].values
    ax.set(yscale="log", ylim=(1e-7, 1e4), xlabel="iteration $n$")
    ax.set_title(f"{name}, log-cosh: $hk$ from {low:.2g} to {high:.2g},\n$x_-$ = {float(of['value'][0]):.2g}")
