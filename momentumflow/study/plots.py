"""Pictures of a convergence study."""

from typing import TYPE_CHECKING, Any

import numpy as np

from .orders import ASYMPTOTIC, PRE, ConvergenceStudy

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_convergence(study: ConvergenceStudy, ax: "Axes | None" = None, **style: Any) -> "Axes":
    """Errors against h, log-log: filled where asymptotic, hollow elsewhere, with a reference slope."""
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.subplots(layout="constrained")[1]
    style = {"marker": "o", "label": study.label or None, **style}
    (line,) = ax.loglog(study.learning_rates, study.errors, base=2, fillstyle="none", **style)
    regimes = np.array(study.regimes)
    settled = regimes == ASYMPTOTIC
    ax.plot(
        study.learning_rates[settled],
        study.errors[settled],
        linestyle="none",
        marker=style["marker"],
        color=line.get_color(),
    )
    ax.set_yscale("log", base=10)
    if settled.any():
        order = round(2 * study.order) / 2
        reference_slope(ax, study.learning_rates[settled], study.errors[settled], order)
    rough = regimes == PRE
    if rough.any() and settled.any():
        ax.axvline(study.learning_rates[rough].min(), color="0.8", linewidth=0.8, zorder=0)
    ax.set_xlabel("learning rate $h$")
    ax.set_ylabel(r"$\max_n |u_n - u(t_n)|$")
    return ax


def reference_slope(ax: "Axes", x: np.ndarray, y: np.ndarray, order: float) -> None:
    """A dotted line of the given slope just below the points."""
    line = 0.5 * y[-1] * (x / x[-1]) ** order
    ax.plot(x, line, linestyle=":", color="0.4", linewidth=1)
    ax.annotate(f"$h^{{{order:g}}}$", (x[0], line[0]), fontsize=9, color="0.3", va="top")
