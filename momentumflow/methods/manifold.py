"""The invariant manifold to leading order, for any linear-memory method from A, b, c alone."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import _tree, _validate
from .._types import Loss, Params, VectorField, descent_field
from .linear_memory import AbstractLinearMemory, State

Start = str | Params | Callable[[AbstractLinearMemory, Loss, Params], Params]


class SlowResponse(NamedTuple):
    r"""What a method does on its slow manifold, to second order in the step.

    Memory rows $w = $ `memory` $f$ + `memory_correction` $f'f$; one step moves $u$ by
    `drift` $f$ + `drift_correction` $f'f$; `lag` maps a row's distance from the manifold to the
    shift of $u$ that it leaves behind. For (7): $\bar\lambda$, $h\bar\lambda^2(a-\bar\lambda)$ (31),
    $h\bar\lambda$, and lag $h\lambda\bar\lambda$.
    """

    memory: Float[Array, " rows"]
    memory_correction: Float[Array, " rows"]
    drift: Float[Array, ""]
    drift_correction: Float[Array, ""]
    lag: Float[Array, " rows"]


def slow_response(method: AbstractLinearMemory) -> SlowResponse:
    """Solves the invariance w(u⁺) = A'w + b'f(u + c'w) order by order (Kovachki & Stuart, (29)-(31))."""
    if method.varies:
        raise ValueError(
            f"{type(method).__name__} has momentum that varies with n and so no fixed invariant "
            "manifold: start it from rest or from a given velocity"
        )
    A, b, c = (jnp.asarray(part, float) for part in method.memory(0)[:3])
    push, kept = A[0, 1:], jnp.eye(len(b) - 1) - A[1:, 1:]
    response = jnp.linalg.solve(kept, b[1:])
    drift = push @ response + b[0]
    ahead = c[1:] @ response
    correction = jnp.linalg.solve(kept, b[1:] * ahead - response * drift)
    drift_correction = push @ correction + b[0] * ahead
    return SlowResponse(response, correction, drift, drift_correction, jnp.linalg.solve(kept.T, push))


def manifold_rows(
    method: AbstractLinearMemory, loss: Loss | VectorField, params: Params
) -> tuple[Params, ...]:
    """Every memory row on the invariant manifold, w = W f + W₁ f'f: one gradient and one jvp."""
    slow, field = slow_response(method), descent_field(loss)
    force = field(params)
    _, bend = jax.jvp(field, (params,), (force,))
    return tuple(
        _tree.linear(pair, (force, bend)) for pair in zip(slow.memory, slow.memory_correction, strict=True)
    )


def manifold_velocity(method: AbstractLinearMemory, loss: Loss | VectorField, params: Params) -> Params:
    r"""Velocity on the invariant manifold to leading order, for (7)
    $v = \bar\lambda f(u) + h\bar\lambda^2(a-\bar\lambda)\,Df(u)f(u)$: one gradient and one jvp.

    **Arguments:** a method with fixed momentum, a loss, params $u$. **Raises:** `ValueError` for
    momentum that varies, or a method without a velocity.

    Kovachki & Stuart (2021), eq. (31)-(33).

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> v = mf.manifold_velocity(mf.heavy_ball(0.01, 0.5), lambda u: jnp.sum(u**2) / 2, jnp.ones(1))
        >>> round(float(v[0]), 6)  # -2 - 0.01*4*2
        -2.08
    """
    _require_velocity(method)
    return manifold_rows(method, loss, params)[0]


def is_rule(start: Start, params: Params) -> bool:
    """Whether start is a function; a velocity tree may be callable too, like that of an `eqx.nn.MLP`."""
    if jax.tree.structure(start) != jax.tree.structure(params):
        return callable(start)
    return callable(start) and not all(map(eqx.is_array_like, jax.tree.leaves(start)))


def start_velocity(
    method: AbstractLinearMemory, loss: Loss | VectorField, params: Params, start: Start
) -> Params | None:
    """The velocity v_0 that `start` means; None at rest."""
    if isinstance(start, str):
        if start == "rest":
            return None
        if start == "manifold":
            return manifold_velocity(method, loss, params)
        raise _validate.unknown("start", start, ("rest", "manifold"))
    _require_velocity(method)
    velocity = start(method, loss, params) if is_rule(start, params) else start
    _validate.same_shapes("the start velocity", velocity, params, "params")
    return jax.tree.map(lambda v, p: jnp.asarray(v, p.dtype), velocity, params)


def start_state(
    method: AbstractLinearMemory, loss: Loss | VectorField, params: Params, start: Start
) -> State:
    """The method's whole memory for a start; a given velocity fills the second row only."""
    if isinstance(start, str) and start == "manifold":
        _require_velocity(method)
        return (params, *manifold_rows(method, loss, params))
    return method.initial_state(params, start_velocity(method, loss, params, start))


def _require_velocity(method: AbstractLinearMemory) -> None:
    if method.rows < 2:
        raise ValueError(f"{type(method).__name__} has no velocity: its only start is 'rest'")
