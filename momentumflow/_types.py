"""The vocabulary of the library: parameters, losses, vector fields and trajectories."""

from collections.abc import Callable

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

Params = PyTree[Float[Array, "..."]]
Loss = Callable[[Params], Float[Array, ""]]
Field = Callable[[Params], Params]

COMPLETED, NON_FINITE, STEP_LIMIT, SOLVER_FAILED = range(4)
_OUTCOMES = {
    COMPLETED: "completed",
    NON_FINITE: "not finite",
    STEP_LIMIT: "the solver reached its limit of steps",
    SOLVER_FAILED: "the solver's step size underflowed or its nonlinear solve failed",
}


class VectorField(eqx.Module):
    r"""Dynamics that need not be a gradient, given where a loss is expected.

    $\dot u = f(u)$ in place of $f = -\nabla\Phi$, for instance the field of a game.

    **Arguments:**

    - `field`: function from params to a pytree of the same structure, shapes and dtypes.

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> rotation = mf.VectorField(lambda u: jnp.stack([-u[1], u[0]]))
        >>> rotation(jnp.array([1.0, 0.0])).tolist()
        [-0.0, 1.0]
    """

    field: Field

    def __call__(self, params: Params) -> Params:
        return self.field(params)


def descent_field(loss: Loss | VectorField) -> Field:
    """$f = -\\nabla\\Phi$ for a loss, the field itself for a `VectorField`."""
    if isinstance(loss, VectorField):
        return loss.field

    def field(params: Params) -> Params:
        return jax.tree.map(jax.numpy.negative, jax.grad(loss)(params))

    return field


class Trajectory(eqx.Module):
    r"""What a method or a model did: the same record for both.

    **Fields:**

    - `times`: $t_n$, shape `(N+1,)`; iterations times the method's time step.
    - `params`: pytree like the params, leading axis `N+1`.
    - `velocity`: the method's $v_n$ or the model's $\dot u$, like `params`; `None` for first-order ones.
    - `diverged_at`: index of the step (of a model: of the saved time) at which the state was first
      not finite or the solver gave up; -1 if it completed.
    - `status`: code of `outcome`.

    A trajectory of an ensemble (`eqx.filter_vmap`) has further leading axes in every field.

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> run = mf.iterate(mf.gradient_descent(10.0), lambda u: jnp.sum(u**4), jnp.ones(1), steps=20)
        >>> run.times.shape, run.outcome
        ((21,), 'not finite from step 6')
    """

    times: Float[Array, "*batch times"]
    params: Params
    velocity: Params | None
    diverged_at: Int[Array, "*batch"]
    status: Int[Array, "*batch"]

    @property
    def outcome(self) -> str:
        """Plain words for `diverged_at`, for instance 'completed' or 'not finite from step 12'."""
        statuses = np.asarray(self.status)
        if statuses.ndim:
            done = int((statuses == COMPLETED).sum())
            return f"{done} of {statuses.size} completed"
        text = _OUTCOMES[int(statuses)]
        return text if statuses == COMPLETED else f"{text} from step {int(self.diverged_at)}"
