"""Figures 2 and 4: local slopes Δ(h) of HB and NAG to a model, on a ladder deep enough for every κ.

A mode's slope depends on hκ: κ = 20 needs h down to 2^-18 where κ = 1 needs 2^-14, and slopes of 1.0 or 1.5
at coarse h are accidents, so the whole ladder is kept and drawn.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import momentumflow as mf

from .. import _plot
from .._progress import Progress
from . import _quadratic as quadratic
from .checks import Check

Flow = Callable[[mf.MomentumMethod, mf.Quadratic], mf.AbstractFlow]


@dataclass(frozen=True)
class Config:
    """λ, κ with the finest exponent of its ladder h = 2^-4 … 2^-k, the final time, a time after the layer."""

    momentum: float = 0.9
    condition_numbers: tuple[float, ...] = (1.0, 5.0, 20.0)
    finest: tuple[int, ...] = (14, 16, 18)
    final_time: float = 2.0
    late_time: float = 0.5


def run(config: Config, flows: Mapping[str, Flow], progress: Progress, late: str = "") -> xr.Dataset:
    """Errors for every model, method, κ and h; of the model `late` also for t ≥ late_time."""
    variants = [*((label, 0.0) for label in flows), *([(late, config.late_time)] if late else [])]
    rates = quadratic.ladder(max(config.finest))
    cells = [
        (variant, name, kappa, finest)
        for variant in variants
        for name in quadratic.METHODS
        for kappa, finest in zip(config.condition_numbers, config.finest, strict=True)
    ]
    rows: dict[str, list[np.ndarray]] = {"error": [], "floor": []}
    for done, ((label, from_time), name, kappa, finest) in enumerate(cells):
        progress.update(done, len(cells), label=f"{label}, {name}, κ = {kappa:g}")
        study = _study(config, flows[label], name, kappa, finest, from_time)
        rows["error"].append(study.errors)
        rows["floor"].append(study.floors)
    shape = (len(variants), len(quadratic.METHODS), len(config.condition_numbers), len(rates))
    dims = ("model", "optimizer", "kappa", "h")
    return xr.Dataset(
        {key: (dims, quadratic.padded(value, len(rates)).reshape(shape)) for key, value in rows.items()},
        {
            "model": [label if t == 0 else f"{label}, late" for label, t in variants],
            "optimizer": list(quadratic.METHODS),
            "kappa": ("kappa", list(config.condition_numbers), {"symbol": "κ"}),
            "h": ("h", rates, {"symbol": "h"}),
        },
        {"momentum": config.momentum, "final_time": config.final_time, "late_time": config.late_time},
    )


def _study(
    config: Config, flow: Flow, name: str, kappa: float, finest: int, from_time: float
) -> mf.ConvergenceStudy:
    loss = quadratic.problem(kappa)
    return mf.convergence_study(
        lambda h: quadratic.method(name, h, config.momentum),
        lambda method: flow(method, loss),
        loss,
        jnp.array(quadratic.START),
        quadratic.ladder(finest),
        config.final_time,
        from_time=from_time,
    )


def study(data: xr.Dataset, model: str, name: str, kappa: float) -> mf.ConvergenceStudy:
    """The ladder of one model, method and κ."""
    cell = data.sel(model=model, optimizer=name, kappa=kappa).dropna("h")
    return mf.ConvergenceStudy(cell["h"].values, cell["error"].values, cell["floor"].values)


def order_checks(
    data: xr.Dataset, model: str, expected: float, words: str, source: str, tolerance: float = 0.1
) -> list[Check]:
    """The last two slopes above the rounding floor, for each method and κ: the worse of them."""
    found = []
    for name in data["optimizer"].values:
        for kappa in data["kappa"].values:
            slopes = study(data, model, name, kappa).last_orders(2)
            worst = slopes[np.argmax(np.abs(slopes - expected))] if len(slopes) == 2 else np.nan
            text = f"{name}, κ = {kappa:g}: order {words}"
            found.append(Check(text, worst, expected, tolerance, "within", source))
    return found


def plot(
    data: xr.Dataset,
    models: Mapping[str, str],
    expected: Mapping[str, float],
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Δ(h) over the whole ladder, a panel for each model; `models` maps keys to titles, `limits` frame order 1."""
    columns = min(len(models), 3)
    rows = -(-len(models) // columns)
    with _plot.style():
        figure = _plot.figure(8.0, 3.2 if rows == 1 else 5.2)
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for ax, (model, title) in zip(axes, models.items(), strict=False):
            _panel(ax, data, model, expected[model])
            ax.set_title(title)
            if limits and expected[model] == 1:
                ax.set_ylim(*limits)
        handles = sorted(axes[0].get_legend_handles_labels()[0], key=_by_condition_number)
        if len(models) < len(axes):
            axes[-1].set_axis_off()
            axes[-1].legend(handles=handles, loc="center", ncols=1)
        else:
            figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _by_condition_number(handle: Artist) -> float:
    """A legend fills its columns first: sorted by κ, each row is a method."""
    return float(str(handle.get_label()).split("=")[1])


def _panel(ax: Axes, data: xr.Dataset, model: str, expected: float) -> None:
    # NAG lies on HB for small h: smaller markers let the lower ones be seen
    for name, size in zip(data["optimizer"].values, (5.0, 2.5), strict=True):
        for kappa, line in zip(data["kappa"].values, ("-", "--", ":"), strict=False):
            cell = data.sel(model=model, optimizer=name, kappa=kappa)
            look = mf.plot.look(str(name), linestyle=line, markersize=size, linewidth=1.1)
            mf.plot.orders(cell, ax, f"{name}, κ = {kappa:g}", **look)
    ax.axhspan(expected - 0.1, expected + 0.1, color="#dddddd", zorder=0, lw=0)
