"""The invariant manifold, and how fast momentum falls onto it.

Kovachki & Stuart (2021), Figure 5 and Theorem 5: runs of (15) from u₀ = (1, 1), v₀ = (0, 0) on Φ = ½⟨u, Qu⟩,
Q = diag(1, κ), with h = 2⁻⁶ and λ = 0.9, beside the manifold to leading order (33), v = λ̄f + hλ̄²(a-λ̄)f'f; e_n
of (34) is the distance from it. Theorem 5 bounds e_n by (λ+h²λδ)ⁿe₀, δ a Lipschitz constant of g.

As an illustration of Theorem 5 the figure is outside its assumptions (rows 1 to 3). A graph through the origin is
v = s(k)u, s = (1-1/ρ)/h, with a real root ρ of ρ² - (1+λ-hk(1+a))ρ + λ - hka = 0, which needs hk below
x₋ ≈ 0.0027; here hk ≥ 0.0156. No graph exists, Assumption 11 fails, λ+h²λδ is above 1, e_n falls like √λ = 0.949 per
step (the modulus of the complex roots √(λ-hka)) and e_n ≤ λⁿe₀ is violated.

Inside the assumptions (row 4: Φ = 1 - cos u, whose B₀ = B₁ = B₂ = 1, and smaller h) the exact graph exists and e_n is
the distance from it. The printed rate λ+h²λδ is false: its proof takes f(u_n + hav_n) and f(u_{n+1}) for their values
on the manifold. Without that step it gives ((λ+haB₁)(1+hK₂))ⁿ, K₂ = λ̄B₁ + hδ, an O(h) change of the rate, not O(h²).
"""

import math
from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import momentumflow as mf

from .. import _plot
from .._progress import Progress
from . import _graph as graph
from . import _quadratic as quadratic
from .checks import Check


@dataclass(frozen=True)
class Config:
    """The paper's h, λ and κ; cases (method, λ, h) inside the assumptions, run from each start."""

    learning_rate: float = 2.0**-6
    momentum: float = 0.9
    condition_numbers: tuple[float, ...] = (1.0, 5.0, 20.0)
    steps: int = 240
    cases: tuple[tuple[str, float, float], ...] = (
        ("HB", 0.5, 6.69e-3),
        ("NAG", 0.5, 5.67e-3),
        ("HB", 0.9, 1.88e-3),
        ("NAG", 0.9, 1.99e-4),
        ("HB", 0.9, 2.09e-4),
        ("NAG", 0.5, 5.1e-2),
    )
    starts: tuple[float, ...] = (0.01, 1.0)


PRESETS = {
    "quick": Config(),
    "full": Config(condition_numbers=(1.0, 2.0, 5.0, 10.0, 20.0), steps=480, starts=(0.01, 0.1, 0.5, 1.0)),
}

_FIRST = {1.0: 1, 5.0: 1, 20.0: 4}  # an independent run of heavy ball: the first n with e_n > λⁿe₀
_RATES = {1.0: 1.12, 5.0: 6.4, 20.0: 88.8}  # an independent computation of λ+h²λδ for heavy ball
_leading_order = eqx.filter_jit(mf.manifold_velocity)


def run(config: Config, progress: Progress) -> xr.Dataset:
    """The paper's runs, and those inside the assumptions with their bounds."""
    progress.update(0, 2, label="the paper's h")
    outside = _outside(config)
    progress.update(1, 2, label="inside the assumptions")
    attributes = {"learning_rate": config.learning_rate, "momentum": config.momentum}
    return outside.merge(_inside(config)).assign_attrs(attributes)


def _outside(config: Config) -> xr.Dataset:
    """u, v and e_n along the direction of curvature κ, the slope of (33), δ, and the decay per step of e_n."""
    cells = [(name, kappa) for name in quadratic.METHODS for kappa in config.condition_numbers]
    found = [_off_manifold(config, *cell) for cell in cells]
    shape = (len(quadratic.METHODS), len(config.condition_numbers))
    dims = ("optimizer", "kappa")

    def stacked(key: str) -> np.ndarray:
        values = np.stack([cell[key] for cell in found])
        return values.reshape(*shape, *values.shape[1:])

    return xr.Dataset(
        {
            "u": ((*dims, "n"), stacked("u"), {"symbol": "u_n"}),
            "v": ((*dims, "n"), stacked("v"), {"symbol": "v_n"}),
            "distance": ((*dims, "n"), stacked("distance"), {"symbol": "e_n"}),
            "slope": (dims, stacked("slope"), {"symbol": "v/u on (33)"}),
            "delta": (dims, stacked("delta"), {"symbol": "δ"}),
        },
        {
            "optimizer": list(quadratic.METHODS),
            "kappa": ("kappa", list(config.condition_numbers), {"symbol": "κ"}),
            "n": ("n", np.arange(config.steps + 1), {"symbol": "n"}),
        },
    )


def _off_manifold(config: Config, name: str, kappa: float) -> dict[str, np.ndarray]:
    method = quadratic.method(name, config.learning_rate, config.momentum)
    problem, start = quadratic.problem(kappa), jnp.array(quadratic.START)
    run = mf.iterate(method, problem, start, config.steps)
    u, v = np.asarray(run.params), np.asarray(run.velocity)
    slope = np.asarray(_leading_order(method, problem, start))  # at (1, 1) of a diagonal linear map
    limit = -np.array([1.0, kappa]) / (1 - config.momentum)
    return {
        "u": u[:, 1],
        "v": v[:, 1],
        "distance": np.linalg.norm(v - slope * u, axis=1),
        "slope": slope[1],
        "delta": np.abs((slope - limit) / config.learning_rate).max(),
    }


def _inside(config: Config) -> xr.Dataset:
    """Distances from the exact graph for every case and start, padded with NaN, and the constants of each case."""
    rows = [[graph.distances(*case, start) for start in config.starts] for case in config.cases]
    longest = max(len(e) for row in rows for e, _ in row)
    distances = [quadratic.padded([e for e, _ in row], longest) for row in rows]
    found = [graph.rates(*case) for case in config.cases]
    return xr.Dataset(
        {
            "exact_distance": (("case", "start", "m"), np.stack(distances), {"symbol": "e_n"}),
            "residual": (("case", "start"), [[r for _, r in row] for row in rows]),
            **{key: ("case", [cell[key] for cell in found]) for key in found[0]},
        },
        {
            "case": [f"{name}, λ = {lam:g}, h = {h:.3g}" for name, lam, h in config.cases],
            "start": ("start", list(config.starts), {"symbol": "u₀"}),
            "m": ("m", np.arange(longest), {"symbol": "n"}),
        },
    )


def decay(distance: np.ndarray, first: int = 0) -> float:
    """Factor per step: the slope of log e_n over n from `first` on."""
    e = distance[np.isfinite(distance)][first:]
    return math.exp(np.polyfit(np.arange(len(e)), np.log(e), 1)[0])


def checks(data: xr.Dataset) -> list[Check]:
    """Outside the assumptions none of Theorem 5 holds; inside, the corrected rate holds and the printed does not."""
    return [*_checks_outside(data), *_checks_inside(data)]


def _checks_outside(data: xr.Dataset) -> list[Check]:
    h, lam = data.attrs["learning_rate"], data.attrs["momentum"]
    modulus = "modulus √(λ-hka) of the complex roots, k = 1"
    found = []
    for name in data["optimizer"].values:
        a = lam if name == "NAG" else 0.0
        limit = ((1 - math.sqrt(lam - a * (1 - lam))) / (1 + a)) ** 2
        graph_source = "x₋ = ((1-√(λ-a(1-λ)))/(1+a))², where the roots meet"
        lemma_9 = lam + h * (a + lam / (1 - lam))
        found += [
            Check(
                f"{name}: hk at k = 1 within the graph's range", h, limit, 0, "at most", graph_source, True
            ),
            Check(f"{name}, κ = 1: λ+hB₁(a+λλ̄)", lemma_9, 1, 0, "at most", "Lemma 9 asks < 1", True),
        ]
        for kappa in data["kappa"].values:
            cell, where = data.sel(optimizer=name, kappa=kappa), f"{name}, κ = {kappa:g}"
            e, n = cell["distance"].values, data["n"].values
            rate = lam + h**2 * lam * float(cell["delta"])
            ratio = e / (lam**n * e[0])
            found += [
                Check(f"{where}: λ+h²λδ", rate, 1, 0, "at most", "(44) asks < 1", True),
                Check(
                    f"{where}: decay of e_n per step",
                    decay(e, len(e) // 2),
                    graph.roots(name, lam, h)[1],
                    0.006,
                    "within",
                    modulus,
                ),
                Check(
                    f"{where}: largest e_n/(λⁿe₀)", ratio.max(), 1, 0, "at most", "Theorem 5 as h → 0", True
                ),
            ]
            if name == "HB" and kappa in _FIRST:
                first, independent = int(np.argmax(ratio > 1 + 1e-9)), "an independent float64 computation"
                found += [
                    Check(
                        f"{where}: first n with e_n > λⁿe₀", first, _FIRST[kappa], 0, "within", independent
                    ),
                    Check(f"{where}: λ+h²λδ", rate, _RATES[kappa], 0.05, "within", independent),
                ]
    return found


def _checks_inside(data: xr.Dataset) -> list[Check]:
    found = [
        Check(
            "largest of (41), (43), (44)",
            data["assumption_11"].max(),
            1,
            0,
            "at most",
            "Assumption 11 asks < 1",
        ),
        Check("a step from the exact graph misses it by", data["residual"].max(), 0, 1e-11, "within", "(17)"),
        Check(
            "largest e_n/((λ+haB₁)(1+hK₂))ⁿe₀",
            _over_bound(data, "rate").max(),
            1,
            1e-12,
            "at most",
            "Theorem 5 with the rate corrected",
        ),
    ]
    for case in data["case"].values:
        cell = data.sel(case=case)
        measured = decay(cell["exact_distance"].isel(start=0).values)
        printed, root = float(cell["printed_rate"]), float(cell["fast_root"])
        refuted = root > printed
        largest = _over_bound(cell, "printed_rate").max()
        found += [
            Check(f"{case}: decay of e_n", measured, root, 1e-5, "within", "fast root ρ at k = 1"),
            Check(f"{case}: decay of e_n", measured, cell["rate"], 0, "at most", "(λ+haB₁)(1+hK₂)"),
            Check(
                f"{case}: decay of e_n",
                measured,
                printed,
                0,
                "at most",
                "λ+h²λδ, Theorem 5 as printed",
                refuted,
            ),
            Check(
                f"{case}: largest e_n/(λ+h²λδ)ⁿe₀",
                largest,
                1,
                1e-12,
                "at most",
                "Theorem 5 as printed",
                refuted,
            ),
        ]
    return found


def _over_bound(data: xr.Dataset, rate: str) -> xr.DataArray:
    """e_n over rateⁿe₀."""
    e = data["exact_distance"]
    return e / (e.isel(m=0) * data[rate] ** data["m"])


def plot(data: xr.Dataset) -> Figure:
    """Rows 1 and 2: (u, v) in the direction of curvature κ. Row 3: e_n. Row 4: e_n/λⁿ inside the assumptions."""
    kappas = data["kappa"].values[[0, len(data["kappa"]) // 2, -1]]
    with _plot.style():
        figure = _plot.figure(8.4, 10.4)
        axes = figure.subplots(4, 3)
        for row, name in zip(axes, data["optimizer"].values, strict=False):
            for ax, kappa in zip(row, kappas, strict=True):
                _phase(ax, data.sel(kappa=kappa, optimizer=name))
                ax.set_title(f"{name}, κ = {kappa:g}")
        for ax, kappa in zip(axes[2], kappas, strict=True):
            _distances(ax, data.sel(kappa=kappa), data.attrs["momentum"])
            ax.set_title(f"no graph exists: κ = {kappa:g}")
        for ax, case in zip(axes[3], data["case"].values, strict=False):
            _attraction(ax, data.sel(case=case))
            ax.set_title(case, fontsize=9.5)
        for row, label in zip(axes, ("$v_n$", "$v_n$", "$e_n/e_0$", r"$e_n/(\lambda^n e_0)$"), strict=True):
            row[0].set_ylabel(label)
        for row, place in zip(axes[[0, 2, 3]], ("upper right", "upper right", "upper left"), strict=True):
            row[0].legend(loc=place, fontsize=8.5, handlelength=1.7, borderaxespad=0.1)
    return figure


def _phase(ax: Axes, cell: xr.Dataset) -> None:
    u, v = cell["u"].values, cell["v"].values
    ax.plot(u, v, **_plot.of(str(cell["optimizer"].values)).line(linestyle="-", lw=0.7, markersize=2.5))
    low, high = v.min() - 0.08 * np.ptp(v), v.max() + 0.08 * np.ptp(v)
    slope = float(cell["slope"])
    line = np.linspace(u.min(), u.max(), 2001)
    ax.plot(line, slope * line, **_plot.of("slow flow (20)").line(lw=1.4, label="manifold (33)"))
    ax.set(ylim=(low, high), xlabel="$u_n$")


def _distances(ax: Axes, cell: xr.Dataset, lam: float) -> None:
    n = cell["n"].values
    for name in cell["optimizer"].values:
        e = cell["distance"].sel(optimizer=name).values
        ax.plot(n, e / e[0], **_plot.of(str(name)).line(linestyle="-", marker="", lw=1.1), label=str(name))
    ax.plot(n, np.sqrt(lam) ** n, color="#555555", lw=1, ls=":", label=r"$\sqrt{\lambda}^{\,n}$")
    ax.plot(n, lam**n, color="#555555", lw=1, ls="--", label=r"$\lambda^n$")
    for name in cell["optimizer"].values:
        rate = lam + cell.attrs["learning_rate"] ** 2 * lam * float(cell["delta"].sel(optimizer=name))
        shown = n[n * np.log(rate) < 10]
        label = r"$(\lambda+h^2\lambda\delta)^n$" if name == "HB" else None
        ax.plot(shown, rate**shown, color=_plot.of(str(name)).color, lw=1, ls=(0, (4, 1, 1, 1)), label=label)
    ax.set(yscale="log", ylim=(1e-6, 30), xlabel="$n$")
    ax.locator_params(axis="x", nbins=4)


def _attraction(ax: Axes, cell: xr.Dataset) -> None:
    e = cell["exact_distance"].isel(start=0).dropna("m").values
    n, lam = np.arange(len(e)), float(cell["case_momentum"])
    right, printed = ((float(cell[rate]) / lam) ** n for rate in ("rate", "printed_rate"))
    style = _plot.of(str(cell["case"].values).split(",")[0])
    ax.plot(n, right, color="#228833", label=r"$((\lambda+haB_1)(1+hK_2))^n$")
    ax.plot(n, e / e[0] / lam**n, **style.line(markersize=3, markevery=max(1, len(n) // 25)))
    ax.plot(
        n, printed, **_plot.of("(19) as printed").line(label=r"as printed: $(\lambda+h^2\lambda\delta)^n$")
    )
    ax.set(xlabel="$n$", yscale="log" if right[-1] > 10 else "linear")
