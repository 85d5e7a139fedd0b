"""The inertial flow: a second-order ODE that follows the iterates uniformly from rest, transient included."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .. import _tree, _validate
from .._types import Field, Loss, Params, VectorField, descent_field
from ..expansion.differentials import combinations, derivative
from ..expansion.interpolation import DIGITS
from ..expansion.phase import V
from ..methods.linear_memory import require_scalars
from ..methods.manifold import Start, start_velocity
from ..methods.momentum import MomentumMethod
from .model import AbstractFlow, Claim, ModelField, ModelState, family_only
from .phase import series_coefficients, series_row

_FAMILY = family_only("InertialFlow")


class InertialFlow(AbstractFlow):
    r"""Second-order ODEs with the mass of the transient, for order 2

    $$hm\ddot u + \big[(1-\lambda)I + hm\tfrac a\lambda H(u)\big]\dot u
      = -\nabla\big(\Phi + \tfrac{h\beta}2|\nabla\Phi|^2\big), \qquad m = \frac{1-\lambda}{-\log\lambda},$$

    $\beta = \bar\lambda(\bar\lambda-a-\frac12) - \bar\lambda m(\bar\lambda-\frac a\lambda)$, Hessian
    $H = -f'$; order 3 adds $h^2(c_1f'f'f + c_2f'f'\dot u + c_3f''[f,f] + c_4f''[f,\dot u] + c_5f''[\dot u,\dot u])$.

    It answers the question that Kovachki & Stuart (2021), §3.3, leave open, the oscillations of Nesterov at large h:
    derived by eliminating v from the phase-space flow. Jacobian-vector products of f only, no Hessian.

    Claim: $O(h^p)$ for all t, from rest and with the transient, heavy ball and Nesterov.

    **Arguments:**

    - `method`: of the family (7), λ > 0; for order 3 concrete (not traced).
    - `order`: 2 or 3.

    **Raises:** `ValueError` for λ = 0 or another order.

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> method, loss = mf.nesterov(2**-6, 0.9), lambda u: 10 * jnp.sum(u**2)
        >>> run = mf.iterate(method, loss, jnp.ones(1), steps=64)
        >>> flow = mf.solve(mf.InertialFlow(method), loss, jnp.ones(1), run.times)
        >>> bool(jnp.max(jnp.abs(flow.params - run.params)) < 0.1)
        True
    """

    method: MomentumMethod = eqx.field(converter=_FAMILY)
    order: int = eqx.field(static=True, default=2)
    constants: "Constants" = None  # type: ignore[assignment]  # found by __post_init__, whatever is passed
    velocity_series: Float[Array, " trees"] | None = None  # found by __post_init__, whatever is passed

    def __post_init__(self) -> None:
        _FAMILY(self.method)
        if not isinstance(self.order, int) or isinstance(self.order, bool) or self.order not in (2, 3):
            raise ValueError(
                f"order must be 2 or 3, got {self.order!r}: PhaseFlow goes further, SlowFlow has order 1"
            )
        momentum, lookahead = self.method.momentum, self.method.lookahead
        concrete = _validate.is_concrete(momentum)
        if concrete and not np.all(np.asarray(momentum) > 0):
            raise ValueError(
                f"momentum must be > 0 for an inertial flow, got {np.asarray(momentum)}: log λ and a/λ have no value; "
                "without momentum SlowFlow follows the method from the start"
            )
        self.constants = _constants_of(self.method)
        self.velocity_series = None
        if self.order == 3:
            require_scalars(
                eqx.tree_at(lambda m: m.learning_rate, self.method, 0.0)
            )  # an ensemble of h is fine
            if not (concrete and _validate.is_concrete(lookahead)):
                raise ValueError(
                    "order 3 must be built outside jit, vmap and grad: it needs λ and a as numbers"
                )
            numbers = (float(np.asarray(x)) for x in (momentum, lookahead))
            self.velocity_series = jnp.asarray(series_coefficients(*numbers, 3)[0])

    @property
    def claims(self) -> tuple[Claim, ...]:
        return (Claim(self.order, "rest"),)

    def field(self, loss: Loss | VectorField) -> ModelField:
        force, constants = descent_field(loss), self.constants
        mass = self.method.learning_rate * constants.mass

        def field(t: ArrayLike, state: ModelState) -> ModelState:
            u, v = state
            pull = _pull(force, u, v, self.method, constants, self.order)
            return v, _tree.linear((1 / mass, -(1 - self.method.momentum) / mass), (pull, v))

        return field

    def initial_state(self, loss: Loss | VectorField, params: Params, start: Start) -> ModelState:
        method, force = self.method, descent_field(loss)
        v0 = start_velocity(method, loss, params, start)
        v0 = _tree.zeros_like(params) if v0 is None else v0
        if self.velocity_series is None:
            return params, _initial_velocity(method, self.constants, force, params, v0)
        row = series_row(3, self.velocity_series, method.learning_rate, 1)
        return params, combinations(force, params, [row], {V: v0})[0]


class Constants(NamedTuple):
    """m, β, -log λ, the factors of f'f and f'y in U_2, and c_1, …, c_5."""

    mass: ArrayLike
    beta: ArrayLike
    decay: ArrayLike
    flat: ArrayLike
    tilt: ArrayLike
    second: tuple[ArrayLike, ...]


def _constants_of(method: MomentumMethod) -> Constants:
    """In 60 digits for numbers at hand, as the closed forms cancel like (1-λ)⁴; in JAX for traced ones."""
    lam, a = method.momentum, method.lookahead
    if not (_validate.is_concrete(lam) and _validate.is_concrete(a) and np.ndim(lam) == np.ndim(a) == 0):
        return _constants(lam, a, jnp.log)
    import mpmath

    with mpmath.workdps(DIGITS):
        exact = _constants(mpmath.mpf(float(np.asarray(lam))), mpmath.mpf(float(np.asarray(a))), mpmath.log)
        return jax.tree.map(lambda x: jnp.asarray(float(x)), exact)


def _constants(lam: Any, a: Any, log: Callable[[Any], Any]) -> Constants:
    D, ell = 1 - lam, -log(lam)
    m, bar = D / ell, 1 / D
    beta = bar * (bar - a - 0.5) - bar * m * (bar - a / lam)
    c1 = (
        6 * a**2 * ell * lam**2 * D**2
        + 3 * a**2 * D**3 * (1 - 3 * lam)
        - 6 * a * ell * lam**2 * D * (2 + lam)
        + 3 * a * lam * D**2 * (1 + 5 * lam)
        + 2 * ell * lam**2 * (1 + 4 * lam + lam**2)
        - 6 * lam**2 * D * (1 + lam)
    ) / (6 * ell * lam**2 * D**4)
    c2 = -m / 2 * (a / lam) ** 2
    c3 = (
        6 * a**2 * ell**2 * lam * D**2 * (1 + lam)
        - 12 * a**2 * ell * lam * D**3
        - 6 * a * ell**2 * lam * D * (1 + lam) ** 2
        - 6 * a * ell * D**2 * (1 + 4 * lam - lam**2)
        + 24 * a * D**3 * (1 + lam)
        + ell**2 * lam * (1 + lam) * (1 + 10 * lam + lam**2)
        + 6 * ell * lam * D * (1 + 4 * lam + lam**2)
        - 30 * lam * D**2 * (1 + lam)
    ) / (12 * ell**2 * lam * D**4 * (1 + lam))
    c4 = (
        -2 * a**2 * ell * D**3
        + a * ell * D * (1 + 10 * lam + lam**2)
        - 6 * a * D**2 * (1 + lam)
        - 2 * ell * lam * (1 + 4 * lam + lam**2)
        + 6 * lam * D * (1 + lam)
    ) / (2 * ell**2 * lam * D**2 * (1 + lam))
    c5 = (
        2 * a**2 * ell * D**2
        - 4 * a * ell * lam * D
        + 2 * a * D**2 * (1 + lam)
        + 2 * ell * lam**2
        - lam * D * (1 + lam)
    ) / (2 * ell**2 * lam * D * (1 + lam))
    flat = (2 * a * D**2 - (1 - lam**2) + 2 * lam * ell * (1 - a * D)) / (2 * D**4)
    tilt = -(a * D**2 - a * ell * D + ell * lam * (1 + lam) - 2 * lam * D) / D**3
    return Constants(m, beta, ell, flat, tilt, (c1, c2, c3, c4, c5))


def _pull(
    field: Field, u: Params, v: Params, method: MomentumMethod, constants: Constants, order: int
) -> Params:
    """The right-hand side without the friction (1-λ)u̇."""
    h, ratio = method.learning_rate, method.lookahead / method.momentum
    force, slope = jax.linearize(field, u)
    bent = slope(_tree.linear((-h * constants.beta, h * constants.mass * ratio), (force, v)))
    pull = _tree.linear((1, 1), (force, bent))
    if order == 2:
        return pull
    c1, c2, c3, c4, c5 = constants.second
    twice = slope(slope(_tree.linear((c1, c2), (force, v))))
    along_force = derivative(field, u, [force, _tree.linear((c3, c4), (force, v))])
    along_velocity = derivative(field, u, [v, _tree.linear((c5,), (v,))])
    return _tree.linear((1, h**2, h**2, h**2), (pull, twice, along_force, along_velocity))


def _initial_velocity(
    method: MomentumMethod, constants: Constants, field: Field, u: Params, v: Params
) -> Params:
    """u̇ of the phase-space flow at (u, v), U_1 + hU_2 in y = v - λ̄f."""
    lam, h = method.momentum, method.learning_rate
    D = 1 - lam
    force, slope = jax.linearize(field, u)
    y = _tree.linear((1, -1 / D), (v, force))
    bent = slope(_tree.linear((constants.flat, constants.tilt), (force, y)))
    return _tree.linear((1 / D, lam * constants.decay / D, h), (force, y, bent))
