"""Solve a model: diffrax, tolerances far below the model's own error, failure an outcome."""

from collections.abc import Callable
from typing import cast

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Float, PyTree

from .. import _tree, _validate
from .._types import COMPLETED, NON_FINITE, SOLVER_FAILED, STEP_LIMIT, Loss, Params, Trajectory, VectorField
from ..methods.batches import BatchLoss
from ..methods.manifold import Start, is_rule
from .model import AbstractFlow, ModelField, ModelState, require_flow
from .piecewise import AbstractPiecewiseFlow, solve_piecewise
from .quintic import StiffSolver

LARGEST_IMPLICIT = 64
"""States up to this size may get an implicit solver, which forms a dense Jacobian."""


def solve(
    flow: AbstractFlow | AbstractPiecewiseFlow,
    loss: Loss | VectorField | BatchLoss,
    params: PyTree,
    times: ArrayLike,
    start: Start = "rest",
    save_every: int | None = 1,
    solver: diffrax.AbstractSolver | None = None,
    tolerance: float | None = None,
    max_steps: int = 100_000,
) -> Trajectory:
    r"""The solution of a continuous model at the given times.

    **Arguments:**

    - `flow`: the model, for instance `momentumflow.MomentumODE(method)`.
    - `loss`: function from params to a scalar, or a `VectorField`; for a model on mini-batches a function of
      (params, datum).
    - `params`: $u_0$, a pytree of floating-point arrays.
    - `times`: strictly increasing, $\ge 0$; the flow starts at $t = 0$. A method's own `Trajectory.times` fits.
    - `start`: as in `momentumflow.iterate`: how the method starts. Each model turns it into its own initial
      state and says how.
    - `save_every`: keep every k-th time; `None` keeps only the last.
    - `solver`: a diffrax solver. By default Tsit5, and Kvaerno5 with a quintic interpolant for a model with an
      initial layer (`MomentumODE`) whose state has at most 64 entries: a network never meets a dense Jacobian.
    - `tolerance`: relative and absolute, per step; by default $\epsilon^{0.7}$, 1e-11 in float64 and 1e-5 in
      float32.
    - `max_steps`: after which the solver gives up; for a model on mini-batches, on one interval.

    **Returns:** a `Trajectory` whose `velocity` is $\dot u$ for second-order models and `None` for first-order
    ones. A failed solve is an outcome: `outcome` says why, `diverged_at` the first time without a value.

    **Raises:** `ValueError` or `TypeError` that names the requirement, before work starts.

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> model = mf.SlowFlow(mf.heavy_ball(0.01, 0.9))
        >>> flow = mf.solve(model, lambda u: jnp.sum(u**4) / 4, jnp.ones(2), jnp.linspace(0.0, 1.0, 11))
        >>> flow.params.shape, flow.outcome
        ((11, 2), 'completed')
    """
    params = _validate.as_params(params)
    _validate.increasing_times(times)
    times = _thin(jnp.asarray(times, _tree.dtype(params)), save_every)
    max_steps = _validate.count("max_steps", max_steps)
    tolerance = default_tolerance(params) if tolerance is None else tolerance
    _validate.positive("tolerance", tolerance, "leave it out for the default")
    if isinstance(flow, AbstractPiecewiseFlow):
        return solve_piecewise(flow, loss, params, times, start, solver, tolerance, max_steps)
    require_flow(flow)
    _validate.check_loss(loss, params)
    flow.check(loss, params)
    if is_rule(start, params):
        if not hasattr(flow, "method"):
            raise ValueError(
                f"{type(flow).__name__} knows no method, so its start must be 'rest' or a velocity tree"
            )
        start = start(flow.method, loss, params)
    return _solve(flow, loss, params, start, times, solver, tolerance, max_steps)


def _thin(times: Float[Array, " times"], save_every: int | None) -> Float[Array, " kept"]:
    return times[-1:] if save_every is None else times[:: _validate.count("save_every", save_every)]


def default_tolerance(params: Params) -> float:
    """ε^0.7 of the params' dtype."""
    return float(jnp.finfo(_tree.dtype(params)).eps) ** 0.7


@eqx.filter_jit
def _solve(
    flow: AbstractFlow,
    loss: Loss | VectorField,
    params: Params,
    start: Start,
    times: Float[Array, " times"],
    solver: diffrax.AbstractSolver | None,
    tolerance: float | Float[Array, ""],
    max_steps: int,
) -> Trajectory:
    saveat = diffrax.SaveAt(ts=times)
    state = flow.initial_state(loss, params, start)
    solver = solver or default_solver(flow, state)
    solution, unravel = integrate(flow.field(loss), state, times[-1], saveat, solver, tolerance, max_steps)
    states = jax.vmap(unravel)(cast(Array, solution.ys))
    # a solver that accepts no step leaves no value at all, yet the start is known
    states = jax.tree.map(lambda x, x0: x.at[0].set(jnp.where(times[0] == 0, x0, x[0])), states, state)
    finite = jax.vmap(_tree.is_finite)(states)
    diverged_at = jnp.where(finite.all(), -1, jnp.argmin(finite))
    velocity = states[1] if len(states) > 1 else None
    return Trajectory(times, states[0], velocity, diverged_at, solver_status(solution, finite.all()))


def default_solver(flow: AbstractFlow, state: ModelState) -> diffrax.AbstractSolver:
    """Implicit for a model with an initial layer in small dimension, else explicit."""
    return StiffSolver() if flow.stiff and _tree.size(state) <= LARGEST_IMPLICIT else diffrax.Tsit5()


def integrate(
    field: ModelField,
    state: ModelState,
    final_time: Float[Array, ""],
    saveat: diffrax.SaveAt,
    solver: diffrax.AbstractSolver,
    tolerance: float | Float[Array, ""],
    max_steps: int,
) -> tuple[diffrax.Solution, Callable[[Array], ModelState]]:
    """The one call of diffrax, from t = 0: the solution as vectors, and the way back to states."""
    # one vector in place of many leaves: a solver's program, and its compilation, is then half as long
    vector, unravel = ravel_pytree(state)
    # a step below the spacing of floating-point numbers ends the solve: the solution blows up there
    smallest = 4 * float(jnp.finfo(_tree.dtype(state)).eps) * final_time
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, y, args: ravel_pytree(field(jnp.asarray(t), unravel(y)))[0]),
        solver,
        t0=jnp.zeros_like(final_time),
        t1=final_time,
        dt0=None,
        y0=vector,
        saveat=saveat,
        stepsize_controller=diffrax.PIDController(tolerance, tolerance, dtmin=smallest, force_dtmin=False),
        max_steps=max_steps,
        throw=False,
    )
    return solution, unravel


def solver_status(solution: diffrax.Solution, finite: Array) -> Array:
    """Code of the outcome of a solve."""
    limit = solution.result == diffrax.RESULTS.max_steps_reached
    failed = solution.result != diffrax.RESULTS.successful
    status = jnp.where(finite, COMPLETED, NON_FINITE)
    return jnp.where(limit, STEP_LIMIT, jnp.where(failed, SOLVER_FAILED, status))
