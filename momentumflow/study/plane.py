"""The plane of hk and λ as a picture: regimes in colour, the deeper the faster; levels of max |ρ|; borders."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ..linear import family

COLORS = dict(zip(family.REGIMES, ("#117733", "#4477aa", "#cc6a00", "#8c8c8c"), strict=True))
BORDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "x₋": (r"$x_-$", {"ls": "-", "lw": 1.3}),
    "x₊": (r"$x_+$", {"ls": "--", "lw": 1.3}),
    "sign": (r"$\frac{1+\lambda}{1+a}$", {"ls": ":", "lw": 1.8}),
    "stability": (r"$\frac{2(1+\lambda)}{1+2a}$", {"ls": "-", "lw": 2.4}),
}
_LEVELS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


@jax.jit
def cells(x: ArrayLike, momentum: ArrayLike, lookahead: ArrayLike) -> tuple[Array, Array]:
    """max |ρ| and the regime of each cell of the plane."""
    cell = (x, momentum, lookahead)
    return family.spectral_radius(*cell), family.regime(*cell)


def draw(
    ax: Axes,
    abscissa: Float[np.ndarray, " columns"],
    momentum: Float[np.ndarray, " rows"],
    radius: Float[np.ndarray, "rows columns"],
    regime: Int[np.ndarray, "rows columns"],
    extent: tuple[int | float, int | float, int | float, int | float],
) -> None:
    """Regimes and levels of the radius on evenly spaced cells; the abscissa is any function of hk."""
    colors = np.array([to_rgb(color) for color in COLORS.values()])[regime]
    depth = np.where(regime == 3, 0.35, 0.22 + 0.68 * np.clip(1 - radius, 0, 1) ** 0.8)[..., None]
    ax.imshow(1 - depth * (1 - colors), extent=extent, origin="lower", aspect="auto", interpolation="nearest")
    for shown, labelled in ((regime < 2, True), (regime == 2, False)):
        where = np.where(shown, radius, np.nan)
        levels = ax.contour(abscissa, momentum, where, levels=_LEVELS, colors="white", linewidths=0.8)
        if labelled:
            ax.clabel(levels, levels=_LEVELS[::2], fontsize=8, fmt="%g")
    ax.set(xlim=extent[:2], ylim=extent[2:])
    ax.grid(False)


def handles() -> list[Patch | Line2D]:
    """For a legend: the regimes, then the borders."""
    patches = [Patch(color=color, label=name) for name, color in COLORS.items()]
    return [
        *patches,
        *(Line2D([], [], color="black", label=label, **look) for label, look in BORDERS.values()),
    ]


def with_spectrum(
    ax: Axes,
    lookahead: Callable[[np.ndarray], np.ndarray],
    momentum: float,
    x: Sequence[float],
    side: int = 300,
) -> Axes:
    r"""The plane on a logarithmic axis of hk, for a as a function of λ, and a spectrum x = hk > 0 at a method's λ."""
    shown = np.asarray(x, float)
    low = np.floor(np.log10(min(1e-3, *(shown / 3)))) if shown.size else -3.0
    extent = (float(low), float(np.log10(max(6.0, *(2 * shown))) if shown.size else np.log10(6.0)), 0.0, 1.0)
    row = (np.arange(side) + 0.5) / side
    log_x = extent[0] + (extent[1] - extent[0]) * row
    radius, regime = map(np.asarray, cells(10**log_x, row[:, None], lookahead(row)[:, None]))
    draw(ax, log_x, row, radius, regime, extent)
    _borders(ax, row, lookahead(row))
    ax.axhline(momentum, color="black", lw=0.7, alpha=0.6)
    ax.plot(
        np.log10(shown), np.full(shown.size, momentum), "o", ms=7, mfc="white", mec="black", mew=1.3, zorder=5
    )
    decades = np.arange(int(np.ceil(extent[0])), int(np.floor(extent[1])) + 1)
    ax.set_xticks(decades, [f"$10^{{{k}}}$" for k in decades])
    ax.set(xlabel="$hk$, learning rate times curvature", ylabel=r"momentum $\lambda$")
    return ax


def _borders(ax: Axes, momentum: np.ndarray, lookahead: ArrayLike) -> None:
    a = np.asarray(lookahead)
    inner = momentum - a * (1 - momentum)
    high = np.where(inner >= 0, ((1 + np.sqrt(np.maximum(inner, 0))) / (1 + a)) ** 2, np.nan)
    low = np.where(inner >= 0, np.asarray(family.slow_limit(momentum, a)), np.nan)
    sign = np.where(momentum < a, (1 + momentum) / (1 + a), np.nan)
    lines = (low, high, sign, np.asarray(family.stability_limit(momentum, a)))
    for (_, look), line in zip(BORDERS.values(), lines, strict=True):
        ax.plot(np.log10(line), momentum, color="black", **look)
