r"""The plane of learning rate and momentum.

Along an eigenvector of curvature k the family (7) goes through four regimes: monotone, rippling, sign-flipping,
divergent. Their borders in the (hk, λ) plane are closed forms: the roots of ρ² - (1+λ-hk(1+a))ρ + λ - hka meet at
x_± = ((1±√(λ-a(1-λ)))/(1+a))², they change sign together at hk = (1+λ)/(1+a), and one leaves the unit circle at
hk = 2(1+λ)/(1+2a). Heavy ball (a = 0), Nesterov (a = λ), and a = 1, the reflected gradient at 2u_n - u_{n-1}, which is
monotone again beyond x₊ and has no ripples for λ < ½. Dots: runs of the methods themselves, each in the colour of
what its iterates did.
"""

from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import momentumflow as mf

from .. import _plot
from .._progress import Progress
from ..linear import family
from ..study import plane
from .checks import Check


@dataclass(frozen=True)
class Config:
    """Cells of the plane along each axis, runs per panel and their iterations N, random points of each border."""

    cells: int = 320
    runs: int = 48
    steps: int = 150
    border_points: int = 500
    largest: float = 4.4


PRESETS = {"quick": Config(), "full": Config(cells=1000, runs=100, border_points=5000)}

_PANELS = {"HB": "heavy ball, $a = 0$", "NAG": r"Nesterov, $a = \lambda$", "a = 1": "$a = 1$"}
_TAIL = 100


def _lookahead(panel: str, momentum: np.ndarray) -> np.ndarray:
    return {"HB": 0 * momentum, "NAG": momentum, "a = 1": 0 * momentum + 1}[panel]


def run(config: Config, progress: Progress) -> xr.Dataset:
    """Regimes and radii over the plane, the same by LAPACK on some cells; the borders; the runs."""
    root, lam = (np.arange(config.cells) + 0.5) / config.cells * np.array([[config.largest**0.5], [1.0]])
    tables: dict[str, list] = {
        name: [] for name in ("radius", "regime", "gap", "disagreeing", "border", "dots")
    }
    for done, panel in enumerate(_PANELS):
        progress.update(done, len(_PANELS), label=panel)
        cells = (root**2, lam[:, None], _lookahead(panel, lam)[:, None])
        radius, regime = map(np.asarray, plane.cells(*cells))
        gap, disagreeing = _by_lapack(cells, radius, regime)
        found = (radius, regime, gap, disagreeing, _borders(panel, lam), _runs(config, panel))
        for name, value in zip(tables, found, strict=True):
            tables[name].append(value)
    border_defects = _on_borders(config)
    return xr.Dataset(
        {
            "radius": (("panel", "momentum", "root"), tables["radius"], {"symbol": "max |ρ|"}),
            "regime": (("panel", "momentum", "root"), tables["regime"], {"symbol": "index"}),
            "gap": ("panel", tables["gap"], {"symbol": "max |ρ|"}),
            "disagreeing": ("panel", tables["disagreeing"], {"symbol": "cells"}),
            "border": (("panel", "line", "momentum"), tables["border"], {"symbol": "hk"}),
            "defect": ("line", border_defects, {"symbol": "1"}),
        }
        | {name: (("panel", "run"), [dots[name] for dots in tables["dots"]]) for name in tables["dots"][0]},
        {
            "panel": list(_PANELS),
            "line": list(plane.BORDERS),
            "momentum": ("momentum", lam, {"symbol": "λ"}),
            "root": ("root", root, {"symbol": "√(hk)"}),
        },
        {"largest": config.largest, "steps": config.steps, "border_points": config.border_points},
    )


def _eigenvalues(x: np.ndarray, momentum: np.ndarray, lookahead: np.ndarray) -> np.ndarray:
    """Of the companion matrices of (7), by LAPACK, the one of larger modulus last."""
    x, momentum, lookahead = np.broadcast_arrays(x, momentum, lookahead)
    companion = np.zeros((*x.shape, 2, 2))
    companion[..., 0, 0] = 1 + momentum - x * (1 + lookahead)
    companion[..., 0, 1], companion[..., 1, 0] = x * lookahead - momentum, 1
    roots = np.linalg.eigvals(companion).astype(complex)
    return np.take_along_axis(roots, np.abs(roots).argsort(-1), -1)


def _regimes(dominant: np.ndarray) -> np.ndarray:
    """Index into REGIMES of a dominant root."""
    kind = np.where(dominant.imag != 0, 1, np.where(dominant.real < 0, 2, 0))
    return np.where(np.abs(dominant) >= 1, 3, kind)


def _by_lapack(cells: tuple, radius: np.ndarray, regime: np.ndarray) -> tuple[float, int]:
    """The largest difference of radii and the number of other regimes, on every eighth cell of each axis."""
    x, *rest = cells
    dominant = _eigenvalues(x[::8], *(value[::8] for value in rest))[..., -1]
    gap = np.abs(np.abs(dominant) - radius[::8, ::8]).max()
    return float(gap), int((_regimes(dominant) != regime[::8, ::8]).sum())


def _closed_forms(momentum: np.ndarray, lookahead: np.ndarray) -> np.ndarray:
    """hk on each border, NaN where the border does not exist: written out, not the library's."""
    lam, a = momentum, lookahead
    inner = lam - a * (1 - lam)
    with np.errstate(invalid="ignore"):
        low, high = (((1 + sign * np.sqrt(inner)) / (1 + a)) ** 2 for sign in (-1, 1))
    sign = np.where(lam < a, (1 + lam) / (1 + a), np.nan)
    return np.stack([low, high, sign, 2 * (1 + lam) / (1 + 2 * a)])


def _borders(panel: str, momentum: np.ndarray) -> np.ndarray:
    return _closed_forms(momentum, _lookahead(panel, momentum))


def _on_borders(config: Config) -> list[float]:
    """Over random (λ, a): |(ρ₁-ρ₂)²| on x₋ and x₊, |ρ₁+ρ₂| where the sign changes, |max|ρ| - 1| on the last."""
    rng = np.random.default_rng(1)
    lam, a = rng.uniform(0, 1, config.border_points), rng.uniform(0, 2, config.border_points)
    low, high, sign, stability = _closed_forms(lam, a)
    discriminants = [(1 + lam - x * (1 + a)) ** 2 - 4 * (lam - x * a) for x in (low, high)]
    there = np.isfinite(sign)
    sums = _eigenvalues(sign[there], lam[there], a[there]).sum(-1)
    radius = np.abs(_eigenvalues(stability, lam, a)[..., -1])
    return [float(np.nanmax(np.abs(x))) for x in (*discriminants, sums, radius - 1)]


def _runs(config: Config, panel: str) -> dict[str, np.ndarray]:
    """What iterates at random (hk, λ) do: regime and factor per iteration, beside those of the theory."""
    x, lam = _clear_of_borders(config, panel)
    iterates = np.asarray(_iterates(config.steps, *map(jnp.asarray, (x, lam, _lookahead(panel, lam)))))
    tail = iterates[:, -_TAIL:]
    changes = (tail[:, 1:] * tail[:, :-1] < 0).sum(1)
    seen = np.where(changes == 0, 0, np.where(changes == _TAIL - 1, 2, 1))
    # of a pair u_n² - u_{n-1}u_{n+1} is exactly proportional to |ρ|²ⁿ, while u_n itself ripples
    pairs = tail[:, 1:-1] ** 2 - tail[:, :-2] * tail[:, 2:]
    with np.errstate(divide="ignore", invalid="ignore"):
        rippling = np.abs(pairs[:, -1] / pairs[:, 0]) ** (0.5 / (_TAIL - 3))
    factor = np.where(seen == 1, rippling, np.abs(tail[:, -1] / tail[:, 0]) ** (1 / (_TAIL - 1)))
    return {
        "dot_x": x,
        "dot_momentum": lam,
        "dot_regime": np.where(np.abs(tail[:, -1]) > np.abs(iterates[:, 0]), 3, seen),
        "dot_factor": factor,
    }


@eqx.filter_jit
def _iterates(steps: int, x: Array, momentum: Array, lookahead: Array) -> Float[Array, "runs n"]:
    """u_n on Φ = ½u² with h = x, from u_0 = 1 at rest."""

    def one(x: Array, momentum: Array, lookahead: Array) -> Float[Array, " n"]:
        method = mf.momentum_method(x, momentum, lookahead)
        return mf.iterate(method, mf.Quadratic([1.0]), jnp.ones(1), steps).params[:, 0]

    return eqx.filter_vmap(one)(x, momentum, lookahead)


def _clear_of_borders(config: Config, panel: str) -> tuple[np.ndarray, np.ndarray]:
    """Random (hk, λ) at which N iterations tell the regime: neither near a double root nor near |ρ| = 1 or 0."""
    rng = np.random.default_rng(2)
    x = rng.uniform(0.05, config.largest**0.5, 100 * config.runs) ** 2
    lam = rng.uniform(0.02, 0.98, x.size)
    roots = _eigenvalues(x, lam, _lookahead(panel, lam))
    small, large = np.abs(roots).T
    angle = np.abs(np.angle(roots[:, 1]))
    apart = np.where(roots[:, 1].imag == 0, small < 0.85 * large, (angle > 0.15) & (angle < np.pi - 0.15))
    clear = apart & (large > 0.1) & (large < 20) & (np.abs(large - 1) > 0.02)
    regimes = _regimes(roots[:, 1])
    each = config.runs // len(family.REGIMES)
    chosen = np.concatenate(
        [np.flatnonzero(clear & (regimes == i))[:each] for i in range(len(family.REGIMES))]
    )
    return x[chosen], lam[chosen]


def checks(data: xr.Dataset) -> list[Check]:
    """Radii and regimes against LAPACK, the borders at random points, and the runs."""
    lapack = "numpy.linalg.eigvals of the companion matrix"
    found = []
    for panel in data["panel"].values:
        cell = data.sel(panel=panel)
        theory = _eigenvalues(
            cell["dot_x"].values,
            cell["dot_momentum"].values,
            _lookahead(panel, cell["dot_momentum"].values),
        )[:, -1]
        other = int((_regimes(theory) != cell["dot_regime"].values).sum())
        off = np.abs(cell["dot_factor"].values / np.abs(theory) - 1).max()
        rows = (
            ("max |radius - radius by LAPACK|", cell["gap"], 1e-6, lapack),  # a double root: √rounding
            ("cells in another regime than by LAPACK", cell["disagreeing"], 0, lapack),
            (f"runs, of {cell['dot_x'].size}, that do another thing", other, 0, "u_n of the method itself"),
            ("their factor per iteration, relative error", off, 1e-4, "u_n of the method itself"),
        )
        found += [Check(f"{panel}: {name}", x, 0, near, "within", source) for name, x, near, source in rows]
    points = f"{data.attrs['border_points']} random (λ, a), λ < 1, a < 2"
    borders = (
        ("x₋: largest |(ρ₁-ρ₂)²|", "x₋", 1e-13),
        ("x₊: largest |(ρ₁-ρ₂)²|", "x₊", 1e-13),
        ("(1+λ)/(1+a): largest |ρ₁+ρ₂|", "sign", 1e-13),
        ("2(1+λ)/(1+2a): largest |max|ρ| - 1|", "stability", 1e-10),
    )
    found += [
        Check(name, data["defect"].sel(line=border), 0, near, "within", f"{lapack}; {points}")
        for name, border, near in borders
    ]
    calm = data.sel(panel="a = 1").where(data["momentum"] < 0.5, drop=True)["regime"]
    source = "by hand: λ - a(1-λ) < 0, so that the roots never meet"
    return [*found, Check("a = 1, λ < ½: cells that ripple", (calm == 1).sum(), 0, 0, "within", source)]


def plot(data: xr.Dataset) -> Figure:
    """One panel per look-ahead: regimes, the deeper the faster; levels of max |ρ|; borders; runs."""
    with _plot.style():
        figure = _plot.figure(11.0, 4.9)
        axes = figure.subplots(1, len(_PANELS), sharey=True)
        for ax, panel in zip(axes, data["panel"].values, strict=True):
            _draw_panel(ax, data.sel(panel=panel), data.attrs["largest"])
            ax.set_title(_PANELS[panel])
        axes[0].set_ylabel(r"momentum $\lambda$")
        dot = Line2D([], [], color="white", marker="o", mec="black", ls="none", label="iterates")
        figure.legend(handles=[*plane.handles(), dot], loc="outside lower center", ncols=9, handlelength=1.7)
    return figure


def _draw_panel(ax: Axes, cell: xr.Dataset, largest: float) -> None:
    lam = cell["momentum"].values
    extent = (0, largest**0.5, 0, 1)
    plane.draw(ax, cell["root"].values, lam, cell["radius"].values, cell["regime"].values, extent)
    for name, (_, look) in plane.BORDERS.items():
        ax.plot(np.sqrt(cell["border"].sel(line=name)), lam, color="black", **look)
    fills = [list(plane.COLORS.values())[i] for i in cell["dot_regime"].values]
    ax.scatter(
        np.sqrt(cell["dot_x"]),
        cell["dot_momentum"],
        s=26,
        c=fills,
        edgecolors="white",
        linewidths=0.9,
        zorder=5,
    )
    ticks = (0, 0.1, 0.5, 1, 2, 3, 4)
    ax.set_xticks(np.sqrt(ticks), [f"{x:g}" for x in ticks])
    ax.set_xlabel("$x = hk$")
