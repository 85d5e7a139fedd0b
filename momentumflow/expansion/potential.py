r"""Which B-series of a gradient $f = -\nabla\Phi$ are gradients again, and of what.

A rooted tree τ gives the vector $F(\tau)$, a free tree t the number $E(t)$: the derivatives of $-\Phi$ contracted along
the edges. Differentiating $E(t)$ marks each node in turn, σ(t)/σ(τ) of them as roots of τ, so

$$\nabla\,\frac{E(t)}{\sigma(t)} = \sum_{\tau \in t} \frac{F(\tau)}{\sigma(\tau)}
  \quad\text{over the rootings } \tau \text{ of } t,$$

and $\sum_\tau h^{|\tau|-1}\beta(\tau)F(\tau)/\sigma(\tau)$ is the gradient of
$\sum_t h^{|t|-1}\beta(t)E(t)/\sigma(t)$ if β is the same on all rootings of a free tree. Only if, too: a symmetric
Jacobian asks it of any two nodes of t, as the differentials of trees with two marked nodes are independent.
(Bogfjellmo, Curry & Manchon (2013) have the Hamiltonian case, where neighbouring roots differ in sign.)
"""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Field, Params
from .differentials import combine
from .free_trees import free_symmetry, rootings
from .trees import Leaf, Tree, symmetry

Pair = tuple[Tree, Tree]


def gradient_defect(expansion: Mapping[Tree, Any]) -> dict[Pair, Any]:
    r"""Where a series in $f = -\nabla\Phi$ is not a gradient.

    $\sum_\tau h^{|\tau|-1}\tfrac{\beta(\tau)}{\sigma(\tau)}F(\tau)$ is one for every Φ iff $\beta$ takes the same
    value on all rooted trees that are one tree but for the place of the root.

    **Arguments:** `expansion`: rooted trees to $c_\tau = \beta(\tau)/\sigma(\tau)$, as of `modified_equation`.

    **Raises:** `TypeError` for a series with other leaves than f, such as `phase_expansion`.

    **Returns:** $\beta(\tau) - \beta(\tau')$ by pairs $(\tau, \tau')$ of such trees, zeros left out, so that an empty
    mapping means a gradient; exact for symbols and fractions, and 0 within 1000 roundings for floats.

    The slow flow of (7) is a gradient to $h^2$ iff $a = (1-\lambda)/6$ and never to $h^3$; the manifold and the steps
    on it are iff $a = 0$, then to every order.

    !!! example

        >>> import momentumflow as mf
        >>> mf.gradient_defect(mf.modified_equation(3, lookahead=None))
        {((((),),), ((), ())): -(6*a + lambda - 1)/(6*(lambda - 1)**4)}
        >>> mf.gradient_defect(mf.manifold_expansion(5))
        {}
    """
    if not isinstance(expansion, Mapping) or any(isinstance(tree, Leaf) for tree in expansion):
        raise TypeError(
            "gradient_defect is for a series in f alone, such as modified_equation or step_expansion"
        )
    return {pair: gap for pair, gap, scale in gaps(expansion) if not is_rounding(gap, scale)}


def gaps(expansion: Mapping[Tree, Any]) -> Iterator[tuple[Pair, Any, Any]]:
    """β(τ) - β(τ') for the first rooting τ of each free tree and every other one, and |β(τ)| + |β(τ')|."""
    for first, *others in dict.fromkeys(map(rootings, expansion)):
        here = expansion.get(first, 0) * symmetry(first)
        for other in others:
            there = expansion.get(other, 0) * symmetry(other)
            yield (first, other), _simplest(here - there), abs(here) + abs(there)


def is_rounding(gap: Any, scale: Any) -> Any:
    """Whether a difference is 0: to the last digit where it is exact, within 1000 ε of its terms in floats."""
    if isinstance(gap, (int, Fraction)) or _is_symbolic(gap):
        return gap == 0
    return abs(gap) <= 1000 * float(jnp.finfo(jnp.result_type(float)).eps) * scale


def _is_symbolic(x: Any) -> bool:
    return hasattr(x, "free_symbols")


def _simplest(x: Any) -> Any:
    if not _is_symbolic(x):
        return x
    import sympy

    return sympy.factor(x)


def potential_coefficients(expansion: Mapping[Tree, Any]) -> dict[Tree, Any]:
    r"""$\beta(t)/\sigma(t)$ by the first rooting of each free tree t, for a series that is a gradient.

    >>> import momentumflow as mf
    >>> list(map(str, potential_coefficients(mf.step_expansion(2)).values()))
    ['1/(1 - lambda)', '-lambda/(2*(1 - lambda)**3)']
    """
    return {
        tree: c * symmetry(tree) / free_symmetry(tree)
        for tree, c in expansion.items()
        if tree == rootings(tree)[0]
    }


def contract(field: Field, params: Params, coefficients: Mapping[Tree, ArrayLike]) -> Float[Array, ""]:
    r"""$\sum_t c_tE(t)$ over free trees t of two and more nodes, each by its first rooting.

    A free tree is a leaf beside a rooted tree τ, so $E(t) = \langle f, F(\tau)\rangle$: a field of one order less.

    >>> import jax.numpy as jnp
    >>> float(contract(lambda u: -u, jnp.array([3.0, 4.0]), {((),): 0.5}))  # ½⟨f, f⟩
    12.5
    """
    without_leaf = {tree[0]: c for tree, c in coefficients.items()}
    return _tree.inner(field(params), combine(field, params, without_leaf))
