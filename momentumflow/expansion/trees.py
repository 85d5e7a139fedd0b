"""Rooted trees and the elementary differentials that they stand for.

A tree is the sorted tuple of its subtrees: `()` is f, `((),)` is f'f, `((), ())` is f''[f, f]. Some leaves may be
vectors of their own: with `v = Leaf("v")`, `((), v)` is f''[f, v].
"""

from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import combinations_with_replacement
from math import factorial, prod

Tree = tuple


class Leaf(tuple):
    """A tree of one node that stands for a given vector, not for f; it is sorted after every other tree."""

    symbol: str

    def __new__(cls, symbol: str) -> "Leaf":
        leaf = super().__new__(cls)
        leaf.symbol = symbol
        return leaf

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Leaf) and self.symbol == other.symbol

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.symbol)

    def __lt__(self, other: Tree) -> bool:
        return isinstance(other, Leaf) and self.symbol < other.symbol

    def __gt__(self, other: Tree) -> bool:
        return not isinstance(other, Leaf) or self.symbol > other.symbol

    def __repr__(self) -> str:
        return self.symbol


@cache
def order(tree: Tree) -> int:
    """Number of nodes, the number of f's and leaves in the elementary differential."""
    return 1 + sum(map(order, tree))


@cache
def symmetry(tree: Tree) -> int:
    r"""σ(τ): the number of automorphisms; B-series carry $h^{|\tau|}/\sigma(\tau)$."""
    return prod(factorial(count) * symmetry(child) ** count for child, count in Counter(tree).items())


@cache
def trees(size: int, leaves: tuple[Leaf, ...] = ()) -> tuple[Tree, ...]:
    """All rooted trees with `size` nodes: 1, 1, 2, 4, 9, 20, 48, 115, 286, …; with one kind of `leaves`
    beside f 2, 2, 5, 13, 37, 108, …"""
    grown = {tuple(sorted(forest)) for forest in _forests(size - 1, size - 1, leaves)}
    return tuple(sorted(grown.union(leaves if size == 1 else ())))


def _forests(size: int, largest: int, leaves: tuple[Leaf, ...]) -> Iterator[Tree]:
    """Multisets of trees with `size` nodes in all, none with more than `largest`."""
    if size == 0:
        yield ()
    for part in range(min(size, largest), 0, -1):
        for count in range(1, size // part + 1):
            for head in combinations_with_replacement(trees(part, leaves), count):
                for tail in _forests(size - part * count, part - 1, leaves):
                    yield head + tail


def up_to(size: int, leaves: tuple[Leaf, ...] = ()) -> tuple[Tree, ...]:
    """All trees with at most `size` nodes, by order."""
    return tuple(tree for n in range(1, size + 1) for tree in trees(n, leaves))


@cache
def cuts(tree: Tree) -> tuple[tuple[Tree, Tree], ...]:
    """(trunk, branch) for every edge: what keeps the root, and what falls off when the edge is cut."""
    found = []
    for i, child in enumerate(tree):
        rest = tree[:i] + tree[i + 1 :]
        found.append((rest, child))
        found += [(tuple(sorted((*rest, trunk))), branch) for trunk, branch in cuts(child)]
    return tuple(found)


def name(tree: Tree) -> str:
    """The elementary differential in plain text: f, f'[f], f''[f'[f],f].

    >>> name(((((),),), ()))
    "f''[f'[f'[f]],f]"
    """
    if isinstance(tree, Leaf):
        return tree.symbol
    if not tree:
        return "f"
    arguments = ",".join(map(name, sorted(tree, key=lambda child: (-order(child), child))))
    primes = "'" * len(tree) if len(tree) < 4 else f"^({len(tree)})"
    return f"f{primes}[{arguments}]"


def latex(tree: Tree) -> str:
    r"""The elementary differential in LaTeX, with f'f for f'[f].

    >>> latex((((),),))
    "f'f'f"
    """
    if isinstance(tree, Leaf):
        return tree.symbol
    if not tree:
        return "f"
    parts = [latex(child) for child in sorted(tree, key=lambda child: (-order(child), child))]
    if len(tree) == 1:
        return "f'" + parts[0]
    primes = "'" * len(tree) if len(tree) < 4 else f"^{{({len(tree)})}}"
    return f"f{primes}[{', '.join(parts)}]"
