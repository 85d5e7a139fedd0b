"""Properties of the exact expansions at random λ and a."""

from fractions import Fraction
from functools import cache
from math import comb, factorial

import mpmath
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import momentumflow as mf
from momentumflow.expansion.trees import order, symmetry

LAM, A = sp.symbols("lambda a")
MOMENTA = st.fractions(0, Fraction(9, 10), max_denominator=30)
LOOKAHEADS = st.fractions(0, 2, max_denominator=30)
EXPANSIONS = (mf.modified_equation, mf.manifold_expansion, mf.step_expansion)


@cache
def symbolic(expansion, lookahead):
    return expansion(5, None, lookahead)


@pytest.mark.parametrize("expansion", EXPANSIONS)
@given(lam=MOMENTA, a=LOOKAHEADS)
@settings(max_examples=10)
def test_symbols_at_fractions_are_the_run_in_fractions(expansion, lam, a):
    """Three runs over different rings: polynomials in λ̄ and a, polynomials in λ̄ alone, and the rationals."""
    values = {LAM: sp.Rational(str(lam)), A: sp.Rational(str(a))}
    for formal, lookahead in ((None, a), ("momentum", lam)):
        for tree, c in expansion(5, lam, lookahead).items():
            assert symbolic(expansion, formal)[tree].xreplace(values) == sp.Rational(str(c))


def scalar(tree, u):
    """F(τ)(u) of f(u) = 1/(1+u), whose derivatives are (-1)^k k!/(1+u)^(k+1)."""
    k = len(tree)
    value = (-1) ** k * factorial(k) / (1 + u) ** (k + 1)
    for child in tree:
        value *= scalar(child, u)
    return value


def series(expansion, h, u):
    return sum(
        mpmath.mpf(c.numerator) / c.denominator * h ** (order(t) - 1) * scalar(t, u)
        for t, c in expansion.items()
    )


@given(lam=MOMENTA, a=LOOKAHEADS, p=st.integers(1, 4))
@settings(max_examples=15)
def test_one_step_from_the_manifold_takes_the_flow_time_h(lam, a, p):
    """∫ du/F from u_n to u_{n+1} = h + O(h^{p+1}), u_{n+1} by the method itself; 60 digits, h and h/2."""
    flow, graph, step = (
        e(p, lam, a) for e in (mf.modified_equation, mf.manifold_expansion, mf.step_expansion)
    )

    def errors(h):
        u = mpmath.mpf(1) / 3
        v = series(graph, h, u)
        z = float_of(lam) * v + 1 / (1 + u + h * float_of(a) * v)
        took = mpmath.quad(lambda x: 1 / series(flow, h, x), [u, u + h * z], maxdegree=3)
        return abs(took - h), h * abs(series(step, h, u) - z)

    with mpmath.workdps(60):
        h = mpmath.mpf((1 - lam).numerator) ** 2 / (1 - lam).denominator ** 2 / 10**6
        for coarse, fine in zip(errors(h), errors(h / 2), strict=True):
            assert fine < mpmath.mpf(10) ** -50 or float(coarse / fine) == pytest.approx(
                2 ** (p + 1), rel=0.02
            )


def float_of(x):
    return mpmath.mpf(x.numerator) / x.denominator


@given(lam=MOMENTA)
@settings(max_examples=8)
def test_heavy_ball_steps_are_narayana_and_eulerian_polynomials(lam):
    """Cattaneo & Shigida (2025) find them in the modified loss; here each by a route of its own.

    A path is a quadratic, where z = (ρ-1)u/h and y = 1-ρ = Σ y_n xⁿ solves y(1-λ+x-y) = x: y_n is Narayana's
    polynomial. A star has straight memory, Σ_k λ^k f(u - khλ̄f): Σ_k λ^k (-kλ̄)^m, an Eulerian polynomial.
    """
    steps, bar = mf.step_expansion(7, lam, 0), 1 / (1 - lam)
    path = ()
    for n in range(1, 7):
        path = (path,)
        narayana = sum(Fraction(comb(n, k) * comb(n, k - 1), n) * lam**k for k in range(1, n + 1))
        assert steps[path] == (-1) ** n * narayana * bar ** (2 * n + 1)
        star = ((),) * n
        assert steps[star] * symmetry(star) == (-bar) ** n * sum_of_powers(n, lam)


def sum_of_powers(m, x):
    """Σ_k k^m x^k = Σ_j j! S(m, j) x^j/(1-x)^{j+1}, S of Stirling, second kind."""
    stirling = lambda j: sum((-1) ** (j - i) * comb(j, i) * i**m for i in range(j + 1))  # noqa: E731
    return sum(stirling(j) * x**j / (1 - x) ** (j + 1) for j in range(1, m + 1))
