"""A method and a model that changes with every step, side by side: nothing is kept."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from .. import _tree
from .._types import COMPLETED
from ..flows.piecewise import Position, Walker

Gaps = tuple[Float[Array, ""], Float[Array, ""]]


def lockstep(
    advance: Callable[[PyTree, None], tuple[PyTree, None]],
    run: PyTree,
    walker: Walker,
    at: Position,
    first: Int[Array, ""],
    last: Int[Array, ""],
) -> Gaps:
    """max |u_n - u(t_n)| over first ≤ n ≤ last, and max |u_n|; infinite where either is not finite.

    `advance` and `run` are the body and the carry of a scan over the method, `walker` and `at` stand at t = 0.
    """
    h = jnp.asarray(walker.flow.method.time_step, at.x.dtype)

    def step(n: Int[Array, ""], carry: PyTree) -> PyTree:
        run, at, error, scale = carry
        run, at = advance(run, None)[0], walker.reach(at, h)
        apart = _tree.norm(_tree.linear((1, -1), (run[0][0], walker.params(at))))
        gap = jnp.where(jnp.isnan(apart) | (at.status != COMPLETED), jnp.inf, apart)
        gap = jnp.where(n + 1 >= first, gap, 0)
        return run, at, jnp.maximum(error, gap), jnp.maximum(scale, _tree.norm(run[0][0]))

    zero = jnp.zeros((), at.x.dtype)
    return jax.lax.fori_loop(0, last, step, (run, at, zero, zero))[2:]
