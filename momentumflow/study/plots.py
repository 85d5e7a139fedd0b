"""Pictures of a convergence study."""

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _plot
from .orders import ASYMPTOTIC, ConvergenceStudy

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_convergence(study: ConvergenceStudy, ax: "Axes | None" = None, **style: Any) -> "Axes":
    """Errors against h, log-log: filled where asymptotic, hollow elsewhere, with a reference slope."""
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.subplots(layout="constrained")[1]
    style = {"marker": "o", "label": study.label or None, **style}
    (line,) = ax.plot(study.learning_rates, study.errors, fillstyle="none", **style)
    settled = np.array([regime == ASYMPTOTIC for regime in study.regimes])
    h, errors = study.learning_rates[settled], study.errors[settled]
    ax.plot(h, errors, linestyle="none", marker=style["marker"], color=line.get_color())
    ax.set_yscale("log")
    _plot.log2_axis(ax, study.learning_rates)
    if settled.any():
        order = round(2 * study.order) / 2
        _plot.reference_slope(ax, h, 0.5 * errors[-1] * (h[0] / h[-1]) ** order, order)
    ax.set_xlabel("learning rate $h$")
    ax.set_ylabel(r"$\max_n |u_n - u(t_n)|$")
    return ax
