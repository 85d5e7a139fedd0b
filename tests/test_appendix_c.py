"""The constants of Appendix C: the defining inequalities, by routes that do not use their closed forms."""

import math
from typing import NamedTuple

import equinox as eqx
import jax
import numpy as np
import pytest
import sympy as sp
from mpmath import mp, mpf

import momentumflow as mf
from momentumflow._progress import SILENT
from momentumflow.experiments import paper_appendix_c
from momentumflow.linear.family import slow_limit
from momentumflow.theory.appendix_c import Setting, contraction, largest_correction, parabola, sizes

COSINE = mf.Cosine().bounds(math.inf)
UNIT = mf.Bounds(1.0, 1.0, 1.0)
constants = eqx.filter_jit(mf.manifold_constants)


N = 2000  # one shape: each compiles anew


def draw(n=N, seed=1):
    """Random bounds, λ, a and h, with h below the limit of Lemma 9."""
    rng = np.random.default_rng(seed)
    bounds = mf.Bounds(*rng.uniform(0.1, 3.0, (3, n)))
    momentum, lookahead = rng.uniform(0.05, 0.98, n), rng.uniform(0, 1.2, n)
    largest = (1 - momentum) / (np.asarray(bounds.B1) * (lookahead + momentum / (1 - momentum)))
    return bounds, mf.momentum_method(largest * rng.uniform(0.001, 0.99, n), momentum, lookahead)


def draw_admissible(seed):
    """Random bounds, λ and a, with h below τ."""
    bounds, method = draw(seed=seed)
    tau = mf.largest_learning_rate(bounds, method.momentum, method.lookahead).learning_rate
    h = np.asarray(tau) * np.random.default_rng(seed).uniform(1e-4, 1 - 1e-9, N)
    return bounds, mf.momentum_method(h, method.momentum, method.lookahead)


# the constants from first principles: each function of Lemma 12 by what bounds it, its Lipschitz constant, and
# how far it moves when g does; sums, products and compositions of them by the rules of calculus


class Sized(NamedTuple):
    sup: sp.Expr
    lip: sp.Expr
    change: sp.Expr = sp.Integer(0)  # per |g - q|

    def __add__(self, other):
        return Sized(*(x + y for x, y in zip(self, other, strict=True)))

    def __rmul__(self, factor):
        return Sized(*(factor * x for x in self))

    def times(self, other):
        """Product rule."""
        return Sized(
            self.sup * other.sup,
            self.sup * other.lip + self.lip * other.sup,
            self.sup * other.change + self.change * other.sup,
        )

    def at(self, inner):
        """Chain rule; the function itself does not depend on g."""
        return Sized(self.sup, self.lip * inner.lip, self.lip * inner.change)


B0, B1, B2, H, LAM, A, GAMMA, DELTA = sp.symbols("B0 B1 B2 h lambda a gamma delta", positive=True)
SETTING = Setting(B0, B1, B2, H, LAM, A)
POINT, FORCE, HESSIAN = Sized(sp.nan, sp.Integer(1)), Sized(B0, B1), Sized(B1, B2)
W = (1 / (1 - LAM)) * FORCE + H * Sized(GAMMA, DELTA, sp.Integer(1))  # (24)
Z = LAM * W + FORCE.at(POINT + H * A * W)  # (25)
I1 = HESSIAN.at(POINT + H * A * W).times(W)  # (27), at s = 1, the worst
I2 = HESSIAN.at(POINT + H * Z).times(Z)  # (28)
TG = LAM * Sized(GAMMA, DELTA, sp.Integer(1)) + A * I1 + (1 / (1 - LAM)) * I2  # (30)
K1, K3 = sizes(SETTING, GAMMA)


def same(x, y):
    return sp.simplify(x - y) == 0


def test_the_parabola_is_that_of_the_proof_of_lemma_14_symbolically():
    """α₀, α₁, α₂ are the coefficients of K - δ(1-c), c = h Lip(z)."""
    expected = sp.Poly(sp.expand(TG.lip - DELTA * (1 - H * Z.lip)), DELTA).all_coeffs()[::-1]
    found = parabola(SETTING, K1, K3)
    assert len(expected) == 3
    assert all(same(x, y) for x, y in zip(found, expected, strict=True))
    assert not same(parabola(SETTING, K1, B0)[0], expected[0])  # the comparison sees a wrong K₃


def test_the_constants_of_42_are_those_of_lemma_12_symbolically():
    K2, Q1, Q2, Q3, mu = contraction(SETTING, K1, K3, DELTA)
    assert same(W.sup, K1)
    assert same(W.lip, K2)
    assert same(Z.sup, K3)
    assert same(Q1, TG.lip)
    assert same(LAM + Q2, TG.change)
    assert same(Q3, H * Z.lip)
    assert same(mu, TG.change + TG.lip * H * Z.change / (1 - H * Z.lip))  # proof of Lemma 15


def test_lemma_9_is_the_bound_of_T_symbolically():
    bound = sp.Poly(sp.expand(TG.sup), GAMMA)
    (solved,) = sp.solve(bound.as_expr() - GAMMA, GAMMA)
    values = {B0: 1.3, B1: 0.7, H: 0.2, LAM: 0.6, A: 0.4}
    found = largest_correction(mf.Bounds(1.3, 0.7, 1.0), mf.momentum_method(0.2, 0.6, 0.4))
    assert float(found) == pytest.approx(float(solved.subs(values)), rel=1e-12)


def excess_of_38(gamma, bounds, method):
    """Left-hand side of (38) less its right-hand side, relative to γ: Lemma 14's bound on |Tg|, as it is proved."""
    h, lam, a = (np.asarray(x) for x in (method.learning_rate, method.momentum, method.lookahead))
    bar, (B0, B1, _) = 1 / (1 - lam), map(np.asarray, bounds)
    K1 = bar * B0 + h * gamma
    Tg = lam * gamma + a * B1 * K1 + bar * B1 * (lam * K1 + B0)
    return (Tg - gamma) / gamma


def test_lemma_9_holds_for_the_corrected_constant_only():
    case = draw()
    right = largest_correction(*case)
    printed = largest_correction(*case, printed=True)
    assert np.max(np.abs(excess_of_38(np.asarray(right), *case))) < 1e-9  # the smallest γ: equality
    assert np.all(excess_of_38(1.001 * np.asarray(right), *case) < 0)
    assert np.all(excess_of_38(np.asarray(printed), *case) > 0)


def test_delta_are_the_roots_of_the_parabola():
    found = constants(*draw())
    a0, a1, a2 = (np.asarray(x) for x in (found.alpha_0, found.alpha_1, found.alpha_2))
    ok = np.isfinite(np.asarray(found.delta))
    assert 200 < ok.sum() < N - 200
    for delta in (np.asarray(found.delta), np.asarray(found.delta_max)):
        assert np.max(np.abs(a2 * delta**2 + a1 * delta + a0)[ok] / a0[ok]) < 1e-6
    assert np.array_equal(ok, (a1**2 > 4 * a2 * a0) & (a1 < 0))
    assert np.array_equal(ok, np.asarray(found.conditions.lemma_10) > 0)


def test_lemma_10_implies_the_rest_of_assumption_11():
    """At random h, above τ too; with the largest δ too."""
    bounds, method = draw()
    found = constants(bounds, method)
    ok = np.asarray(found.conditions.lemma_10) > 0
    assert 200 < ok.sum() < N - 200
    assert np.array_equal(np.asarray(found.conditions.holds), ok)
    s = Setting(*map(np.asarray, (*bounds, method.learning_rate, method.momentum, method.lookahead)))
    K2, _, _, Q3, mu = (np.asarray(x)[ok] for x in contraction(s, found.K1, found.K3, found.delta_max))
    assert Q3.max() < 1
    assert mu.max() < 1
    bracket, edge = s.shrink[ok] * (1 + s.h[ok] * K2), 1 - (s.h * s.B1)[ok]
    assert np.all(bracket < edge)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_corrected_bound_is_below_1_minus_hB1_up_to_the_largest_learning_rate(seed):
    bounds, method = draw_admissible(seed)
    found = constants(bounds, method)
    assert bool(np.all(found.conditions.holds))
    assert np.max(found.rate - (1 - method.learning_rate * np.asarray(bounds.B1))) < 0
    assert np.all(found.printed_rate <= found.rate)  # so a bound that the printed rate breaks may still hold


def test_the_admissible_learning_rates_are_an_interval():
    """Every margin falls as h grows, and that of Lemma 10, the smallest, ends at τ."""
    rng = np.random.default_rng(1)
    B0, B1, B2 = 10 ** rng.uniform(-3, 1, (3, N)) * rng.choice([0, 1, 1, 1], (3, N))
    bounds = mf.Bounds(B0, np.maximum(B1, 1e-2), B2)
    momentum, lookahead = (rng.uniform(0, top, N) * rng.choice([0, 1, 1], N) for top in (0.99, 1.5))
    tau, conditions = mf.largest_learning_rate(bounds, momentum, lookahead)
    assert np.all(conditions.lemma_10 <= conditions.margin + 1e-14)
    h = np.asarray(tau) * np.concatenate([np.geomspace(1e-6, 1 - 1e-12, 40), [1 + 1e-12, 1.5, 4.0]])[:, None]
    many = constants(bounds, mf.momentum_method(h, momentum, lookahead)).conditions
    assert np.all(np.asarray(many.holds) == np.array([True] * 40 + [False] * 3)[:, None])
    for margin in map(np.asarray, many):
        assert np.all(np.diff(margin[:40], axis=0) <= 1e-15)
    assert np.all(np.asarray(many.margin)[-1] < 0)


def smallest_double_root(momentum, lookahead, bounds=(1, 1, 1)):
    """τ in 30 digits: where K - δ(1-c), as the proof of Lemma 14 writes it, touches 0 as a parabola in δ."""
    B0, B1, B2 = map(mpf, bounds)
    lam, a = mpf(momentum), mpf(lookahead)
    bar = 1 / (1 - lam)

    def excess(delta, h):
        gamma = bar * B0 * B1 * (a + bar) / (1 - lam - h * B1 * (a + lam * bar))
        K1, K2 = bar * B0 + h * gamma, bar * B1 + h * delta
        K3, c = B0 + lam * K1, h * (lam * K2 + B1 * (1 + h * a * K2))
        I1 = B1 * K2 + B2 * K1 * (1 + h * a * K2)
        I2 = B1 * c / h + B2 * K3 * (1 + c)
        return lam * delta + a * I1 + bar * I2 - delta * (1 - c)

    def touches(h):
        middle, right, left = (excess(mpf(x), h) for x in (0, 1, -1))
        square, linear = (right + left) / 2 - middle, (right - left) / 2
        return -linear - 2 * mp.sqrt(square * middle)

    low, high = mpf(0), (1 - lam) / (B1 * (bar + a + lam * bar))
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if touches(middle) > 0 else (low, middle)
    return float(low)


@pytest.mark.parametrize(
    ("momentum", "lookahead", "six_digits"),  # of a session of its own in 30 digits
    [
        ("0.5", "0", 0.0670808),
        ("0.9", "0", 0.00209450),
        ("0.99", "0", 2.00886e-5),
        ("0.5", "0.5", 0.0569408),
        ("0.9", "0.9", 0.00199704),
        ("0.99", "0.99", 1.99853e-5),
        ("0.3", "1.2", None),
        ("0", "0.7", None),
    ],
)
def test_the_largest_learning_rate_in_thirty_digits(momentum, lookahead, six_digits):
    with mp.workdps(30):
        expected = smallest_double_root(momentum, lookahead)
        other = smallest_double_root(momentum, lookahead, ("0.3", "2.5", "7"))
    if six_digits:
        assert expected == pytest.approx(six_digits, rel=5e-6)
    found = mf.largest_learning_rate(UNIT, float(momentum), float(lookahead))
    assert float(found.learning_rate) == pytest.approx(expected, rel=1e-12)
    assert abs(float(found.conditions.margin)) < 1e-14
    unlike = mf.largest_learning_rate(mf.Bounds(0.3, 2.5, 7.0), float(momentum), float(lookahead))
    assert float(unlike.learning_rate) == pytest.approx(other, rel=1e-12)


def test_nesterov_by_name_and_bounds_as_a_tuple():
    momentum = np.array([0.5, 0.9])
    named = mf.largest_learning_rate((1.0, 1.0, 1.0), momentum, "momentum").learning_rate
    np.testing.assert_array_equal(named, mf.largest_learning_rate(UNIT, momentum, momentum).learning_rate)


def test_the_largest_learning_rate_scales_like_1_over_B1():
    """τB₁ depends on λ, a and B₀B₂/B₁² only: units of the loss and of the params."""
    bounds, method = draw()
    tau = mf.largest_learning_rate(bounds, method.momentum, method.lookahead).learning_rate
    ratio = np.asarray(bounds.B0 * bounds.B2 / bounds.B1**2)
    unit = mf.largest_learning_rate(mf.Bounds(ratio, 1.0, 1.0), method.momentum, method.lookahead)
    assert np.allclose(tau * bounds.B1, unit.learning_rate, rtol=1e-11, atol=0)


def test_on_an_affine_field_the_largest_learning_rate_is_that_of_the_graph_with_the_lookahead_turned():
    """B₂ = 0: τB₁ is x₋ with -a for a, so sharp for heavy ball; for a > 0 and for B₂ > 0 it is below x₋."""
    lam = np.linspace(0, 0.999, N)
    straight, any_a = mf.Bounds(1.0, 2.0, 0.0), np.random.default_rng(1).uniform(0, 2, N)

    def share(bounds, lookahead):
        tau = mf.largest_learning_rate(bounds, lam, lookahead).learning_rate
        return np.asarray(tau) * bounds.B1 / np.asarray(slow_limit(lam, lookahead))

    tau = mf.largest_learning_rate(straight, lam, any_a).learning_rate
    turned = ((1 - lam) / (1 + np.sqrt(lam + any_a * (1 - lam)))) ** 2
    assert np.allclose(2 * tau, turned, rtol=1e-12, atol=0)
    assert np.allclose(share(straight, 0 * lam), 1, rtol=1e-12, atol=0)
    for below in (share(straight, lam), share(UNIT, 0 * lam), share(UNIT, lam)):
        assert np.all(below[1:] < 1)


@pytest.mark.parametrize("lookahead", [0.0, 0.4, 0.9999])
def test_share_of_the_truth_as_the_momentum_goes_to_1(lookahead):
    """8/(5+√(9+16B₀B₂/B₁²)): (1-4y)(1-y) = 4βy² to leading order in 1-λ, over x₋ = (1-λ)²/4."""
    lam, beta = 1 - 1e-6, np.array([0.0, 0.1, 1.0, 10.0, 1e4])
    tau = mf.largest_learning_rate(mf.Bounds(beta, 1.0, 1.0), lam, lookahead).learning_rate
    assert 4 * np.asarray(tau) / (1 - lam) ** 2 == pytest.approx(8 / (5 + np.sqrt(9 + 16 * beta)), rel=1e-4)


def test_gradient_descent_lands_on_its_graph_in_one_step():
    """λ = a = 0: everything holds up to 1/B₁, with rate 0 and no upper end for δ."""
    bounds = mf.Bounds(0.7, 2.0, 5.0)
    assert float(mf.largest_learning_rate(bounds, 0.0).learning_rate) == pytest.approx(0.5, rel=1e-12)
    found = constants(bounds, mf.gradient_descent(0.4))
    assert bool(found.conditions.holds)
    assert (float(found.rate), float(found.delta_max)) == (0.0, math.inf)
    assert found.conditions.failing == ""
    beyond = mf.manifold_constants(bounds, mf.gradient_descent(0.6)).conditions
    assert (beyond.failing, round(float(beyond.margin), 12)) == ("Lemma 10", -0.2)  # 1 - hB₁


@pytest.mark.parametrize(
    ("h", "momentum", "lookahead", "printed", "rate"),
    [  # Φ = 1 - cos u; numbers of an independent computation, to six digits
        (6.6943e-3, 0.5, 0.0, 0.500379, 0.507073),
        (5.6715e-3, 0.5, 0.5, 0.500340, 0.508881),
        (2.0866e-4, 0.9, 0.0, 0.900083, 0.901960),
    ],
)
def test_the_rates_of_the_cosine(h, momentum, lookahead, printed, rate):
    found = constants(COSINE, mf.momentum_method(h, momentum, lookahead))
    assert bool(found.conditions.holds)
    assert float(found.printed_rate) == pytest.approx(printed, abs=2e-6)
    assert float(found.rate) == pytest.approx(rate, abs=2e-6)


def test_constants_are_nan_from_the_lemma_that_fails():
    beyond_9 = mf.manifold_constants(COSINE, mf.momentum_method(0.3, 0.5, 0.9))
    assert math.isnan(float(beyond_9.gamma))
    assert beyond_9.conditions.failing == "Lemma 9"
    assert float(beyond_9.conditions.margin) == pytest.approx(1 - 0.5 - 0.3 * (0.9 + 1))
    beyond_10 = mf.manifold_constants(COSINE, mf.heavy_ball(0.2, 0.5))
    assert math.isfinite(float(beyond_10.alpha_0))
    assert math.isnan(float(beyond_10.delta))
    assert beyond_10.conditions.failing == beyond_10.conditions.binding == "Lemma 10"


def test_constants_broadcast_and_trace():
    def of(h):
        return mf.manifold_constants(COSINE, mf.heavy_ball(h, 0.5))

    many = jax.jit(jax.vmap(of))(np.array([0.001, 0.01, 0.2, 0.6]))
    assert isinstance(many, mf.ManifoldConstants)
    assert many.conditions.holds.tolist() == [True, True, False, False]
    assert many.conditions.failing.tolist() == ["", "", "Lemma 10", "Lemma 9"]
    both = jax.vmap(lambda lam: mf.largest_learning_rate(COSINE, lam))(np.array([0.5, 0.9]))
    assert both.learning_rate == pytest.approx([0.0670808, 0.00209450], rel=5e-6)


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        (mf.Bounds(-1.0, 1.0, 1.0), "B0 must be finite and >= 0, got -1.0"),
        (mf.Bounds(math.inf, 1.0, 0.0), r"B0 must be finite and >= 0, got inf: .*problem.bounds\(radius\)"),
        (mf.Bounds(1.0, 1.0, math.nan), "B2 must be finite and >= 0, got nan"),
    ],
)
def test_bounds_must_be_finite(bounds, message):
    for call in (
        lambda: mf.manifold_constants(bounds, mf.heavy_ball(0.1, 0.5)),
        lambda: largest_correction(bounds, mf.heavy_ball(0.1, 0.5)),
        lambda: mf.largest_learning_rate(bounds, 0.5),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_bad_input():
    with pytest.raises(ValueError, match=r"momentum must be in \[0, 1\), got 1.0"):
        mf.largest_learning_rate(COSINE, 1.0)
    with pytest.raises(ValueError, match=r"lookahead must be finite and >= 0, got -1\.0"):
        mf.largest_learning_rate(COSINE, 0.5, -1.0)
    with pytest.raises(ValueError, match="lookahead"):
        mf.largest_learning_rate(COSINE, 0.5, "mass")
    with pytest.raises(ValueError, match=r"bounds must be B0, B1 and B2, got \(1.0, 1.0\): pass mf.Bounds"):
        mf.largest_learning_rate((1.0, 1.0), 0.5)
    with pytest.raises(ValueError, match=r"B1 must be finite and > 0, got 0\.0: .*any h will do"):
        mf.largest_learning_rate(mf.Bounds(1.0, 0.0, 0.0), 0.5)
    with pytest.raises(TypeError, match=r"Appendix C is stated for the family \(7\).*got WilsonSplitting"):
        mf.manifold_constants(COSINE, mf.wilson_splitting(0.1, 1.0))


# --- the experiment


@pytest.fixture(scope="module")
def measured():
    return paper_appendix_c.run(paper_appendix_c.PRESETS["quick"], SILENT)


def test_the_experiment_holds_and_is_drawn_in_a_readable_size(measured):
    assert {check.name for check in paper_appendix_c.checks(measured) if not check.held} == set()
    figure = paper_appendix_c.plot(measured)
    assert min(text.get_fontsize() for text in figure.findobj(lambda a: hasattr(a, "get_fontsize"))) >= 8


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("tau", lambda x: x * (1 + 1e-9)),
        ("graph_limit", lambda x: 0.99 * x),
        ("theorem_3", lambda x: 1.1 * x),
        ("margin_at_tau", lambda x: x.roll(condition=1)),
        ("holds", lambda x: 1 + 0 * x),
        ("largest_rise", lambda x: x + 1e-9),
        ("reference", lambda x: x * (1 + 1e-9)),
    ],
)
def test_the_checks_of_the_experiment_see_another_number(measured, key, change):
    damaged = measured.assign({key: change(measured[key])})
    assert not all(check.held for check in paper_appendix_c.checks(damaged))
