"""Elementary differentials of a field by autodiff: nested forward derivatives, each subtree evaluated once."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

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
    return combinations(field, params, [coefficients], {})[0]


def combinations(
    field: Field, params: Params, rows: Sequence[Mapping[Tree, ArrayLike]], leaves: Mapping[Tree, Params]
) -> list[Params]:
    """Several sums over the same subtrees in one pass, each as in `combine`; `leaves`: the vector of each leaf.

    >>> import jax.numpy as jnp
    >>> from momentumflow.expansion.trees import Leaf
    >>> v = Leaf("v")
    >>> pair = combinations(jnp.sin, jnp.array(1.0), [{v: 2.0}, {(v,): 1.0}], {v: jnp.array(3.0)})
    >>> [round(float(x), 6) for x in pair]  # 2v and f'v = 3 cos 1
    [6.0, 1.620907]
    """
    force, slope = jax.linearize(field, params)
    nodes = {(): force, **leaves}
    known = dict(nodes)

    def differential(tree: Tree) -> Params:
        if tree not in known:
            known[tree] = apply([differential(child) for child in tree])
        return known[tree]

    def apply(directions: list[Params]) -> Params:
        # the first derivative is taken from the linear map at hand
        return slope(*directions) if len(directions) == 1 else derivative(field, params, directions)

    parts = [[(row[tree], x) for tree, x in nodes.items() if tree in row] for row in rows]
    for rest, tails in _groups(tree for row in rows for tree in row if tree not in nodes).items():
        for row, terms in zip(rows, parts, strict=True):
            if len(tails) <= len(rows):  # a derivative for each tree, shared by the rows
                terms += [(row[tree], differential(tree)) for tree in tails.values() if tree in row]
            elif summed := [(row[tree], differential(tail)) for tail, tree in tails.items() if tree in row]:
                terms.append((1, apply([*map(differential, rest), _tree.linear(*zip(*summed, strict=True))])))
    return [_tree.linear(*zip(*terms, strict=True)) for terms in parts]


def _groups(trees: Iterable[Tree]) -> dict[Tree, dict[Tree, Tree]]:
    """Trees by what is left without their largest subtree, and by that subtree: sums go where the work is."""
    groups: dict[Tree, dict[Tree, Tree]] = defaultdict(dict)
    for tree in trees:
        *small, large = sorted(tree, key=order)
        groups[tuple(small)][large] = tree
    return groups


def derivative(field: Field, params: Params, directions: list[Params]) -> Params:
    """f^{(k)}(u)[x_1, …, x_k] by k nested forward derivatives."""
    if not directions:
        return field(params)
    *inner, last = directions

    def lower(u: Params) -> Params:
        return derivative(field, u, inner)

    return jax.jvp(lower, (params,), (last,))[1]
