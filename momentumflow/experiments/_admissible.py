"""Runs inside Assumption 11 beside the exact graph, on Φ = ½⟨u, Qu⟩, Q = diag(1, κ), and on a bounded loss like it.

That is Φ = log cosh u₁ + log cosh √κu₂, with the Hessian Q at 0, near its minimum. For h < τ the graph exists: the
velocities w(u_n) on it are the fixed point of (29)-(30) along the backward orbit (`InvariantManifold`), each with the
defect of the invariance (17); on the quadratic v = s(k)u in closed form is a second route.
"""

import math
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import momentumflow as mf

from ..linear.family import characteristic_roots
from ..problems.log_cosh import log_cosh
from . import _quadratic as quadratic

_LENGTH, _POINTS = 600, 44  # of the backward orbit: enough for hk/x₋ = 0.85, λ = 0.9
_NEAR = (0.0, 1e-4)  # a start so close to the minimum that the curvature is that there to 1e-7
BELOW = 1e-8  # of e₀ down to which e_n is followed: w is computed to 1e-11 of itself


class Cell(NamedTuple):
    """A method, its h, κ, and whether the loss is the bounded one."""

    name: str
    learning_rate: float
    kappa: float
    bounded: bool


Rows = dict[str, np.ndarray]


class _Loss(eqx.Module):
    """Either loss: one program serves both."""

    scales: Float[Array, " d"]
    bounded: Float[Array, ""]

    def __call__(self, u: Float[Array, " d"]) -> Float[Array, ""]:
        y = self.scales * u
        return jnp.sum((1 - self.bounded) * y**2 / 2 + self.bounded * log_cosh(y))


def _lookahead(name: str, momentum: float) -> float:
    return float(quadratic.method(name, 1.0, momentum).lookahead)


def _loss(kappa: Float[Array, ""], bounded: Float[Array, ""]) -> _Loss:
    return _Loss(jnp.sqrt(jnp.stack([jnp.ones_like(kappa), kappa])), bounded)


def _bounds(kappa: Float[Array, ""], bounded: Float[Array, ""]) -> mf.Bounds:
    """Of the quadratic on the ball of the start; neither τ nor the rates depend on its B₀, as B₂ = 0."""
    loss = _loss(kappa, bounded)
    steep = mf.LogCosh(loss.scales).bounds(jnp.inf)
    affine = mf.Quadratic(loss.scales**2).bounds(math.hypot(*quadratic.START))
    return mf.Bounds(*(jnp.where(bounded > 0, x, y) for x, y in zip(steep, affine, strict=True)))


def largest(momentum: float, kappa: float) -> dict[tuple[str, bool], float]:
    """τ of Theorem 5 for each method on either loss."""
    cells = [Cell(name, 0.0, kappa, bounded) for name in quadratic.METHODS for bounded in (False, True)]
    _, a, kappas, bounded = _columns(momentum, cells)
    bounds = eqx.filter_jit(eqx.filter_vmap(_bounds))(kappas, bounded)
    found = np.asarray(mf.largest_learning_rate(bounds, momentum, a).learning_rate)
    return {(cell.name, cell.bounded): float(tau) for cell, tau in zip(cells, found, strict=True)}


def _columns(momentum: float, cells: list[Cell]) -> tuple[Array, Array, Array, Array]:
    """h, a, κ, and 1 where the loss is the bounded one."""
    rows = [(h, _lookahead(name, momentum), kappa, bounded) for name, h, kappa, bounded in cells]
    h, a, kappa, bounded = jnp.asarray(rows, float).T
    return h, a, kappa, bounded


def _theory(momentum: float, h: Array, a: Array, kappa: Array, bounded: Array) -> dict[str, Array]:
    """Corrected and printed rate of Theorem 5, the margin of Assumption 11; at the minimum the fast root ρ at k = κ,
    and s(k) = (1 - 1/ρ)/h, k = 1 and κ, ρ the slow root, of the quadratic's graph v = s(k)u."""
    found = mf.manifold_constants(_bounds(kappa, bounded), mf.momentum_method(h, momentum, a))
    slow, fast = characteristic_roots(h * jnp.stack([jnp.ones_like(kappa), kappa]), momentum, a)
    return {
        "rate": found.rate,
        "printed_rate": found.printed_rate,
        "margin": found.conditions.margin,
        "root": jnp.abs(fast[1]),
        "slopes": (1 - 1 / slow.real) / h,
    }


_theories = eqx.filter_jit(eqx.filter_vmap(_theory))


def measure(momentum: float, cells: list[Cell], steps: int, stride: int) -> Rows:
    """Runs from rest, on the quadratic from (1, 1), a row for each cell: every `stride` steps u_n, v_n, w(u_n) on the
    exact graph and e_n = |v_n - w(u_n)|; by what share of |w| a step from the graph misses it, and the error of e_n
    that it leaves; what `_theory` gives."""
    columns = _columns(momentum, cells)
    u, v = [], []
    for cell, h, a, kappa, bounded in zip(cells, *columns, strict=True):
        start = jnp.array(_NEAR if cell.bounded else quadratic.START)
        method, loss = mf.momentum_method(h, momentum, a), _loss(kappa, bounded)
        run = mf.iterate(method, loss, start, steps, save_every=stride)
        u.append(np.asarray(run.params))
        v.append(np.asarray(run.velocity))
    points, velocity = np.stack(u), np.stack(v)
    each = points.shape[1]
    h, a, kappa, bounded = (jnp.repeat(x, each) for x in columns)
    found = _exact(momentum, h, a, kappa, bounded, jnp.asarray(points.reshape(-1, 2)))
    graph, residual = map(np.asarray, found)
    graph, residual = graph.reshape(points.shape), residual.reshape(-1, each).max(axis=1)
    return {
        "u": points,
        "v": velocity,
        "graph": graph,
        "distance": np.linalg.norm(velocity - graph, axis=-1),
        "residual": residual,
        "error": residual * np.linalg.norm(graph, axis=-1).max(axis=1) / (1 - momentum),
        "learning_rate": np.asarray(columns[0]),
        **{key: np.asarray(value) for key, value in _theories(momentum, *columns).items()},
    }


@eqx.filter_jit
def _exact(
    momentum: float,
    learning_rate: Float[Array, " n"],
    lookahead: Float[Array, " n"],
    kappa: Float[Array, " n"],
    bounded: Float[Array, " n"],
    points: Float[Array, "n 2"],
) -> tuple[Float[Array, "n 2"], Float[Array, " n"]]:
    """w(u) and the relative defect of (17), each point with a method and a loss of its own."""

    def one(h: Array, a: Array, kappa: Array, bounded: Array, u: Array) -> tuple[Array, Array]:
        method, loss = mf.momentum_method(h, momentum, a), _loss(kappa, bounded)
        found = mf.InvariantManifold(method, loss, length=_LENGTH, points=_POINTS).solve(u)
        return found.velocity, found.residual

    return eqx.filter_vmap(one)(learning_rate, lookahead, kappa, bounded, points)
