r"""The mean of a loss over mini-batches, one of them in memory at a time: its value and its field."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PyTree

from .. import _tree, _validate
from .._types import Field, Params, VectorField, descent_field

AnyLoss = Callable[..., Float[Array, ""]]
"""Φ(params), or with batches Φ(params, batch)."""


def as_batches(batches: PyTree[ArrayLike] | None) -> PyTree[Array] | None:
    """Arrays with one leading axis of batches; `None` stays."""
    if batches is None:
        return None
    arrays = jax.tree.map(jnp.asarray, batches)
    shapes = [x.shape for x in jax.tree.leaves(arrays)]
    if not shapes or any(len(s) < 1 or s[0] == 0 or s[0] != shapes[0][0] for s in shapes):
        raise ValueError(
            f"batches must be arrays of shape (batches, batch, ...), alike in the first, got {shapes}: "
            "stack batches of equal size along a new first axis"
        )
    return arrays


def check(loss: AnyLoss, params: Params, batches: PyTree[Array] | None) -> None:
    """Raises unless loss(params), with batches loss(params, batch), is a real scalar."""
    if isinstance(loss, VectorField):
        raise TypeError("loss must be a function to a scalar, got a VectorField: it has no Hessian")
    if not callable(loss):
        raise TypeError(f"loss must be a function of the params, got {type(loss).__name__}: pass one")
    first = None if batches is None else jax.tree.map(lambda x: x[0], batches)
    _validate.check_loss(loss if batches is None else lambda u: loss(u, first), params)


def value(loss: AnyLoss, batches: PyTree[Array] | None, params: Params) -> Float[Array, ""]:
    """Φ, of batches the mean."""
    if batches is None:
        return loss(params)
    return jnp.mean(jax.lax.map(lambda batch: loss(params, batch), batches))


def field(loss: AnyLoss, batches: PyTree[Array] | None) -> Field:
    """f = -∇Φ. To be differentiated forwards: its linearisation keeps the batches, not what a network makes of them."""
    if batches is None:
        return descent_field(loss)
    count = jax.tree.leaves(batches)[0].shape[0]
    gradient = jax.checkpoint(lambda u, batch: jax.grad(loss)(u, batch))

    def mean(params: Params) -> Params:
        def add(total: Params, batch: PyTree[Array]) -> tuple[Params, None]:
            return _tree.linear((1, 1), (total, gradient(params, batch))), None

        total, _ = jax.lax.scan(add, _tree.zeros_like(params), batches)
        return _tree.linear((-1 / count,), (total,))

    return mean
