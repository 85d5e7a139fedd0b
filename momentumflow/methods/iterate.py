"""Run a method: one scan, one gradient a step, divergence an outcome."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Int, PyTree

from .. import _tree, _validate
from .._types import COMPLETED, NON_FINITE, Field, Loss, Params, Trajectory, VectorField, descent_field
from .batches import Batches, BatchLoss, Order, given, require_batch_loss, require_steps
from .linear_memory import AbstractLinearMemory, State, require_scalars
from .manifold import Start, is_rule, start_state, start_velocity

Carry = tuple[State, Int[Array, ""], Int[Array, ""]]


def iterate(
    method: AbstractLinearMemory,
    loss: Loss | VectorField | BatchLoss,
    params: Params,
    steps: int,
    start: Start = "rest",
    save_every: int | None = 1,
    data: PyTree[ArrayLike] | None = None,
    order_of_use: Order | None = None,
) -> Trajectory:
    r"""The iterates $u_0, \dots, u_N$ of a method on a loss, or on a sequence of mini-batch losses.

    **Arguments:**

    - `method`: from `momentumflow.heavy_ball` and its like.
    - `loss`: function from params to a scalar, or a `VectorField`; with `data` a function of (params, datum).
    - `params`: $u_0$, a pytree of floating-point arrays.
    - `steps`: $N \ge 1$.
    - `start`: "rest" ($v_0 = 0$), "manifold" (leading order, one jvp), a velocity tree $v_0$, or a
      function of (method, loss, params) that returns one.
    - `save_every`: keep every k-th iterate, k a divisor of `steps`; `None` keeps only the last.
    - `data`: the mini-batches, a pytree of arrays with one leading axis of length m.
    - `order_of_use`: step n is taken on `loss(params, datum)` of batch `order_of_use[n]`, shape `(steps or more,)`; the
      start is then "rest" or a velocity tree.

    **Returns:** a `Trajectory` with `times` $t_n = n\Delta t$. A run that overflows is an outcome:
    `diverged_at` holds the first step n whose state is not finite.

    **Raises:** `ValueError` or `TypeError` that names the requirement, before work starts.

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> run = mf.iterate(mf.heavy_ball(0.1, 0.9), lambda u: jnp.sum(u**4) / 4, jnp.ones(2), steps=100)
        >>> run.params.shape, run.outcome
        ((101, 2), 'completed')
    """
    steps, stride = strides(steps, save_every)
    params = _validate.as_params(params)
    if not isinstance(method, AbstractLinearMemory):
        raise TypeError(f"method must be a linear-memory method, got {method!r}: call mf.heavy_ball(h, λ)")
    batches = given(data, order_of_use)
    if batches is not None:
        require_batch_loss(batches, loss, params)
        require_steps(batches, steps)
        require_own_start(start, params)
    elif is_rule(start, params):
        start = start_velocity(method, loss, params, start)
    return _iterate(method, loss, params, start, batches, steps // stride, stride, save_every is not None)


def require_own_start(start: Start, params: Params) -> None:
    """Raises for a start that asks for the manifold of one loss, where every step has its own."""
    if start == "manifold" if isinstance(start, str) else is_rule(start, params):
        raise ValueError(
            f"with mini-batches the start must be 'rest' or a velocity tree, got {start!r}: "
            "there is no invariant manifold, as every step has a loss of its own"
        )


def strides(steps: int, save_every: int | None) -> tuple[int, int]:
    """Steps, and steps between what is kept, checked."""
    steps = _validate.count("steps", steps)
    if save_every is None:
        return steps, steps
    stride = _validate.count("save_every", save_every)
    if steps % stride:
        raise ValueError(
            f"save_every must divide steps, got {stride} and {steps}: "
            f"use steps={steps - steps % stride or stride} or save_every=1"
        )
    return steps, stride


@eqx.filter_jit
def _iterate(
    method: AbstractLinearMemory,
    loss: Loss | VectorField | BatchLoss,
    params: Params,
    start: Start,
    batches: Batches | None,
    saves: int,
    stride: int,
    keep_first: bool,
) -> Trajectory:
    require_scalars(method)
    if batches is None:
        _validate.check_loss(loss, params)
        advance = stepper(method, descent_field(loss))
    else:
        advance = batch_stepper(method, loss, batches)
    state = start_state(method, loss, params, start)

    def save(carry: PyTree, _: None) -> tuple[PyTree, State]:
        carry = jax.lax.scan(advance, carry, None, length=stride)[0]
        return carry, carry[0][:2]

    carry = (state, jnp.zeros((), int), jnp.ones((), int))
    (last, steps, finite), saved = jax.lax.scan(save, carry, None, length=saves)
    diverged_at = _first_failure(state, last, steps, finite)
    numbers = stride * jnp.arange(1, saves + 1)
    if keep_first:
        saved = jax.tree.map(lambda x0, x: jnp.concatenate([x0[None], x]), state[:2], saved)
        numbers = jnp.concatenate([jnp.zeros(1, int), numbers])
    status = jnp.where(diverged_at < 0, COMPLETED, NON_FINITE)
    velocity = saved[1] if len(saved) > 1 else None
    return Trajectory(numbers * method.time_step, saved[0], velocity, diverged_at, status)


def stepper(method: AbstractLinearMemory, field: Field):
    """Body of a scan over (state, n, number of finite params among u_0, ..., u_n)."""

    def advance(carry: Carry, _: None) -> tuple[Carry, None]:
        state, n, finite = carry
        state = method.step(field, state, n)
        return (state, n + 1, finite + _tree.is_finite(state[0])), None

    return advance


def batch_stepper(method: AbstractLinearMemory, loss: BatchLoss, batches: Batches):
    """Body of a scan like `stepper`'s, step n on the loss of its own batch."""

    def advance(carry: Carry, _: None) -> tuple[Carry, None]:
        return stepper(method, descent_field(batches.loss(loss, carry[1])))(carry, None)

    return advance


def _first_failure(
    start: State, last: State, steps: Int[Array, ""], finite: Int[Array, ""]
) -> Int[Array, ""]:
    """First n whose state is not finite, else -1.

    As u⁺ = u + ..., params that are not finite stay so, and their memory makes them so: a count of finite
    params is enough within the loop, and costs one pass over them.
    """
    completed = (finite > steps) & _tree.is_finite(last)
    failure = jnp.where(completed, -1, jnp.minimum(finite, steps))
    return jnp.where(_tree.is_finite(start), failure, 0)
