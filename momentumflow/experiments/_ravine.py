"""The poster's ravine, E = ½wᵀAw with A = diag(3, 30): what its Figures 1, 3 and 4 share.

m = 2, μ̃ = 4, Δt = 0.5 and A are the poster's; the start is ours.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from .. import _plot

COMPONENTS = ("w1", "w2")
PLAIN, HEAVY = "without momentum", "with momentum"
STYLES = {PLAIN: _plot.of("GD"), HEAVY: _plot.of("HB")}


@dataclass(frozen=True)
class Setting:
    """The eigenvalues of A, mass m, friction μ̃, time step Δt, start w₀."""

    curvatures: tuple[float, float] = (3.0, 30.0)
    mass: float = 2.0
    friction: float = 4.0
    time_step: float = 0.5
    start: tuple[float, float] = (-1.0, 0.5)


def companion(momentum: float, step: float) -> Float[np.ndarray, "2 2"]:
    """The matrix of (11) on (w_{n-1}, w_n), for εk = step."""
    return np.array([[0, 1], [-momentum, 1 + momentum - step]])


def powers(
    momentum: float, learning_rate: float, curvatures: tuple[float, ...], start: tuple[float, ...], steps: int
) -> Float[np.ndarray, "n d"]:
    """w_0, …, w_N from rest by powers of the companion matrix of (11), the route that no scan takes."""
    columns = []
    for k, w in zip(curvatures, start, strict=True):
        matrix, at_rest = companion(momentum, learning_rate * k), (w, w)  # w_{-1} = w_0
        columns.append([(np.linalg.matrix_power(matrix, n) @ at_rest)[1] for n in range(steps + 1)])
    return np.array(columns).T


def draw_loss(
    ax: Axes, curvatures: tuple[float, float], x: tuple[float, float], y: tuple[float, float]
) -> None:
    """Contours of E, each a factor of 2 in the distance from the minimum, and the minimum."""
    w1, w2 = np.meshgrid(np.linspace(*x, 200), np.linspace(*y, 200))
    loss = (curvatures[0] * w1**2 + curvatures[1] * w2**2) / 2
    ax.contour(w1, w2, loss, levels=loss.max() * 4.0 ** np.arange(-5, 0), colors="#c4c4c4", linewidths=0.7)
    ax.plot(0, 0, "+", color="#555555", ms=9, zorder=5)
    ax.set(xlim=x, ylim=y, xlabel="$w_1$", ylabel="$w_2$")
    ax.grid(False)
