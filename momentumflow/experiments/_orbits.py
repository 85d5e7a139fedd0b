"""Orbits: where a run goes, whatever its pace."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.interpolate import CubicSpline
from scipy.spatial import cKDTree

import momentumflow as mf

from .._types import Loss

Orbit = tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]
"""Times, shape (n,), and points, shape (n, d)."""


def orbit(method: mf.MomentumMethod, loss: Loss, start: Float[Array, "*shape"], time: float) -> Orbit:
    """The iterates from rest, as vectors, and their times τ_n = nhλ̄ up to the given one."""
    pace = float(method.learning_rate * method.amplification)
    steps = int(np.ceil(time / pace))
    # a power of two, so that one program serves many runs
    run = mf.iterate(method, loss, jnp.asarray(start), 1 << (steps - 1).bit_length())
    return pace * np.arange(steps + 1), np.asarray(run.params)[: steps + 1].reshape(steps + 1, -1)


def distance(points: Orbit, curve: Orbit, share: float = 0.9) -> float:
    """The largest distance of the first share of an orbit's points from the curve through another's."""
    times, nodes = curve
    spline = CubicSpline(times, nodes)
    slope = spline.derivative()
    p = points[1][points[0] <= share * times[-1]]
    nearest, index = cKDTree(nodes).query(p)
    at = times[index]
    for _ in range(4):  # Gauss-Newton from the nearest node
        gap, along = spline(at) - p, slope(at)
        step = np.sum(gap * along, 1) / np.maximum(np.sum(along**2, 1), np.finfo(float).tiny)
        at = np.clip(at - step, 0, times[-1])
    # where both stand still the node is the better one
    return float(np.minimum(nearest, np.linalg.norm(spline(at) - p, axis=1)).max())
