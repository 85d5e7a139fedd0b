"""Methods side by side for any number of steps: the largest distance from the first of them."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from .._types import Params
from ..methods.batches import BatchLoss
from ..methods.linear_memory import AbstractLinearMemory
from ..training.ensemble import Apart, Members

Carry = tuple[Members, Float[Array, "counts others"]]


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
    ensemble = Apart(tuple(methods), loss, tuple((i, 0) for i in range(1, len(methods))))

    def advance(n: Int[Array, ""], carry: Carry) -> Carry:
        members, largest = carry
        batch = jax.tree.map(lambda x: x[n % x.shape[0]], batches)
        members, _ = ensemble.step(members, batch, n)
        apart = ensemble.distances(members)
        return members, jnp.where(n < counts[:, None], jnp.maximum(largest, apart), largest)

    members = ensemble.start([params] * len(methods))
    largest = jnp.zeros((len(counts), 1)) * ensemble.distances(members)
    return jax.lax.fori_loop(0, counts.max(), advance, (members, largest))[1]
