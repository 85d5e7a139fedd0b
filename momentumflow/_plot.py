"""One look for every figure: style, one colour for each method and model, axes of powers of two."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from jaxtyping import ArrayLike
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, QuadMesh
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ._errors import unknown

# Tol's "bright", for what has no colour of its own below.
_CYCLE = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb")

# Text as paths: an SVG that asks for a font looks different on every machine.
_RC: dict[Any, Any] = {
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "svg.fonttype": "path",
    "svg.hashsalt": "momentumflow",
    "font.family": "DejaVu Sans",
    "mathtext.fontset": "dejavusans",
    "font.size": 10,
    "axes.prop_cycle": cycler(color=_CYCLE),
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
}


@dataclass(frozen=True)
class Style:
    """How one method or model is drawn, in every figure."""

    color: str
    linestyle: Any = "-"
    marker: str = ""

    def line(self, **changes: Any) -> dict[str, Any]:
        """Keywords for `Axes.plot`, with changes."""
        return {"color": self.color, "linestyle": self.linestyle, "marker": self.marker} | changes


# Okabe & Ito's palette for the names that share a figure most often, Tol's "muted" for the others:
# methods have markers, models have lines.
MODEL_STYLE = {
    "GD": Style("#000000", "none", "."),
    "HB": Style("#0072b2", "none", "o"),
    "NAG": Style("#d55e00", "none", "s"),
    "GF (35)": Style("#999933", "none", "^"),
    "HB-μ": Style("#56b4e9", "none", "D"),
    "NAG-μ": Style("#e69f00", "none", "v"),
    "Wilson (36)": Style("#aa4499", "none", "P"),
    "Nesterov sequence (4)": Style("#882255", "none", "X"),
    "gradient flow (2)": Style("#777777", ":"),
    "rescaled gradient flow (8)": Style("#009e73", "--"),
    "momentum ODE (11)": Style("#cc79a7", "-"),
    "higher-order ODE (13)": Style("#b09000", (0, (5, 1, 1, 1))),
    "slow flow (20)": Style("#332288", "-."),
    "(19) as printed": Style("#661100", "-"),
    "inertial flow": Style("#117733", "-"),
    "phase flow": Style("#cc6677", (0, (3, 1, 1, 1, 1, 1))),
    "principal flow": Style("#44aa99", (0, (6, 2))),
    "strongly convex ODE": Style("#6a3d9a", "-"),
    "Su–Boyd–Candès ODE": Style("#8c564b", "-"),
}

# A sequence for a parameter that grows (λ, h, κ): plasma, cut before its pale end; it has no green, the
# colour of the rescaled gradient flow that such figures are drawn against.
_SEQUENCE_END = 0.85
_GREY = "#555555"


def of(name: str) -> Style:
    """The style of a method or model; an unknown name raises `ValueError` with the nearest."""
    if name not in MODEL_STYLE:
        raise unknown("method or model", name, MODEL_STYLE)
    return MODEL_STYLE[name]


def sequence(n: int) -> list[Any]:
    """n colours, dark to light, for the n values of a parameter."""
    return [mpl.colormaps["plasma"](x) for x in np.linspace(0, _SEQUENCE_END, n)]


@contextmanager
def style() -> Iterator[None]:
    """The rc settings of the house, for drawing and for saving; matplotlib's own are left as they were.

    >>> import matplotlib, momentumflow as mf
    >>> with mf.plot.style():
    ...     matplotlib.rcParams["axes.spines.top"]
    False
    """
    with mpl.rc_context(_RC):
        yield


def figure(width: int | float = 7.0, height: int | float = 3.2) -> Figure:
    """An empty figure, in inches, outside pyplot: no backend is chosen and nothing stays open.

    >>> import momentumflow as mf
    >>> mf.plot.figure(4, 3).get_size_inches().tolist()
    [4.0, 3.0]
    """
    return Figure(figsize=(width, height), layout="constrained")


def axes(ax: Axes | None) -> Axes:
    """The axes given, or those of a new pyplot figure, which a notebook shows."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(layout="constrained")[1]


def rasterise_dense(figure: Figure, most: int = 2000) -> None:
    """Draws what has more than `most` markers or cells as pixels: a vector file would be slow to open."""
    for artist in figure.findobj(lambda a: isinstance(a, Line2D | PathCollection | QuadMesh)):
        artist.set_rasterized(bool(artist.get_rasterized() or _marks(artist) > most))


def _marks(artist: Any) -> int:
    if isinstance(artist, Line2D):
        return 0 if artist.get_marker() in ("", " ", "None", "none", None) else np.size(artist.get_xdata())
    marks = artist.get_offsets() if isinstance(artist, PathCollection) else np.ravel(artist.get_array())
    return len(np.asarray(marks))


def log2_axis(ax: Axes, values: ArrayLike, which: str = "x", most: int = 7) -> None:
    """A logarithmic axis whose ticks are powers of two within `values`, at most `most` of them."""
    exponents = np.log2(np.asarray(values, float))
    low, high = int(np.ceil(exponents.min() - 1e-9)), int(np.floor(exponents.max() + 1e-9))
    step = max(1, -(-(high - low + 1) // most))
    ticks = range(high, low - 1, -step)
    getattr(ax, f"set_{which}scale")("log", base=2)
    axis = getattr(ax, f"{which}axis")
    axis.set_ticks([2.0**k for k in ticks], [f"$2^{{{k}}}$" for k in ticks])
    axis.set_ticks([], minor=True)


def reference_slope(
    ax: Axes, x: ArrayLike, y: ArrayLike, order: int | float, label: str | None = None
) -> None:
    """The line y (x/x₀)^order in log-log axes, x₀ the largest x, with its order written beside it."""
    x = np.sort(np.asarray(x, float))
    ax.plot(x, y * (x / x[-1]) ** order, color=_GREY, linewidth=0.9, linestyle=(0, (1, 1.5)), zorder=1)
    third = x[0] ** (2 / 3) * x[-1] ** (1 / 3)
    ax.annotate(
        f"slope {order:g}" if label is None else label,
        (third, y * (third / x[-1]) ** order),
        xytext=(4, -2),
        textcoords="offset points",
        fontsize=8,
        color=_GREY,
        va="top",
    )
