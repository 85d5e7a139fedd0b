"""Elementary differentials of a field by autodiff: nested forward derivatives, each subtree evaluated once."""

from collections import defaultdict
from collections.abc import Mapping

import jax
from jaxtyping import ArrayLike

from .. import _tree
from .._types import Field, Params
from .trees import Tree, order


def combine(field: Field, params: Params, coefficients: Mapping[Tree, ArrayLike]) -> Params:
    r"""$\sum_\tau c_\tau F(\tau)(u)$ for a field f, by forward derivatives only.

    Trees that differ in one subtree share a derivative, $f^{(k)}[x_1, \dots, x_{k-1}, \sum c\,x_k]$, and every
    subtree is evaluated once; memory is linear in the params.

    **Arguments:** `field` f; `params` u; `coefficients`: c_τ by tree (`momentumflow.expansion.trees`).

        >>> import jax.numpy as jnp
        >>> value = combine(jnp.sin, jnp.array(1.0), {(): 1.0, ((),): 2.0})  # sin + 2 cos sin
        >>> round(float(value - jnp.sin(1.0) * (1 + 2 * jnp.cos(1.0))), 12)
        0.0
    """
    known: dict[Tree, Params] = {}
    force, slope = jax.linearize(field, params)

    def differential(tree: Tree) -> Params:
        if tree not in known:
            known[tree] = _apply(field, slope, params, [differential(child) for child in tree], force)
        return known[tree]

    groups: dict[Tree, dict[Tree, ArrayLike]] = defaultdict(dict)
    for tree, coefficient in coefficients.items():
        if tree:  # the largest subtree is summed over: the others are the cheap ones to share
            *small, large = sorted(tree, key=order)
            groups[tuple(small)][large] = coefficient
    parts = [_tree.linear((coefficients[()],), (force,))] if () in coefficients else []
    for rest, tails in groups.items():
        summed = _tree.linear(list(tails.values()), [differential(tail) for tail in tails])
        parts.append(_apply(field, slope, params, [*map(differential, rest), summed], force))
    return _tree.linear([1] * len(parts), parts)


def _apply(field: Field, slope: Field, params: Params, directions: list[Params], force: Params) -> Params:
    """f^{(k)}(u)[x_1, …, x_k]; the first derivative is taken from the linear map at hand."""
    if not directions:
        return force
    if len(directions) == 1:
        return slope(directions[0])
    return derivative(field, params, directions)


def derivative(field: Field, params: Params, directions: list[Params]) -> Params:
    """f^{(k)}(u)[x_1, …, x_k] by k nested forward derivatives."""
    if not directions:
        return field(params)
    *inner, last = directions

    def lower(u: Params) -> Params:
        return derivative(field, u, inner)

    return jax.jvp(lower, (params,), (last,))[1]
