"""Methods side by side: the largest distance from the first of them, without keeping an iterate."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from .. import _tree
from .._types import Params
from ..methods.batches import BatchLoss
from ..methods.linear_memory import AbstractLinearMemory, State

Carry = tuple[tuple[State, ...], Float[Array, "counts others"]]


@eqx.filter_jit
def distances(
    methods: Sequence[AbstractLinearMemory],
    loss: BatchLoss,
    params: Params,
    batches: PyTree[Array],
    counts: Int[Array, " counts"],
) -> Float[Array, "counts others"]:
    """max |u_n - u_n^first| over n ≤ N, for each number of steps N and every method but the first.

    All run from rest and see batch n mod N at step n. The numbers of steps are values: one compiled program
    serves every learning rate.
    """

    def advance(n: Int[Array, ""], carry: Carry) -> Carry:
        states, largest = carry
        batch = jax.tree.map(lambda x: x[n % x.shape[0]], batches)

        def field(u: Params) -> Params:
            return jax.tree.map(jnp.negative, jax.grad(loss)(u, batch))

        states = tuple(method.step(field, state, n) for method, state in zip(methods, states, strict=True))
        apart = [_tree.norm(_tree.linear((1, -1), (state[0], states[0][0]))) for state in states[1:]]
        return states, jnp.where(n < counts[:, None], jnp.maximum(largest, jnp.stack(apart)), largest)

    states = tuple(method.initial_state(params) for method in methods)
    largest = jnp.zeros((len(counts), len(methods) - 1), _tree.dtype(params))
    return jax.lax.fori_loop(0, counts.max(), advance, (states, largest))[1]
