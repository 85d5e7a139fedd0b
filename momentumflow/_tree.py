"""Linear algebra on pytrees of arrays."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, PRNGKeyArray, PyTree


def linear(coefficients: Sequence[ArrayLike] | Float[Array, " n"], trees: Sequence[PyTree]) -> PyTree:
    """Sum of coefficient times tree, in each leaf's own dtype.

    Python's own 0 and 1 are structure, not values: a term with 0 is left out and one with 1 is not
    multiplied, which saves a pass over the memory of a network.
    """
    kept = [(c, t) for c, t in zip(coefficients, trees, strict=True) if not _is(c, 0)]
    if not kept:
        return jax.tree.map(jnp.zeros_like, trees[0])

    def combine(*leaves: Array) -> Array:
        terms = [
            x if _is(c, 1) else jnp.asarray(c, x.dtype) * x for (c, _), x in zip(kept, leaves, strict=True)
        ]
        return sum(terms[1:], terms[0])

    return jax.tree.map(combine, *(t for _, t in kept))


def _is(coefficient: ArrayLike, value: int) -> bool:
    return isinstance(coefficient, int) and coefficient == value


def zeros_like(tree: PyTree) -> PyTree:
    return jax.tree.map(jnp.zeros_like, tree)


def inner(a: PyTree, b: PyTree) -> Float[Array, ""]:
    """Euclidean inner product over all leaves together."""
    first, *rest = map(jnp.vdot, jax.tree.leaves(a), jax.tree.leaves(b))
    return sum(rest, first)


def norm(tree: PyTree) -> Float[Array, ""]:
    """Euclidean norm over all leaves together."""
    return jnp.sqrt(sum(jnp.sum(jnp.square(x)) for x in jax.tree.leaves(tree)))


def is_finite(tree: PyTree) -> Bool[Array, ""]:
    """Whether every entry of every leaf is finite."""
    # 0 x is 0 for finite x only; XLA sums it at no cost within a step, unlike a logical reduction
    return jnp.asarray(sum(jnp.sum(0 * x) for x in jax.tree.leaves(tree)) == 0)


def normal(key: PRNGKeyArray, like: PyTree) -> PyTree:
    """A tree of independent standard normal numbers."""
    leaves, structure = jax.tree.flatten(like)
    keys = jax.random.split(key, len(leaves))
    drawn = [jax.random.normal(k, x.shape, x.dtype) for k, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, drawn)


def size(tree: PyTree) -> int:
    """Number of scalars in the tree."""
    return sum(x.size for x in jax.tree.leaves(tree))


def dtype(tree: PyTree) -> jnp.dtype:
    """The dtype of the leaves taken together."""
    return jnp.result_type(*jax.tree.leaves(tree))


def at(tree: PyTree, index: int) -> PyTree:
    """Entry `index` of the leading axis of every leaf."""
    return jax.tree.map(lambda x: x[index], tree)
