r"""The phase-space flow as a series: bicoloured trees, coefficients exact in λ, a and log λ.

$X = \log P_h$ of one step $u^+ = u + hz$, $v^+ = z = \lambda v + f(u + hav)$ is $\sum_j w_jP_h^j$ to the order of the
weights (`interpolation`). Every iterate is a series over the trees whose inner nodes are f and whose leaves are f
or v, and with $u_j = \sum_\tau h^{|\tau|}u_j(\tau)F(\tau)/\sigma(\tau)$, $v_j = \sum_\tau h^{|\tau|-1}v_j(\tau)
F(\tau)/\sigma(\tau)$ the step itself gives, tree by tree,

$$z_j(\tau) = \lambda v_j(\tau) + \prod_i\big(u_j(\tau_i) + a\,v_j(\tau_i)\big), \qquad
  u_{j+1} = u_j + z_j, \qquad v_{j+1} = z_j, \qquad u_0 = 0, \quad v_0 = \delta_v$$

($\tau_i$ the subtrees of τ; no product for the leaf v). In $y = v - \bar\lambda f(u)$ the leaf is y and
$v_0 = \delta_y + \bar\lambda\delta_f$; with trees of $\bar\lambda f$ in place of f all coefficients are polynomials in
λ and a.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import cache, reduce
from math import prod
from typing import Any

from .. import _validate
from .coefficients import Expansion, checked_lookahead, exact
from .interpolation import exact_weights, in_floats
from .invariance import Number
from .trees import Leaf, Tree, symmetry, up_to

V, Y = Leaf("v"), Leaf("y")

HIGHEST, HIGHEST_SYMBOLIC = 6, 4

Series = dict[Tree, Any]
Pair = tuple[Number, Number]
"""r and s of r + ℓs, ℓ = -log λ, for the trees of λ̄f where the leaf is y."""


def phase_expansion(
    order: int, momentum: Any = None, lookahead: Any = 0, coordinate: str = "v"
) -> tuple[Expansion, Expansion]:
    r"""The field on (u, v) whose flow passes through the iterates of (15), with exact coefficients:

    $$\dot u = \sum_{|\tau|\le p} h^{|\tau|-1}c_\tau F(\tau)(u, v), \qquad
      \dot v = \sum_{|\tau|\le p} h^{|\tau|-2}d_\tau F(\tau)(u, v),$$

    over rooted trees τ whose inner nodes are f and whose leaves are f or v: f''[f, v] is one. Its solutions stay
    within $O(h^p)$ of u and v, from rest and with the transient (`momentumflow.PhaseFlow` with series=True).
    Each coefficient is linear in log λ, and otherwise rational in λ and a polynomial in a.

    **Arguments:**

    - `order`: p, from 1 to 6, with symbols to 4.
    - `momentum`: λ in (0, 1): `None` for a symbol, a `Fraction` or an int for exact numbers, or a float.
    - `lookahead`: a ≥ 0, likewise (`None` for a symbol); "momentum" is Nesterov.
    - `coordinate`: "v", or "y" for u' and y' in terms of $y = v - \bar\lambda f(u)$, which vanishes to leading
      order on the slow manifold. Cut at the same order, the fields in v and in y differ by the next one.

    **Returns:** the `Expansion`s of u' and of v' or y', over the same trees: sympy expressions in λ, a and log λ, or
    floats. **Raises:** `ValueError` for an order or values outside these ranges.

    Backward error analysis: Hairer, Lubich & Wanner, Geometric Numerical Integration, IX.9; P-series: III.2.

    !!! example

        >>> import momentumflow as mf
        >>> for expansion in mf.phase_expansion(1, coordinate="y"):
        ...     print(expansion)
        u' = (1/(1 - lambda)) f + (-lambda*log(lambda)/(1 - lambda)) y
        y' = (log(lambda)) h^-1 y
    """
    order = _checked_order(order, momentum is None or lookahead is None)
    lookahead = checked_lookahead(momentum, lookahead)
    leaf = {"v": V, "y": Y}.get(coordinate)
    if leaf is None:
        raise _validate.unknown("coordinate", coordinate, ("v", "y"))
    if momentum is not None and float(momentum) == 0:
        raise ValueError("momentum must be > 0, got 0: log λ has no value; use modified_equation")
    make = _numbers if momentum is not None and lookahead is not None else _symbols
    first, second = make(order, momentum, lookahead, leaf)
    return Expansion(first, "u'"), Expansion(second, f"{coordinate}'", power=-1)


def _checked_order(order: Any, symbolic: bool) -> int:
    order, highest = _validate.count("order", order), HIGHEST_SYMBOLIC if symbolic else HIGHEST
    if order > highest:
        raise ValueError(
            f"order must be <= {highest} {'with symbols' if symbolic else 'with numbers'}, got {order}: "
            + (
                "order 4 takes about 20 s; give λ and a as numbers"
                if symbolic
                else "order 6 takes about a second, and each further one five times as long as the last"
            )
        )
    return order


def _pairs(
    weights: tuple[list, list], lam: Number, a: Number, order: int, leaf: Leaf
) -> list[dict[Tree, Pair]]:
    """r and s of every tree in the u-component, and in the second one."""
    forest = up_to(order, (leaf,))
    path = list(_iterates(lam, a, forest, leaf, len(weights[0])))
    return [
        {
            tree: tuple(
                sum(w * iterate[i][tree] for w, iterate in zip(row, path, strict=True)) for row in weights
            )
            for tree in forest
        }
        for i in (0, 1)
    ]


def _iterates(
    lam: Number, a: Number, forest: tuple[Tree, ...], leaf: Leaf, count: int
) -> Iterator[tuple[Series, Series]]:
    """The series of u_j and of v_j or y_j, not yet divided by σ(τ)."""
    u: Series = dict.fromkeys(forest, 0 * lam)
    v: Series = {tree: 0 * lam + (tree == leaf or (leaf == Y and tree == ())) for tree in forest}
    gain = 1 - lam if leaf == Y else 1
    for _ in range(count):
        yield u, {tree: v[tree] - _force(tree, u) for tree in forest} if leaf == Y else v
        ahead = {tree: u[tree] + a * v[tree] for tree in forest}
        v = {tree: lam * v[tree] + gain * _force(tree, ahead) for tree in forest}
        u = {tree: u[tree] + v[tree] for tree in forest}


def _force(tree: Tree, series: Mapping[Tree, Number]) -> Number:
    """The coefficient of f(u + the series)."""
    return 0 if isinstance(tree, Leaf) else prod(series[child] for child in tree)


def _forces(tree: Tree) -> int:
    """The number of f's."""
    return 0 if isinstance(tree, Leaf) else 1 + sum(map(_forces, tree))


def _numbers(order: int, momentum: Any, lookahead: Any, leaf: Leaf) -> list[Series]:
    """Floats where λ or a is one, else exact numbers of sympy; on the way always exact."""
    given = exact(momentum), exact(lookahead)
    floats = float in map(type, given)
    lam, a = map(Fraction, given)

    def shown(tree: Tree, pair: Pair) -> Any:
        scale = symmetry(tree) * ((1 - lam) ** _forces(tree) if leaf == Y else 1)
        r, s = (Fraction(x) / scale for x in pair)
        return in_floats(r, s, lam) if floats else _with_logarithm(r, s, lam)

    found = _pairs(exact_weights(lam, order), lam, a, order, leaf)
    return [{tree: shown(tree, pair) for tree, pair in component.items()} for component in found]


def _with_logarithm(r: Fraction, s: Fraction, lam: Fraction) -> Any:
    import sympy

    r, s, lam = (sympy.Rational(x.numerator, x.denominator) for x in (r, s, lam))
    return r - s * sympy.log(lam)


def _symbols(order: int, momentum: Any, lookahead: Any, leaf: Leaf) -> list[Series]:
    """Sympy expressions, with numbers put in for what was given."""
    import sympy

    lam, a = sympy.symbols("lambda a")
    given = {} if momentum is None else {lam: sympy.Rational(str(exact(momentum)))}
    if lookahead is not None:
        given[a] = lam if lookahead == "momentum" else sympy.Rational(str(exact(lookahead)))
    general = _general(order, leaf)
    if not given:
        return [dict(component) for component in general]
    return [
        {tree: _tidy(*sympy.cancel(c.subs(given)).as_numer_denom()) for tree, c in component.items()}
        for component in general
    ]


@cache
def _general(order: int, leaf: Leaf) -> list[Series]:
    """In λ, a and log λ: the weights over one denominator, so that the iterates stay polynomials."""
    import sympy

    _, bare = sympy.field("lambda", sympy.QQ)
    rows = exact_weights(bare, order)
    common = reduce(lambda x, y: x.lcm(y), (w.denom for row in rows for w in row))
    ring, lam, a = sympy.ring("lambda,a", sympy.QQ)
    r_rows, s_rows = ([(w.numer * common.exquo(w.denom)).set_ring(ring) for w in row] for row in rows)

    def expression(tree: Tree, pair: Pair) -> Any:
        below = common * symmetry(tree) * (1 - common.ring.gens[0]) ** (_forces(tree) if leaf == Y else 0)
        # the gcd with every coefficient of powers of a and log λ: one of all variables together takes minutes
        above = [_by_power(x, common.ring) for x in pair]
        shared = reduce(lambda x, y: x.gcd(y), (c for part in above for c in part.values()), below)
        free = sympy.Symbol("a")
        r, s = (sum(c.exquo(shared).as_expr() * free**k for k, c in part.items()) for part in above)
        return _tidy(r - s * sympy.log(sympy.Symbol("lambda")), below.exquo(shared).as_expr())

    return [
        {tree: expression(tree, pair) for tree, pair in component.items()}
        for component in _pairs((r_rows, s_rows), lam, a, order, leaf)
    ]


def _by_power(polynomial: Any, ring: Any) -> dict[int, Any]:
    """The coefficients of the powers of a, polynomials in λ alone."""
    found: dict[int, dict] = defaultdict(dict)
    for (i, k), c in polynomial.terms():
        found[k][(i,)] = c
    return {k: ring.from_dict(terms) for k, terms in found.items()}


def _tidy(numerator: Any, denominator: Any) -> Any:
    """One fraction, factored, with powers of 1-λ and not of λ-1."""
    import sympy

    lam = sympy.Symbol("lambda")
    content, factors = sympy.factor_list(denominator)
    bottom = sympy.Mul(*((1 - lam if x == lam - 1 else x) ** k for x, k in factors))
    sign = (-1) ** sum(k for x, k in factors if x == lam - 1)
    return sympy.factor(sign * numerator / content) / bottom
