"""A sequence of mini-batch losses: the data of each batch, and which batch each step sees."""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, PyTree

from .. import _validate
from .._types import Loss, Params, VectorField

BatchLoss = Callable[..., Float[Array, ""]]
"""E(params, datum)."""
Order = ArrayLike | Sequence[int]
"""The batch of each step."""


class Batches(eqx.Module):
    """E_k(u) = loss(u, datum `order[k]`); made by `as_batches`."""

    data: PyTree[Array]
    order: Int[Array, " steps"]

    @property
    def count(self) -> int:
        """Number m of distinct batches."""
        return jax.tree.leaves(self.data)[0].shape[0]

    def rows(self, indices: Int[Array, "*rows"]) -> PyTree[Array]:
        return jax.tree.map(lambda x: x[indices], self.data)

    def loss(self, loss: BatchLoss, k: ArrayLike) -> Loss:
        """E_k."""
        datum = self.rows(self.order[k])
        return lambda params: loss(params, datum)


def as_batches(data: PyTree[ArrayLike], order_of_use: Order) -> Batches:
    """Batches whose arrays are alike in their leading axis, used in an order that stays within them."""
    arrays = jax.tree.map(jnp.asarray, data)
    shapes = [x.shape for x in jax.tree.leaves(arrays)]
    if not shapes or any(not s or s[0] == 0 or s[0] != shapes[0][0] for s in shapes):
        raise ValueError(
            f"data must be arrays with one leading axis, that of the mini-batches, got shapes {shapes}: "
            "stack the batches, which must have equal structure, with jax.tree.map(lambda *x: jnp.stack(x), *batches)"
        )
    for x in jax.tree.leaves(arrays):
        _validate.finite("data", x, "check the mini-batches")
    order = jnp.asarray(order_of_use)
    if order.ndim != 1 or order.size == 0 or not jnp.issubdtype(order.dtype, jnp.integer):
        raise ValueError(
            "order_of_use must be a vector of integers, the batch of each step, got shape "
            f"{order.shape} and type {order.dtype}: jax.random.randint(key, (steps,), 0, m) draws one"
        )
    if _validate.is_concrete(order):
        low, high = int(np.min(np.asarray(order))), int(np.max(np.asarray(order)))
        if low < 0 or high >= shapes[0][0]:
            raise ValueError(
                f"order_of_use must be within 0, ..., {shapes[0][0] - 1}, the batches of the data, "
                f"got {low} ... {high}: count from 0"
            )
    return Batches(arrays, order)


def given(data: PyTree[ArrayLike] | None, order_of_use: Order | None) -> Batches | None:
    """The batches of a run, None where the loss is one and the same."""
    if (data is None) != (order_of_use is None):
        missing, other = ("data", "order_of_use") if data is None else ("order_of_use", "data")
        raise ValueError(f"{missing} must be given with {other}, got None: mini-batch losses need both")
    return None if data is None or order_of_use is None else as_batches(data, order_of_use)


def require_batch_loss(batches: Batches, loss: BatchLoss, params: Params) -> None:
    """Raises unless loss(params, datum) is a real scalar."""
    if isinstance(loss, VectorField) or not callable(loss):
        raise TypeError(
            f"with data the loss must be a function of (params, datum), got {type(loss).__name__}: "
            "pass loss(params, datum) -> scalar"
        )
    _validate.check_loss(batches.loss(loss, 0), params)


def require_steps(batches: Batches, steps: int) -> None:
    """Raises where the sequence ends before the run does."""
    if batches.order.size < steps:
        raise ValueError(
            f"order_of_use must have an entry for each of the {steps} steps, got {batches.order.size}: "
            "draw a longer sequence or run fewer steps"
        )
