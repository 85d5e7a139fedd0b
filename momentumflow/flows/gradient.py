"""The first-order limits: gradient flow (2) and rescaled gradient flow (8)."""

import equinox as eqx

from .. import _tree, _validate
from .._types import Loss, Params, VectorField, descent_field
from ..methods.linear_memory import AbstractLinearMemory
from ..methods.manifold import Start, slow_response, start_velocity
from .model import AbstractFlow, Claim, ModelField, ModelState, linear_memory_only


class GradientFlow(AbstractFlow):
    r"""Gradient flow, the limit of gradient descent:

    $$\dot u = f(u), \qquad f = -\nabla\Phi, \qquad u(0) = u_0.$$

    Claim: gradient descent stays within $O(h)$. Kovachki & Stuart (2021), eq. (2).

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> flow = mf.solve(mf.GradientFlow(), lambda u: jnp.sum(u**2) / 2, jnp.ones(1), jnp.array([0.0, 1.0]))
        >>> bool(abs(flow.params[-1, 0] - jnp.exp(-1)) < 1e-9)
        True
    """

    @property
    def claims(self) -> tuple[Claim, ...]:
        return (Claim(1, "rest"),)

    def field(self, loss: Loss | VectorField) -> ModelField:
        force = descent_field(loss)
        return lambda t, state: (force(state[0]),)

    def initial_state(self, loss: Loss | VectorField, params: Params, start: Start) -> ModelState:
        if not isinstance(start, str):
            _validate.same_shapes("the start velocity", start, params, "params")
        elif start not in ("rest", "manifold"):
            raise _validate.unknown("start", start, ("rest", "manifold"))
        return (params,)


class RescaledGradientFlow(AbstractFlow):
    r"""Rescaled gradient flow, the limit of momentum methods for $h \to 0$:

    $$\dot u = \bar\lambda f(u), \qquad \bar\lambda = 1/(1-\lambda), \qquad u(0) = u_0.$$

    For a general linear-memory method $\bar\lambda$ is the drift of its slow manifold per unit time.
    Claim: $O(h)$ for any look-ahead. Kovachki & Stuart (2021), eq. (8), Theorem 2.

    **Arguments:** `method`, with fixed momentum. **Raises:** `ValueError` where momentum varies.

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> model = mf.RescaledGradientFlow(mf.heavy_ball(0.01, 0.9))
        >>> flow = mf.solve(model, lambda u: jnp.sum(u**2) / 2, jnp.ones(1), jnp.array([0.0, 0.1]))
        >>> bool(abs(flow.params[-1, 0] - jnp.exp(-1)) < 1e-9)
        True
    """

    method: AbstractLinearMemory = eqx.field(converter=linear_memory_only("RescaledGradientFlow"))

    @property
    def claims(self) -> tuple[Claim, ...]:
        return (Claim(1, "rest"), Claim(1, "manifold"))

    def field(self, loss: Loss | VectorField) -> ModelField:
        force = descent_field(loss)
        rate = slow_response(self.method).drift / self.method.time_step
        return lambda t, state: (_tree.linear((rate,), (force(state[0]),)),)

    def initial_state(self, loss: Loss | VectorField, params: Params, start: Start) -> ModelState:
        start_velocity(self.method, loss, params, start)  # checked, though a limit forgets it
        return (params,)
