"""Statistics of momentum on random batches: reshuffling, the expected regulariser, stationary variance."""

from fractions import Fraction
from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import momentumflow as mf

RNG = np.random.default_rng(0)


# --- κ ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [2, 3, 5, 6])
@pytest.mark.parametrize(("lam", "a"), [(0.0, 0.0), (0.5, 0.0), (0.9, 0.0), (0.9, 0.9), (0.6, 0.25)])
def test_the_constant_by_enumeration(m, lam, a):
    """Each step queries its batch at p - hλ̄Σ_{r<n}∇E_r + h(λλ̄ - a)Σ_{r<n}λ^(n-1-r)∇E_r: the mean over all orders."""
    hessians, d = RNG.normal(size=(m, 3, 3)), RNG.normal(size=(m, 3))
    d -= d.mean(0)
    orders = np.array(list(permutations(range(m))))
    amplification = 1 / (1 - lam)
    mean = np.zeros(3)
    for n in range(m):
        for r in range(n):
            weight = -amplification + (lam * amplification - a) * lam ** (n - 1 - r)
            mean += weight * np.einsum("pij,pj->i", hessians[orders[:, n]], d[orders[:, r]]) / len(orders)
    expected = np.einsum("mij,mj->i", hessians, d) * amplification / 2
    assert np.allclose(mean, float(mf.reshuffling_constant(m, lam, a)) * expected, rtol=1e-12, atol=1e-13)


DATA = jax.random.normal(jax.random.key(3), (4, 2))


def loss(u, x):
    return jnp.sum(jnp.log(jnp.cosh(u - x))) * (1 + 0.3 * x[0]) + 0.3 * jnp.sin(u[0] * u[1] + x[1])


LAM, BAR, AT = 0.6, 2.5, jnp.array([0.7, -0.4])
ORDERS = jnp.array(list(permutations(range(4))))


def mean_loss(u):
    return jnp.mean(jax.vmap(loss, (None, 0))(u, DATA))


@jax.jit
def epoch_terms(a):
    """Taylor coefficients in h of an epoch of p = u + hλλ̄v from the mean velocity, averaged over all orders: the first
    less its prediction, the second, and its prediction with κ and with 1."""
    v = -BAR * jax.grad(mean_loss)(AT)

    def moved(h):
        def one(order):
            method = mf.momentum_method(h, LAM, a)
            run = mf.iterate(method, loss, AT - h * LAM * BAR * v, 4, v, None, data=DATA, order_of_use=order)
            return run.params[0] + h * LAM * BAR * run.velocity[0] - AT

        return jnp.mean(jax.vmap(one)(ORDERS), 0)

    def rate(h):
        return jax.jvp(moved, (h,), (jnp.ones(()),))[1]

    def predicted(constant):
        """Over 4h: -4hλ̄∇C~ + ½(4hλ̄)²∇²C∇C."""
        penalised = mf.reshuffled_loss(mf.momentum_method(1.0, LAM, a), DATA, constant)(loss)
        extra = jax.grad(penalised)(AT) + v / BAR
        bend = jax.jvp(jax.grad(mean_loss), (AT,), (v,))[1]
        return -4 * BAR * extra - 8 * BAR * bend

    first, second = jax.jvp(rate, (jnp.zeros(()),), (jnp.ones(()),))
    return first - 4 * v, second / 2, predicted(None), predicted(1.0)


@pytest.mark.parametrize("a", [0.0, LAM], ids=["HB", "NAG"])
def test_an_epoch_of_the_method_itself(a):
    """Its mean over the 24 orders is the flow of C~ to h²: derivatives through `iterate`, nothing small left out."""
    first, second, with_kappa, with_one = epoch_terms(jnp.asarray(a))
    assert np.allclose(first, 0, atol=1e-12)
    assert np.allclose(second, with_kappa, rtol=1e-11)
    assert not np.allclose(second, with_one, rtol=1e-2)


def test_the_constant_by_sampling():
    """60 batches, where nobody enumerates: 20 000 permutations, within three standard errors."""
    m, lam, draws = 60, 0.9, 20_000
    h, d = RNG.normal(size=m), RNG.normal(size=m)
    d -= d.mean()
    orders = RNG.permuted(np.tile(np.arange(m), (draws, 1)), axis=1)
    n, r = np.tril_indices(m, -1)
    weights = np.zeros((m, m))
    weights[n, r] = 1 - lam ** (n - r)
    values = -2 * np.einsum("pn,nr,pr->p", h[orders], weights, d[orders]) / (h @ d)
    error = values.std() / np.sqrt(draws)
    assert abs(values.mean() - float(mf.reshuffling_constant(m, lam))) < 3 * error
    assert error < 0.3


def exact(m, lam, a):
    """κ from its sum, in fractions."""
    total = sum(1 - (lam - a * (1 - lam)) * lam ** (n - 1 - r) for n in range(m) for r in range(n))
    return float(2 * total / (m * (m - 1)))


@pytest.mark.parametrize("m", [2, 4, 30])
@pytest.mark.parametrize("lam", ["0", "0.5", "0.983", "0.984", "0.9999", "0.999999999"])
def test_the_constant_keeps_its_digits(m, lam):
    for a in (Fraction(0), Fraction(lam)):
        expected = exact(m, Fraction(lam), a)
        assert float(mf.reshuffling_constant(m, float(lam), float(a))) == pytest.approx(
            expected, rel=1e-13, abs=1e-13
        )


def test_limits_of_the_constant():
    assert mf.reshuffling_constant(jnp.array([2, 7, 100]), 0.0).tolist() == [1, 1, 1]
    assert float(mf.reshuffling_constant(10**6, 0.9)) == pytest.approx(1, abs=1e-4)
    assert float(mf.reshuffling_constant(4, 0.5)) == pytest.approx(0.6458333, abs=1e-7)  # 31/48


def test_without_momentum_it_is_smith_et_al():
    """C + (h/4m)Σ|∇C_i|², Smith et al. (2021), written out."""
    u, h = jnp.array([0.7, -0.4]), 0.1
    value = mf.reshuffled_loss(mf.gradient_descent(h), DATA)(loss)(u)
    values, gradients = jax.vmap(jax.value_and_grad(loss), (None, 0))(u, DATA)
    assert float(value) == pytest.approx(
        float(values.mean() + h / 4 * jnp.mean(jnp.sum(gradients**2, 1))), rel=1e-13
    )


# --- statistics -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lam", [0.0, 0.5, 0.9])
def test_expectations_by_their_recursion(lam):
    """E∇G∇Gᵀ step by step for independent batches of mean g and covariance Σ."""
    g, root = np.array([0.3, -1.0]), np.array([[1.0, 0.2], [0.0, 0.7]])
    covariance = root @ root.T
    mean, second, past = np.zeros(2), np.zeros((2, 2)), 0.0
    for _ in range(600):
        past = lam * (past + np.trace(second))
        second = lam**2 * second + lam * (np.outer(mean, g) + np.outer(g, mean)) + np.outer(g, g) + covariance
        mean = lam * mean + g
    spread = second - np.outer(mean, mean)
    assert np.allclose(spread, float(mf.gradient_variance(lam, averaged=False)) * covariance, rtol=1e-12)
    assert np.allclose((1 - lam) ** 2 * spread, float(mf.gradient_variance(lam)) * covariance, rtol=1e-12)
    expected = mf.expected_regularizer(lam, g @ g, np.trace(covariance))
    assert np.trace(second) + 2 * past == pytest.approx(float(expected.total), rel=1e-12)


METHODS = {"GD": mf.gradient_descent(0.4), "HB": mf.heavy_ball(0.4, 0.7), "NAG": mf.nesterov(0.3, 0.7)}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("curvature", [0.1, 1.0, 3.0])
def test_stationary_variance(method, curvature):
    """Against the discrete Lyapunov equation P = MPMᵀ + σ²bbᵀ of the step, solved by scipy."""
    gain = np.asarray(jnp.asarray(method.memory(0).b, float))
    solved = scipy.linalg.solve_discrete_lyapunov(
        np.asarray(mf.step_matrix(method, curvature)), 2.0 * np.outer(gain, gain)
    )
    assert float(mf.stationary_variance(method, curvature, 2.0)) == pytest.approx(solved[0, 0], rel=1e-11)


def test_stationary_variance_of_facts_and_beyond_stability():
    """Heavy ball in its effective learning rate; infinite from hk = 2(1+λ)/(1+2a) on."""
    h, lam, k = 0.1, 0.9, np.array([0.5, 20.0])
    he = h / (1 - lam)
    expected = he / (k * (2 - (1 - lam) / (1 + lam) * he * k))
    assert np.allclose(mf.stationary_variance(mf.heavy_ball(h, lam), k, 1.0), expected, rtol=1e-13)
    assert mf.stationary_variance(mf.heavy_ball(h, lam), np.array([38.0, 38.1]), 1.0).tolist() == [
        np.inf,
        np.inf,
    ]
    assert np.isfinite(mf.stationary_variance(mf.heavy_ball(h, lam), 37.9, 1.0))


def test_bad_input():
    with pytest.raises(ValueError, match="batches must be >= 2"):
        mf.reshuffling_constant(1, 0.5)
    with pytest.raises(ValueError, match="batches must be >= 2"):
        mf.reshuffled_loss(mf.heavy_ball(0.1, 0.5), jnp.zeros((1, 2)))
    with pytest.raises(ValueError, match="batches must be >= 2 to be shuffled, got 1: split the data"):
        mf.reshuffled_loss(mf.heavy_ball(0.1, 0.5), jnp.zeros((1, 2)), constant=1.0)
    with pytest.raises(ValueError, match="constant must be finite"):
        mf.reshuffled_loss(mf.heavy_ball(0.1, 0.5), DATA, constant=np.nan)
    with pytest.raises(ValueError, match=r"one leading axis, .* stack the batches"):
        mf.reshuffled_loss(mf.heavy_ball(0.1, 0.5), {"x": jnp.zeros((3, 2)), "y": jnp.zeros(4)})
    with pytest.raises(TypeError, match="family"):
        mf.reshuffled_loss(mf.nesterov_sequence(0.1), DATA)
    with pytest.raises(ValueError, match="momentum"):
        mf.reshuffling_constant(3, 1.0)
    with pytest.raises(ValueError, match="momentum"):
        mf.gradient_variance(1.0)
    with pytest.raises(ValueError, match="noise_trace"):
        mf.expected_regularizer(0.5, 1.0, -1.0)
    with pytest.raises(TypeError, match="family"):
        mf.stationary_variance(mf.nesterov_sequence(0.1), 1.0, 1.0)
    with pytest.raises(ValueError, match="curvature"):
        mf.stationary_variance(mf.heavy_ball(0.1, 0.5), 0.0, 1.0)
