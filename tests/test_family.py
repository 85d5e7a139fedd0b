"""One eigenvalue under the family (7): roots, limits, regimes and logarithms against numpy, scipy and mpmath.

Source of the matrix: (15) on Φ = ½ku², by hand: (u, w = hv) -> (u + w⁺, w⁺), w⁺ = λw - x(u + aw).
"""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from scipy.linalg import expm, logm

from momentumflow.linear.family import (
    REGIMES,
    characteristic_roots,
    flow_limit,
    regime,
    slow_limit,
    slow_mode,
    spectral_radius,
    stability_limit,
    step_logarithm,
)

MANY = 500
METHODS = {
    "HB": (0.9, 0.0),
    "NAG": (0.9, 0.9),
    "a = 1/4": (0.5, 0.25),
    "a > λ": (0.3, 0.4),
    "a > λλ̄": (0.2, 0.5),
}


def step(x, lam, a):
    """M(x), for arrays stacked in front."""
    x, lam, a = np.broadcast_arrays(*map(np.asarray, (x, lam, a)))
    velocity = [lam - x * a] * 2
    return np.moveaxis(np.array([[1 - x, velocity[0]], [-x, velocity[1]]], float), (0, 1), (-2, -1))


def random_methods(seed, count=MANY):
    rng = np.random.default_rng(seed)
    return rng.uniform(0.01, 0.99, count), rng.uniform(0, 1, count) * (rng.uniform(size=count) < 0.8)


def entries(x, lam, a, every_second=False):
    """L from the coefficients of f and v."""
    found = step_logarithm(x, lam, a, every_second)
    rows = [[-x * found.force_u, found.velocity_u], [-x * found.force_v, found.velocity_v]]
    return np.array(rows, float)


def test_roots_are_the_eigenvalues_of_a_step():
    lam, a = random_methods(1)
    inner = lam - a * (1 - lam)
    double = ((1 + np.array([[-1], [1]]) * np.sqrt(np.maximum(inner, 0))) / (1 + a)) ** 2
    x = np.random.default_rng(2).uniform(-1, 4, MANY)
    x = x[keep := np.all(np.abs(x / double - 1) > 1e-3, axis=0) | (inner < 0)]
    lam, a = lam[keep], a[keep]
    roots = np.stack(characteristic_roots(x, lam, a), -1)
    expected = np.linalg.eigvals(step(x, lam, a)).astype(complex)
    apart = [np.abs(roots - expected[:, order]).max(-1) for order in ([0, 1], [1, 0])]
    size = np.abs(expected).max(-1)
    assert np.max(np.minimum(*apart) / np.maximum(size, 1)) < 1e-13
    assert np.all(np.abs(roots[:, 0]) >= np.abs(roots[:, 1]) * (1 - 1e-15))


def test_roots_have_their_sum_and_product():
    lam, a = random_methods(3)
    x = np.random.default_rng(4).uniform(-1, 4, MANY)
    slow, fast = map(np.array, characteristic_roots(x, lam, a))
    size = np.maximum(np.abs(slow), 1)
    assert np.max(np.abs(slow + fast - (1 + lam - x * (1 + a))) / size) < 2e-15
    assert np.max(np.abs(slow * fast - (lam - x * a)) / size**2) < 2e-15


def test_a_small_root_keeps_its_digits():
    # mpmath: 50 digits; by mean - root it would be 5.55e-17 or 0
    with mpmath.workdps(50):
        lam, x = mpmath.mpf(1e-17), mpmath.mpf(0.25)
        mean = (1 + lam - x) / 2
        exact = float(mean - mpmath.sqrt(mean**2 - lam))
    assert float(characteristic_roots(0.25, 1e-17)[1].real) == pytest.approx(exact, rel=1e-14)


def test_stability_ends_where_a_root_leaves_the_unit_circle():
    lam, a = random_methods(5)
    limit = np.array(stability_limit(lam, a))
    assert np.max(np.abs(np.array(spectral_radius(limit, lam, a)) - 1)) < 1e-10
    for factor, stable in ((1 - 1e-6, True), (0.5, True), (1 + 1e-6, False)):
        radius = np.abs(np.linalg.eigvals(step(factor * limit, lam, a))).max(-1)
        assert np.all((radius < 1) == stable)


def scanned(lam, a, exists):
    """The first x of a grid at which the eigenvalues of M(x) are no longer as `exists` says, and its spacing."""
    x = np.linspace(0, 4, 20_001)[1:]
    good = exists(np.linalg.eigvals(step(x, lam, a)).astype(complex))
    return x[np.argmin(good)], x[1] - x[0], good


@pytest.mark.parametrize(("lam", "a"), [*METHODS.values(), (0.6, 0.6), (0.7, 0.1), (0.2, 0.2), (0.05, 0.9)])
def test_limits_by_scanning_the_spectrum(lam, a):
    def real_logarithm(rho):
        """Distinct eigenvalues: none negative or 0 (a negative one would need its double)."""
        return ~np.any((rho.imag == 0) & (rho.real <= 0), axis=-1)

    x, spacing, _ = scanned(lam, a, real_logarithm)
    assert float(flow_limit(lam, a)) == pytest.approx(x, abs=1.01 * spacing)
    x, spacing, good = scanned(lam, a, lambda rho: np.all(rho.imag == 0, axis=-1))
    if a <= lam / (1 - lam):
        assert float(slow_limit(lam, a)) == pytest.approx(x, abs=1.01 * spacing)
    else:  # no double root on the real axis: the nearest in the plane, by the roots of the discriminant
        assert good.all()
        square = np.poly1d([1 + a, 1 - lam]) ** 2 - np.poly1d([4, 0])
        assert float(slow_limit(lam, a)) == pytest.approx(np.abs(square.roots).min(), rel=1e-12)


@pytest.mark.parametrize(
    ("lam", "a", "x"),
    [
        *[(0.9, 0.0, x) for x in (0.002, 0.004, 2.0, 3.79, 3.799, 3.81)],
        *[(0.9, 0.9, x) for x in (0.002, 0.004, 0.5, 1.05, 1.35, 1.37)],
        *[(0.0, 0.0, x) for x in (0.5, 1.5, 2.1, -0.1)],
    ],
)
def test_regimes_are_what_iterates_do(lam, a, x):
    M, state, late, growth = step(x, lam, a), np.array([1.0, 0.0]), [], 0.0
    for n in range(1000):
        state = M @ state
        growth += np.log(size := np.linalg.norm(state))
        state /= size  # the iterates but for their size, which would underflow
        late += [state[0]] if n >= 800 else []
    flips = np.mean(np.sign(late[1:]) != np.sign(late[:-1]))
    kind = "monotone" if flips == 0 else "sign-flipping" if flips == 1 else "rippling"
    if growth > 0:
        kind = "divergent"
    assert REGIMES[int(regime(x, lam, a))] == kind


@pytest.mark.parametrize(("lam", "a"), METHODS.values())
@pytest.mark.parametrize("fraction", [-0.3, 1e-6, 1e-3, 0.1, 0.5, 0.9])
def test_logarithm_is_scipys(lam, a, fraction):
    x = fraction * float(flow_limit(lam, a))
    expected = logm(step(x, lam, a))
    assert np.isrealobj(expected)
    assert np.allclose(entries(x, lam, a), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("offset", [s * 10.0**-k for k in (1, 2, 3, 4, 6, 9, 12) for s in (-1, 1)])
@pytest.mark.parametrize(("lam", "a"), [(0.9, 0.0), (0.9, 0.9), (0.5, 0.25), (0.3, 0.4), (0.99, 0.99)])
def test_logarithm_near_the_double_root(lam, a, offset):
    """Where scipy's own logarithm loses its digits: its exponential must be the step."""
    x = float(slow_limit(lam, a)) * (1 + offset)
    assert np.allclose(expm(entries(x, lam, a)), step(x, lam, a), rtol=0, atol=2e-14)


@pytest.mark.parametrize(("lam", "a"), METHODS.values())
def test_coefficients_of_f_keep_their_digits_at_small_curvature(lam, a):
    """-L₁₁/x and -L₂₁/x at x = 1e-9 with 60 digits, and continuity at 0."""
    x = 1e-9
    with mpmath.workdps(60):
        L = mpmath.logm(
            mpmath.matrix([[1 - mpmath.mpf(x), lam - mpmath.mpf(x) * a], [-x, lam - mpmath.mpf(x) * a]])
        )
        expected = [float(mpmath.re(-L[0, 0] / x)), float(mpmath.re(-L[1, 0] / x))]
    found = step_logarithm(x, lam, a)
    assert [float(found.force_u), float(found.force_v)] == pytest.approx(expected, rel=1e-12)
    assert [*map(float, step_logarithm(0.0, lam, a))] == pytest.approx([*map(float, found)], rel=1e-5)


@pytest.mark.parametrize(
    ("lam", "a", "x"),
    [
        (0.9, 0.0, 3.799),
        (0.9, 0.9, 1.3),
        (0.9, 0.9, 1.0001),
        (0.3, 0.4, 1.2),
        (0.9, 0.0, 5.0),
        (0.5, 0.0, -1.0),
    ],
)
def test_every_second_step(lam, a, x):
    M = step(x, lam, a)
    assert np.allclose(entries(x, lam, a, every_second=True), logm(M @ M) / 2, atol=1e-9)
    if x > 0:
        assert all(np.all(np.isnan(part)) for part in step_logarithm(x, lam, a))


@pytest.mark.parametrize("offset", [0.0, 1e-12, 1e-8, 1e-5, 1e-3])
def test_every_second_step_at_a_double_negative_root(offset):
    x = float(flow_limit(0.9)) * (1 + offset)
    M = step(x, 0.9, 0.0)
    assert np.allclose(expm(2 * entries(x, 0.9, 0.0, every_second=True)), M @ M, atol=1e-13)


@pytest.mark.parametrize(("lam", "a"), METHODS.values())
@pytest.mark.parametrize("fraction", [-2.0, 1e-9, 0.3, 0.99])
def test_slow_mode_is_an_eigenvector_of_a_step(lam, a, fraction):
    """numpy splits (u, hv) into the two modes of M; f = -ku."""
    x, h = fraction * float(slow_limit(lam, a)), 0.1
    rho, modes = np.linalg.eig(step(x, lam, a))
    slow = np.argmax(rho)
    u, v = 0.7, -1.3
    f = -x / h * u
    weights = np.linalg.solve(modes, [u, h * v])
    rate, memory, lag = map(float, slow_mode(x, lam, a))
    assert x * rate == pytest.approx(-np.log(rho[slow]), rel=1e-9, abs=1e-15)
    assert u + h * lag * (v - memory * f) == pytest.approx(weights[slow] * modes[0, slow], rel=1e-9)
    on_mode = modes[:, slow] / modes[0, slow] * u
    assert h * memory * f == pytest.approx(on_mode[1], rel=1e-9, abs=1e-15)


def test_slow_rate_has_the_series_of_the_literature():
    """Heavy ball: Σ x^k W_{k-1}/(k(1-λ)^{2k-1}), W_n = Σ_j C(n,j)²λ^j (Cattaneo & Shigida 2025)."""
    from math import comb

    lam, x = 0.5, 1e-3
    W = [sum(comb(n, j) ** 2 * lam**j for j in range(n + 1)) for n in range(8)]
    series = sum(x ** (k - 1) / k * W[k - 1] / (1 - lam) ** (2 * k - 1) for k in range(1, 9))
    assert float(slow_mode(x, lam).rate) == pytest.approx(series, rel=1e-14)


@pytest.mark.parametrize("x", [-3.0, 1e-12, 0.3, 0.999])
def test_without_momentum_it_is_the_principal_flow_of_gradient_descent(x):
    """log(1 - x)/x times the gradient: Rosca, Wu, Qin & Dherin (2023)."""
    rate, memory, lag = map(float, slow_mode(x, 0.0))
    assert rate == pytest.approx(-np.log1p(-x) / x, rel=1e-14)
    assert lag == 0
    assert memory * (1 - x) == pytest.approx(1, rel=1e-14)


def test_no_slow_mode_where_the_pair_is_complex_or_negative():
    assert np.isnan(slow_mode(0.5, 0.9).rate)
    assert np.isnan(slow_mode(0.5, 0.9, 0.0, every_second=True).rate)
    assert np.isnan(slow_mode(1.5, 0.0).rate)
    assert float(slow_mode(1.5, 0.0, 0.0, every_second=True).rate) == pytest.approx(
        -np.log(0.5) / 1.5, rel=1e-14
    )


def test_they_broadcast_map_and_stay_in_float32():
    x, lam = jnp.zeros((7, 1)), jnp.array([0.5, 0.9])
    for function in (characteristic_roots, regime, spectral_radius, step_logarithm, slow_mode):
        assert {part.shape for part in jax.tree.leaves(jax.eval_shape(function, x, lam))} == {(7, 2)}
        assert jax.eval_shape(jax.vmap(function, (None, 0)), x, lam) is not None
    single = jnp.zeros(3, jnp.float32)
    for function in (step_logarithm, slow_mode):
        parts = jax.eval_shape(function, single, 0.9, 0.9)
        assert {part.dtype for part in parts} == {jnp.dtype("float32")}


@pytest.mark.parametrize("call", [characteristic_roots, regime, spectral_radius, step_logarithm, slow_mode])
def test_bad_values_are_refused(call):
    for arguments, words in (
        ((np.nan, 0.9), "x must be finite, got nan"),
        ((0.1, 1.0), r"momentum must be in \[0, 1\), got 1.0"),
        ((0.1, 0.9, -1.0), "lookahead must be finite and >= 0, got -1.0"),
    ):
        with pytest.raises(ValueError, match=words):
            call(*arguments)
