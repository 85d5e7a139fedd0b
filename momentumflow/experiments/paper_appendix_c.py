"""The largest learning rate for which the invariant manifold is proved to exist, and how sharp it is.

Kovachki & Stuart (2021), Appendix C: Assumption 11 (Lemmas 9 and 10, (41), (43), (44)) bounds h. The margin of each
condition falls as h grows, so it holds for h < τ; τB₁ depends on λ, a and B₀B₂/B₁² only. Lemma 10 implies the other
four and is the one that ends at τ: Assumption 11 is one inequality, α₁ + 2√(α₂α₀) < 0.

The truth is x₋/B₁, x₋(a) = ((1-√(λ-a(1-λ)))/(1+a))²: at a minimum of curvature B₁ the two roots of (7) meet there, and
beyond no graph passes through it. With B₂ = 0, τ = x₋(-a)/B₁: norms lose the sign of the look-ahead, and for heavy ball
the theory is sharp. As λ → 1 the share of the truth that it reaches is 8/(5+√(9+16B₀B₂/B₁²)) for every a: four fifths
for Φ = 1 - cos u. (With τ = y(1-λ)²/B₁, α₁ → (2y-1)(1-λ) and α₂α₀ → y²(1-λ)²(1 + B₀B₂/(B₁²(1-y))), so
(1-4y)(1-y) = 4y²B₀B₂/B₁².) Theorem 3 is proved up to (1-λ)²/(2αB₁), twice as far as a graph exists as λ → 1. The
reference is τ in 30 digits, from the double root of K - δ(1-c) as the proof of Lemma 14 has it.
"""

from dataclasses import dataclass

import equinox as eqx
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mpmath import mp, mpf

import momentumflow as mf

from .. import _plot
from .._progress import Progress
from ..linear.family import slow_limit
from ..theory.lemma_8 import largest_rate_of_theorem_3
from .checks import Check


@dataclass(frozen=True)
class Config:
    """Points of λ, the λ closest to 1, values of B₀B₂/B₁², λ of the reference, λ whose margins are drawn."""

    points: int = 100
    largest_momentum: float = 0.999
    ratios: tuple[float, ...] = (0.0, 0.1, 1.0, 10.0)
    references: tuple[float, ...] = (0.0, 0.5, 0.9, 0.99)
    shown: float = 0.9


PRESETS = {
    "quick": Config(),
    "full": Config(points=400, references=(0.0, 0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99)),
}

_METHODS = ("HB", "NAG")
_CONDITIONS = ("Lemma 9", "Lemma 10", "(41)", "(43)", "(44)")
_FRACTIONS = np.concatenate([np.linspace(0.01, 0.99, 99), [1 - 1e-9, 1 + 1e-9]])
_ROUTE = "double root of K - δ(1-c) (Lemma 14), 30 digits"
_constants = eqx.filter_jit(mf.manifold_constants)


def run(config: Config, progress: Progress) -> xr.Dataset:
    """τ, the true threshold and Theorem 3's bound in units of 1/B₁; margins up to τ and past it; the reference."""
    progress.update(0, 2, label="τ")
    lam = 1 - np.geomspace(1, 1 - config.largest_momentum, config.points)
    lam = np.unique([*lam, *config.references, config.shown])
    a = np.stack([0 * lam, lam])  # methods × λ
    bounds = mf.Bounds(np.array(config.ratios)[:, None, None], 1.0, 1.0)
    tau, at_tau = mf.largest_learning_rate(bounds, lam, a)
    h = _FRACTIONS[:, None, None, None] * np.asarray(tau)
    margins = np.stack(_constants(bounds, mf.momentum_method(h, lam, a)).conditions)
    progress.update(1, 2, label="reference in 30 digits")
    cell, limit = ("ratio", "optimizer", "momentum"), ("optimizer", "momentum")
    data = {
        "tau": (cell, np.asarray(tau), {"symbol": "τB₁"}),
        "graph_limit": (limit, np.asarray(slow_limit(lam, a)), {"symbol": "x₋"}),
        "theorem_3": (limit, np.asarray(largest_rate_of_theorem_3(1.0, lam, a)), {"symbol": "(1-λ)²/(2α)"}),
        "margin_at_tau": (("condition", *cell), np.stack(at_tau), {"symbol": "1 - …"}),
        "holds": (("fraction", *cell), (margins > 0).all(axis=0).astype(float)),
        "largest_rise": ("condition", np.diff(margins[:, :-1], axis=1).max(axis=(1, 2, 3, 4))),
        "reference": (("ratio", "optimizer", "reference_momentum"), _references(config), {"symbol": "τB₁"}),
    }
    coords = {
        "ratio": ("ratio", list(config.ratios), {"symbol": "B₀B₂/B₁²"}),
        "optimizer": list(_METHODS),
        "momentum": ("momentum", lam, {"symbol": "λ"}),
        "condition": list(_CONDITIONS),
        "fraction": ("fraction", _FRACTIONS, {"symbol": "h/τ"}),
        "reference_momentum": ("reference_momentum", list(config.references), {"symbol": "λ"}),
    }
    everywhere = xr.Dataset(
        {"margin": (("condition", "fraction", *cell), margins, {"symbol": "1 - …"})}, coords
    )
    shown = everywhere["margin"].sel(momentum=config.shown, ratio=1.0, method="nearest", drop=True)
    return xr.Dataset({**data, "margin": shown}, coords, {"shown": config.shown})


def _references(config: Config) -> list:
    return [
        [[_double_root(lam, lam * nesterov, ratio) for lam in config.references] for nesterov in (0, 1)]
        for ratio in config.ratios
    ]


def _double_root(momentum: float, lookahead: float, ratio: float) -> float:
    """τ in 30 digits for B₀ = ratio, B₁ = B₂ = 1: the h at which min over δ of K - δ(1-c), a parabola, is 0."""
    with mp.workdps(30):
        lam, a, B0 = map(mpf, (momentum, lookahead, ratio))
        bar = 1 / (1 - lam)

        def excess(delta: int, h: mpf) -> mpf:
            gamma = bar * B0 * (a + bar) / (1 - lam - h * (a + lam * bar))
            K1, K2 = bar * B0 + h * gamma, bar + h * delta
            K3, z = B0 + lam * K1, lam * K2 + 1 + h * a * K2  # bound and Lipschitz constant of z
            K = lam * delta + a * (K2 + K1 * (1 + h * a * K2)) + bar * (z + K3 * (1 + h * z))
            return K - delta * (1 - h * z)

        def room(h: mpf) -> mpf:
            left, middle, right = (excess(delta, h) for delta in (-1, 0, 1))
            return (left - right) / 2 - 2 * mp.sqrt(((left + right) / 2 - middle) * middle)

        low, high = mpf(0), (1 - lam) / (bar + a + lam * bar)
        for _ in range(64):
            middle = (low + high) / 2
            low, high = (middle, high) if room(middle) > 0 else (low, middle)
        return float(low)


def checks(data: xr.Dataset) -> list[Check]:
    """τ to 10 digits; where the conditions hold; which one binds; how τ stands to the truth."""
    return [*_checks_reference(data), *_checks_conditions(data), *_checks_truth(data)]


def _checks_reference(data: xr.Dataset) -> list[Check]:
    computed = data["tau"].sel(momentum=data["reference_momentum"])
    found = []
    for ratio in data["ratio"].values:
        for name in data["optimizer"].values:
            for lam in data["reference_momentum"].values:
                cell = {"ratio": ratio, "optimizer": name, "reference_momentum": lam}
                expected, where = (
                    float(data["reference"].sel(cell)),
                    f"{name}, λ = {lam:g}, B₀B₂ = {ratio:g} B₁²",
                )
                found.append(
                    Check(f"{where}: τB₁", computed.sel(cell), expected, 1e-10 * expected, "within", _ROUTE)
                )
    return found


def _checks_conditions(data: xr.Dataset) -> list[Check]:
    holds, margins, proof = data["holds"], data["margin_at_tau"], "proved beside `Conditions`"
    inside, lemma_10 = holds["fraction"] < 1, margins.sel(condition="Lemma 10")
    above = (lemma_10 - margins.min("condition")).max()
    return [
        Check("share of h < τ where Assumption 11 holds", holds[inside].mean(), 1, 0, "within", proof),
        Check("share of h = τ(1 + 1e-9) where it holds", holds[~inside].mean(), 0, 0, "within", proof),
        Check("largest rise of a margin with h", data["largest_rise"].max(), 0, 1e-15, "at most", proof),
        Check("margin of Lemma 10 at τ", abs(lemma_10).max(), 0, 1e-14, "within", proof),
        Check("margin of Lemma 10 over the smallest, at τ", above, 0, 1e-14, "at most", proof),
    ]


def _checks_truth(data: xr.Dataset) -> list[Check]:
    share, last = data["tau"] / data["graph_limit"], data["momentum"].values[-1]
    affine, lam = data["tau"].sel(ratio=0), data["momentum"]
    a = lam * xr.DataArray([0.0, 1.0], {"optimizer": list(_METHODS)}, "optimizer")
    turned = ((1 - lam) / (1 + np.sqrt(lam + a * (1 - lam)))) ** 2
    exists, meet = "no graph exists beyond x₋/B₁", "the discriminant of (7) with -a for a"
    found = [
        Check("B₂ = 0: largest |τB₁/x₋(-a) - 1|", abs(affine / turned - 1).max(), 0, 1e-10, "within", meet),
        Check(
            "HB, B₂ = 0: largest |τB₁/x₋ - 1|",
            abs(share.sel(optimizer="HB", ratio=0) - 1).max(),
            0,
            1e-10,
            "within",
            "x₋ = (1-√λ)², where the roots meet",
        ),
        Check("largest τB₁/x₋", share.max(), 1, 1e-10, "at most", exists),
    ]
    for name in data["optimizer"].values:
        end, where = {"optimizer": name, "momentum": last}, f"{name}, λ = {last:g}"
        theorem_3 = data["theorem_3"].sel(end) / data["graph_limit"].sel(end)
        found.append(Check(f"{where}: Theorem 3's bound over x₋/B₁", theorem_3, 2, 0.01, "within", "λ → 1"))
        for ratio in data["ratio"].values:
            limit, what = 8 / (5 + np.sqrt(9 + 16 * ratio)), f"{where}, B₀B₂ = {ratio:g} B₁²: τB₁/x₋"
            found.append(
                Check(what, share.sel(end | {"ratio": ratio}), limit, 2e-3, "within", "8/(5+√(9+16B₀B₂/B₁²))")
            )
    return found


def plot(data: xr.Dataset) -> Figure:
    """τB₁ beside the truth and Theorem 3's bound; their ratio to the truth; the margins up to τ."""
    with _plot.style():
        figure = _plot.figure(11.0, 3.9)
        left, middle, right = figure.subplots(1, 3)
        _thresholds(left, data)
        _sharpness(middle, data)
        _margins(right, data)
    return figure


def _thresholds(ax: Axes, data: xr.Dataset) -> None:
    gap = 1 - data["momentum"].values
    for name in data["optimizer"].values:
        cell, color = data.sel(optimizer=name), _plot.of(str(name)).color
        ax.plot(gap, cell["theorem_3"] / gap**2, color=color, ls=":", label=f"{name}: Theorem 3")
        ax.plot(gap, cell["graph_limit"] / gap**2, color=color, ls="--", label=f"{name}: $x_-$, the truth")
        tau = cell["tau"].sel(ratio=1.0, method="nearest")
        ax.plot(gap, tau / gap**2, color=color, label=rf"{name}: $\tau B_1$, $B_0B_2 = B_1^2$")
    _momentum_axis(ax, gap)
    ax.set(ylim=(0, 1.6), ylabel=r"$hB_1/(1-\lambda)^2$", title="largest learning rate")
    ax.legend(fontsize=8.5, loc="upper right")


def _sharpness(ax: Axes, data: xr.Dataset) -> None:
    gap, looks = 1 - data["momentum"].values, {"HB": "-", "NAG": "--"}
    colors = _plot.sequence(len(data["ratio"]))
    for ratio, color in zip(data["ratio"].values, colors, strict=True):
        for name, look in looks.items():
            share = data["tau"].sel(ratio=ratio, optimizer=name) / data["graph_limit"].sel(optimizer=name)
            label = f"$B_0B_2 = {ratio:g}\\,B_1^2$" if name == "HB" else None
            ax.plot(gap, share, color=color, ls=look, label=label)
    ax.plot([], [], color="#555555", ls="-", label="HB")
    ax.plot([], [], color="#555555", ls="--", label="NAG")
    _momentum_axis(ax, gap)
    ax.set(ylim=(0, 1.08), ylabel=r"$\tau B_1/x_-$", title="the theory over the truth")
    ax.legend(fontsize=8.5, ncols=2, loc="lower right", handlelength=1.6, columnspacing=1)


def _momentum_axis(ax: Axes, gap: np.ndarray) -> None:
    ticks = [x for x in (0.0, 0.5, 0.9, 0.99, 0.999) if 1 - x >= gap.min() * (1 - 1e-9)]
    ax.set_xscale("log")
    ax.set_xlim(1, gap.min())
    ax.set_xticks([1 - x for x in ticks], [f"{x:g}" for x in ticks])
    ax.set_xticks([], minor=True)
    ax.set_xlabel("$\\lambda$")


def _margins(ax: Axes, data: xr.Dataset) -> None:
    cell = data["margin"].sel(optimizer="HB").where(data["fraction"] < 1, drop=True)
    for condition, look in zip(cell["condition"].values, ("-", "-", "--", "-.", ":"), strict=True):
        binds = {"color": "#000000", "lw": 2.2} if condition == "Lemma 10" else {"lw": 1.4}
        margin = cell.sel(condition=condition).values
        top = f", above {np.floor(10 * margin.min()) / 10:g}" if condition == "(41)" else ""
        ax.plot(cell["fraction"], margin, ls=look, label=condition + top, **binds)
    high = 1.5 * (1 - data.attrs["shown"])
    ax.set(ylim=(0, high), xlabel=r"$h/\tau$", ylabel="margin, $1 - …$", xlim=(0, 1.02))
    ax.set_title(f"margins, HB, λ = {data.attrs['shown']:g}, $B_0B_2 = B_1^2$")
    ax.legend(fontsize=8.5, ncols=2)
