"""The modified gradient flow (20): what a method does on its slow manifold."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Loss, Params, VectorField, descent_field
from ..methods.linear_memory import AbstractLinearMemory
from ..methods.manifold import Start, slow_response, start_velocity
from .model import AFTER_LAYER, AbstractFlow, Claim, ModelField, ModelState, family_only

_PRINTED_FOR = family_only("SlowFlow(printed=True)")


class SlowFlow(AbstractFlow):
    r"""The slow flow, for order 2 the modified gradient flow of Kovachki & Stuart (2021), (20), (21):

    $$\dot u = -\bar\lambda\nabla\big(\Phi + \tfrac12 hc|\nabla\Phi|^2\big) = \bar\lambda f - h\bar\lambda c\,f'f,
      \qquad c = \bar\lambda(\bar\lambda - a - \tfrac12) = \alpha\bar\lambda^2.$$

    (19) prints $c = \bar\lambda(\bar\lambda - a + \tfrac12)$, a sign slip that costs the second order.
    A method started with velocity $v_0$ falls onto the slow flow that starts from

    $$u_0 + h\lambda\bar\lambda(v_0 - \bar\lambda f(u_0)),$$

    from rest a lag of $\lambda/(1-\lambda)$ iterations. For a general linear-memory method the
    coefficients follow from $A, b, c$ (`momentumflow.methods.manifold`).

    Claims: order $p$ on the manifold (Theorem 6), and from rest outside the initial layer.

    **Arguments:**

    - `method`: with fixed momentum.
    - `order`: 1 (the rescaled gradient flow, with the lagged start) or 2.
    - `printed`: use (19) as printed; for the family (7) and order 2.

    **Raises:** `ValueError` for another order, or momentum that varies.

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> method, loss = mf.nesterov(2**-8, 0.5), lambda u: jnp.sum(jnp.cosh(u))
        >>> run = mf.iterate(method, loss, jnp.ones(1), steps=256, start="manifold")
        >>> flow = mf.solve(mf.SlowFlow(method), loss, jnp.ones(1), run.times, start="manifold")
        >>> bool(jnp.max(jnp.abs(flow.params - run.params)) < 1e-4)
        True
    """

    method: AbstractLinearMemory
    order: int = eqx.field(static=True, default=2)
    printed: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        if isinstance(self.order, bool) or self.order not in (1, 2):
            raise ValueError(f"order must be 1 or 2 in this version, got {self.order!r}")
        if self.printed:
            _PRINTED_FOR(self.method)
            if self.order != 2:
                raise ValueError(f"(19) is printed for order 2, got order {self.order}: drop printed=True")

    @property
    def claims(self) -> tuple[Claim, ...]:
        if self.printed:
            return (Claim(1, "manifold"),)
        return Claim(self.order, "manifold"), Claim(self.order, "rest", AFTER_LAYER)

    def field(self, loss: Loss | VectorField) -> ModelField:
        force = descent_field(loss)
        rate, correction = self._coefficients()

        def field(t: ArrayLike, state: ModelState) -> ModelState:
            f = force(state[0])
            if self.order == 1:
                return (_tree.linear((rate,), (f,)),)
            _, bend = jax.jvp(force, state, (f,))
            return (_tree.linear((rate, correction), (f, bend)),)

        return field

    def _coefficients(self) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Of f and of f'f, per unit time."""
        slow = slow_response(self.method)
        # flow = log of the step map: the step's own f'f less half the square of its drift
        correction = slow.drift_correction - slow.drift**2 / 2
        if self.printed:
            method = _PRINTED_FOR(self.method)
            c = method.amplification * (method.amplification - method.lookahead + 0.5)
            correction = jnp.asarray(-(method.time_step**2) * method.amplification * c)
        return slow.drift / self.method.time_step, correction / self.method.time_step

    def initial_state(self, loss: Loss | VectorField, params: Params, start: Start) -> ModelState:
        if isinstance(start, str) and start == "manifold":
            return (params,)
        slow = slow_response(self.method)
        v0 = start_velocity(self.method, loss, params, start)
        still = -jnp.dot(slow.lag, slow.memory)
        if v0 is None:
            return (_tree.linear((1, still), (params, descent_field(loss)(params))),)
        return (_tree.linear((1, still, slow.lag[0]), (params, descent_field(loss)(params), v0)),)
