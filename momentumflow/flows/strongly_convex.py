"""The limits whose friction does not grow with 1/h: Wilson's ODE, and Su, Boyd & Candès'."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree, _validate
from .._types import Loss, Params, VectorField, descent_field
from ..methods.manifold import Start
from .model import AbstractFlow, Claim, ModelField, ModelState, velocity_or_none


class StronglyConvexODE(AbstractFlow):
    r"""The limit of HB-μ, NAG-μ and Wilson's splitting on the time scale $t_n = n\sqrt h$:

    $$\ddot u + 2\sqrt\mu\,\dot u + \nabla\Phi(u) = 0, \qquad u(0) = u_0,\ \dot u(0) = v_0.$$

    Claim: $O(\sqrt h)$ from rest. Kovachki & Stuart (2021), §1.1 and §5, after Wilson et al. (2016).

    **Arguments:** `strong_convexity` $\mu > 0$. **Raises:** `ValueError` unless $\mu > 0$.

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> flow = mf.solve(mf.StronglyConvexODE(1.0), lambda u: jnp.sum(u**2) / 2, jnp.ones(1), jnp.array([0.0, 1.0]))
        >>> bool(abs(flow.params[-1, 0] - 2 * jnp.exp(-1)) < 1e-9)  # (1 + t) exp(-t)
        True
    """

    strong_convexity: ArrayLike = eqx.field(converter=_validate.scalar_field)

    def __check_init__(self) -> None:
        _validate.positive("strong_convexity", self.strong_convexity, "it is a lower bound on the curvature")

    @property
    def claims(self) -> tuple[Claim, ...]:
        return (Claim(0.5, "rest"),)

    def field(self, loss: Loss | VectorField) -> ModelField:
        force = descent_field(loss)
        friction = 2 * jnp.sqrt(self.strong_convexity)

        def field(t: ArrayLike, state: ModelState) -> ModelState:
            u, v = state
            return v, _tree.linear((1, -friction), (force(u), v))

        return field

    def initial_state(self, loss: Loss | VectorField, params: Params, start: Start) -> ModelState:
        velocity = velocity_or_none(start, params, "StronglyConvexODE")
        return params, _tree.zeros_like(params) if velocity is None else velocity


class SuBoydCandesODE(AbstractFlow):
    r"""The limit of Nesterov's method with $\lambda_n = n/(n+3)$ on the time scale $t_n = n\sqrt h$:

    $$\ddot u + \frac3t\dot u + \nabla\Phi(u) = 0, \qquad u(0) = u_0,\ \dot u(0) = 0.$$

    Claim: $O(\sqrt h)$ from rest. Su, Boyd & Candès (2014); Kovachki & Stuart (2021), §1.1, eq. (3), (4).

    **Raises:** `ValueError` on `solve` from a start with velocity, for which the ODE has no solution.

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> from scipy.special import j1  # u(t) = 2 J_1(t) / t on a unit quadratic
        >>> flow = mf.solve(mf.SuBoydCandesODE(), lambda u: jnp.sum(u**2) / 2, jnp.ones(1), jnp.array([0.0, 2.0]))
        >>> bool(abs(flow.params[-1, 0] - j1(2.0)) < 1e-9)
        True
    """

    @property
    def claims(self) -> tuple[Claim, ...]:
        return (Claim(0.5, "rest"),)

    def field(self, loss: Loss | VectorField) -> ModelField:
        force = descent_field(loss)

        def field(t: ArrayLike, state: ModelState) -> ModelState:
            u, v = state
            # at t = 0 the regular solution has u' = u''t, so 3u'/t = 3u'' and u'' = f/4
            started = jnp.asarray(t) > 0
            friction = jnp.where(started, 3 / jnp.where(started, t, 1), 0)
            return v, _tree.linear((jnp.where(started, 1, 0.25), -friction), (force(u), v))

        return field

    def initial_state(self, loss: Loss | VectorField, params: Params, start: Start) -> ModelState:
        if not (isinstance(start, str) and start == "rest"):
            raise ValueError(f"SuBoydCandesODE has a solution only from rest, got start={start!r}")
        return params, _tree.zeros_like(params)
