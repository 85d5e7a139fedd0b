"""Free trees, which have no root, as the sets of rooted trees that they become."""

from fractions import Fraction
from functools import cache

from .trees import Tree, symmetry, trees
from .trees import order as size


@cache
def rootings(tree: Tree) -> tuple[Tree, ...]:
    """The rooted trees that differ from this one by the place of the root; the first names the free tree.

    The first is rooted at a leaf, beside the node with the fewest further neighbours.

    >>> rootings(((), ()))
    ((((),),), ((), ()))
    """
    found, unvisited = {tree}, [tree]
    while unvisited:
        root = unvisited.pop()
        for i, child in enumerate(root):
            moved = tuple(sorted((*child, root[:i] + root[i + 1 :])))
            if moved not in found:
                found.add(moved)
                unvisited.append(moved)
    return tuple(sorted(found, key=lambda rooted: (len(rooted), [len(child) for child in rooted], rooted)))


@cache
def free_symmetry(tree: Tree) -> int:
    """σ(t), the automorphisms of the free tree: σ(t)/σ(τ) of its nodes are roots of the same rooted tree τ."""
    return int(size(tree) / sum(Fraction(1, symmetry(rooted)) for rooted in rootings(tree)))


def free_trees(nodes: int) -> tuple[Tree, ...]:
    """All free trees by their first rooting: 1, 1, 1, 2, 3, 6, 11, 23, …"""
    return tuple(tree for tree in trees(nodes) if tree == rootings(tree)[0])
