r"""The velocity on the exact invariant graph at one point, by the whole backward orbit at once (Lyapunov-Perron).

On the graph of the family (7) the points that lead to $u = u_0$ satisfy

$$u_{-j} = u_0 - h\sum_{i<j}v_{-i}, \qquad v_{-j} = \sum_{i\ge0}\lambda^i f(u_{-j-1-i} + hav_{-j-1-i}).$$

The right-hand sides, applied to velocities at hand, are a sweep: on a linear field of eigenvalue k it contracts by
$hk/x_-$ in the norm $\max_j\rho^j|v_{-j}|$, ρ the double root at $x_-$ (the symbol of the Toeplitz operator has two
roots of equal modulus, those of B.0 with x over the factor for x). As far as the sweeps contract the graph exists.

The orbit is smooth, so that its field is evaluated at few of its points, Chebyshev's rounded to steps; between
them $\rho^jv_{-j}$ and $\rho^jf$ are polynomials, which are summed exactly.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from .. import _tree, _validate
from .._types import Field, Params
from ..methods.momentum import MomentumMethod

_LOST = 1e3
"""A change of so many times the velocity itself: the sweeps diverge."""
_POWER_STEPS = 12
Velocities = Params
"""A pytree like the params whose leaves have the points of the orbit as leading axis."""


class Window(NamedTuple):
    """The sums over the last N steps as matrices on values at K of them, j increasing from 0 to N.

    `past` gives Σ_{i<j} v_{-i}, `future` Σ_{i≥0} λ^i f_{-j-1-i} up to the end, whose velocity enters by `tail`;
    `advance` the values one step later, its first row 0; `weight` is ρ^j; `length` N.
    """

    past: Float[Any, "K K"]
    future: Float[Any, "K K"]
    tail: Float[Any, " K"]
    advance: Float[Any, "K K"]
    weight: Float[Any, " K"]
    length: Any


class Orbit(NamedTuple):
    """What the sweeps reached: points and velocities, number of sweeps, last change, factor per sweep."""

    params: Velocities
    velocities: Velocities
    sweeps: Int[Array, ""]
    change: Float[Array, ""]
    factor: Float[Array, ""]
    converged: Array


def window(length: int, points: int, momentum: ArrayLike, weight: ArrayLike) -> Window:
    """The matrices for N = `length` steps, at most `points` of them kept, ρ = `weight`."""
    xp: Any = np if _validate.is_concrete(momentum) and _validate.is_concrete(weight) else jnp
    steps, nodes = np.arange(length + 1), _nodes(length, points)
    lam, rho = xp.asarray(momentum, float), xp.asarray(weight, float)
    values = _lagrange(steps, nodes)  # 0 or 1 where nothing is interpolated, whatever the weight
    if len(nodes) < len(steps):
        values = values * rho ** xp.asarray(nodes[None] - steps[:, None], float)
    ahead = steps[None] - nodes[:, None] - 1
    powers = xp.where(ahead >= 0, lam ** np.maximum(ahead, 0.0), 0.0)
    later = xp.concatenate([0 * values[:1], values[nodes[1:] - 1]])
    past = (xp.cumsum(values, 0) - values)[nodes]
    tail, weight = lam ** (length - nodes + 0.0), rho ** (nodes + 0.0)
    return Window(past, powers @ values, tail, later, weight, np.asarray(float(length)))


def _nodes(length: int, points: int) -> Int[np.ndarray, " K"]:
    """Chebyshev points of the second kind on [0, N], rounded to distinct integers."""
    if length < points:
        return np.arange(length + 1)
    found = np.round(length * (1 - np.cos(np.pi * np.arange(points) / (points - 1))) / 2).astype(int)
    rank = np.arange(points)
    found = np.maximum.accumulate(found - rank) + rank  # push apart from the left, then from the right
    found[-1] = length
    return np.minimum.accumulate((found - rank)[::-1])[::-1] + rank


def _lagrange(steps: Int[np.ndarray, " N"], nodes: Int[np.ndarray, " K"]) -> Float[np.ndarray, "N K"]:
    """The polynomials that are 1 at one node and 0 at the others, by the barycentric formula."""
    if len(nodes) == len(steps):
        return np.eye(len(steps))
    apart = (nodes[:, None] - nodes[None]) * 4.0 / steps[-1] + np.eye(len(nodes))
    gap = (steps[:, None] - nodes[None]).astype(float)
    hit = gap == 0
    quotient = 1 / apart.prod(1) / np.where(hit, 1.0, gap)
    values = quotient / quotient.sum(1, keepdims=True)
    return np.where(hit.any(1, keepdims=True), hit, values)


def settle(
    method: MomentumMethod,
    field: Callable[[Velocities], Velocities],
    closure: Field,
    window: Window,
    params: Params,
    start: Velocities,
    tolerance: float,
    limit: int,
) -> Orbit:
    """Sweeps from `start` until the error that remains is below `tolerance`, relative to the start's velocity.

    `field` is f on a stack of points, `closure` the velocity at the far end.
    """
    kind = _tree.dtype(params)
    window = jax.tree.map(lambda x: jnp.asarray(x, kind), window)
    scale = jnp.maximum(_largest(start, window.weight), jnp.finfo(kind).tiny)

    def advance(carry: tuple) -> tuple:
        velocities, sweeps, change, _, first = carry
        points = orbit_of(method, window, params, velocities)
        force = field(_tree.linear((1, method.learning_rate * method.lookahead), (points, velocities)))
        end = closure(_tree.at(points, -1))
        swept = jax.tree.map(
            lambda f, e: jnp.tensordot(window.future, f, 1) + jnp.multiply.outer(window.tail, e), force, end
        )
        new = _largest(_tree.linear((1, -1), (swept, velocities)), window.weight) / scale
        return swept, sweeps + 1, new, change, jnp.where(sweeps == 0, new, first)

    def goes_on(carry: tuple) -> Array:
        _, sweeps, change, previous, _ = carry
        return ~_below(change, previous, tolerance) & (sweeps < limit) & (change < _LOST)

    large = jnp.asarray(_LOST / 2, kind)
    begin = (start, jnp.zeros((), int), large, large, large)
    velocities, sweeps, change, previous, first = jax.lax.while_loop(goes_on, advance, begin)
    moved = jnp.where(first == 0, 1.0, first)  # a critical point is its own orbit
    factor = (change / moved) ** (1 / jnp.maximum(sweeps - 1, 1))
    done = _below(change, previous, tolerance)
    return Orbit(orbit_of(method, window, params, velocities), velocities, sweeps, change, factor, done)


def _below(change: Float[Array, ""], previous: Float[Array, ""], tolerance: float) -> Array:
    """Whether the geometric series of changes to come is below the tolerance; a factor below ½ is not relied on."""
    factor = jnp.clip(change / previous, 0.5, 0.99)
    return change * factor / (1 - factor) <= tolerance


def orbit_of(method: MomentumMethod, window: Window, params: Params, velocities: Velocities) -> Velocities:
    """u_{-j} = u_0 - h Σ_{i<j} v_{-i}."""
    h = method.learning_rate

    def points(u: Array, v: Array) -> Array:
        return u - jnp.asarray(h, u.dtype) * jnp.tensordot(jnp.asarray(window.past, u.dtype), v, 1)

    return jax.tree.map(points, params, velocities)


def _largest(velocities: Velocities, weight: Float[Array, " K"]) -> Float[Array, ""]:
    """max_j ρ^j |v_{-j}|."""
    return jnp.max(weight * jax.vmap(_tree.norm)(velocities))


def sharpness(field: Field, params: Params) -> Float[Array, ""]:
    """The largest |f'x|/|x| at the end of a power iteration from a random direction."""
    slope = jax.linearize(field, params)[1]

    def step(carry: tuple, _: None) -> tuple[tuple, None]:
        direction, size = carry
        tiny = jnp.finfo(_tree.dtype(params)).tiny
        image = slope(jax.tree.map(lambda x: x / jnp.maximum(size, tiny), direction))
        return (image, _tree.norm(image)), None

    direction = _tree.normal(jax.random.key(0), params)
    begin = (direction, _tree.norm(direction))
    return jax.lax.scan(step, begin, None, length=_POWER_STEPS)[0][1]
