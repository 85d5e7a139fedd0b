r"""The Hessian of a loss at a point, by Hessian-vector products: extreme eigenvalues, trace, spectral density."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray, PyTree
from matfree import stochtrace

from .. import _krylov, _tree, _validate
from .._types import Params
from . import full_batch
from .full_batch import AnyLoss

KINDS = ("zero", "positive", "semidefinite", "indefinite", "negative")


class Curvature(eqx.Module):
    r"""What is known of the Hessian $H = \nabla^2\Phi(u)$; made by `momentumflow.curvature`.

    **Fields:**

    - `loss`, `gradient_norm`: $\Phi(u)$ and $|\nabla\Phi(u)|$.
    - `largest`: the algebraically largest Ritz values, falling, shape `(count,)` or fewer where the Krylov space has no
      more: an eigenvalue of any multiplicity is found once. A Ritz value is never above the eigenvalue of its rank.
    - `largest_residuals`: $|Hy - \theta y|$ of each, $|y| = 1$: an eigenvalue is within that distance of $\theta$.
    - `smallest`, `smallest_residual`: the same for the smallest, which is never below the smallest eigenvalue.
    - `trace`, `trace_error`: of H, by Hutchinson's estimator with random signs, and its standard error.
    - `nodes`, `weights`: Gauss quadrature of the spectral density; the weights sum to 1.
    - `along_gradient`, `along_velocity`: $w\cdot Hw/|w|^2$ for $w = \nabla\Phi$ and for the velocity; NaN where w is
      0 or not given.
    - `dimension`: number of parameters; `products`: Hessian-vector products used.
    - `tolerance`: residual, relative to the largest $|\theta|$, below which a Ritz value counts as converged;
      `rounding`: curvature below which it is 0 up to rounding.

    >>> import jax.numpy as jnp, momentumflow as mf
    >>> found = mf.curvature(mf.Quadratic([1.0, 2.0, 5.0]), jnp.ones(3))
    >>> round(found.sharpness, 9), round(found.smallest, 9), found.kind
    (5.0, 1.0, 'positive')
    """

    loss: float
    gradient_norm: float
    largest: Float[np.ndarray, " count"]
    largest_residuals: Float[np.ndarray, " count"]
    smallest: float
    smallest_residual: float
    trace: float
    trace_error: float
    nodes: Float[np.ndarray, " nodes"]
    weights: Float[np.ndarray, " nodes"]
    along_gradient: float
    along_velocity: float
    dimension: int
    products: int
    tolerance: float
    rounding: float

    @property
    def sharpness(self) -> float:
        """The largest eigenvalue, or the largest Ritz value below it."""
        return float(self.largest[0])

    @property
    def radius(self) -> float:
        r"""$\max|k|$ over the Ritz values: at most $\|H\|$, and equal to it once converged."""
        return max(abs(self.sharpness), abs(self.smallest))

    @property
    def converged(self) -> np.ndarray:
        """Whether each of `largest` has a residual below the tolerance."""
        return self.largest_residuals <= self.tolerance * self.radius

    @property
    def smallest_converged(self) -> bool:
        """The same of `smallest`."""
        return self.smallest_residual <= self.tolerance * self.radius

    @property
    def kind(self) -> str:
        """ "zero", "positive", "semidefinite" (flat directions), "indefinite" or "negative", as far as was looked."""
        if self.radius == 0:
            return "zero"
        if self.smallest < -self.rounding:
            return "indefinite" if self.sharpness > self.rounding else "negative"
        return "positive" if self.smallest > self.rounding else "semidefinite"

    def density(self, at: ArrayLike, width: float) -> Float[np.ndarray, "..."]:
        r"""The spectral density $\frac1d\sum_i\delta(k-k_i)$, each δ a Gaussian of standard deviation `width`.

        **Arguments:** `at`: curvatures k, any shape; `width` > 0, of curvature. **Returns:** the density, per unit of
        curvature.

            >>> import jax.numpy as jnp, momentumflow as mf
            >>> found = mf.curvature(mf.Quadratic([1.0, 5.0]), jnp.ones(2))
            >>> bool(found.density(1.0, 0.1) > found.density(3.0, 0.1))
            True
        """
        _validate.positive("width", width, "it is the standard deviation of a line, in units of curvature")
        distance = (np.asarray(at, float)[..., None] - self.nodes) / width
        return np.asarray(np.exp(-(distance**2) / 2) @ self.weights / (width * np.sqrt(2 * np.pi)))


def curvature(
    loss: AnyLoss,
    params: PyTree,
    *,
    batches: PyTree[ArrayLike] | None = None,
    velocity: PyTree | None = None,
    count: int = 5,
    depth: int = 40,
    runs: int = 1,
    samples: int = 16,
    tolerance: float = 1e-3,
    key: PRNGKeyArray | None = None,
) -> Curvature:
    r"""Extreme eigenvalues, trace and spectral density of the Hessian, by `runs`·`depth` + `samples` + 2 products.

    Lanczos with full reorthogonalisation, from a random vector: a Ritz value $\theta$ with vector y has the residual
    $|Hy-\theta y| = \beta_m|s_m|$, known without a further product. Its quadrature of the density has the Ritz values
    as nodes and the squared first components of their vectors as weights; `runs` of it are averaged. The trace is
    the mean of $z\cdot Hz$ over random signs z. The Hessian is never formed; memory is that of the `depth` vectors of
    the Krylov space and of one gradient.

    **Arguments:**

    - `loss`: $\Phi$, function from params to a scalar; with `batches` function of (params, batch).
    - `params`: u, any pytree of floating-point arrays; its dtype is that of the products.
    - `batches`: array or pytree of arrays of shape `(N, batch, ...)`: $\Phi$ is the mean over them, one at a time.
    - `velocity`: pytree like the params, for `along_velocity`.
    - `count`: how many of the largest eigenvalues.
    - `depth`: vectors of the Krylov space, cut at the dimension.
    - `runs`: random vectors for Lanczos; `samples` ≥ 2: random vectors for the trace.
    - `tolerance`: residual relative to the largest $|\theta|$ that counts as converged.
    - `key`: from `jax.random.key`; key 0 by default.

    **Returns:** a `Curvature`.

    **Raises:** `ValueError` or `TypeError` for arguments that do not fit, a loss or a gradient that is not finite, or
    Hessian-vector products that are not.

    Golub & Meurant (2010), "Matrices, Moments and Quadrature", §§4, 7; Hutchinson (1990); Ghorbani, Krishnan & Xiao
    (2019), "An investigation into neural net optimization via Hessian eigenvalue density".

    !!! example

        >>> import jax, jax.numpy as jnp, momentumflow as mf
        >>> network = mf.Autoencoder((8, 4, 2), hidden="tanh")
        >>> params, batches = network.init(jax.random.key(0)), jax.random.uniform(jax.random.key(1), (3, 10, 8))
        >>> found = mf.curvature(network.loss, params, batches=batches)
        >>> found.kind, bool(found.converged[0]), found.dimension
        ('indefinite', True, 98)
    """
    params, batches = _validate.as_params(params), full_batch.as_batches(batches)
    full_batch.check(loss, params, batches)
    if velocity is not None:
        _validate.same_shapes("the velocity", velocity, params, "params")
        velocity = jax.tree.map(lambda v, p: jnp.asarray(v, p.dtype), velocity, params)
    count, depth, runs = (_validate.count(*x) for x in (("count", count), ("depth", depth), ("runs", runs)))
    samples = _validate.count("samples", samples, 2)
    _validate.positive("tolerance", tolerance, "it is a residual relative to the largest curvature")
    key = jax.random.key(0) if key is None else key
    depth = min(depth, _tree.size(params))
    found = _measure(loss, params, batches, velocity, key, (depth, runs, samples))
    return _judged(_Measured(*(np.asarray(x, float) for x in found)), params, count, tolerance)


class _Measured(eqx.Module):
    """Φ, |∇Φ|, z·Hz/z·z of each direction, and the runs' tridiagonal matrices with what is left of each."""

    loss: Array | np.ndarray
    gradient_norm: Array | np.ndarray
    quotients: Array | np.ndarray
    matrices: Array | np.ndarray
    rests: Array | np.ndarray

    def __iter__(self):
        return iter((self.loss, self.gradient_norm, self.quotients, self.matrices, self.rests))


@eqx.filter_jit
def _measure(
    loss: AnyLoss,
    params: Params,
    batches: PyTree[Array] | None,
    velocity: Params | None,
    key: PRNGKeyArray,
    counts: tuple[int, int, int],
) -> _Measured:
    depth, runs, samples = counts
    force, slope = jax.linearize(full_batch.field(loss, batches), params)
    velocity = _tree.zeros_like(params) if velocity is None else velocity
    quadratic_form, signs = stochtrace.monte_carlo_trace(), stochtrace.sampler_signs(params, num=1)
    sphere = stochtrace.sampler_sphere(params, num=1)

    def product(v: Params) -> Params:
        return jax.tree.map(jnp.negative, slope(v))

    def quotient(drawn: tuple[Int[Array, ""], PRNGKeyArray]) -> Float[Array, ""]:
        i, k = drawn
        # one program for every direction, which compiles once
        z = jax.tree.map(
            lambda f, v, s: jnp.select([i == 0, i == 1], [f, v], s[0]), force, velocity, signs(k)
        )
        return quadratic_form(product, z) / _tree.inner(z, z)

    def lanczos(k: PRNGKeyArray) -> tuple[Array, Array]:
        space = _krylov.lanczos(product, jax.tree.map(lambda x: x[0], sphere(k)), depth)
        return space.matrix, jnp.asarray(space.rest)

    directions, starts = jax.random.split(key)
    numbered = (jnp.arange(2 + samples), jax.random.split(directions, 2 + samples))
    matrices, rests = jax.lax.map(lanczos, jax.random.split(starts, runs))
    quotients = jax.lax.map(quotient, numbered)
    return _Measured(full_batch.value(loss, batches, params), _tree.norm(force), quotients, matrices, rests)


def _judged(found: _Measured, params: Params, count: int, tolerance: float) -> Curvature:
    _require_finite(found)
    eps, size = float(jnp.finfo(_tree.dtype(params)).eps), _tree.size(params)
    spectra = [_ritz(*pair) for pair in zip(found.matrices, found.rests, strict=True)]
    radius = max(float(np.abs(theta).max()) for theta, _, _ in spectra)
    along_gradient, along_velocity, *forms = found.quotients
    traces = size * np.asarray(forms)
    ends = [(theta[0], residual[0]) for theta, residual, _ in spectra]
    tops = [
        max((theta[-i], residual[-i]) for theta, residual, _ in spectra if len(theta) >= i)
        for i in range(1, 1 + min(count, max(len(theta) for theta, _, _ in spectra)))
    ]
    largest, residuals = np.array(tops).T
    rounding = eps * np.sqrt(size) * radius  # of sums over all parameters, random
    smallest, smallest_residual = min(ends)
    depth = found.matrices.shape[-1]
    return Curvature(
        float(found.loss),
        float(found.gradient_norm),
        largest,
        np.maximum(residuals, rounding),
        float(smallest),
        float(max(smallest_residual, rounding)),
        float(traces.mean()),
        float(traces.std(ddof=1) / np.sqrt(len(traces))),
        np.concatenate([theta for theta, _, _ in spectra]),
        np.concatenate([weights for _, _, weights in spectra]) / len(spectra),
        float(along_gradient),
        float(along_velocity),
        size,
        len(spectra) * depth + len(found.quotients),
        tolerance,
        float(max(eps * depth * radius, rounding)),
    )


def _ritz(matrix: np.ndarray, rest: np.floating) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ritz values, ascending, residuals and weights of the block that the random vector reaches."""
    broken = np.flatnonzero(np.diag(matrix, 1) == 0)
    reached = int(broken[0]) + 1 if broken.size else len(matrix)
    theta, vectors = np.linalg.eigh(matrix[:reached, :reached])
    return theta, np.abs(float(rest) * vectors[-1]), vectors[0] ** 2


def _require_finite(found: _Measured) -> None:
    for name, number, remedy in (
        ("loss", found.loss, "check the params and the data"),
        ("gradient", found.gradient_norm, "a square root or a norm at 0 is the usual cause"),
        (
            "Hessian-vector products",
            np.concatenate([np.ravel(found.matrices), np.ravel(found.quotients[2:])]),
            "the second derivative is infinite there or overflows (|u|^p with p < 2, a norm at 0); smooth the loss, "
            "move the params, or use float64",
        ),
    ):
        if not np.all(np.isfinite(number)):
            bad = np.ravel(number)[~np.isfinite(np.ravel(number))][0]
            raise ValueError(f"the {name} must be finite at these params, got {bad}: {remedy}")
