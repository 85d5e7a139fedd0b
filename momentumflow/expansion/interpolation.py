r"""Weights that turn iterates into the field of the flow through them.

If $P_h$ is one step of (15) then $X = \log P_h$ is the field whose flow, per step, passes through the iterates.
A polynomial q that equals log at the eigenvalues $\lambda^m$ of $P_0$ to high enough order stands in for log:
$q(P_h) = \sum_j w_j P_h^j$, a linear combination of iterates. Its weights are $w_j = r_j + \ell s_j$ with
$\ell = -\log\lambda$ and r, s rational in λ.
"""

from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate
from typing import Any

DIGITS = 300
r"""The weights of order p cancel like $(1-\lambda)^K$."""


@lru_cache(maxsize=256)
def weights(momentum: float, order: int) -> tuple[float, ...]:
    r"""w_0, …, w_K of the polynomial that interpolates log at 1 (p+1 times), λ (p times), …, λ^p (once).

    $\sum_j w_jP_h^j(z)$ equals $X$ up to $O(h^{p+1})$ in u and $O(h^p)$ in v; K = (p+1)(p+2)/2 - 1.

    >>> [round(w, 6) for w in weights(0.9, 1)]
    [-1.536052, 2.072103, -0.536052]
    """
    exact = exact_weights(Fraction(momentum), order)
    return tuple(in_floats(r, s, Fraction(momentum)) for r, s in zip(*exact, strict=True))


@lru_cache(maxsize=256)
def increments(momentum: float, order: int) -> tuple[float, ...]:
    r"""W_1, …, W_K, $W_j = w_j + \dots + w_K$: as $\sum_jw_j = 0$, $\sum_jw_jP^j = \sum_jW_j(P^j - P^{j-1})$.

    The same field, in differences, of which nothing of the size of the state cancels.

    >>> [round(W, 6) for W in increments(0.9, 1)]
    [1.536052, -0.536052]
    """
    exact = exact_weights(Fraction(momentum), order)
    tails = (list(accumulate(reversed(row)))[-2::-1] for row in exact)
    return tuple(in_floats(r, s, Fraction(momentum)) for r, s in zip(*tails, strict=True))


def exact_weights(momentum: Any, order: int) -> tuple[list, list]:
    """r_0, …, r_K and s_0, …, s_K over any field that holds λ.

    >>> [[str(x) for x in row] for row in exact_weights(Fraction(1, 2), 1)]
    [['1', '-3', '2'], ['-4', '8', '-4']]
    """
    powers = [m for m in range(order + 1) for _ in range(order + 1 - m)]
    nodes = [momentum**m for m in powers]
    zero = 0 * momentum
    # log^(k)(x)/k! where nodes are the same; log λ^m = -mℓ
    rational = _interpolate(nodes, [zero] * len(nodes), lambda x, k: (-1) ** (k - 1) / (k * x**k))
    decay = _interpolate(nodes, [zero - m for m in powers], lambda x, k: zero)
    return rational, decay


def in_floats(rational: Fraction, decay: Fraction, momentum: Fraction) -> float:
    """r + ℓs, whose terms cancel like a power of 1-λ, in `DIGITS` digits first."""
    import mpmath

    with mpmath.workdps(DIGITS):
        r, s, lam = (mpmath.mpf(x.numerator) / x.denominator for x in (rational, decay, momentum))
        return float(r - s * mpmath.log(lam))


def _interpolate(nodes: list, values: list, derivative: Callable[[Any, int], Any]) -> list:
    """Monomial coefficients of the Hermite interpolant; equal nodes beside each other, `derivative` over k!."""
    newton = _divided_differences(nodes, values, derivative)
    monomial = [0 * nodes[0]] * len(nodes)
    for coefficient, node in zip(reversed(newton), reversed(nodes), strict=True):
        # Horner: q ← q (μ - node) + coefficient
        monomial = [(monomial[j - 1] if j else coefficient) - node * monomial[j] for j in range(len(nodes))]
    return monomial


def _divided_differences(nodes: list, column: list, derivative: Callable[[Any, int], Any]) -> list:
    """g[x_0], g[x_0, x_1], …"""
    found = [column[0]]
    for k in range(1, len(nodes)):
        column = [
            derivative(nodes[i], k)
            if nodes[i] == nodes[i + k]
            else (column[i + 1] - column[i]) / (nodes[i + k] - nodes[i])
            for i in range(len(nodes) - k)
        ]
        found.append(column[0])
    return found
