r"""The recursion: the slow manifold and the flow on it as B-series, for any linear-memory method.

With memory rows $w$, the step $u^+ = u + h\,p\cdot w + h\beta f(q)$, $w^+ = Kw + bf(q)$, $q = u + h\,r\cdot w$,
the manifold $w = \sum_\tau h^{|\tau|-1}\omega(\tau)F(\tau)/\sigma(\tau)$ is invariant and the step on it is the flow
of $\sum_\tau h^{|\tau|-1}\beta(\tau)F(\tau)/\sigma(\tau)$, tree by tree:

$$\omega = (I-K)^{-1}(b\Pi - W), \qquad \varphi = p\cdot\omega + \beta\Pi, \qquad
  \Pi(\tau) = \prod_i r\cdot\omega(\tau_i), \quad W = \sum_{j\ge1}\tfrac1{j!}\partial^j\omega, \quad
  \varphi = \sum_{j\ge1}\tfrac1{j!}\partial^{j-1}\beta,$$

where $(\partial c)(\tau) = \sum_{\text{edges}} c(\text{trunk})\,\beta(\text{branch})$ is the Lie derivative along the
flow (Hairer, Lubich & Wanner, IX.9.1). No composition of series is ever formed.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from math import factorial, prod
from typing import Any, NamedTuple

from .trees import Tree, cuts, order, up_to

Number = Any
"""An element of a ring that holds the rationals: Fraction, float, or a polynomial."""


class Scheme(NamedTuple):
    """A linear-memory method over a ring, its time step taken out: see the module's docstring.

    `resolvent` $(I-K)^{-1}$, `push` $p(I-K)^{-1}$ (so that no inverse is ever taken), `gain` b, `direct` β,
    `query` r.
    """

    resolvent: Sequence[Sequence[Number]]
    push: Sequence[Number]
    gain: Sequence[Number]
    direct: Number
    query: Sequence[Number]


class Expansions(NamedTuple):
    """ω(τ) of every memory row, φ(τ) of the step and β(τ) of the flow, not yet divided by σ(τ)."""

    manifold: dict[Tree, list[Number]]
    step: dict[Tree, Number]
    flow: dict[Tree, Number]


def expand(scheme: Scheme, highest: int) -> Expansions:
    """All expansions for all trees up to order `highest`, by induction over the trees."""
    manifold: dict[Tree, list[Number]] = {}
    step: dict[Tree, Number] = {}
    flow: dict[Tree, Number] = {}
    lie_rows: list[Lie] = [{} for _ in scheme.gain]
    lie_flow: Lie = {}
    for tree in up_to(highest):
        product = prod(_dot(scheme.query, manifold[child]) for child in tree)
        high = [_derivatives(lie, flow, tree) for lie in lie_rows]
        force = [b * product - _weighted(row, 0) for b, row in zip(scheme.gain, high, strict=True)]
        manifold[tree] = [_dot(line, force) for line in scheme.resolvent]
        for lie, value, row in zip(lie_rows, manifold[tree], high, strict=True):
            lie[tree] = [value, *row]
        bent = _derivatives(lie_flow, flow, tree)
        step[tree] = _dot(scheme.push, force) + scheme.direct * product
        flow[tree] = step[tree] - _weighted(bent, 1)
        lie_flow[tree] = [flow[tree], *bent]
    return Expansions(manifold, step, flow)


Lie = dict[Tree, list[Number]]
"""c(τ), (∂c)(τ), (∂²c)(τ), … for every tree so far; the list ends where the rest is 0."""


def _derivatives(lie: Lie, flow: dict[Tree, Number], tree: Tree) -> list[Number]:
    """(∂c)(τ), (∂²c)(τ), …: an edge less for each."""
    return [
        _total(lie[trunk][j] * flow[branch] for trunk, branch in cuts(tree) if len(lie[trunk]) > j)
        for j in range(order(tree) - 1)
    ]


def _weighted(derivatives: Sequence[Number], shift: int) -> Number:
    """Σ_{j≥1} ∂^j / (j + shift)!"""
    return _total(_over(x, factorial(j + shift)) for j, x in enumerate(derivatives, 1))


def _dot(a: Sequence[Number], b: Sequence[Number]) -> Number:
    return _total(x * y for x, y in zip(a, b, strict=True))


def _total(terms: Iterable[Number]) -> Number:
    """Their sum; no zero is added, which a ring of polynomials or of arrays may not know."""
    terms = list(terms)
    return sum(terms[1:], terms[0]) if terms else 0


def _over(x: Number, n: int) -> Number:
    """x/n, exactly where x is a whole number."""
    if isinstance(x, int):
        return Fraction(x, n) if x else 0
    return x / n
