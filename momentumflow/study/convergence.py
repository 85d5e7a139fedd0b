"""How closely a model follows its method: sup-norm errors over a ladder of learning rates."""

from collections.abc import Callable, Sequence

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from .. import _tree, _validate
from .._types import COMPLETED, Loss, Params, VectorField, descent_field
from ..flows.model import AbstractFlow, require_flow
from ..flows.piecewise import SLACK, AbstractPiecewiseFlow, depart
from ..flows.solve import default_solver, default_tolerance, integrate, solver_status
from ..methods.iterate import stepper
from ..methods.linear_memory import AbstractLinearMemory
from ..methods.manifold import Start, is_rule, start_state, start_velocity
from ..methods.momentum import MomentumMethod
from .lockstep import lockstep
from .orders import ConvergenceStudy

CHUNK = 1024
"""Iterates per pass of a loop whose length depends on h: one program serves the whole ladder."""

FLOOR_PER_TOLERANCE = 30
"""Global error of the solver per unit of tolerance and size; about 16 was seen on stiff quadratics."""


def convergence_study(
    method: Callable[[ArrayLike], AbstractLinearMemory],
    flow: Callable[[AbstractLinearMemory], AbstractFlow | AbstractPiecewiseFlow],
    loss: Loss | VectorField,
    params: PyTree,
    learning_rates: Sequence[float],
    final_time: float,
    start: Start = "rest",
    from_time: float = 0.0,
    tolerance: float | None = None,
    max_steps: int = 16_384,
    label: str = "",
) -> ConvergenceStudy:
    r"""Errors $\max_{t_0 \le t_n \le T}|u_n - u(t_n)|$ of a model against its method, and their orders.

    **Arguments:**

    - `method`: function from $h$ to a method, for instance `lambda h: mf.heavy_ball(h, 0.9)`.
    - `flow`: function from a method to its model, for instance `mf.MomentumODE`; a model on mini-batches is for
      `momentumflow.pathwise_study`.
    - `loss`, `params`: $\Phi$ and $u_0$.
    - `learning_rates`: at least two, positive; sorted from the largest down.
    - `final_time`: $T > 0$, in units of the method's time (iterations times its time step).
    - `start`: as in `momentumflow.iterate`.
    - `from_time`: $t_0 \in [0, T)$; a fixed time, since the initial layer is a fixed number of iterations
      and errors after a fixed number of iterations tend to order 1.
    - `tolerance`, `max_steps`: of the solver, whose solution is kept densely; small problems only.
    - `label`: words for a legend.

    One program is compiled for a method and a model, not one for each $h$.

    **Returns:** a `ConvergenceStudy`. **Raises:** `ValueError` that names the requirement.

    Kovachki & Stuart (2021), §2.3.

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> study = mf.convergence_study(
        ...     lambda h: mf.heavy_ball(h, 0.5), mf.SlowFlow, lambda u: jnp.sum(jnp.cosh(u)), jnp.ones(2),
        ...     [2.0**-k for k in range(5, 10)], final_time=1.0, start="manifold")
        >>> bool(abs(study.order - 2) < 0.1)
        True
    """
    rates = learning_rate_ladder(learning_rates)
    params = _validate.as_params(params)
    _validate.check_loss(loss, params)
    _validate.positive("final_time", final_time, "it is the length of the comparison")
    _validate.non_negative("from_time", from_time, "0 compares from the start")
    if from_time >= final_time:
        raise ValueError(f"from_time must be below final_time, got {from_time} and {final_time}")
    tolerance = default_tolerance(params) if tolerance is None else tolerance
    _validate.positive("tolerance", tolerance, "leave it out for the default")
    max_steps = _validate.count("max_steps", max_steps)
    dtype = _tree.dtype(params)
    window = (jnp.asarray(from_time, dtype), jnp.asarray(final_time, dtype))
    errors, floors = [], []
    for h in rates:
        stepper_h = method(float(h))
        model = flow(stepper_h)
        require_model(model)
        measure: Callable = _of_pieces if isinstance(model, AbstractPiecewiseFlow) else _sup_error
        begin = start(stepper_h, loss, params) if is_rule(start, params) else start
        error, scale, steps = measure(stepper_h, model, loss, params, begin, window, tolerance, max_steps)
        errors.append(float(error))
        floors.append(float(scale) * floor_share(tolerance, float(steps), dtype))
    return ConvergenceStudy(np.asarray(rates), np.asarray(errors), np.asarray(floors), label)


def require_model(model: AbstractFlow | AbstractPiecewiseFlow) -> None:
    """Raises unless it is a continuous model of one method on one loss."""
    if not isinstance(model, AbstractPiecewiseFlow):
        require_flow(model)
    elif model.batches is not None:
        raise ValueError(
            f"{type(model).__name__} is a model on mini-batches, for which one loss is not enough: "
            "use mf.pathwise_study, which takes their data"
        )


def floor_share(tolerance: float, steps: float, dtype: jnp.dtype) -> float:
    """What the solver's tolerance and the iterates' rounding leave of an error, per unit of size."""
    return FLOOR_PER_TOLERANCE * tolerance + float(jnp.finfo(dtype).eps) * float(np.sqrt(steps))


def learning_rate_ladder(learning_rates: Sequence[float]) -> Float[np.ndarray, " L"]:
    rates = np.sort(np.asarray(learning_rates, float))[::-1]
    _validate.positive("learning_rates", rates, "each is a step size")
    if rates.ndim != 1 or len(np.unique(rates)) < 2 or len(np.unique(rates)) != len(rates):
        raise ValueError(f"learning_rates must be at least two different values, got {rates.tolist()}")
    return rates


@eqx.filter_jit
def _of_pieces(
    method: MomentumMethod,
    flow: AbstractPiecewiseFlow,
    loss: Loss | VectorField,
    params: Params,
    start: Start,
    window: tuple[Array, Array],
    tolerance: float,
    max_steps: int,
) -> tuple[Array, Array, Array]:
    """As `_sup_error`, for a model that changes with every step."""
    begin, end = window
    velocity = start_velocity(method, loss, params, start)
    walker, at = depart(flow, loss, params, velocity, tolerance, max_steps)
    run = (method.initial_state(params, velocity), jnp.zeros((), int), jnp.array(-1))
    first, last = jnp.ceil(begin / method.time_step - SLACK), jnp.floor(end / method.time_step + SLACK)
    known = (stepper(method, descent_field(loss)), run, walker, at)
    return *lockstep(*known, first.astype(int), last.astype(int)), last


@eqx.filter_jit
def _sup_error(
    method: AbstractLinearMemory,
    flow: AbstractFlow,
    loss: Loss | VectorField,
    params: Params,
    start: Start,
    window: tuple[Array, Array],
    tolerance: float,
    max_steps: int,
) -> tuple[Array, Array, Array]:
    """max |u_n - u(t_n)| over the window, max |u_n| over the run, and its number of steps."""
    begin, end = window
    saveat = diffrax.SaveAt(dense=True)
    begin_at = flow.initial_state(loss, params, start)
    solver = default_solver(flow, begin_at)
    solution, unravel = integrate(flow.field(loss), begin_at, end, saveat, solver, tolerance, max_steps)
    state = start_state(method, loss, params, start)
    advance = stepper(method, descent_field(loss))
    # a slack of 1e-6 of a step keeps the last iterate where T/Δt is a whole number up to rounding
    last = jnp.floor(end / method.time_step + 1e-6).astype(int)

    def distance(n: Array, u: Params) -> tuple[Array, Array]:
        t = jnp.minimum(jnp.asarray(n * method.time_step, end.dtype), end)
        gap = _tree.norm(jax.tree.map(jnp.subtract, unravel(solution.evaluate(t))[0], u))
        inside = (n <= last) & (t >= begin)
        return jnp.where(inside, jnp.where(jnp.isnan(gap), jnp.inf, gap), 0), jnp.where(
            n <= last, _tree.norm(u), 0
        )

    def one(carry, _):
        return advance(carry, None)[0], (carry[1], carry[0][0])

    def chunk(carry):
        inner, error, scale = carry
        inner, (numbers, iterates) = jax.lax.scan(one, inner, None, length=CHUNK)
        gaps, sizes = jax.vmap(distance)(numbers, iterates)
        return inner, jnp.maximum(error, gaps.max()), jnp.maximum(scale, sizes.max())

    zero = jnp.zeros((), end.dtype)
    carry = ((state, jnp.zeros((), int), jnp.array(-1)), zero, zero)
    _, error, scale = jax.lax.while_loop(lambda carry: carry[0][1] <= last, chunk, carry)
    failed = solver_status(solution, jnp.array(True)) != COMPLETED
    return jnp.where(failed, jnp.inf, error), scale, last
