"""The higher-order ODEs (13): spectrum by Routh, measured claims, the limit operator and what §3.2.2 prints."""

import math
from fractions import Fraction
from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import sympy as sp
from scipy.integrate import quad
from test_claims import judge

import momentumflow as mf
from momentumflow._types import descent_field
from momentumflow.expansion.differentials import combine
from momentumflow.expansion.trees import order
from momentumflow.experiments.paper_equation_13 import growth_of_a_pair
from momentumflow.flows.higher_order import limit_operator
from momentumflow.flows.model import AFTER_LAYER, Claim
from momentumflow.linear.higher_order import higher_order_polynomial, higher_order_roots, transient_root

START = jnp.array([1.0, -1.5])
LOSS = mf.LogCosh([1.0, 0.5])
FORCE = 0.8251678  # |f(START)|: (tanh 1, ½ tanh ¾) by hand
FINAL = 1.0


def routh(coefficients):
    """First column of the Routh array, highest power first (Gantmacher, The Theory of Matrices, XV)."""
    upper, lower = list(coefficients[::2]), list(coefficients[1::2])
    column = [upper[0]]
    while lower:
        column.append(lower[0])
        padded = [*lower, 0]
        upper, lower = lower, [
            u - upper[0] * low / lower[0]
            for u, low in zip(upper[1:], padded[1:], strict=False)
        ]  # fmt: skip
    return column


def symbol(p, lam, x=0, reduced=False):
    """(13) on a quadratic, written out from the source and not by the library; without its root 0 if reduced."""
    left = [(1 + (-1) ** k * lam) / sp.factorial(k) for k in range(p, 0, -1)]
    return left if reduced else [*left, x]


LAMBDA, X, S = sp.symbols("lambda x s", positive=True)


def test_routh_array_finds_known_roots():
    """Of (s-1)(s-2)(s+3)(s+4) and of (s+1)(s+2)(s+3): two sign changes, and none."""
    for roots, changes in (((1, 2, -3, -4), 2), ((-1, -2, -3), 0)):
        column = routh([Fraction(int(c)) for c in np.poly(roots)])
        assert sum(a * b < 0 for a, b in pairwise(column)) == changes


def test_five_terms_are_unstable_for_every_momentum():
    """The entry is -(1+λ)/8 whatever λ, the others positive on [0, 1): two changes of sign, two growing modes."""
    column = [sp.factor(c) for c in routh(symbol(5, LAMBDA, reduced=True))]
    assert sp.simplify(column[3] + (1 + LAMBDA) / 8) == 0
    for entry in column[:3] + column[4:]:
        positive = sp.simplify(entry.subs(LAMBDA, 1 / (1 + S)))  # λ in (0, 1) for s > 0
        assert positive.is_positive
        assert entry.subs(LAMBDA, 0) > 0


@pytest.mark.parametrize("terms", range(2, 13))
def test_momentum_changes_no_sign_of_the_routh_array(terms):
    """Its rows are those of λ = 0 times 1+λ and 1-λ in turn: an instability at one λ is one at every λ."""
    _, lam = sp.field("lambda", sp.QQ)
    entries = routh([(1 + (-1) ** k * lam) / math.factorial(k) for k in range(terms, 0, -1)])
    plain = routh([sp.QQ(1, math.factorial(k)) for k in range(terms, 0, -1)])
    assert entries == [number * (1 + (-1) ** (terms + i) * lam) for i, number in enumerate(plain)]


def test_every_number_of_terms_from_five_on_is_unstable():
    """The fourth entry for p ≥ 6, of p! P(σ)/σ at λ = 0, whose top coefficients are p(p-1)…: p(p-2)(5-p) < 0."""
    p = sp.symbols("p")
    column = routh([sp.prod([p - i for i in range(j)]) for j in range(6)])
    assert sp.simplify(column[3] - p * (p - 2) * (5 - p)) == 0
    exact = routh([Fraction(math.factorial(9), math.factorial(k)) for k in range(9, 0, -1)])
    assert exact[3] == 9 * 7 * -4


@pytest.mark.parametrize(("terms", "limit"), [(2, None), (3, 3 * (1 + LAMBDA)), (4, 3 * (1 + LAMBDA) / 2)])
def test_stability_on_a_quadratic(terms, limit):
    """Every entry of the Routh array is positive, for p = 3, 4 iff hk < 3(1+λ), 3(1+λ)/2."""
    inside = X if limit is None else limit * S / (1 + S)
    for entry in routh(symbol(terms, LAMBDA, inside)):
        assert sp.simplify(entry.subs(LAMBDA, 1 / (1 + X))).is_positive
    for lam in (0.0, 0.5, 0.9):
        if limit is None:
            assert higher_order_roots(terms, lam, 50.0)[0].real < 0
        else:
            edge = float(limit.subs(LAMBDA, lam))
            assert higher_order_roots(terms, lam, 0.99 * edge)[0].real < 0
            assert higher_order_roots(terms, lam, 1.01 * edge)[0].real > 0


@pytest.mark.parametrize("terms", range(2, 13))
def test_growing_modes_are_counted_by_routh(terms):
    for lam in map(Fraction, (0, "1/10", "1/3", "1/2", "4/5", "9/10", "99/100")):
        exact = [Fraction(1 + (-1) ** k * lam) / math.factorial(k) for k in range(terms, 0, -1)]
        column = routh(exact)
        changes = sum(a * b < 0 for a, b in pairwise(column))
        assert changes == np.sum(higher_order_roots(terms, float(lam)).real > 1e-9)
        assert changes == (0 if terms < 5 else 2 if terms < 10 else 4)


@pytest.mark.parametrize(
    ("terms", "growth"),  # an independent float64 computation, two digits
    list(zip(range(5, 13), (0.01, 1.36, 1.41, 2.54, 2.59, 3.79, 3.86, 5.18), strict=True)),
)
def test_growth(terms, growth):
    assert higher_order_roots(terms, 0.9)[0].real == pytest.approx(growth, abs=0.005)
    with mpmath.workdps(30):
        exact = mpmath.polyroots(
            [mpmath.mpf(str(c)) for c in higher_order_polynomial(terms, 0.9)], 200, extraprec=200
        )
        assert higher_order_roots(terms, 0.9)[0].real == pytest.approx(
            float(max(r.real for r in exact)), abs=1e-9
        )


@pytest.mark.parametrize("lam", [0.0, 0.1, 0.3, 0.5, 0.9, 0.99])
def test_transient_root_in_closed_form(lam):
    """-2r; the quadratic; the one real root of σ³ + 4rσ² + 12σ + 24r by hyperbolic sines; r = (1-λ)/(1+λ)."""
    r = (1 - lam) / (1 + lam)
    assert transient_root(2, lam) == pytest.approx(-2 * r, rel=1e-12)
    third = np.sqrt(complex(0.25 - 2 * r**2 / 3))
    assert abs(transient_root(3, lam).real - (-2 * r / (0.5 + third)).real) < 1e-9
    p, q = 12 - 16 * r**2 / 3, 8 * r + 128 * r**3 / 27
    y = -2 * math.sqrt(p / 3) * math.sinh(math.asinh(1.5 * q / p * math.sqrt(3 / p)) / 3)
    assert transient_root(4, lam) == pytest.approx(y - 4 * r / 3, rel=1e-9)


def test_spurious_modes():
    """An independent computation: -56.9 for p = 3, a pair -0.053 ± 3.46i for p = 4, at λ = 0.9."""
    assert min(higher_order_roots(3, 0.9).real) == pytest.approx(-56.9, abs=0.05)
    (spurious,) = (z for z in higher_order_roots(4, 0.9) if z.imag > 0)
    assert spurious == pytest.approx(-0.053 + 3.46j, abs=0.005)


def test_two_terms_are_the_momentum_ode_for_heavy_ball():
    method, velocity = mf.heavy_ball(0.1, 0.7), jnp.array([0.3, -0.2])
    flows = mf.HigherOrderODE(method, 2), mf.MomentumODE(method)
    states = eqx.filter_jit(lambda: [flow.initial_state(LOSS, START, velocity) for flow in flows])()
    rates = [flow.field(LOSS)(jnp.zeros(()), states[0]) for flow in flows]
    for ours, paper in (states, rates):
        assert all(np.allclose(x, y, rtol=1e-12, atol=1e-12) for x, y in zip(ours, paper, strict=True))


def test_two_terms_differ_from_the_momentum_ode_for_nesterov():
    """Negative control, and right: (13) keeps the look-ahead where (11) trades it for mass."""
    method, t, state = mf.nesterov(0.1, 0.7), jnp.zeros(()), (START, START)
    ours, paper = (
        flow.field(LOSS)(t, state)[1] for flow in (mf.HigherOrderODE(method, 2), mf.MomentumODE(method))
    )
    by_hand = (-jax.grad(LOSS)(START + 0.07 * START) - 0.3 * START) / (0.1 * 0.85)
    assert np.allclose(ours, by_hand)
    assert not np.allclose(paper, by_hand, rtol=0.1)


@eqx.filter_jit
def on_manifold(method, loss, params):
    """The invariant manifold to order 4, so that a start on it costs no order up to 4; λ = ½, a = 0 or 0.1."""
    lookahead, h = method.lookahead, method.learning_rate
    graphs = [mf.manifold_expansion(4, 0.5, a) for a in (0.0, 0.1)]
    graph = {
        t: jnp.where(lookahead == 0, c, graphs[1][t]) * h ** (order(t) - 1) for t, c in graphs[0].items()
    }
    return combine(descent_field(loss), params, graph)


def study(terms, lam, lookahead, exponents, start, from_time=0.0):
    """Starts are velocities, not words, and a = 0 a value: one program for each p."""
    begin = {"rest": jnp.zeros(2), "manifold": mf.manifold_velocity}.get(start, start)
    return mf.convergence_study(
        lambda h: mf.momentum_method(h, lam, lookahead), lambda m: mf.HigherOrderODE(m, terms), LOSS, START,
        [2.0**-k for k in exponents], FINAL, begin, from_time)  # fmt: skip


@pytest.mark.parametrize("terms", [2, 3, 4])
@pytest.mark.parametrize("name", ["HB", "NAG"])
def test_claims_are_measured(terms, name):
    """λ = 0.2, where order 1 shows for p = 4 too; at 0.5 its constant is 30 times below that of p = 2."""
    flow = mf.HigherOrderODE(mf.heavy_ball(0.1, 0.2), terms)
    assert flow.claims == (Claim(1, "rest"), Claim(2, "rest", AFTER_LAYER), Claim(min(terms, 3), "manifold"))
    a = {"HB": 0.0, "NAG": 1.0}[name]
    judge(found := study(terms, 0.2, 0.2 * a, range(9, 13), "rest"), 1)
    for wrong in (0.5, 1.5):
        with pytest.raises(AssertionError):
            judge(found, wrong)
    for lam in (0.2, 0.5):
        judge(study(terms, lam, lam * a, range(9, 13), "rest", FINAL / 2), 2)
    on_manifold_to_leading_order = study(terms, 0.5, 0.5 * a, range(5, 8), "manifold")
    if terms < 4:
        judge(on_manifold_to_leading_order, terms)
    else:  # h³ times what (13) misses of the layer, which is too small to be seen beside h⁴
        assert min(on_manifold_to_leading_order.last_orders(2)) > 2.9


@pytest.mark.parametrize("terms", [2, 3, 4])
@pytest.mark.parametrize("lookahead", [0.0, 0.1])
def test_on_the_manifold_the_order_is_the_number_of_terms(terms, lookahead):
    """Consistency is not wasted there: what spoils it from rest is the layer."""
    found = study(terms, 0.5, lookahead, range(4, 8), on_manifold)
    judge(found, terms)
    with pytest.raises(AssertionError):
        judge(found, terms - 0.5)


@pytest.mark.parametrize("terms", [2, 3, 4])
def test_the_constant_of_order_one(terms):
    """λλ̄² max|λⁿ - Re e^{nσ₁}||f|: the method's v_n = λ̄(1-λⁿ)f against the model's, f constant in the layer."""
    lam, n = 0.2, np.arange(100)
    limit = lam / (1 - lam) ** 2 * np.abs(lam**n - np.exp(n * transient_root(terms, lam)).real).max()
    found = study(terms, lam, 0.2, (9, 12), "rest")
    assert found.errors[-1] / found.learning_rates[-1] == pytest.approx(FORCE * limit, rel=0.02)


@pytest.mark.parametrize("terms", range(2, 6))
@pytest.mark.parametrize("lookahead", [0.0, 0.2])
def test_consistency_on_a_quadratic(terms, lookahead):
    """The slow mode e^{σt/h} of (13) put in (7): O(x^{p+1}), also at p = 5, which is unstable."""

    def residual(x):
        roots = higher_order_roots(terms, 0.2, x, lookahead)
        slow = roots[np.argmin(np.abs(roots))].real
        return math.expm1(slow) + 0.2 * math.expm1(-slow) + x * (1 - lookahead * math.expm1(-slow))

    slope = math.log2(abs(residual(2.0**-5) / residual(2.0**-6)))
    assert slope == pytest.approx(terms + 1, abs=0.2)


def test_consistency_fails_with_the_other_sign():
    """Negative control: with 1-(-1)^kλ the residual is of order 1 only."""
    lam, x = 0.5, np.array([2.0**-6, 2.0**-7])
    slow = [np.roots([(1 - lam) / 2, 1 + lam, value])[1].real for value in x]
    residual = np.expm1(slow) + lam * np.expm1(-np.array(slow)) + x
    assert np.log2(abs(residual[0] / residual[1])) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("lookahead", [0.0, 0.7])
def test_limit_operator_vanishes_against_f_on_iterates(lookahead):
    method = mf.momentum_method(0.25, 0.7, lookahead)
    run = mf.iterate(method, LOSS, START, 12)
    operator = limit_operator(lambda t: run.params[round(float(t) / 0.25)], method)
    for n in (1, 5, 11):
        ahead = run.params[n] + lookahead * (run.params[n] - run.params[n - 1])
        assert np.allclose(operator(n * 0.25), -jax.grad(LOSS)(ahead), rtol=0, atol=1e-12)
    middle = (
        run.params[6] * 0.7 + run.params[4] - 1.7 * run.params[5]
    )  # its middle lines: λ on the wrong side
    assert not np.allclose(middle / 0.25, operator(5 * 0.25), rtol=0.1)


def test_limit_operator_is_the_limit_of_the_series():
    """On u = e^{rt}, r = 2: T_p u = P(hr)/h u, which tends to Tu; the distance is its first missing term."""
    h, lam, r, t = 0.5, 0.9, 2.0, 0.3
    limit = float(limit_operator(lambda t: jnp.exp(r * t), mf.heavy_ball(h, lam))(t))
    for p in (2, 5, 9):
        series = np.polyval(higher_order_polynomial(p, lam), h * r) / h * math.exp(r * t)
        missing = (
            (1 + (-1) ** (p + 1) * lam) / math.factorial(p + 1) * (h * r) ** (p + 1) / h * math.exp(r * t)
        )
        after = (1 + (-1) ** (p + 2) * lam) / math.factorial(p + 2) * (h * r) ** (p + 2) / h * math.exp(r * t)
        assert limit - series == pytest.approx(missing + after, rel=0.2)
    series = np.polyval(higher_order_polynomial(25, lam), h * r) / h * math.exp(r * t)
    assert limit == pytest.approx(series, rel=1e-12)


@pytest.mark.parametrize("p", [2, 3, 4])
def test_remainder_of_the_series(p):
    """§3.2.2 with I⁻ as defined there, sign included: I⁺ + λI⁻ (printed -), for u = e^t at t = 0.3."""
    h, lam, t = 0.1, 0.9, 0.3
    plus, minus = (
        sign ** (p + 1)
        / math.factorial(p)
        * quad(lambda s: (1 - s) ** p * math.exp(t + sign * s * h), 0, 1)[0]  # noqa: B023
        for sign in (1, -1)
    )
    series = math.exp(t) * np.polyval(higher_order_polynomial(p, lam), h)
    exact = h * float(limit_operator(jnp.exp, mf.heavy_ball(h, lam))(t)) - series
    assert h ** (p + 1) * (plus + lam * minus) == pytest.approx(exact, rel=1e-9)
    assert abs(h ** (p + 1) * (plus - lam * minus) / exact - 1) > 0.5
    if p == 3:  # an independent computation
        assert exact == pytest.approx(1.070e-5, abs=5e-9)
        assert h**4 * (plus - lam * minus) == pytest.approx(7.76e-7, abs=5e-10)


def test_params_may_be_trees_in_single_precision():
    """Shapes only, without compiling: state and rates have the structure and dtype of the params, p times."""
    start = {"a": jnp.ones(2, jnp.float32), "b": jnp.float32(0.5)}
    loss = mf.VectorField(lambda p: jax.tree.map(jnp.sin, p))
    for terms in (2, 3, 4, 6):
        flow = mf.HigherOrderODE(mf.nesterov(0.02, 0.5), terms, unstable=terms > 4)
        state = jax.eval_shape(lambda u, flow=flow: flow.initial_state(loss, u, "rest"), start)
        rates = jax.eval_shape(lambda s, flow=flow: flow.field(loss)(0.0, s), state)
        like = (jax.eval_shape(lambda: start),) * terms
        assert tuple(state) == like
        assert tuple(rates) == like


def test_fixed_points_stay():
    flow, zero = mf.HigherOrderODE(mf.nesterov(0.1, 0.9), 4), jnp.zeros(2)
    rates = flow.field(mf.Quadratic([1.0, 3.0]))(jnp.array(0.0), (zero,) * 4)
    assert all(jnp.all(x == 0) for x in rates)


def test_growth_of_a_pair_is_found_from_samples():
    n = np.arange(80)
    u = np.exp(0.03 * n) * np.cos(2.5 * n + 1)
    assert growth_of_a_pair(u) == pytest.approx(0.03, rel=1e-9)
    assert growth_of_a_pair(u * np.exp(-0.05 * n)) == pytest.approx(-0.02, rel=1e-9)


def test_unstable_terms_claim_nothing():
    assert mf.HigherOrderODE(mf.heavy_ball(0.1, 0.5), 5, unstable=True).claims == ()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda m: mf.HigherOrderODE(m, 1), ValueError, "one term is RescaledGradientFlow"),
        (lambda m: mf.HigherOrderODE(m, True), ValueError, "terms must be an integer >= 1, got True"),
        (lambda m: mf.HigherOrderODE(m, 5), ValueError, r"got 5: .* grow like exp\(0.066 t/h\) at λ = 0.5, .*Routh"),
        (lambda m: mf.HigherOrderODE(m, 13, unstable=True), ValueError, "terms must be <= 12, got 13"),
        (lambda m: mf.HigherOrderODE(mf.wilson_splitting(0.1, 1.0), 3), TypeError, "stated for the family"),
        (lambda m: mf.HigherOrderODE(mf.heavy_ball(jnp.ones(2) / 9, 0.5), 3), ValueError, "must be scalars"),
        (lambda m: jax.jit(lambda x: mf.HigherOrderODE(mf.heavy_ball(1, x), 3).layer)(0.5), ValueError, "outside jit"),
        (lambda m: higher_order_roots(0, 0.5), ValueError, "terms must be an integer >= 1"),
        (lambda m: higher_order_roots(3, 1.0), ValueError, r"momentum must be in \[0, 1\)"),
        (lambda m: transient_root(1, 0.5), ValueError, "terms must be an integer >= 2"),
    ],
)  # fmt: skip
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call(mf.heavy_ball(0.1, 0.5))
