"""The exact invariant manifold v = w(u) of the family (7), at any point in any dimension."""

import math
import warnings
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from .. import _tree, _validate
from .._types import Loss, Params, VectorField, descent_field
from ..flows.model import family_only
from ..linear.family import characteristic_roots, slow_limit
from ..methods.linear_memory import require_scalars
from ..methods.momentum import MomentumMethod
from ..problems.problem import Bounds
from .backward_orbit import Orbit, Window, settle, sharpness, window
from .graph_operator import GraphContraction, graph_contraction
from .series_manifold import AbstractManifold, along, graph_order, graph_series

_CLOSE = 0.95
"""Of x₋: a window for an x closer to it would be many times as long."""
_MARGIN = 1.06
"""Without curvature ρ^j v_{-j} is e^{-c(1+τ)} on -1 ≤ τ ≤ 1, c = ½N|log ρ|, about ¼log(1/ε)/√(1-x/x₋); its Chebyshev
coefficients fall like e^{-n²/2c}, and half as many points again are left for what the field adds."""
_BIAS = 1.05
"""The first sweeps contract faster than the last ones: by so much their mean factor is below hk/x₋."""
_Series = Float[Array, " trees"]
_PLACES = ("at the params", "half-way back along the orbit", "at the far end of the backward orbit")


class ManifoldSolution(NamedTuple):
    r"""The velocity on the exact graph, and how far it can be trusted.

    **Fields:**

    - `velocity`: $w(u)$, a pytree like the params.
    - `residual`: $|w(u+hz) - z| / |w(u)|$ with $z = \lambda w(u) + f(u + haw(u))$, the defect of the invariance (17);
      the error of w is about $1/(1-\lambda)$ times as large.
    - `sharpness`: the largest modulus of an eigenvalue of $f'$ by power iteration, a lower bound, at u, half-way back
      and at the far end of the backward orbit.
    - `contraction`: what each sweep left of the change, about $hk/x_-$, k the largest curvature met; 0 after one sweep.
    - `truncation`: the relative error of cutting the orbit off, by the roots at $x = x_-$ times `contraction`.
    - `sweeps`: their number.
    - `gradients`: evaluations of f that the velocity took, an elementary differential of the series counted as
      one; those for the residual and the sharpness come on top.
    - `converged`: whether the changes to come, and `truncation`, are below the tolerance.

    >>> import jax.numpy as jnp, momentumflow as mf
    >>> manifold = mf.InvariantManifold(mf.heavy_ball(0.01, 0.5), mf.Cosine(), tolerance=1e-8)
    >>> solution = manifold.solve(jnp.ones(1))
    >>> bool(solution.converged), bool(solution.residual < 1e-8), bool(solution.gradients < 500)
    (True, True, True)
    """

    velocity: Params
    residual: Float[Array, ""]
    sharpness: Float[Array, "3"]
    contraction: Float[Array, ""]
    truncation: Float[Array, ""]
    sweeps: Int[Array, ""]
    gradients: Int[Array, ""]
    converged: Bool[Array, ""]


class InvariantManifold(AbstractManifold):
    r"""The exact invariant manifold $v = w(u) = \bar\lambda f(u) + hg(u)$ of the family (7), without a grid.

    The fixed point g of the paper's operator T is evaluated at one u in any dimension: along the backward orbit

    $$u_{-j} = u - h\sum_{i<j}v_{-i}, \qquad v_{-j} = \sum_{i\ge0}\lambda^i f(u_{-j-1-i} + hav_{-j-1-i}),
      \qquad w(u) = v_0,$$

    where unrolling T itself would nest exponentially. Sweeps of the right-hand sides contract by about $hk/x_-$, k the
    largest modulus of an eigenvalue of the Hessian on the orbit and $x_-$ the limit up to which a graph exists,
    $(1-\sqrt\lambda)^2$ for heavy ball. The orbit is cut after N steps, with
    $(\rho_\text{fast}/\rho_\text{slow})^N$ below the tolerance, closed by the series of order p, and
    evaluated at K of its N + 1 points, between which it is interpolated: memory is K times that of the params,
    a velocity costs K gradients a sweep, and K depends on the tolerance but not on λ.

    At λ = a = 0, gradient descent, one step back is all: $v = f(u_{-1})$ with $u_{-1} + hf(u_{-1}) = u$.
    A loss that grows too fast to have a global graph has one as far as the orbit stays where $hk < x_-$; the residual
    tells.

    **Arguments:**

    - `method`: heavy_ball, nesterov or momentum_method.
    - `loss`: function from params to a scalar, or a `VectorField`.
    - `tolerance`: relative, below 0.1; by default $\epsilon^{0.7}$, 1e-11 in float64 and 1e-5 in float32.
    - `sharpness`: the largest $|k|$ on the orbit, if known; it sets N. By default $k = x_-/(2h)$; outside `jit` N is
      made larger where the sweeps show that it must be, inside `solve(params).converged` tells.
    - `order`: p of the series that starts the sweeps and closes the orbit, from 1 to 12.
    - `points`: K; by default about three for each digit of the tolerance, more the closer to $x_-$.
    - `length`: N; to be given where λ or a is traced.
    - `max_sweeps`: after which the sweeps are given up.
    - `batch_size`: how many gradients are evaluated at once; by default all K.

    **Raises:** `TypeError` for another method; `ValueError` for numbers outside these ranges, or a tolerance below the
    rounding of the params. Where the tolerance is missed or $hk > x_-$ it warns, outside `jit`, and goes on.

    Under `jit` close over the manifold, `jax.jit(lambda u: manifold.velocity(u))`: it holds arrays and has no hash.
    Derivatives go through in forward mode only (`jax.jvp`, `jax.jacfwd`): the sweeps stop when they have converged.

    Kovachki & Stuart (2021), Theorem 5 and (29)-(30).

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> h, method = 0.02, mf.heavy_ball(0.02, 0.5)
        >>> v = mf.InvariantManifold(method, lambda u: jnp.sum(u**2) / 2).velocity(jnp.ones(3))
        >>> root = ((1.5 - h) + ((1.5 - h) ** 2 - 4 * 0.5) ** 0.5) / 2  # ρ² - (1+λ-h)ρ + λ = 0
        >>> bool(jnp.max(jnp.abs(v - (1 - 1 / root) / h)) < 1e-10)
        True
    """

    method: MomentumMethod = eqx.field(converter=family_only("InvariantManifold"))
    loss: Loss | VectorField
    tolerance: float | None = eqx.field(static=True, default=None)
    sharpness: float | None = eqx.field(static=True, default=None)
    order: int = eqx.field(static=True, default=2)
    points: int | None = eqx.field(static=True, default=None)
    length: int | None = eqx.field(static=True, default=None)
    max_sweeps: int = eqx.field(static=True, default=400)
    batch_size: int | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        if self.tolerance is not None:
            _validate.positive("tolerance", self.tolerance, "leave it out for the default")
            if self.tolerance >= 0.1:
                raise ValueError(
                    f"tolerance must be < 0.1, got {self.tolerance}: it is relative; leave it out for the default"
                )
        graph_order(self.order)
        if self.sharpness is not None:
            _validate.positive("sharpness", self.sharpness, "it is the largest curvature on the orbit")
        for name, least in (("points", 4), ("length", 1), ("max_sweeps", 1), ("batch_size", 1)):
            if getattr(self, name) is not None:
                _validate.count(name, getattr(self, name), least)

    def velocity(self, params: Params) -> Params:
        r"""$w(u)$, to the tolerance. **Arguments:** `params` $u$; works under `vmap` and `jit` (see the class).

        **Raises:** as the class; warns outside `jit` where the tolerance is missed.
        """
        found = self._attempt(params, full=False)
        if _validate.is_concrete(found.contraction) and not found.converged:
            _warn(self, self._attempt(params, full=True), self._tolerance(params))
        return found.velocity

    def solve(self, params: Params) -> ManifoldSolution:
        """The velocity with its residual, its cost and the curvature that was met: a `ManifoldSolution`.

        **Arguments:** `params` $u$. **Raises:** as the class; warns outside `jit` where the tolerance is missed or the
        curvature is beyond the limit.
        """
        found = self._attempt(params, full=True)
        if _validate.is_concrete(found.contraction):
            _warn(self, found, self._tolerance(params))
        return found

    def contraction(
        self,
        bounds: Bounds,
        dimension: int = 1,
        points: int = 96,
        period: ArrayLike = 2 * math.pi,
        iterations: int = 40,
    ) -> GraphContraction:
        r"""The measured contraction factor of the operator T, (29)-(30), beside μ of (42), on the grid of a torus.

        **Arguments:** as of `momentumflow.theory.graph_operator.graph_contraction`: `bounds` $B_0, B_1, B_2$; the
        loss is one of params of shape `(dimension,)`, 1 or 2, whose field has the `period`.

            >>> import math, momentumflow as mf
            >>> manifold = mf.InvariantManifold(mf.heavy_ball(0.02, 0.5), mf.Cosine())
            >>> found = manifold.contraction(mf.Cosine().bounds(math.inf), points=32)
            >>> round(float(found.factor), 3), round(float(found.mu), 3)
            (0.518, 0.525)
        """
        return graph_contraction(self.method, self.loss, bounds, dimension, points, period, iterations)

    def _attempt(self, params: Params, full: bool) -> ManifoldSolution:
        """Outside `jit` a second time, where the first one shows that the orbit must reach further back."""
        params = _validate.as_params(params)
        require_scalars(self.method)
        series = graph_series(self.method, self.order)
        found = _solve(self, self._window(params, self.sharpness), series, params, full)
        if not _validate.is_concrete(found.contraction) or found.converged or self.length is not None:
            return found
        if found.truncation <= self._tolerance(params) or not found.contraction < 1:
            return found
        h, lam, a = self.method.learning_rate, self.method.momentum, self.method.lookahead
        met = float(jnp.asarray(_BIAS * found.contraction * slow_limit(lam, a) / h))
        return _solve(self, self._window(params, met), series, params, full)

    def _window(self, params: Params, sharpness: float | None) -> Window:
        lam, a, log = self.method.momentum, self.method.lookahead, -math.log(self._tolerance(params))
        known = _validate.is_concrete(lam) and _validate.is_concrete(a)
        if not known and self.length is None:
            raise ValueError(
                "length must be given where momentum or lookahead is traced: pass length=N, or close over the "
                "manifold, jax.jit(lambda u: manifold.velocity(u))"
            )
        near = _nearness(self.method, sharpness)
        points = self.points or max(4, math.ceil(_MARGIN * log / (1 - near) ** 0.25))
        if not known:
            return window(self.length or 1, points, lam, jnp.sqrt(jnp.asarray(lam, float)))
        slow, fast = _roots(self.method, near)
        length = math.ceil(log / math.log(slow / fast)) if fast > 0 else 1
        return window(self.length or max(1, length), points, lam, math.sqrt(slow * fast))

    def _tolerance(self, params: Params) -> float:
        rounding = float(jnp.finfo(_tree.dtype(params)).eps)
        tolerance = rounding**0.7 if self.tolerance is None else float(self.tolerance)
        if tolerance < 16 * rounding:
            raise ValueError(
                f"tolerance must be >= 16 roundings of the params, {16 * rounding:.1e}, got {tolerance:.1e}: "
                "enlarge it, or use params in float64"
            )
        return tolerance


def _nearness(method: MomentumMethod, sharpness: float | None) -> float:
    """h|k|/x₋ that a window is made for: ½ unless it is known."""
    if sharpness is None or not all(map(_validate.is_concrete, jax.tree.leaves(method))):
        return 0.5
    with jax.ensure_compile_time_eval():  # a method inside `jit` that is known there
        limit = slow_limit(method.momentum, method.lookahead)
        return min(float(jnp.asarray(method.learning_rate)) * sharpness / float(limit), _CLOSE)


def _roots(method: MomentumMethod, near: float) -> tuple[float, float]:
    """Moduli of the slow and the fast root at x = x₋ times `near`."""
    lam, a = method.momentum, method.lookahead
    with jax.ensure_compile_time_eval():
        slow, fast = characteristic_roots(near * slow_limit(lam, a), lam, a)
        return float(abs(slow)), float(abs(fast))


def _stacked(manifold: InvariantManifold) -> Callable[[Params], Params]:
    """f on a stack of points, `batch_size` at a time."""
    field = descent_field(manifold.loss)
    if manifold.batch_size is None:
        return jax.vmap(field)
    return lambda points: jax.lax.map(field, points, batch_size=manifold.batch_size)


@eqx.filter_jit
def _orbit(
    manifold: InvariantManifold, frame: Window, series: _Series, params: Params, start: Params | None = None
) -> Orbit:
    """The sweeps, from the velocity of the series at u all along the orbit unless `start` says otherwise."""
    _validate.check_loss(manifold.loss, params)
    closure = eqx.Partial(along, manifold.loss, series, manifold.order)
    if start is None:
        first, count = closure(params), len(frame.weight)
        start = jax.tree.map(lambda v: jnp.broadcast_to(v, (count, *v.shape)), first)
    tolerance, field = manifold._tolerance(params), _stacked(manifold)
    return settle(manifold.method, field, closure, frame, params, start, tolerance, manifold.max_sweeps)


@eqx.filter_jit
def _solve(
    manifold: InvariantManifold, frame: Window, series: _Series, params: Params, full: bool
) -> ManifoldSolution:
    """Without the residual and the sharpness, NaN, unless `full`."""
    found = _orbit(manifold, frame, series, params)
    count, differentials = len(frame.weight), len(series)
    field, kind = descent_field(manifold.loss), _tree.dtype(params)
    residual, sharpest = jnp.full((), jnp.nan, kind), jnp.full(3, jnp.nan, kind)
    if full:
        places = np.array([0, count // 2, count - 1])
        met = jax.tree.map(lambda x: x[places], found.params)
        residual = _residual(manifold, frame, series, params, found)
        sharpest = jax.vmap(lambda u: sharpness(field, u))(met)
    factor = jnp.where(found.converged & (found.sweeps < 2), 0.0, found.factor)  # one change has no factor
    cut = _truncation(manifold, frame, factor)
    return ManifoldSolution(
        velocity=_tree.at(found.velocities, 0),
        residual=residual,
        sharpness=sharpest,
        contraction=factor,
        truncation=cut,
        sweeps=found.sweeps,
        gradients=found.sweeps * (count + differentials) + differentials,
        converged=found.converged & (cut <= manifold._tolerance(params)),
    )


def _residual(
    manifold: InvariantManifold, frame: Window, series: _Series, params: Params, found: Orbit
) -> Float[Array, ""]:
    """|w(u+hz) - z| / |w(u)|; w(u+hz) by sweeps of its own, from the same orbit one step later."""
    velocity = _tree.at(found.velocities, 0)
    step, z = manifold.method.step(descent_field(manifold.loss), (params, velocity), 0)

    def later(v: Array, first: Array) -> Array:
        return jnp.tensordot(jnp.asarray(frame.advance, v.dtype), v, 1).at[0].set(first)

    again = _orbit(manifold, frame, series, step, jax.tree.map(later, found.velocities, z))
    defect = _tree.linear((1, -1), (_tree.at(again.velocities, 0), z))
    return _tree.norm(defect) / jnp.maximum(_tree.norm(velocity), jnp.finfo(_tree.dtype(params)).tiny)


def _truncation(manifold: InvariantManifold, frame: Window, factor: Float[Array, ""]) -> Float[Array, ""]:
    """(ρ_fast/ρ_slow)^N times the error of the series at the far end, at x = x₋ times the factor of the sweeps."""
    lam, a, near = manifold.method.momentum, manifold.method.lookahead, jnp.minimum(factor, 1.0)
    slow, fast = map(jnp.abs, characteristic_roots(near * slow_limit(lam, a), lam, a))
    return (fast / slow) ** frame.length * near**manifold.order


def _warn(manifold: InvariantManifold, found: ManifoldSolution, tolerance: float) -> None:
    """The condition that fails, by its numbers, and what can be done."""
    method = manifold.method
    h, lam, a = (float(jnp.asarray(x)) for x in (method.learning_rate, method.momentum, method.lookahead))
    limit = float(slow_limit(lam, a))
    reasons: list[str] = []
    for k, place in zip(np.asarray(found.sharpness), _PLACES, strict=True):
        if np.isnan(k) and not reasons:
            reasons.append(
                "the orbit left where f is finite: pass more points or take a smaller learning rate"
            )
        elif not h * k < limit and not reasons:
            most = f" below {limit / k:.4g}" if place == _PLACES[0] else ""
            reasons.append(
                f"h|k| must be below x₋ = {limit:.4g} along the backward orbit, got {h * k:.4g} for an "
                f"eigenvalue |k| = {k:.4g} {place}: take a smaller learning rate{most}"
            )
    factor, cut = float(found.contraction), float(found.truncation)
    if np.isnan(factor):
        pass  # it is told above
    elif not found.converged and not factor < 1:
        reasons.append(f"the sweeps do not contract: factor {factor:.3g} each")
    elif not found.converged and found.sweeps >= manifold.max_sweeps:
        reasons.append(
            f"the sweeps contract by {factor:.3g} each and need more than max_sweeps={found.sweeps}"
        )
    elif not found.converged:
        reasons.append(
            f"the orbit is cut off too early, at an error of about {cut:.1e}: pass a larger length or tolerance"
        )
    elif float(found.residual) > 10 * tolerance:
        reasons.append(f"the residual is above the tolerance {tolerance:.1e}: pass more points")
    if reasons:
        text = f"invariant manifold: {'; '.join(reasons)}; relative residual {float(found.residual):.1e}"
        warnings.warn(text, UserWarning, stacklevel=4)  # equinox's call is between
