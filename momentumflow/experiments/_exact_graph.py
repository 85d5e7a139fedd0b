"""The exact invariant graph of a loss that is a sum over coordinates, at many points of many methods at once."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

import momentumflow as mf

from .._types import descent_field

_NEWTON = 5
_State = tuple[Float[Array, " d"], Float[Array, " d"]]


@eqx.filter_jit
def velocity(
    losses: mf.AbstractProblem,
    methods: mf.MomentumMethod,
    points: Float[Array, "n d"],
    steps: Int[Array, " n"],
) -> Float[Array, "n d"]:
    """v = w(u) on the exact graph of loss i and method i at point i, for a loss Σ_j φ_j(u_j).

    A run started on the leading-order graph (33) stands on the exact one, to rounding, after as many `steps` as
    bring rate^steps below it; more cost digits, since backwards the graph expands. Where must it start to end
    at u? On the graph u_{n-1} = u_n - hv_n, so backwards along (33) first; then forwards until it passes u, which
    leaves less than a step to correct by Newton's method. The graph of such a loss acts coordinate by coordinate:
    a tangent of ones gives every derivative.
    """
    return eqx.filter_vmap(_velocity)(losses, methods, points, steps)


def _velocity(
    loss: mf.AbstractProblem, method: mf.MomentumMethod, u: Float[Array, " d"], steps: Int[Array, ""]
) -> Float[Array, " d"]:
    field = descent_field(loss)

    def leading(u: Float[Array, " d"]) -> Float[Array, " d"]:
        return mf.manifold_velocity(method, loss, u)

    def end(start: Float[Array, " d"], counts: Int[Array, " d"]) -> _State:
        def advance(i: Int[Array, ""], state: _State) -> _State:
            (u, v), going = method.step(field, state, 0), i < counts
            return jnp.where(going, u, state[0]), jnp.where(going, v, state[1])

        return jax.lax.fori_loop(0, jnp.max(counts), advance, (start, leading(start)))

    def to_pass(start: Float[Array, " d"]) -> Int[Array, " d"]:
        """How many steps coordinate j takes from `start` to u."""

        def advance(_: Int[Array, ""], carry: tuple) -> tuple:
            state, counts = carry
            return method.step(field, state, 0), counts + ((u - state[0]) * force > 0)

        force, counts = field(u), jnp.zeros(u.shape, int)
        return jax.lax.fori_loop(0, 2 * steps, advance, ((start, leading(start)), counts))[1]

    def correct(_: Int[Array, ""], carry: _State) -> _State:
        """Newton's step for the start, and w(u) by the tangent: a start next to a saddle lacks the digits."""
        start, _w = carry
        (reached, v), (slope, bent) = jax.jvp(lambda x: end(x, counts), (start,), (jnp.ones_like(start),))
        missing = (u - reached) / slope
        return start + missing, v + bent * missing

    start = jax.lax.fori_loop(0, steps, lambda _, u: u - method.learning_rate * leading(u), u)
    counts = to_pass(start)
    return jax.lax.fori_loop(0, _NEWTON, correct, (start, u))[1]
