"""The drawing of Figure 7: local slopes against h, for every ladder of step sizes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import _plot
from ..study.orders import ConvergenceStudy

_LOOK: dict[str, dict[str, Any]] = {
    "digits, fixed T": {"ls": "-", "lw": 1.1, "ms": 4.5},
    "digits, fixed number of steps": {"ls": ":", "lw": 1, "ms": 4.5, "fillstyle": "none"},
    "500 epochs": {"ls": "-", "lw": 1.1, "ms": 5},
    "T of 448 epochs at 2^-6": {"ls": "--", "lw": 1, "ms": 5},
    "1 epoch": {"ls": ":", "lw": 1, "ms": 4.5, "fillstyle": "none"},
    "fixed small T": {"ls": "-", "lw": 1.4, "ms": 5},
    "fixed small T, float64": {"ls": "none", "ms": 9, "fillstyle": "none"},
}
LADDERS = tuple(_LOOK)
_ROWS = {"digits (64-16-8, tanh)": LADDERS[:2], "MNIST (784-1000-500-250-30, ReLU)": LADDERS[2:]}
_PANELS = ((("HB", "NAG"), 1.0, "(35)"), (("HB-mu", "NAG-mu"), 0.5, "(36)"))
Study = Callable[[xr.Dataset, str, str], ConvergenceStudy]


def draw(data: xr.Dataset, study: Study) -> Figure:
    """Two rows of two panels."""
    with _plot.style():
        figure = _plot.figure(9.0, 6.2)
        axes = figure.subplots(2, 2, sharey=True)
        for row, (network, ladders) in zip(axes, _ROWS.items(), strict=True):
            for ax, (names, order, limit) in zip(row, _PANELS, strict=True):
                _panel(ax, data, study, names, order, ladders)
                ax.set_title(f"against {limit}: {network}", fontsize=9.5)
            row[0].set_ylabel(r"slope $\Delta(h)$")
        for ax in axes[-1]:
            ax.set_xlabel("learning rate $h$")
    return figure


def _panel(
    ax: Axes, data: xr.Dataset, study: Study, names: tuple[str, ...], order: float, ladders: tuple[str, ...]
) -> None:
    drawn: dict[str, list[float]] = {}
    for ladder in ladders:
        for name in names:
            found = study(data, name, ladder)
            if len(found.learning_rates) < 2:
                continue
            style = _plot.of(name.replace("mu", "μ"))
            look = {"color": style.color, "marker": style.marker or "o"} | _LOOK[ladder]
            ax.plot(found.learning_rates[:-1], found.orders, **look)
            drawn.setdefault(ladder, []).extend(found.learning_rates[:-1])
    ax.axhspan(order - 0.15, order + 0.15, color="#dddddd", zorder=0, lw=0)
    if drawn:
        _plot.log2_axis(ax, np.unique(np.concatenate(list(drawn.values()))), most=6)
        ax.invert_xaxis()
    ax.set(ylim=(-0.1, 1.6))
    _legend(ax, names, tuple(drawn))


def _legend(ax: Axes, names: tuple[str, ...], ladders: tuple[str, ...]) -> None:
    """Colours are methods, lines are ladders."""
    styles = [(name.replace("mu", "μ"), _plot.of(name.replace("mu", "μ"))) for name in names]
    handles = [
        ax.plot([], [], color=style.color, marker=style.marker or "o", label=label)[0]
        for label, style in styles
    ]
    handles += [
        ax.plot([], [], color="#555555", marker="o", label=ladder.removeprefix("digits, "), **_LOOK[ladder])[
            0
        ]
        for ladder in ladders
    ]
    ax.legend(handles=handles, loc="upper right", ncols=2, fontsize=7.5)
