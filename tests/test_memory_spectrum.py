"""One eigenvalue under any linear-memory method: against the recursions, closed forms, and a scan over curvatures."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

import momentumflow as mf
from momentumflow.linear.family import spectral_radius, stability_limit

H, LAM, MU = 0.02, 0.9, 1.0
WILSON_KEEP = np.exp(-2 * np.sqrt(MU * H))  # Kovachki & Stuart (2021), eq. (36), Appendix D
STRONG = (1 - np.sqrt(MU * H)) / (1 + np.sqrt(MU * H))  # eq. (5)

LIMITS = {  # by hand: HB 2(1+λ)/h, NAG 2(1+λ)/((1+2λ)h); (36) is HB with λ = e and step √h(1-e)/(2√μ)
    "GD": (mf.gradient_descent(H), 2 / H),
    "HB": (mf.heavy_ball(H, LAM), 2 * (1 + LAM) / H),
    "NAG": (mf.nesterov(H, LAM), 2 * (1 + LAM) / (1 + 2 * LAM) / H),
    "GF (35)": (mf.rescaled_gradient_descent(H, LAM), 2 * (1 - LAM) / H),
    "HB-μ": (mf.heavy_ball_strongly_convex(H, MU), 2 * (1 + STRONG) / H),
    "NAG-μ": (mf.nesterov_strongly_convex(H, MU), 2 * (1 + STRONG) / (1 + 2 * STRONG) / H),
    "Wilson (36)": (
        mf.wilson_splitting(H, MU),
        2 * (1 + WILSON_KEEP) / (np.sqrt(H) * (1 - WILSON_KEEP) / (2 * np.sqrt(MU))),
    ),
}


def random_memory(seed, m):
    """A stable random method of m rows."""
    rng = np.random.default_rng(seed)
    A = np.zeros((m, m))
    A[0] = [1, *rng.normal(size=m - 1)]
    inner = rng.normal(size=(m - 1, m - 1))
    A[1:, 1:] = 0.9 * inner / np.abs(np.linalg.eigvals(inner)).max()
    return A, rng.normal(size=m), np.array([1, *rng.normal(size=m - 1)])


@pytest.mark.parametrize("method", [method for method, _ in LIMITS.values()], ids=LIMITS)
def test_the_step_matrix_is_a_step(method):
    k, state = 3.0, np.arange(2.0, 2.0 + method.rows)
    stepped = method.step(lambda u: -k * u, tuple(map(jnp.array, state)), 0)
    np.testing.assert_allclose(mf.step_matrix(method, k) @ state, jnp.stack(stepped), rtol=1e-14)


@pytest.mark.parametrize(("method", "limit"), LIMITS.values(), ids=LIMITS)
def test_the_limit_is_the_closed_form(method, limit):
    assert mf.sharpness_limit(method) == pytest.approx(limit, rel=1e-13)
    below, at, above = mf.convergence_factor(method, limit * np.array([1 - 1e-6, 1, 1 + 1e-6]))
    assert below < 1 < above
    assert at == pytest.approx(1, abs=1e-13)


def test_the_limit_of_the_family_for_500_random_methods():
    rng = np.random.default_rng(5)
    h, lam, a = rng.uniform(1e-6, 2, 500), rng.uniform(0, 1, 500), rng.uniform(0, 3, 500)
    # one ensemble compiled once: the spectral radius is 1 on 2(1+λ)/(1+2a), by LAPACK on A - kbcᵀ
    on_boundary = jax.vmap(lambda h, lam, a, k: mf.convergence_factor(mf.momentum_method(h, lam, a), k))
    np.testing.assert_allclose(on_boundary(h, lam, a, stability_limit(lam, a) / h), 1, atol=1e-10)
    found = [mf.sharpness_limit(mf.momentum_method(*x)) for x in zip(h[:40], lam[:40], a[:40], strict=True)]
    np.testing.assert_allclose(found, stability_limit(lam, a)[:40] / h[:40], rtol=1e-10)


@pytest.mark.parametrize("iteration", [0, 1, 5, 100])
def test_a_method_that_varies_is_frozen(iteration):
    lam = iteration / (iteration + 3)  # Kovachki & Stuart (2021), eq. (4)
    limit = mf.sharpness_limit(mf.nesterov_sequence(H), iteration)
    assert limit == pytest.approx(2 * (1 + lam) / (1 + 2 * lam) / H, rel=1e-13)


@pytest.mark.parametrize(("seed", "m"), [(1, 3), (2, 3), (3, 4), (4, 4), (5, 5), (6, 6)])
def test_the_limit_of_any_method_is_where_a_scan_finds_it(seed, m):
    A, b, c = random_memory(seed, m)
    limit = mf.sharpness_limit(mf.LinearMemory(A, b, c, 1.0))

    def factors(k):
        return np.abs(np.linalg.eigvals(A - k[:, None, None] * np.outer(b, c))).max(-1)

    if limit == 0:  # unstable for small k already: the gradient pushes uphill
        assert factors(np.array([1e-6]))[0] > 1
        return
    assert np.all(factors(limit * np.linspace(1e-4, 1 - 1e-6, 2000)) < 1)
    assert factors(limit * np.array([1 + 1e-6]))[0] > 1
    assert factors(np.array([limit]))[0] == pytest.approx(1, abs=1e-10)


def test_some_random_methods_are_stable_and_lose_it_by_a_pair():
    pairs = 0
    for seed in range(1, 7):
        A, b, c = random_memory(seed, (3, 3, 4, 4, 5, 6)[seed - 1])
        if limit := mf.sharpness_limit(mf.LinearMemory(A, b, c, 1.0)):
            roots = np.linalg.eigvals(A - limit * np.outer(b, c))
            pairs += abs(roots[np.abs(roots).argmax()].imag) > 1e-3
    assert pairs >= 1  # else θ = π would have been enough


def test_a_method_that_never_learns_is_stable_nowhere():
    assert mf.sharpness_limit(mf.LinearMemory([[1.0]], [0.0], [1.0], 1.0)) == 0
    assert mf.sharpness_limit(mf.LinearMemory([[1.0]], [-0.1], [1.0], 1.0)) == 0


def test_factors_over_curvatures_are_the_family():
    k = np.geomspace(1e-3, 1e2, 61).reshape(61, 1)
    found = mf.convergence_factor(mf.nesterov(H, LAM), k)
    assert found.shape == (61, 1)
    np.testing.assert_allclose(found, spectral_radius(H * k, LAM, LAM), rtol=1e-7)  # a double root is nearby


def test_it_goes_through_jit_and_grad():
    def factor(k):
        return mf.convergence_factor(mf.heavy_ball(H, LAM), k)

    assert jax.jit(factor)(1e-4) == pytest.approx(float(factor(1e-4)), rel=1e-14)
    # ρ' = -h/√((1+λ-x)²-4λ) ρ, FACTS of the characteristic equation differentiated by hand
    x = H * 1e-4
    slope = -H / np.sqrt((1 + LAM - x) ** 2 - 4 * LAM) * float(factor(1e-4))
    assert jax.grad(factor)(1e-4) == pytest.approx(slope, rel=1e-10)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: mf.sharpness_limit(3.0),
            TypeError,
            "must be linear in its memory, got float: its step must be",
        ),
        (lambda: mf.step_matrix("adam", 1.0), TypeError, "write it as mf.LinearMemory"),
        (
            lambda: mf.sharpness_limit(mf.nesterov_sequence(0.1)),
            ValueError,
            "NesterovSequence has another matrix at each iteration, got iteration=None: pass the n",
        ),
        (
            lambda: mf.sharpness_limit(mf.nesterov_sequence(0.1), -1),
            ValueError,
            "iteration must be an integer >= 0",
        ),
        (
            lambda: mf.step_matrix(mf.heavy_ball(0.1, 0.9), np.nan),
            ValueError,
            "curvature must be finite, got nan",
        ),
        (
            lambda: mf.sharpness_limit(mf.heavy_ball(np.array([0.1, 0.2]), 0.9)),
            ValueError,
            "constants must be scalars",
        ),
        (
            lambda: jax.jit(lambda h: mf.sharpness_limit(mf.heavy_ball(h, 0.9)))(0.1),
            TypeError,
            "got traced values: call it outside jit",
        ),
    ],
)
def test_bad_input(call, error, message, monkeypatch):
    monkeypatch.setattr(
        jaxtyping.config, "jaxtyping_disable", True
    )  # the session's checker would speak first
    with pytest.raises(error, match=message):
        call()
