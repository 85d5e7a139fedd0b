"""Printed and right: the errata, each computed both ways.

One row for each number: the form that a source prints, the right one, and the number found by a route that uses
neither. A printed form is shown as refuted, a right one as held. [KS] is Kovachki & Stuart (2021), [Q] the poster on
Qian (1999), [G] Ghosh et al. (ICLR 2023). Symbols: λ (β in [G]) momentum, a look-ahead, λ̄ = 1/(1-λ),
α = ½(1+λ-2a(1-λ)), h learning rate, e_n distance from the invariant manifold.

For Theorem 3 also the constants of the layer, max |u_n - u(nh)|/(h|f(u₀)|) with each initial velocity of (11): for
heavy ball the right velocity makes it small, for Nesterov none does, since the layer decays like λⁿ for every a and
(11) has e^{-n(1-λ)/α}. For (13) the growth Re σ/h of its fastest mode, p = 2 … 12.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import _plot
from .._progress import Progress
from . import _errata_manifold, _errata_models, _errata_others
from . import _quadratic as quadratic
from ._errata import Row
from .checks import Check


@dataclass(frozen=True)
class Config:
    """Random draws for the expectations of [G], and the seed of what is random."""

    draws: int = 400_000
    seed: int = 0


PRESETS = {"quick": Config(), "full": Config(draws=10_000_000)}

# From an independent computation, to two digits: max Re σ of (13) at λ = 0.9, p = 5, …, 12.
_GROWTH = (0.01, 1.36, 1.41, 2.54, 2.59, 3.79, 3.86, 5.18)
_TERMS = range(2, 13)
_NUMBERS = ("printed", "right", "reference", "tolerance")
_WORDS = ("where", "quantity", "route", "relation", "see")
_SMALLEST = 1e-13  # deviations below are drawn there
_COLORS = {"printed": "#661100", "right": "#228833"}


def run(config: Config, progress: Progress) -> xr.Dataset:
    """Every row, the constants of Theorem 3's layer, and the growth of (13)."""
    parts = (
        ("the models of [KS]", _errata_models.rows),
        ("the manifold of [KS]", lambda: _errata_manifold.rows(config.seed)),
        ("(36), [Q] and [G]", lambda: _errata_others.rows(config.draws, config.seed)),
    )
    rows: list[Row] = []
    for done, (label, make) in enumerate(parts):
        progress.update(done, len(parts), label=label)
        rows += make()
    measured, limit = _errata_models.layer_constants()
    columns = {name: ("row", [getattr(row, name) for row in rows]) for name in (*_NUMBERS, *_WORDS)}
    forms = {
        f"{name}_form": ("row", [row.forms[i] for row in rows]) for i, name in enumerate(("printed", "right"))
    }
    dims, symbol = ("optimizer", "velocity"), {"symbol": "max |u_n - u(nh)|/(h|f|)"}
    return xr.Dataset(
        {
            **columns,
            **forms,
            "layer": (dims, measured, symbol),
            "layer_limit": (dims, limit, symbol),
            "growth": ("terms", [_errata_models.growth(p)[0] for p in _TERMS], {"symbol": "max Re σ"}),
        },
        {
            "optimizer": list(quadratic.METHODS),
            "velocity": list(_errata_models.VELOCITIES),
            "terms": ("terms", list(_TERMS), {"symbol": "p"}),
        },
    )


def checks(data: xr.Dataset) -> list[Check]:
    """Printed forms refuted, right ones held; the layer's constants; the growth of (13)."""
    rows = [check for i in data["row"].values for check in _row(data.isel(row=i))]
    return [*rows, *_layer(data), *_growth(data)]


def _row(cell: xr.Dataset) -> list[Check]:
    text = {name: str(cell[name].values) for name in (*_WORDS, "printed_form", "right_form")}
    source = text["route"] + (f"; at length in {text['see']}" if text["see"] else "")
    return [
        Check(
            f"{text['where']}, {form}: {text['quantity']}; {text[f'{form}_form']}",
            cell[form],
            cell["reference"],
            cell["tolerance"],
            text["relation"],
            source,
            refutes=form == "printed",
        )
        for form in ("printed", "right")
        if not np.isnan(cell[form])
    ]


def _layer(data: xr.Dataset) -> list[Check]:
    source = "its limit h → 0, where f is constant: both layers in closed form"
    return [
        Check(
            f"[KS] Theorem 3, {name}, λ = 0.9: error/(h|f|) in the layer, {velocity} velocity",
            data["layer"].sel(optimizer=name, velocity=velocity),
            limit := float(data["layer_limit"].sel(optimizer=name, velocity=velocity)),
            0.01 * limit,
            "within",
            source,
        )
        for name in data["optimizer"].values
        for velocity in data["velocity"].values
    ]


def _growth(data: xr.Dataset) -> list[Check]:
    source = "an independent computation, given to two digits"
    return [
        Check(
            f"[KS] (13), p = {p}, λ = 0.9: max Re σ",
            data["growth"].sel(terms=p),
            expected,
            0.006,
            "within",
            source,
        )
        for p, expected in zip(range(5, 13), _GROWTH, strict=True)
    ]


def deviation(data: xr.Dataset, form: str) -> np.ndarray:
    """By how much a form misses the reference, relative to it; for bounds, by how much it violates them."""
    reference = data["reference"].values
    gap = data[form].values - reference
    sign = {"within": np.abs, "at most": lambda x: np.maximum(x, 0), "at least": lambda x: np.maximum(-x, 0)}
    missed = np.array([sign[str(r)](g) for r, g in zip(data["relation"].values, gap, strict=True)])
    return missed / np.where(reference == 0, 1, np.abs(reference))


def plot(data: xr.Dataset) -> Figure:
    """How far the printed and the right form are from what was measured, row by row."""
    with _plot.style():
        figure = _plot.figure(8.6, 0.29 * data.sizes["row"] + 1.2)
        ax = figure.subplots()
        y = np.arange(data.sizes["row"])
        for form, marker in (("printed", "X"), ("right", "o")):
            x = np.maximum(deviation(data, form), _SMALLEST)
            ax.plot(x, y, marker, color=_COLORS[form], label=f"{form} form", markersize=6, zorder=3)
        _join(ax, data, y)
        names = zip(data["where"].values, data["quantity"].values, strict=True)
        ax.set_yticks(y, [f"{where}: {quantity}" for where, quantity in names], fontsize=8)
        ax.set(
            xscale="log",
            xlim=(_SMALLEST / 3, 30),
            ylim=(len(y) - 0.4, -0.6),
            xlabel="relative distance from the measured number, or violation of the bound",
        )
        ax.set_xticks([1e-12, 1e-9, 1e-6, 1e-3, 1])
        ax.xaxis.label.set_fontsize(9)
        ax.minorticks_off()
        figure.legend(loc="outside upper right", ncols=2)
    return figure


def _join(ax: Axes, data: xr.Dataset, y: np.ndarray) -> None:
    ends = [np.maximum(deviation(data, form), _SMALLEST) for form in ("right", "printed")]
    ax.hlines(y, *ends, color="#bbbbbb", lw=1.2)
