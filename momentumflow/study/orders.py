"""Local slopes of an error over a ladder of h, and which of them mean anything."""

from typing import TYPE_CHECKING, Any

import equinox as eqx
import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PRE, ASYMPTOTIC, FLOOR, FAILED = "pre-asymptotic", "asymptotic", "rounding", "diverged"
STEADY = 0.1
"""Neighbouring slopes that differ by more are not yet those of the limit."""


class ConvergenceStudy(eqx.Module):
    r"""Errors $e(h) = \max_{t_0 \le t_n \le T} |u_n - u(t_n)|$ (Euclidean norm) and their local slopes.

    **Fields:**

    - `learning_rates`: $h_i$, decreasing, shape `(L,)`.
    - `errors`: $e(h_i)$, shape `(L,)`; infinite where a run or a solve failed.
    - `floors`: what the solver's tolerance and rounding leave of an error, shape `(L,)`.
    - `label`: words for a legend.

    $\Delta_i = \log(e_i/e_{i+1})/\log(h_i/h_{i+1})$ are the `orders`, Kovachki & Stuart (2021), §2.3.

    !!! example

        >>> import numpy as np, momentumflow as mf
        >>> h = 2.0 ** -np.arange(4, 9)
        >>> study = mf.ConvergenceStudy(h, errors=3 * h**2, floors=np.full(5, 1e-9))
        >>> round(study.order, 6), set(study.regimes)
        (2.0, {'asymptotic'})
    """

    learning_rates: Float[np.ndarray, " L"]
    errors: Float[np.ndarray, " L"]
    floors: Float[np.ndarray, " L"]
    label: str = ""

    @property
    def orders(self) -> Float[np.ndarray, " slopes"]:
        """Δ between neighbouring learning rates, shape (L-1,); NaN where an error is not finite."""
        with np.errstate(all="ignore"):
            slopes = np.diff(np.log(self.errors)) / np.diff(np.log(self.learning_rates))
        return np.where(np.isfinite(slopes), slopes, np.nan)

    @property
    def resolved_orders(self) -> Float[np.ndarray, " slopes"]:
        """The `orders` between errors above their floors; NaN for the others, shape (L-1,)."""
        above = np.isfinite(self.errors) & (self.errors > self.floors)
        return np.where(above[:-1] & above[1:], self.orders, np.nan)

    @property
    def regimes(self) -> tuple[str, ...]:
        """For each h: 'diverged', 'rounding', 'asymptotic' (slopes steady to 0.1), or 'pre-asymptotic'."""
        failed = ~np.isfinite(self.errors)
        floored = ~failed & (self.errors <= self.floors)
        settled = self._settled(np.flatnonzero(~failed & ~floored))
        return tuple(
            FAILED if failed[i] else FLOOR if floored[i] else ASYMPTOTIC if i in settled else PRE
            for i in range(len(self.errors))
        )

    def _settled(self, usable: np.ndarray) -> set[int]:
        """The finest points that agree on a slope: at least three points, two slopes."""
        chosen = list(usable[-3:])
        if len(chosen) < 3:
            return set()
        with np.errstate(all="ignore"):
            slopes = np.diff(np.log(self.errors[usable])) / np.diff(np.log(self.learning_rates[usable]))
        if not abs(slopes[-1] - slopes[-2]) <= STEADY:
            return set()
        for i in range(len(slopes) - 3, -1, -1):
            if not abs(slopes[i] - slopes[-1]) <= STEADY:
                break
            chosen.append(usable[i])
        return {int(i) for i in chosen}

    @property
    def order(self) -> float:
        """The slope at the finest two asymptotic points; NaN when the slopes have not settled."""
        points = [i for i, regime in enumerate(self.regimes) if regime == ASYMPTOTIC]
        if not points:
            return float("nan")
        i, j = points[-2:]
        return float(
            np.log(self.errors[i] / self.errors[j]) / np.log(self.learning_rates[i] / self.learning_rates[j])
        )

    def last_orders(self, count: int = 2) -> Float[np.ndarray, " count"]:
        """The finest local slopes above the rounding floor."""
        slopes = self.resolved_orders
        return slopes[~np.isnan(slopes)][-count:]

    def __str__(self) -> str:
        rows = [f"{'h':>12} {'error':>10} {'order':>6}  regime"]
        orders = (np.nan, *self.orders)
        for h, e, order, regime in zip(self.learning_rates, self.errors, orders, self.regimes, strict=True):
            rows.append(f"{h:12.4e} {e:10.3e} {order:6.2f}  {regime}")
        return "\n".join(rows)

    def plot(self, ax: "Axes | None" = None, reference: bool = True, **style: Any) -> "Axes":
        """Errors against h, log-log: filled where asymptotic, hollow elsewhere, with a reference slope.

        **Arguments:** `ax`: matplotlib axes, by default new ones; `reference`: draw the line of the order
        found, to the nearest half; `style`: as for `Axes.plot`. **Returns:** the axes.
        """
        from .. import _plot

        ax = _plot.axes(ax)
        style = {"marker": "o", "label": self.label or None, **style}
        (line,) = ax.plot(self.learning_rates, self.errors, fillstyle="none", **style)
        settled = np.array([regime == ASYMPTOTIC for regime in self.regimes])
        h, errors = self.learning_rates[settled], self.errors[settled]
        size, color = line.get_markersize(), line.get_color()
        ax.plot(h, errors, linestyle="none", marker=line.get_marker(), markersize=size, color=color)
        ax.set_yscale("log")
        _plot.log2_axis(ax, self.learning_rates)
        if reference and settled.any():
            order = round(2 * self.order) / 2
            _plot.reference_slope(ax, h, 0.5 * errors[-1] * (h[0] / h[-1]) ** order, order)
        ax.set_xlabel("learning rate $h$")
        ax.set_ylabel(r"$\max_n |u_n - u(t_n)|$")
        return ax
