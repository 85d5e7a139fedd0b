"""The constants of Appendix C: the defining inequalities, by routes that do not use their closed forms."""

import math

import jax
import numpy as np
import pytest
from numpy.polynomial import Polynomial

import momentumflow as mf
from momentumflow.theory.appendix_c import ManifoldConstants, constants, largest_correction

COSINE = mf.Cosine().bounds(math.inf)


def draw(n, seed=1):
    """Random bounds, λ, a and h, with h below the limit of Lemma 9."""
    rng = np.random.default_rng(seed)
    bounds = mf.Bounds(*rng.uniform(0.1, 3.0, (3, n)))
    momentum, lookahead = rng.uniform(0.05, 0.98, n), rng.uniform(0, 1.2, n)
    largest = (1 - momentum) / (np.asarray(bounds.B1) * (lookahead + momentum / (1 - momentum)))
    return bounds, largest * rng.uniform(0.001, 0.99, n), momentum, lookahead


def excess_of_38(gamma, bounds, h, lam, a):
    """Left-hand side of (38) less its right-hand side, relative to γ: Lemma 14's bound on |Tg|, as it is proved."""
    bar, (B0, B1, _) = 1 / (1 - lam), map(np.asarray, bounds)
    K1 = bar * B0 + h * gamma
    Tg = lam * gamma + a * B1 * K1 + bar * B1 * (lam * K1 + B0)
    return (Tg - gamma) / gamma


def test_lemma_9_holds_for_the_corrected_constant_only():
    case = draw(2000)
    right = largest_correction(*case)
    printed = largest_correction(*case, printed=True)
    assert np.max(np.abs(excess_of_38(np.asarray(right), *case))) < 1e-9  # the smallest γ: equality
    assert np.all(excess_of_38(1.001 * np.asarray(right), *case) < 0)
    assert np.all(excess_of_38(np.asarray(printed), *case) > 0)


def test_the_parabola_is_that_of_the_proof_of_lemma_14():
    """K - δ(1-c) = α₂δ² + α₁δ + α₀ as polynomials, K and c written as the proof writes them."""
    bounds, rates, momenta, lookaheads = draw(20)
    for B0, B1, B2, h, lam, a in zip(*bounds, rates, momenta, lookaheads, strict=True):
        found = constants(mf.Bounds(B0, B1, B2), h, lam, a)
        bar, delta = 1 / (1 - lam), Polynomial([0.0, 1.0])
        K1 = bar * B0 + h * float(found.gamma)
        K2, K3 = bar * B1 + h * delta, B0 + lam * K1
        steep = lam * K2 + B1 * (1 + h * a * K2)
        K = (
            lam * delta
            + a * (B1 * K2 + B2 * K1 * (1 + h * a * K2))
            + bar * ((B1 + h * B2 * K3) * steep + B2 * K3)
        )
        expected = (K - delta * (1 - h * steep)).coef
        assert [float(x) for x in (found.alpha_0, found.alpha_1, found.alpha_2)] == pytest.approx(
            expected, rel=1e-9
        )


def test_delta_are_the_roots_of_the_parabola():
    found = constants(*draw(500))
    a0, a1, a2 = (np.asarray(x) for x in (found.alpha_0, found.alpha_1, found.alpha_2))
    ok = np.isfinite(np.asarray(found.delta))
    assert 50 < ok.sum() < 500
    for delta in (np.asarray(found.delta), np.asarray(found.delta_max)):
        assert np.max(np.abs(a2 * delta**2 + a1 * delta + a0)[ok] / a0[ok]) < 1e-6
    assert np.array_equal(ok, (a1**2 > 4 * a2 * a0) & (a1 < 0))


def test_under_lemma_10_the_corrected_bound_is_below_1_minus_hB1():
    """So (44) is not needed; c = Q₃ of (41) and (42) is one number, and stays below 1."""
    bounds, h, lam, a = draw(5000)
    found = constants(bounds, h, lam, a)
    ok = np.isfinite(np.asarray(found.delta))
    assert np.all(np.asarray(found.rate)[ok] < (1 - h * np.asarray(bounds.B1))[ok])
    assert np.all(np.asarray(found.Q3)[ok] < 1)


@pytest.mark.parametrize(
    ("h", "momentum", "lookahead", "printed", "rate"),
    [  # Φ = 1 - cos u; numbers of an independent computation, to six digits
        (6.6943e-3, 0.5, 0.0, 0.500379, 0.507073),
        (5.6715e-3, 0.5, 0.5, 0.500340, 0.508881),
        (2.0866e-4, 0.9, 0.0, 0.900083, 0.901960),
    ],
)
def test_the_rates_of_the_cosine(h, momentum, lookahead, printed, rate):
    found = constants(COSINE, h, momentum, lookahead)
    assert bool(found.holds)
    assert float(found.printed_rate) == pytest.approx(printed, abs=2e-6)
    assert float(found.rate) == pytest.approx(rate, abs=2e-6)


def test_the_assumption_ends_before_the_graph_does():
    """h may be no larger than x₋ = (1-√λ)² = 0.0858, where heavy ball's two roots meet at k = 1."""
    h = np.linspace(0.05, 0.1, 501)
    holds = np.asarray(constants(COSINE, h, 0.5).holds)
    assert holds[0]
    assert not holds[-1]
    assert 0.066 < h[holds].max() < (1 - math.sqrt(0.5)) ** 2


def test_constants_are_nan_from_the_lemma_that_fails():
    beyond_9 = constants(COSINE, 0.3, 0.5, 0.9)
    assert math.isnan(float(beyond_9.gamma))
    assert not bool(beyond_9.holds)
    beyond_10 = constants(COSINE, 0.2, 0.5)
    assert math.isfinite(float(beyond_10.alpha_0))
    assert math.isnan(float(beyond_10.delta))
    assert not bool(beyond_10.holds)


def test_constants_broadcast_and_trace():
    many = jax.jit(jax.vmap(lambda h: constants(COSINE, h, 0.5)))(np.array([0.001, 0.01, 0.2]))
    assert isinstance(many, ManifoldConstants)
    assert many.holds.tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((mf.Bounds(-1.0, 1.0, 1.0), 0.1, 0.5), "B0 must be finite and >= 0, got -1.0"),
        ((COSINE, 0.0, 0.5), "learning_rate must be finite and > 0, got 0.0"),
        ((COSINE, 0.1, 1.0), r"momentum must be in \[0, 1\), got 1.0"),
        ((COSINE, 0.1, 0.5, -1.0), "lookahead must be finite and >= 0, got -1.0"),
    ],
)
@pytest.mark.parametrize("function", [constants, largest_correction])
def test_bad_input(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments)
