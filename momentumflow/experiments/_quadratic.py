"""The quadratic of the paper's Figures 1 to 4, Φ = ½⟨u, Qu⟩, Q = diag(1, κ): what they share.

The text gives λ = 0.9, u₀ = (1, 1) and the 2-D problem; Q = diag(1, κ), T = 2 and the ladders of h are ours.
"""

import numpy as np
from jaxtyping import Float

import momentumflow as mf

START = (1.0, 1.0)
METHODS = ("HB", "NAG")


def problem(condition_number: float) -> mf.Quadratic:
    return mf.Quadratic([1.0, condition_number])


def method(name: str, learning_rate: float, momentum: float) -> mf.MomentumMethod:
    """HB or NAG with a look-ahead that is a value: one compiled program serves both."""
    lookahead = {"HB": 0.0, "NAG": momentum}[name]
    return mf.momentum_method(learning_rate, momentum, lookahead)


def ladder(finest: int, coarsest: int = 4) -> list[float]:
    """2^-coarsest, …, 2^-finest."""
    return [2.0**-k for k in range(coarsest, finest + 1)]


def closed_form(
    times: Float[np.ndarray, " n"], curvatures: tuple[float, ...], initial: tuple[float, float], mass: float
) -> Float[np.ndarray, "n d"]:
    """u(t) of m ü + (1-λ)u̇ = -ku in units of damping 1 by its roots, the route that no solver takes.

    `initial` is (u(0), u̇(0)/(-k)); `mass` is m; mass 0 is the first-order u̇ = -ku.
    """
    columns = []
    for k in curvatures:
        if mass == 0:
            columns.append(initial[0] * np.exp(-k * times))
            continue
        root = np.sqrt(complex(1 - 4 * mass * k))
        fast, slow = (-1 - root) / (2 * mass), (-1 + root) / (2 * mass)
        weight = (-k * initial[1] - slow * initial[0]) / (fast - slow)
        columns.append(((initial[0] - weight) * np.exp(slow * times) + weight * np.exp(fast * times)).real)
    return np.stack(columns, axis=1)


def padded(rows: list[np.ndarray], length: int) -> np.ndarray:
    """Rows of unlike length side by side, NaN after their end."""
    out = np.full((len(rows), length, *rows[0].shape[1:]), np.nan)
    for target, row in zip(out, rows, strict=True):
        target[: len(row)] = row
    return out
