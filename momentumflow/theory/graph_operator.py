r"""The operator T of Kovachki & Stuart (2021), (29)-(30), on functions on a torus, and how fast it contracts."""

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Complex, Float

from .. import _validate
from .._types import Field, Loss, VectorField, descent_field
from ..methods.momentum import MomentumMethod
from ..problems.problem import Bounds
from .appendix_c import manifold_constants

_INNER = 500
_NOISE = 1e4
"""A difference of so many roundings still has the digits of its ratio to the last."""
_RESOLVED = 1e-2
"""The grid resolves a function whose waves beyond a third of the largest wave number are below this part of it."""
_FINER = 4
"""So many times the points of the grid, at which a maximum is taken: between its own points it would be missed."""


class GraphContraction(NamedTuple):
    r"""How T contracted, from $g^0 = 0$.

    **Fields:**

    - `factor`: the largest $|g^{n+1}-g^n|_\infty / |g^n-g^{n-1}|_\infty$ of those that the grid resolves, above the
      rounding; NaN if there is none.
    - `mu`: Lemma 15's bound on it, (42); NaN where a lemma that it stands on fails.
    - `residual`: $\max|w(u+hz) - z|$ over the points half-way between those of the grid.
    - `differences`: $|g^{n+1}-g^n|_\infty$.
    - `graph`: $w = \bar\lambda f + hg$ at the points of the grid, shape `(points,) * dimension + (dimension,)`.

    !!! example

        >>> import math, momentumflow as mf
        >>> manifold = mf.InvariantManifold(mf.heavy_ball(0.02, 0.5), mf.Cosine())
        >>> found = manifold.contraction(mf.Cosine().bounds(math.inf), points=32)
        >>> found.graph.shape, bool(found.factor < found.mu)
        ((32, 1), True)
    """

    factor: Float[Array, ""]
    mu: Float[Array, ""]
    residual: Float[Array, ""]
    differences: Float[Array, " iterations"]
    graph: Float[Array, "..."]


class Grid(NamedTuple):
    """The points of a torus, shape (M^d, d), and its wave numbers, shape (M,)."""

    points: Float[Array, "P d"]
    waves: Float[Array, " M"]


def graph_contraction(
    method: MomentumMethod,
    loss: Loss | VectorField,
    bounds: Bounds,
    dimension: int = 1,
    points: int = 96,
    period: ArrayLike = 2 * math.pi,
    iterations: int = 40,
) -> GraphContraction:
    r"""The measured contraction factor of T beside μ of (42), for a loss with a periodic gradient:

    $$p = \xi + hz_g(\xi), \qquad \bar\lambda f(p) + h(Tg)(p) = z_g(\xi), \qquad
      z_g = \lambda w_g + f(\cdot + haw_g), \quad w_g = \bar\lambda f + hg.$$

    g is held at the points of a grid and interpolated by trigonometric polynomials; ξ is found from p by the
    contraction of Lemma 13. The graph is lost between the points of the grid where $hk > x_-$: there the
    iteration may still settle, and `residual` does not vanish.

    **Arguments:**

    - `method`: of the family (7). `loss`: of params of shape `(dimension,)`, or a `VectorField`; its field has the
      period in each direction.
    - `bounds`: $B_0, B_1, B_2$, as of `problem.bounds(math.inf)`.
    - `dimension`: 1 or 2. `points`: M in each direction. `period`: of the field. `iterations`: of T.

    **Returns:** `GraphContraction`. **Raises:** `ValueError` for numbers outside these ranges.

    Kovachki & Stuart (2021), (23), (29), (30), Lemmas 13 and 15.

        >>> import math, momentumflow as mf
        >>> method, problem = mf.heavy_ball(0.02, 0.5), mf.Cosine()
        >>> found = graph_contraction(method, problem, problem.bounds(math.inf), points=32)
        >>> bool(0.5 < found.factor < found.mu < 1), bool(found.residual < 1e-9)
        (True, True)
    """
    dimension = _validate.count("dimension", dimension)
    if dimension > 2:
        raise ValueError(f"dimension must be 1 or 2, got {dimension}: a grid has points**dimension points")
    points = _validate.count("points", points, 4)
    iterations = _validate.count("iterations", iterations, 2)
    _validate.positive("period", period, "it is the length of a side of the torus")
    mu = manifold_constants(bounds, method).mu
    return _contraction(method, loss, mu, jnp.asarray(period, float), dimension, points, iterations)


@eqx.filter_jit
def _contraction(
    method: MomentumMethod,
    loss: Loss | VectorField,
    mu: Float[Array, ""],
    period: Float[Array, ""],
    dimension: int,
    points: int,
    iterations: int,
) -> GraphContraction:
    _validate.check_loss(loss, jnp.zeros(dimension))
    grid, field = _grid(period, dimension, points), jax.vmap(descent_field(loss))
    force = field(grid.points)

    finer = _grid(period, dimension, _FINER * points).points

    def advance(g: Array, _: None) -> tuple[Array, tuple[Array, Array]]:
        mapped = _operator(method, field, grid, g)
        change = _coefficients(grid, mapped - g)
        largest = _sup(_interpolate(grid, change, finer))
        return mapped, (largest, _short_waves(grid, change) <= _RESOLVED * largest)

    g, (differences, resolved) = jax.lax.scan(advance, jnp.zeros_like(grid.points), None, length=iterations)
    noise = jnp.finfo(g.dtype).eps * method.amplification * _sup(force) / method.learning_rate
    measured = resolved[1:] & resolved[:-1] & (differences[1:] > _NOISE * noise)
    ratios = jnp.where(measured, differences[1:] / differences[:-1], -jnp.inf)
    factor = jnp.where(measured.any(), ratios.max(), jnp.nan)
    between = grid.points + period / (2 * points)
    coefficients = _coefficients(grid, g)
    z = _reached(method, field, grid, coefficients, between)
    reached = between + method.learning_rate * z
    residual = _sup(_graph(method, field, grid, coefficients, reached) - z)
    graph = jnp.asarray(method.amplification * force + method.learning_rate * g)
    return GraphContraction(
        factor, mu, residual, differences, graph.reshape(*(points,) * dimension, dimension)
    )


def _grid(period: Float[Array, ""], dimension: int, points: int) -> Grid:
    side = period * jnp.arange(points) / points
    corners = jnp.meshgrid(*(side,) * dimension, indexing="ij")
    waves = 2 * jnp.pi / period * jnp.asarray(np.fft.fftfreq(points, 1 / points))
    return Grid(jnp.stack([c.ravel() for c in corners], -1), waves)


def _operator(method: MomentumMethod, field: Field, grid: Grid, g: Array) -> Array:
    """Tg at the points of the grid, by (23): the integrals of (30) are differences of f."""
    h, coefficients = method.learning_rate, _coefficients(grid, g)

    def reached(xi: Array) -> Array:
        return _reached(method, field, grid, coefficients, xi)

    def closer(carry: tuple) -> tuple:
        xi, _, n = carry
        new = grid.points - h * reached(xi)
        return new, _sup(new - xi), n + 1

    def goes_on(carry: tuple) -> Array:
        xi, change, n = carry
        return (change > 4 * jnp.finfo(xi.dtype).eps * _sup(xi)) & (n < _INNER)

    xi: Array = jax.lax.while_loop(goes_on, closer, (grid.points, jnp.inf, 0))[0]
    return (reached(xi) - method.amplification * field(grid.points)) / h


def _reached(
    method: MomentumMethod, field: Field, grid: Grid, coefficients: Complex[Array, "..."], xi: Array
) -> Array:
    """z_g(ξ) of (25)."""
    w = _graph(method, field, grid, coefficients, xi)
    return jnp.asarray(method.momentum * w + field(xi + method.learning_rate * method.lookahead * w))


def _graph(
    method: MomentumMethod, field: Field, grid: Grid, coefficients: Complex[Array, "..."], xi: Array
) -> Array:
    """w_g(ξ) of (24)."""
    correction = method.learning_rate * _interpolate(grid, coefficients, xi)
    return jnp.asarray(method.amplification * field(xi) + correction)


def _coefficients(grid: Grid, g: Float[Array, "P d"]) -> Complex[Array, "..."]:
    """Of the trigonometric polynomial through g, shape (M, …, M, d)."""
    count, dimension = len(grid.waves), g.shape[-1]
    values = g.reshape(*(count,) * dimension, dimension)
    return jnp.fft.fftn(values, axes=tuple(range(dimension)), norm="forward")


def _interpolate(grid: Grid, coefficients: Complex[Array, "..."], xi: Float[Array, "P d"]) -> Array:
    waves = jnp.exp(1j * xi[..., None] * grid.waves)
    if xi.shape[-1] == 1:
        return (waves[:, 0] @ coefficients).real
    return jnp.einsum("pa,pb,abd->pd", waves[:, 0], waves[:, 1], coefficients).real


def _short_waves(grid: Grid, coefficients: Complex[Array, "..."]) -> Float[Array, ""]:
    """Root mean square of the part whose wave number is beyond a third of the largest, in any direction."""
    high = jnp.abs(grid.waves) > jnp.abs(grid.waves).max() / 3
    sizes = jnp.linalg.norm(coefficients, axis=-1)
    return jnp.linalg.norm(jnp.where(high if sizes.ndim == 1 else high[:, None] | high, sizes, 0.0))


def _sup(g: Float[Array, "P d"]) -> Float[Array, ""]:
    """The largest Euclidean norm over the points."""
    return jnp.max(jnp.linalg.norm(g, axis=-1))
