"""The phase-space flow: a field on (u, v) whose flow passes through the iterates, transient included."""

from collections.abc import Callable
from math import factorial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .. import _tree, _validate
from .._types import Field, Loss, Params, VectorField, descent_field
from ..expansion.interpolation import weights
from ..methods.manifold import Start, start_state
from ..methods.momentum import MomentumMethod
from .model import AbstractFlow, Claim, ModelField, ModelState, family_only

HIGHEST = 4
LARGEST_ROUNDING = 2e-3
"""Σ|w| times the rounding unit of the session: what the weights leave of the field's digits."""


class PhaseFlow(AbstractFlow):
    r"""The flow on $(u, v)$ through the iterates of (15), to order p:

    $$\frac{d}{dt}(u, v) = \frac1h\sum_{j=0}^{K} w_jP_h^j(u, v), \qquad K = \tfrac{(p+1)(p+2)}2 - 1,$$

    with one step $P_h$ of the method itself and the weights of the polynomial that interpolates log at
    $1, \lambda, \dots, \lambda^p$: K gradients, no derivative of f, the method's fixed points exact.

    Claim: $O(h^p)$ for all t, from rest and with the transient. The `velocity` of a solution is the method's v.

    **Arguments:**

    - `method`: of the family (7) with λ > 0, concrete (not traced): the weights are found in 60 digits.
    - `order`: p from 1 to 4. The weights cancel: at small λ and large p the flow is refused.

    **Raises:** `ValueError` for λ = 0, another order, or weights that cancel too much.

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> method, loss = mf.nesterov(2**-6, 0.5), lambda u: jnp.sum(jnp.cosh(u))
        >>> run = mf.iterate(method, loss, jnp.ones(1), steps=64)
        >>> flow = mf.solve(mf.PhaseFlow(method), loss, jnp.ones(1), run.times)
        >>> bool(jnp.max(jnp.abs(flow.params - run.params)) < 1e-3)
        True
    """

    method: MomentumMethod = eqx.field(converter=family_only("PhaseFlow"))
    order: int = eqx.field(static=True, default=2)
    weights: Float[Array, " K"] = None  # type: ignore[assignment]  # filled in below

    def __post_init__(self) -> None:
        order = _validate.count("order", self.order)
        if order > HIGHEST:
            raise ValueError(f"order must be <= {HIGHEST}, got {order}: its weights would cancel all digits")
        if self.weights is None:
            self.weights = jnp.asarray(_checked_weights(self.method.momentum, order))

    @property
    def claims(self) -> tuple[Claim, ...]:
        return Claim(self.order, "rest"), Claim(self.order, "manifold")

    def field(self, loss: Loss | VectorField) -> ModelField:
        force, h = descent_field(loss), self.method.learning_rate

        def field(t: ArrayLike, state: ModelState) -> ModelState:
            return _combination(self.method, force, state, self.weights / h)

        return field

    def initial_state(self, loss: Loss | VectorField, params: Params, start: Start) -> ModelState:
        return start_state(self.method, loss, params, start)


def _combination(method: MomentumMethod, field: Field, state: ModelState, found: Array) -> ModelState:
    """Σ w_j P^j(u, v): one step at a time, so that its program does not grow with the order."""

    def add(
        carry: tuple[ModelState, ModelState], weight: Array
    ) -> tuple[tuple[ModelState, ModelState], None]:
        moved, total = carry
        moved = method.step(field, moved, 0)
        return (moved, _tree.linear((1, weight), (total, moved))), None

    (_, total), _ = jax.lax.scan(add, (state, _tree.linear((found[0],), (state,))), found[1:])
    return total


def _checked_weights(momentum: ArrayLike, order: int) -> np.ndarray:
    """The weights as numbers, or the reason why there are none."""
    if not _validate.is_concrete(momentum):
        raise ValueError("PhaseFlow must be built outside jit, vmap and grad: its weights need λ as a number")
    lam = float(np.asarray(momentum))
    if not lam > 0:
        raise ValueError(
            f"momentum must be > 0 for a phase flow, got {lam}: log λ has no value; without momentum "
            "SlowFlow follows the method from the start"
        )
    found = np.array(weights(lam, order))
    limit = min(1e7, LARGEST_ROUNDING / float(jnp.finfo(jnp.result_type(float)).eps))
    if np.abs(found).sum() > limit:
        raise ValueError(
            f"the weights of order {order} at λ = {lam:g} must not cancel, got Σ|w| = {np.abs(found).sum():.1e} "
            f"> {limit:.0e} of this precision: use a lower order or InertialFlow"
        )
    return found


def series_term(
    method: MomentumMethod, field: Field, state: ModelState, found: Array, power: int
) -> ModelState:
    r"""The coefficient of $h^i$ in $\sum_j w_jP_h^j(u, v)$, by forward derivatives nested in one another.

    With the weights of order p it is that of the interpolating field: in u for i ≤ p, in v for i < p.
    """

    def combination(h: Float[Array, ""]) -> ModelState:
        moved = eqx.tree_at(lambda m: m.learning_rate, method, h)
        return _combination(moved, field, state, found)

    derivative: Callable[[Array], ModelState] = combination
    for _ in range(power):
        derivative = _forward(derivative)
    zero = jnp.zeros((), _tree.dtype(state))
    return _tree.linear((1 / factorial(power),), (derivative(zero),))


def _forward(function: Callable[[Array], ModelState]) -> Callable[[Array], ModelState]:
    return lambda x: jax.jvp(function, (x,), (jnp.ones_like(x),))[1]
