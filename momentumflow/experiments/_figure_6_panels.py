"""The drawing of Figure 6: tables of errors as coloured cells, and the μ that the rows tell of."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import _plot
from . import _published_table as table

_NAMES = {"Wilson": "Wilson (36)", "HB-mu": "HB-μ", "NAG-mu": "NAG-μ"}
_LOOK: dict[str, dict[str, Any]] = {
    "printed": {"marker": "o", "ls": "none", "ms": 6},
    "printed, on our curve": {"marker": "D", "ls": "none", "ms": 5},
    "trained": {"marker": "s", "ls": "none", "ms": 5, "fillstyle": "none"},
}


def draw(data: xr.Dataset, error: xr.DataArray, mnist: xr.DataArray) -> Figure:
    """Tables below each other, the μ of the rows to the right of the last."""
    paper = data.attrs["dataset"] == "mnist"
    with _plot.style():
        figure = _plot.figure(9.6, 4.4 if paper else 7.2)
        rows = figure.subfigures(1 if paper else 2, 1, squeeze=False)[:, 0]
        if not paper:
            ax = rows[0].subplots()
            _cells(ax, error, data["status"], False)
            ax.set_title(_title(data), fontsize=9.5)
        left, right = rows[-1].subplots(1, 2, width_ratios=(3.2, 1))
        _cells(left, mnist, data["mnist_status"], True)
        left.set_title(
            "MNIST, 500 epochs of 300 steps, as far as it has been run: computed, and printed", fontsize=9.5
        )
        _implied(right, data)
    return figure


def _title(data: xr.Dataset) -> str:
    attrs = data.attrs
    return (
        f"Squared error of an image, {attrs['dataset']}: {attrs['epochs']} epochs, λ = {attrs['momentum']:g}, "
        f"μ = {attrs['strong_convexity']:g}; {attrs['pixels'] * attrs['initial_error']:.4g} at the start"
    )


def _cells(ax: Axes, error: xr.DataArray, status: xr.DataArray, printed: bool) -> None:
    ax.imshow(np.log(_shade(error, printed)), cmap="viridis", aspect="auto", alpha=0.6)
    names = error["optimizer"].values
    for i, name in enumerate(names):
        for j, h in enumerate(error["h"].values):
            beside = _beside(name, h) if printed else ""
            _write(ax, (j, i), error[i, j].item(), str(status.values[i, j]), beside)
    exponents = np.round(np.log2(error["h"].values)).astype(int)
    ax.set_xticks(range(len(exponents)), [f"$2^{{{k}}}$" for k in exponents])
    ax.set_yticks(range(len(names)), [str(n).replace("mu", "μ") for n in names])
    ax.grid(False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("learning rate $h$")


def _shade(error: xr.DataArray, printed: bool) -> np.ndarray:
    """Cells that were not run are coloured by the printed number, and left white where that is not known."""
    if not printed:
        return error.values
    known = [[table.published(name, h) for h in error["h"].values] for name in error["optimizer"].values]
    return np.where(np.isfinite(error.values), error.values, np.array(known))


def _beside(name: str, h: float) -> str:
    number = table.published(name, h)
    if round(-np.log2(h)) not in table.EXPONENTS:
        return ""
    return "paper: n/a" if np.isnan(number) else f"paper: {number:.3f}"


def _write(ax: Axes, cell: tuple[int, int], error: float, status: str, beside: str) -> None:
    reason = status.removeprefix("n/a: ").replace("error not below the initial one", "not below\nthe initial")
    if np.isfinite(error):
        text = f"{error:.3f}"
    elif status == "not run":
        text = ""
    else:
        text = f"n/a\n{reason.replace('diverged at', 'diverged at' + chr(10))}"
    size = 10 if np.isfinite(error) and not beside else 8
    ax.text(*cell, f"{text}\n{beside}".strip() or "–", ha="center", va="center", fontsize=size)


def _implied(ax: Axes, data: xr.Dataset) -> None:
    h = data["h"].values
    for kind, look in _LOOK.items():
        for name in data["tuned"].values:
            values = data["implied"].sel(kind=kind, tuned=name).values
            color = _plot.of(_NAMES[str(name)]).color
            ax.plot(h, values, **look, color=color, label=f"{name}, {kind}".replace("mu", "μ"))
    for mu in (0.5, 1.0):
        ax.axhline(mu, color="#555555", lw=0.8, zorder=0)
    _plot.log2_axis(ax, h, most=4)
    ax.invert_xaxis()
    ax.set(xlabel="$h$", ylim=(0.3, 1.2), yticks=(0.5, 0.75, 1.0))
    ax.set_title("μ by the effective rate", fontsize=9.5)
    handles = [
        ax.plot([], [], color="#555555", **look, label=kind.replace(", ", ",\n"))[0]
        for kind, look in _LOOK.items()
    ]
    ax.legend(handles=handles, loc="center right", fontsize=8)
