"""The exact invariant graph of a one-dimensional method, by running into it from far back."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

import momentumflow as mf

_HALVINGS = 60  # of an interval of length 1: to the last digit


@eqx.filter_jit
def velocity(
    method: mf.MomentumMethod, loss: mf.AbstractProblem, params: Float[Array, " n"], far: float, steps: int
) -> Float[Array, " n"]:
    """v = w(u) on the exact graph, at each of `params` between 0 and `far`, a fixed point of the slow flow.

    A run started on the leading-order graph (33) stands on the exact one, to rounding, after `steps` with
    λ^steps below it. Where it must start to end at u is found by bisection: the slow flow keeps the order of
    points of a line.
    """

    def end(start: Float[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
        run = mf.iterate(method, loss, start[None], steps, start="manifold", save_every=None)
        assert run.velocity is not None
        return run.params[0, 0], run.velocity[0, 0]

    def on_graph(u: Float[Array, ""]) -> Float[Array, ""]:
        def halve(_: int, interval: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = interval
            middle = (low + high) / 2
            short = end(middle)[0] < u
            return jnp.where(short, middle, low), jnp.where(short, high, middle)

        low, high = jax.lax.fori_loop(0, _HALVINGS, halve, (u, jnp.asarray(far)))
        return end((low + high) / 2)[1]

    return jax.vmap(on_graph)(params)
