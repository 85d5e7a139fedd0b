r"""Rates of optimal tuning against √κ.

With the best learning rate and momentum for the curvatures in [μ, L], κ = L/μ, the distance from the minimum of a
quadratic falls per iteration by (κ-1)/(κ+1) for gradient descent, 1 - 2/√(3κ+1) for Nesterov and (√κ-1)/(√κ+1) for
heavy ball (Polyak 1964; Lessard, Recht & Packard 2016): momentum turns κ into √κ, and heavy ball asks for √3 times
fewer iterations than Nesterov. Measured on iterates: |u_n| ~ n^p ρⁿ, p = 1 with momentum, whose root at μ is double.
The optimum of heavy ball is a cusp: below the best λ the rate grows like the root of the distance.
"""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, ArrayLike, Float
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

import momentumflow as mf

from .. import _plot
from .._progress import Progress
from ..linear import family
from ..linear.tuning import KINDS
from .checks import Check


@dataclass(frozen=True)
class Config:
    """κ, iterations N; the landscape's κ, its points along each axis and on each curve."""

    condition_numbers: tuple[float, ...] = (2.0, 4.0, 10.0, 25.0, 100.0, 400.0, 1600.0)
    steps: int = 20_000
    shown: float = 25.0
    cells: int = 241
    curve: int = 25


PRESETS = {
    "quick": Config(),
    "full": Config(tuple(2.0**k for k in range(1, 13)), steps=100_000, cells=801, curve=61),
}

_LEVELS = (0.68, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
_SMALLEST = 1e-250  # iterates below are too close to the smallest float
_LRP = "Lessard, Recht & Packard (2016), Proposition 1; for HB Polyak (1964)"
_POWER = "a double root at μ gives n ρⁿ; without momentum ρⁿ"
_STEP = 1e-6
_LARGEST = {"HB": 4.0, "NAG": 2.0}  # hL of the landscape


def run(config: Config, progress: Progress) -> xr.Dataset:
    """Rates in closed form and as iterates show them; the worst rate over (hL, λ) for the κ shown, and its cusp."""
    kappa = np.array(config.condition_numbers)
    rates, measured, powers = [], [], []
    for done, kind in enumerate(KINDS):
        progress.update(done, len(KINDS), label=kind)
        tuning = mf.optimal_tuning(1.0, kappa, kind)
        constants = (tuning.learning_rate, tuning.momentum, tuning.lookahead)
        spectra = np.stack([np.ones(kappa.size), kappa], axis=1)  # between them none is slower
        fits = [
            _fit(d) for d in np.asarray(_distances(config.steps, *map(jnp.asarray, (*constants, spectra))))
        ]
        rates.append(tuning.rate)
        measured.append([rate for rate, _ in fits])
        powers.append([power for _, power in fits])
    return xr.Dataset(
        {
            "rate": (("optimizer", "kappa"), np.array(rates), {"symbol": "ρ"}),
            "measured": (("optimizer", "kappa"), np.array(measured), {"symbol": "ρ"}),
            "power": (("optimizer", "kappa"), np.array(powers), {"symbol": "p"}),
        },
        {"optimizer": list(KINDS), "kappa": ("kappa", kappa, {"symbol": "κ"})},
        {"shown": config.shown},
    ).merge(_landscape(config))


@eqx.filter_jit
def _distances(
    steps: int,
    learning_rates: Float[Array, " m"],
    momenta: Float[Array, " m"],
    lookaheads: Float[Array, " m"],
    spectra: Float[Array, "m d"],
) -> Float[Array, "m n"]:
    """|u_n| from (1, …, 1) at rest, for each κ."""

    def one(h: Array, lam: Array, a: Array, spectrum: Float[Array, " d"]) -> Float[Array, " n"]:
        method = mf.momentum_method(h, lam, a)
        run = mf.iterate(method, mf.Quadratic(spectrum), jnp.ones(spectrum.size), steps)
        return jnp.abs(run.params).sum(axis=1)  # squares would underflow

    return eqx.filter_vmap(one)(learning_rates, momenta, lookaheads, spectra)


def _fit(distance: np.ndarray) -> tuple[float, float]:
    """(ρ, p) of C n^p (1 + c/n) ρⁿ over the later half of the iterates that are not yet too small."""
    last = int(np.argmin(distance > _SMALLEST)) or distance.size
    n = np.arange(last // 2, last)
    columns = np.stack([np.ones(n.size), n, np.log(n), 1 / n], axis=1)
    _, slope, power, _ = np.linalg.lstsq(columns, np.log(distance[n]))[0]
    return float(np.exp(slope)), float(power)


@jax.jit
def _worst(x: ArrayLike, momentum: ArrayLike, lookahead: ArrayLike, kappa: ArrayLike) -> Float[Array, "..."]:
    """The larger of the factors at μ and at L, x = hL."""
    ends = (family.spectral_radius(end, momentum, lookahead) for end in (x, x / kappa))
    return jnp.maximum(*ends)


def _landscape(config: Config) -> xr.Dataset:
    """Over (hL, λ): the worst rate, the best λ for each h and h for each λ, and the rate beside the optimum."""
    tables: dict[str, list] = {"worst": [], "x": [], "best_momentum": [], "best_x": [], "beside": []}
    lam = np.linspace(0, 1, config.cells, endpoint=False)
    given = np.linspace(0, 0.98, config.curve)
    for kind, largest in _LARGEST.items():
        x = np.linspace(0, largest, config.cells + 2)[1:-1]
        a = lam[:, None] if kind == "NAG" else np.zeros((config.cells, 1))
        x_given = np.linspace(0, largest, config.curve + 2)[1:-1]
        best = [mf.optimal_tuning(1.0, config.shown, kind, learning_rate=v / config.shown) for v in x_given]
        found = [mf.optimal_tuning(1.0, config.shown, kind, momentum=v) for v in given]
        tables["worst"].append(_worst(x, lam[:, None], a, config.shown))
        tables["x"].append(x)
        tables["best_momentum"].append([tuning.momentum for tuning in best])
        tables["best_x"].append([tuning.learning_rate * config.shown for tuning in found])
        tables["beside"].append(_beside(kind, config.shown))
    dims = {
        "worst": ("landscape", "momentum", "column"),
        "x": ("landscape", "column"),
        "best_momentum": ("landscape", "curve"),
        "best_x": ("landscape", "curve"),
        "beside": ("landscape", "beside_by"),
    }
    return xr.Dataset(
        {name: (dims[name], np.array(table)) for name, table in tables.items()},
        {
            "landscape": list(_LARGEST),
            "momentum": ("momentum", lam, {"symbol": "λ"}),
            "given": ("curve", given, {"symbol": "λ"}),
            "beside_by": ("beside_by", _STEP * np.array([-4.0, -1.0, 1.0, 4.0]), {"symbol": "relative"}),
        },
    )


def _beside(kind: str, kappa: float) -> np.ndarray:
    """By how much the worst rate exceeds the optimum a little below and above the best λ, with the best h."""
    tuning = mf.optimal_tuning(1.0, kappa, kind)
    lam = tuning.momentum * (1 + _STEP * np.array([-4, -1, 1, 4]))
    a = lam if kind == "NAG" else 0 * lam
    return np.asarray(_worst(tuning.learning_rate * kappa, lam, a, kappa)) - tuning.rate


def checks(data: xr.Dataset) -> list[Check]:
    """Measured rates and powers of n against the closed forms; growth with κ; no better point; the cusp."""
    found = []
    for kind in data["optimizer"].values:
        cell = data.sel(optimizer=kind)
        digits = -1 / np.log(cell["measured"].values)
        growth = np.log(digits[-1] / digits[-2]) / np.log(cell["kappa"].values[-1] / cell["kappa"].values[-2])
        gap = np.abs(cell["measured"] - cell["rate"]).max()
        power = np.abs(cell["power"] - (kind != "GD")).max()
        order = 1.0 if kind == "GD" else 0.5
        found += [
            Check(f"{kind}: largest |measured rate - closed form|", gap, 0, 2e-7, "within", _LRP),
            Check(f"{kind}: largest deviation of the power of n", power, 0, 0.002, "within", _POWER),
            Check(
                f"{kind}: iterations grow like κ to the",
                growth,
                order,
                0.03,
                "within",
                "log of the closed form",
            ),
        ]
    last = data["measured"].isel(kappa=-1)
    root_3 = np.log(last.sel(optimizer="HB")) / np.log(last.sel(optimizer="NAG"))
    found.append(
        Check("NAG's iterations over HB's, largest κ", root_3, 3**0.5, 0.03, "within", "√3 as κ → ∞, by hand")
    )
    for kind in data["landscape"].values:
        least = data["worst"].sel(landscape=kind).min()
        optimum = mf.optimal_tuning(1.0, data.attrs["shown"], kind).rate
        found.append(Check(f"{kind}: least rate on the grid", least, optimum, 1e-12, "at least", _LRP))
    return [*found, *_cusp(data)]


def _cusp(data: xr.Dataset) -> list[Check]:
    """Exponents of the growth of HB's rate on both sides of the best λ, from distances 1 : 4."""
    far_below, below, above, far_above = data["beside"].sel(landscape="HB").values
    source = "by hand: below, the double roots part like the root of the distance; above, |ρ| = √λ"
    return [
        Check("HB: exponent below the best λ", np.log2(far_below / below) / 2, 0.5, 0.01, "within", source),
        Check("HB: exponent above the best λ", np.log2(far_above / above) / 2, 1.0, 0.01, "within", source),
    ]


def plot(data: xr.Dataset) -> Figure:
    """Rates, iterations per digit; the worst rate over (hL, λ) for HB and NAG with what is best for a given h or λ."""
    with _plot.style():
        figure = _plot.figure(8.6, 7.4)
        (left, right), bottom = figure.subplots(2, 2)
        _draw_rates(left, right, data)
        for ax, kind in zip(bottom, data["landscape"].values, strict=True):
            mesh = _draw_landscape(ax, data.sel(landscape=kind), str(kind), data.attrs["shown"])
        bottom[0].legend(loc="lower left", frameon=True, edgecolor="none", framealpha=0.85)
        figure.colorbar(mesh, ax=list(bottom), label=r"worst rate $\max|\rho|$", pad=0.01)
    return figure


def _draw_rates(left: Axes, right: Axes, data: xr.Dataset) -> None:
    root = np.sqrt(np.geomspace(1.2, float(data["kappa"].max()), 200))
    for kind in data["optimizer"].values:
        style, dots = _plot.of(str(kind)), data["measured"].sel(optimizer=kind)
        line = np.array(mf.optimal_tuning(1.0, root**2, str(kind)).rate)
        x = np.sqrt(data["kappa"])
        for ax, curve, seen in ((left, line, dots), (right, -1 / np.log10(line), -1 / np.log10(dots))):
            ax.plot(root, curve, color=style.color, lw=1.2)
            ax.plot(x, seen, **style.line(ms=7, mec="white", mew=0.6), label=str(kind))
    left.set(xlabel=r"$\sqrt{\kappa}$", ylabel="rate per iteration", title="Iterates (dots) and closed forms")
    right.set(xlabel=r"$\sqrt{\kappa}$", ylabel="iterations per decimal digit", title="What a digit costs")
    left.set_xscale("log")
    right.set(xscale="log", yscale="log")
    left.legend(loc="lower right")


def _draw_landscape(ax: Axes, cell: xr.Dataset, kind: str, kappa: float) -> QuadMesh:
    x, lam, worst = cell["x"].values, cell["momentum"].values, cell["worst"].values
    stable = np.where(worst < 1, worst, np.nan)
    mesh = ax.pcolormesh(x, lam, stable, cmap="viridis_r", vmin=0.65, vmax=1, rasterized=True)
    ax.contour(x, lam, worst, levels=_LEVELS, colors="white", linewidths=0.6)
    columns = np.linspace(0, _LARGEST[kind], cell["best_momentum"].size + 2)[1:-1]
    ax.plot(columns, cell["best_momentum"], color="#d55e00", lw=1.4, label=r"best $\lambda$ for $h$")
    ax.plot(cell["best_x"], cell["given"], color="#d55e00", lw=1.4, ls="--", label=r"best $h$ for $\lambda$")
    best = mf.optimal_tuning(1.0, kappa, kind)
    ax.plot(
        best.learning_rate * kappa, best.momentum, "*", color="white", mec="black", ms=14, label="optimum"
    )
    ax.set(xlim=(0, _LARGEST[kind]), ylim=(0, 1), xlabel="$hL$", ylabel=r"momentum $\lambda$")
    ax.set_title(rf"{kind}, $\kappa = {kappa:g}$: best rate {best.rate:.4f}")
    ax.grid(False)
    ax.set_facecolor("#d9d9d9")
    return mesh
