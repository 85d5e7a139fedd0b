"""The momentum ODE (11), and the initial velocities one may give it."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, PyTree

from .. import _tree, _validate
from .._types import Loss, Params, VectorField, descent_field
from ..methods.manifold import Start, start_velocity
from ..methods.momentum import MomentumMethod
from .model import AFTER_LAYER, AbstractFlow, Claim, ModelField, ModelState, family_only

_NAMED = ("slow", "taylor", "printed", "zero")


class MomentumODE(AbstractFlow):
    r"""The momentum ODE, a damped oscillator with mass of order $h$:

    $$h\alpha\ddot u + (1-\lambda)\dot u = f(u), \qquad \alpha = \tfrac12(1+\lambda-2a(1-\lambda)).$$

    Claim: $O(h)$ for any initial velocity, $h \le (1-\lambda)^2/(2\alpha B_1)$ (Kovachki & Stuart 2021,
    eq. (11), Theorem 3); with the slow velocity $O(h^2)$ outside the initial layer, $t \ge t_0 > 0$.

    **Arguments:**

    - `method`: of the family (7) with $\alpha > 0$.
    - `initial_velocity`: $\dot u(0)$ for a method started with velocity $v_0$ (0 at rest):
        - "slow": $\bar\lambda f + \frac\lambda\alpha(v_0 - \bar\lambda f)$, which puts the slow part right;
          from rest $\bar\lambda(1-\lambda/\alpha)f(u_0)$;
        - "taylor": $\frac{2\alpha-1}{2\alpha+\lambda-1}f(u_0)$, which matches $u(h) = u_1$ to order $h$;
        - "printed": $\frac{1-2\alpha}{2\alpha-\lambda+1}f(u_0)$, (12) as printed, a sign slip of "taylor";
        - "zero"; or a pytree like the params.

      The last four do not depend on $v_0$: they are meant for a start at rest.

    **Raises:** `ValueError` where $\alpha \le 0$ or the denominator of the velocity vanishes.

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> method, loss = mf.heavy_ball(2**-8, 0.5), lambda u: jnp.sum(u**2) / 2
        >>> run = mf.iterate(method, loss, jnp.ones(1), steps=256)
        >>> flow = mf.solve(mf.MomentumODE(method), loss, jnp.ones(1), run.times)
        >>> bool(jnp.max(jnp.abs(flow.params - run.params)) < 2**-9)
        True
    """

    method: MomentumMethod = eqx.field(converter=family_only("MomentumODE"))
    initial_velocity: str | PyTree = "slow"
    stiff: ClassVar[bool] = True

    def __check_init__(self) -> None:
        _validate.positive(
            "the inertia (1 + λ - 2a(1-λ))/2", self.method.inertia, "use a smaller lookahead or more momentum"
        )
        if isinstance(self.initial_velocity, str):
            _check_name(self.initial_velocity, self.method)

    @property
    def claims(self) -> tuple[Claim, ...]:
        first = Claim(1, "rest")
        if isinstance(self.initial_velocity, str) and self.initial_velocity == "slow":
            return (first, Claim(2, "rest", AFTER_LAYER), Claim(2, "manifold", AFTER_LAYER))
        return (first,)

    def field(self, loss: Loss | VectorField) -> ModelField:
        force = descent_field(loss)
        mass = self.method.learning_rate * self.method.inertia
        damping = 1 - self.method.momentum

        def field(t: ArrayLike, state: ModelState) -> ModelState:
            u, v = state
            return v, _tree.linear((1 / mass, -damping / mass), (force(u), v))

        return field

    def initial_state(self, loss: Loss | VectorField, params: Params, start: Start) -> ModelState:
        if not isinstance(self.initial_velocity, str):
            _validate.same_shapes("initial_velocity", self.initial_velocity, params, "params")
            return params, jax.tree.map(lambda v, p: jnp.asarray(v, p.dtype), self.initial_velocity, params)
        force = descent_field(loss)(params)
        if self.initial_velocity != "slow":
            return params, _tree.linear((_fraction(self.initial_velocity, self.method),), (force,))
        v0 = start_velocity(self.method, loss, params, start)
        ratio = self.method.momentum / self.method.inertia
        rest = self.method.amplification * (1 - ratio)
        return params, _tree.linear((rest, ratio), (force, _tree.zeros_like(params) if v0 is None else v0))


def _fraction(name: str, method: MomentumMethod) -> ArrayLike:
    """u'(0) in units of f(u_0)."""
    alpha, lam = method.inertia, method.momentum
    if name == "taylor":
        return (2 * alpha - 1) / (2 * alpha + lam - 1)
    if name == "printed":
        return (1 - 2 * alpha) / (2 * alpha - lam + 1)
    return 0


def _check_name(name: str, method: MomentumMethod) -> None:
    if name not in _NAMED:
        raise _validate.unknown("initial velocity", name, _NAMED)
    denominators = {
        "taylor": ("2α + λ - 1", 2 * method.inertia + method.momentum - 1),
        "printed": ("2α - λ + 1", 2 * method.inertia - method.momentum + 1),
    }
    if name not in denominators:
        return
    formula, value = denominators[name]
    if _validate.is_concrete(value) and np.any(np.abs(np.asarray(value)) < 1e-6):
        raise ValueError(
            f"the {name!r} velocity needs {formula} different from 0, got {np.asarray(value)} at λ = "
            f"{method.momentum}, a = {method.lookahead}: use initial_velocity='slow'"
        )
