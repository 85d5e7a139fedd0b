"""Figures 1 and 3: iterates beside a model, HB and NAG, κ against h."""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import momentumflow as mf

from .. import _plot
from .._progress import Progress
from . import _quadratic as quadratic


@dataclass(frozen=True)
class Config:
    """λ, the condition numbers κ, the learning rates h = 2^-k, and the final time T."""

    momentum: float = 0.9
    condition_numbers: tuple[float, ...] = (1.0, 5.0, 20.0)
    exponents: tuple[int, ...] = (4, 5, 6, 8)
    final_time: float = 2.0


def run(
    config: Config, flow: Callable[[mf.MomentumMethod], mf.AbstractFlow], progress: Progress
) -> xr.Dataset:
    """Iterates, the model at the times of the finest ones, and the distance at the times of each."""
    rates = [2.0**-k for k in config.exponents]
    grid = min(rates) * np.arange(round(config.final_time / min(rates)) + 1)
    cells = [(name, kappa) for name in quadratic.METHODS for kappa in config.condition_numbers]
    rows: dict[str, list[np.ndarray]] = {"iterates": [], "curve": [], "distance": []}
    for done, (name, kappa) in enumerate(cells):
        progress.update(done, len(cells), label=f"{name}, κ = {kappa:g}")
        iterates, curves, distances = zip(
            *(_one(config, flow, name, kappa, h, grid) for h in rates), strict=True
        )
        rows["iterates"].append(quadratic.padded(list(iterates), len(grid)))
        rows["curve"].append(np.stack(curves))
        rows["distance"].append(np.array(distances))
    return _labelled(config, rows, rates, grid)


def _labelled(
    config: Config, rows: dict[str, list[np.ndarray]], rates: list[float], grid: np.ndarray
) -> xr.Dataset:
    dims = {"iterates": ("iteration", "component"), "curve": ("time", "component"), "distance": ()}
    shape = (len(quadratic.METHODS), len(config.condition_numbers))
    return xr.Dataset(
        {
            key: (("optimizer", "kappa", "h", *dims[key]), np.stack(row).reshape(*shape, *row[0].shape))
            for key, row in rows.items()
        },
        {
            "optimizer": list(quadratic.METHODS),
            "kappa": ("kappa", list(config.condition_numbers), {"symbol": "κ"}),
            "h": ("h", rates, {"symbol": "h"}),
            "iteration": ("iteration", np.arange(len(grid)), {"symbol": "n"}),
            "time": ("time", grid, {"symbol": "t"}),
            "component": ["u1", "u2"],
        },
        {"momentum": config.momentum, "final_time": config.final_time},
    )


def _one(
    config: Config,
    flow: Callable[[mf.MomentumMethod], mf.AbstractFlow],
    name: str,
    kappa: float,
    h: float,
    grid: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, float]:
    method, loss = quadratic.method(name, h, config.momentum), quadratic.problem(kappa)
    start = jnp.array(quadratic.START)
    iterates = np.asarray(mf.iterate(method, loss, start, round(config.final_time / h)).params)
    curve = np.asarray(mf.solve(flow(method), loss, start, grid).params)
    gap = np.linalg.norm(iterates - curve[:: round(h / grid[1])], axis=1)
    return iterates, curve, float(gap.max())


def plot(data: xr.Dataset, model: str, one_curve: bool) -> Figure:
    """A 2 × 3 panel in the plane of u: a row for a method, a column for κ, a colour for h.

    `one_curve`: the model does not depend on h, so it is drawn once.
    """
    colors = _plot.sequence(data.sizes["h"])
    with _plot.style():
        figure = _plot.figure(8.0, 5.4)
        axes = figure.subplots(data.sizes["optimizer"], data.sizes["kappa"], squeeze=False)
        for row, name in zip(axes, data["optimizer"].values, strict=True):
            for ax, kappa in zip(row, data["kappa"].values, strict=True):
                _panel(ax, data.sel(optimizer=name, kappa=kappa), model, colors, one_curve)
                ax.set_title(f"{name}, κ = {kappa:g}")
        handles, _ = axes[0, 0].get_legend_handles_labels()
        line = _plot.of(model).line(**({} if one_curve else {"color": "0.35"}))
        handles.append(Line2D([], [], **line, label=model))
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _panel(ax: Axes, data: xr.Dataset, model: str, colors: list, one_curve: bool) -> None:
    """For κ = 1 the two components are the same, so the time stands on the abscissa instead of u₁."""
    against_time = float(data["kappa"]) == 1
    shown = 1 if against_time else (0, 1)
    for h, color in zip(data["h"].values, colors, strict=True):
        here = data.sel(h=h)
        iterates = _trajectory(here["iteration"].values * h, here["iterates"].values)
        dots = {"marker": "o", "linestyle": "none", "color": color, "markersize": 2.5, "zorder": 3}
        mf.plot.trajectories(iterates, ax, f"$h=2^{{{int(np.log2(h))}}}$", shown, **dots)
        if one_curve and h != data["h"].values[0]:
            continue
        changes = (
            {"linewidth": 2, "zorder": 4} if one_curve else {"color": color, "linewidth": 1.1, "zorder": 2}
        )
        curve = _trajectory(data["time"].values, here["curve"].values)
        mf.plot.trajectories(curve, ax, "", shown, **mf.plot.look(model, **changes))
    if against_time:
        ax.set(xlabel="$t = nh$", ylabel="$u_1 = u_2$")


def _trajectory(times: np.ndarray, params: np.ndarray) -> mf.Trajectory:
    """What was stored, as it came from `iterate` or `solve`."""
    return mf.Trajectory(jnp.asarray(times), jnp.asarray(params), None, jnp.array(-1), jnp.array(0))
