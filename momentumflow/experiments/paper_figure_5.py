"""The invariant manifold, and how fast momentum falls onto it.

Kovachki & Stuart (2021), Figure 5 and Theorem 5: runs of (15) from u₀ = (1, 1), v₀ = (0, 0) on Φ = ½⟨u, Qu⟩,
Q = diag(1, κ), with h = 2⁻⁶ and λ = 0.9, beside the manifold to leading order (33), v = λ̄f + hλ̄²(a-λ̄)f'f; e_n
of (34) is the distance from it. Theorem 5 bounds e_n by (λ+h²λδ)ⁿe₀, δ a Lipschitz constant of g. Panels (a), (d):
the direction of curvature 1, the same for every κ; (b), (e): that of curvature κ; (c), (f): e_n. The paper's text
names what its panels show, not their axes.

As an illustration of Theorem 5 the figure is outside its assumptions. A graph through the origin is
v = s(k)u, s = (1-1/ρ)/h, with a real root ρ of ρ² - (1+λ-hk(1+a))ρ + λ - hka = 0, which needs hk below
x₋ ≈ 0.0027; here hk ≥ 0.0156. No graph exists, Assumption 11 fails, λ+h²λδ is above 1, e_n falls like √λ = 0.949 per
step for every κ (HB; the modulus of the complex roots, √(λ-hka) for NAG) and e_n ≤ λⁿe₀ is violated.

Inside the assumptions, panels (g) to (l), the same problem with h = τ/2, τ that of the largest κ: the exact graph
exists, and e_n is the distance from it. The printed rate λ+h²λδ is false: its proof takes f(u_n + hav_n) and f(u_{n+1})
for their values on the manifold. Without that step it gives ((λ+haB₁)(1+hK₂))ⁿ, K₂ = λ̄B₁ + hδ, an O(h) change of the
rate, not O(h²). Panels (i), (l): the decay of e_n near the minimum of a loss with bounded derivatives,
log cosh u₁ + log cosh √κu₂, for h = τ, τ/2, …: it comes to λ like h.
"""

import math
from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import momentumflow as mf

from .. import _plot
from .._progress import Progress
from ..linear.family import slow_limit
from . import _admissible as admissible
from . import _figure_5_panels as panels
from . import _quadratic as quadratic
from ._admissible import Cell
from .checks import Check


@dataclass(frozen=True)
class Config:
    """The paper's h, λ, κ and number of steps; h/τ inside the assumptions, and of the ladder 2^0 … 2^-finest; steps
    there, and every how many e_n is measured."""

    learning_rate: float = 2.0**-6
    momentum: float = 0.9
    condition_numbers: tuple[float, ...] = (1.0, 5.0, 20.0)
    steps: int = 240
    share: float = 0.5
    finest: int = 6
    inside_steps: int = 256
    stride: int = 4


PRESETS = {
    "quick": Config(),
    "full": Config(condition_numbers=(1.0, 2.0, 5.0, 10.0, 20.0), steps=480, finest=9, stride=1),
}

_FIRST = {1.0: 1, 5.0: 1, 20.0: 4}  # an independent run of heavy ball: the first n with e_n > λⁿe₀
_RATES = {1.0: 1.12, 5.0: 6.4, 20.0: 88.8}  # an independent computation of λ+h²λδ for heavy ball
_DECAY = {1.0: 0.945, 5.0: 0.949, 20.0: 0.950}  # an independent run of heavy ball, over another range of n
_DIMS, _LADDER = ("optimizer", "kappa"), ("optimizer", "share")
_NUMBERS = ("learning_rate", "residual", "error", "rate", "printed_rate", "root", "margin")
_Tau = dict[tuple[str, bool], float]
_leading_order = eqx.filter_jit(mf.manifold_velocity)


def run(config: Config, progress: Progress) -> xr.Dataset:
    """The paper's runs, and those inside the assumptions with their bounds."""
    progress.update(0, 2, label="the paper's h")
    outside = _outside(config)
    progress.update(1, 2, label="inside the assumptions")
    tau = admissible.largest(config.momentum, max(config.condition_numbers))
    inside, ladder = _inside_cells(config, tau), _ladder_cells(config, tau)
    rows = admissible.measure(config.momentum, inside + ladder, config.inside_steps, config.stride)
    first = _inside(config, {key: x[: len(inside)] for key, x in rows.items()})
    second = _ladder(config, {key: x[len(inside) :] for key, x in rows.items()})
    attributes = {"learning_rate": config.learning_rate, "momentum": config.momentum, "share": config.share}
    return outside.merge(first).merge(second).assign_attrs(attributes)


def _cells(config: Config) -> list[tuple[str, float]]:
    return [(name, kappa) for name in quadratic.METHODS for kappa in config.condition_numbers]


def _by_method(values: np.ndarray | list) -> np.ndarray:
    """Rows, method by method, as a table."""
    array = np.asarray(values)
    return array.reshape(len(quadratic.METHODS), -1, *array.shape[1:])


def _outside(config: Config) -> xr.Dataset:
    """The runs, e_n of (34), the slopes of (33), and δ."""
    found = [_off_manifold(config, *cell) for cell in _cells(config)]
    tables = {key: _by_method([cell[key] for cell in found]) for key in found[0]}
    return xr.Dataset(
        {
            "u": ((*_DIMS, "n", "component"), tables["u"], {"symbol": "u_n"}),
            "v": ((*_DIMS, "n", "component"), tables["v"], {"symbol": "v_n"}),
            "distance": ((*_DIMS, "n"), tables["distance"], {"symbol": "e_n"}),
            "slope": ((*_DIMS, "component"), tables["slope"], {"symbol": "v/u on (33)"}),
            "delta": (_DIMS, tables["delta"], {"symbol": "δ"}),
        },
        {
            "optimizer": list(quadratic.METHODS),
            "kappa": ("kappa", list(config.condition_numbers), {"symbol": "κ"}),
            "n": ("n", np.arange(config.steps + 1), {"symbol": "n"}),
            "component": [1, 2],
        },
    )


def _off_manifold(config: Config, name: str, kappa: float) -> dict[str, np.ndarray]:
    method = quadratic.method(name, config.learning_rate, config.momentum)
    problem, start = quadratic.problem(kappa), jnp.array(quadratic.START)
    run = mf.iterate(method, problem, start, config.steps)
    u, v = np.asarray(run.params), np.asarray(run.velocity)
    slope = np.asarray(_leading_order(method, problem, start))  # at (1, 1) of a diagonal linear map
    limit = -np.array([1.0, kappa]) / (1 - config.momentum)
    delta = np.abs((slope - limit) / config.learning_rate).max()
    return {"u": u, "v": v, "distance": np.linalg.norm(v - slope * u, axis=1), "slope": slope, "delta": delta}


def _inside_cells(config: Config, tau: _Tau) -> list[Cell]:
    """The quadratics, h admissible for the largest κ."""
    return [Cell(name, config.share * tau[name, False], kappa, False) for name, kappa in _cells(config)]


def _inside(config: Config, rows: admissible.Rows) -> xr.Dataset:
    """On the quadratics: runs, the graph at u_n by either route, e_n, both rates."""
    missing = np.abs(rows["slopes"][:, None] * rows["u"] - rows["graph"]).max(axis=(1, 2))
    off = missing / np.abs(rows["graph"]).max(axis=(1, 2))
    return xr.Dataset(
        {
            **{f"inside_{x}": ((*_DIMS, "m", "component"), _by_method(rows[x])) for x in ("u", "v", "graph")},
            "inside_distance": ((*_DIMS, "m"), _by_method(rows["distance"]), {"symbol": "e_n"}),
            "inside_off": (_DIMS, _by_method(off), {"symbol": "|w(u)-s(k)u|/|w|"}),
            **{f"inside_{key}": (_DIMS, _by_method(rows[key])) for key in _NUMBERS},
        },
        {"m": ("m", np.arange(0, config.inside_steps + 1, config.stride), {"symbol": "n"})},
    )


def _shares(config: Config) -> np.ndarray:
    return 2.0 ** -np.arange(config.finest + 1)


def _ladder_cells(config: Config, tau: _Tau) -> list[Cell]:
    """The bounded loss of the largest κ, h = τ (but for 1e-9), τ/2, …"""
    kappa, shares = max(config.condition_numbers), (1 - 1e-9) * _shares(config)
    return [Cell(name, tau[name, True] * x, kappa, True) for name in quadratic.METHODS for x in shares]


def _ladder(config: Config, rows: admissible.Rows) -> xr.Dataset:
    """On the bounded loss, near the minimum: e_n and both rates."""
    return xr.Dataset(
        {
            "ladder_distance": ((*_LADDER, "m"), _by_method(rows["distance"]), {"symbol": "e_n"}),
            **{f"ladder_{key}": (_LADDER, _by_method(rows[key])) for key in _NUMBERS},
        },
        {"share": ("share", _shares(config), {"symbol": "h/τ"})},
    )


def over_bound(data: xr.Dataset, rate: str) -> xr.DataArray:
    """Inside the assumptions, e_n less its error over rateⁿe₀ for n ≥ 1, while e_n can be followed."""
    e, n = data["inside_distance"], data["m"]
    bound = data[f"inside_{rate}"] ** n * e.isel(m=0)
    followed = (n > 0) & (bound > admissible.BELOW * e.isel(m=0))
    return ((e - data["inside_error"]) / bound).where(followed)


def checks(data: xr.Dataset) -> list[Check]:
    """Outside the assumptions none of Theorem 5 holds; inside, the corrected rate holds and the printed does not."""
    return [*_checks_outside(data), *_checks_decay(data), *_checks_inside(data), *_checks_ladder(data)]


def _checks_outside(data: xr.Dataset) -> list[Check]:
    h, lam = data.attrs["learning_rate"], data.attrs["momentum"]
    graph, independent = (
        "x₋ = ((1-√(λ-a(1-λ)))/(1+a))², where the roots meet",
        "an independent float64 computation",
    )
    found = []
    for name in data["optimizer"].values:
        a = lam if name == "NAG" else 0.0
        limit, lemma_9 = float(slow_limit(lam, a)), lam + h * (a + lam / (1 - lam))
        found += [
            Check(f"{name}: hk at k = 1 within the graph's range", h, limit, 0, "at most", graph, True),
            Check(f"{name}, κ = 1: λ+hB₁(a+λλ̄)", lemma_9, 1, 0, "at most", "Lemma 9 asks < 1", True),
        ]
        for kappa in data["kappa"].values:
            cell, where = data.sel(optimizer=name, kappa=kappa), f"{name}, κ = {kappa:g}"
            e, n = cell["distance"].values, data["n"].values
            rate, ratio = lam + h**2 * lam * float(cell["delta"]), e / (lam**n * e[0])
            found += [
                Check(f"{where}: λ+h²λδ", rate, 1, 0, "at most", "(44) asks < 1", True),
                Check(
                    f"{where}: largest e_n/(λⁿe₀)", ratio.max(), 1, 0, "at most", "Theorem 5 as h → 0", True
                ),
            ]
            if name == "HB" and kappa in _FIRST:
                first = int(np.argmax(ratio > 1 + 1e-9))
                found += [
                    Check(
                        f"{where}: first n with e_n > λⁿe₀", first, _FIRST[kappa], 0, "within", independent
                    ),
                    Check(f"{where}: λ+h²λδ", rate, _RATES[kappa], 0.05, "within", independent),
                ]
    return found


def _checks_decay(data: xr.Dataset) -> list[Check]:
    """e_n per step, for NAG over the later half, where the mode of k = 1 is left."""
    h, lam, n = data.attrs["learning_rate"], data.attrs["momentum"], data["n"].values
    modulus, mode = "modulus √λ of the complex roots, every k", "modulus √(λ-hka) of the complex roots, k = 1"
    found, late = [], n >= len(n) // 2
    for kappa in data["kappa"].values:
        distance = data["distance"].sel(kappa=kappa)
        heavy = panels.decay(n, distance.sel(optimizer="HB").values)
        nesterov = panels.decay(n[late], distance.sel(optimizer="NAG").values[late])
        what = f"κ = {kappa:g}: decay of e_n"
        found += [
            Check(f"HB, {what}", heavy, math.sqrt(lam), 1e-3, "within", modulus),
            Check(f"HB, {what}", heavy, lam, 1e-2, "within", "Theorem 5 as h → 0", True),
            Check(f"NAG, {what}", nesterov, math.sqrt(lam - h * lam), 0.006, "within", mode),
        ]
        if kappa in _DECAY:
            source = "an independent float64 computation, over another range of n"
            found.append(Check(f"HB, {what}", heavy, _DECAY[kappa], 4e-3, "within", source))
    return found


def _checks_inside(data: xr.Dataset) -> list[Check]:
    right, printed = (over_bound(data, rate) for rate in ("rate", "printed_rate"))
    corrected, theorem = "Theorem 5 with the rate corrected", "Theorem 5 as printed"
    closed, inside = "v = s(k)u, s = (1-1/ρ)/h", f"h = {data.attrs['share']:g}τ"
    heavy = data.sel(optimizer="HB")
    sharp = np.abs(heavy["inside_rate"] / heavy["inside_root"] - 1).max()
    found = [
        Check(f"{inside}: smallest margin of Assumption 11", data["inside_margin"].min(), 0, 0, "at least", "h < τ"),
        Check(f"{inside}: a step from it misses it by", data["inside_residual"].max(), 0, 1e-10, "within", "(17)"),
        Check(f"{inside}: the graph off the closed form by", data["inside_off"].max(), 0, 1e-9, "within", closed),
        Check(f"HB, {inside}: (λ+haB₁)(1+hK₂) off ρ by", sharp, 0, 1e-9, "within", "f affine, a = 0: exact"),
    ]  # fmt: skip
    for name in data["optimizer"].values:
        for kappa in data["kappa"].values:
            where, cell = f"{name}, κ = {kappa:g}, {inside}", {"optimizer": name, "kappa": kappa}
            worst, broken = (ratio.sel(cell).max() for ratio in (right, printed))
            found += [
                Check(f"{where}: largest e_n/((λ+haB₁)(1+hK₂))ⁿe₀", worst, 1, 1e-9, "at most", corrected),
                Check(f"{where}: largest e_n/(λ+h²λδ)ⁿe₀", broken, 1, 1e-6, "at most", theorem, True),
            ]
    return found


def _checks_ladder(data: xr.Dataset) -> list[Check]:
    lam, found = data.attrs["momentum"], []
    theorem, corrected = "Theorem 5 as printed", "Theorem 5 with the rate corrected"
    smallest = f"h = τ/{1 / data['share'].values[-1]:g}"
    for name in data["optimizer"].values:
        rows = data.sel(optimizer=name)
        measured = panels.inside_decays(rows)
        root, rate, printed = (rows[f"ladder_{key}"].values for key in ("root", "rate", "printed_rate"))
        off, over = np.abs((measured - lam) / (root - lam) - 1).max(), (measured / rate).max()
        order = np.log2((measured[-2] - lam) / (measured[-1] - lam))
        sharp = (rate[-1] - lam) / (measured[-1] - lam)
        where = f"{name}, h ≤ τ"
        found += [
            Check(f"{where}: smallest margin of Assumption 11", rows["ladder_margin"].min(), 0, 0, "at least", "h < τ"),
            Check(f"{where}: decay less λ, off that of the fast root", off, 0, 1e-4, "within", "ρ at k = κ"),
            Check(f"{where}: largest decay over the bound", over, 1, 0, "at most", corrected),
            Check(f"{name}, {smallest}: decay of e_n", measured[-1], printed[-1], 0, "at most", theorem, True),
            Check(f"{name}: order in h of decay - λ", order, 1, 0.05, "within", "ρ = λ + hk(λλ̄-a) + O(h²)"),
            Check(f"{name}: order in h of decay - λ", order, 2, 0.05, "within", theorem, True),
        ]  # fmt: skip
        if name == "HB":
            found.append(
                Check(f"HB, {smallest}: (bound - λ)/(decay - λ)", sharp, 1, 0.05, "within", "ρ and K₂, a = 0")
            )
    return found


_TITLES = (
    "curvature 1",
    "curvature κ",
    "no graph exists",
    "{inside}, curvature κ",
    "{inside}, from the exact graph",
    "decay as h → 0, κ = {kappa:g}",
)


def plot(data: xr.Dataset) -> Figure:
    """Rows 1, 2: the paper's six panels, where no graph exists. Rows 3, 4: inside the assumptions."""
    kappas = data["kappa"].values[[0, len(data["kappa"]) // 2, -1]]
    inside = f"$h=\\tau/{1 / data.attrs['share']:g}$"
    titles = [title.format(inside=inside, kappa=kappas[-1]) for title in _TITLES]
    names = [*data["optimizer"].values] * 2
    with _plot.style():
        figure = _plot.figure(9.6, 12.0)
        axes = figure.subplots(4, 3)
        for (first, second, third), name in zip(axes[:2], names[:2], strict=True):
            panels.paper(first, second, third, data.sel(optimizer=name), kappas)
        for (first, second, third), name in zip(axes[2:], names[2:], strict=True):
            panels.inside(first, second, third, data.sel(optimizer=name), kappas)
        for i, (ax, letter) in enumerate(zip(axes.ravel(), "abcdefghijkl", strict=True)):
            ax.set_title(f"({letter}) {names[i // 3]}: {titles[i % 3 + 3 * (i >= 6)]}")
    return figure
