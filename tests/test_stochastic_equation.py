"""Stochastic modified equations: derivation, weak orders from exact moments, sampled paths, bad input."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
import sympy

import momentumflow as mf
from momentumflow.experiments import _moments as moments

MU, HORIZON, START = 1.0, 2.0, (1.0, -0.5)
SCALES = [2.0**-k for k in (5, 6, 7)]


# --- derivation -------------------------------------------------------------------------------------------------------


def test_one_step_has_the_moments_of_the_equation():
    """In symbols, in one dimension: E g after a step against g + εLg + ½ε²L²g, L the equation's generator.

    Agreement to ε² is weak order 2. The drift of order 1 fails at ε².
    """
    u, v, e, mu, a, w, r = sympy.symbols("u v epsilon mu a xi R")
    k = sympy.symbols("k1:5")
    slope = sum(c * u**i for i, c in enumerate(k))  # Φ', a general cubic about u = 0
    root = 1 + r * u  # Σ = (1 + Ru)², the noise depends on u
    bend, half = sympy.diff(slope, u), e / 2
    drifts = {
        1: (v, -mu * v - slope),
        2: (
            (1 - half * mu) * v - half * slope,
            -(mu + half * (mu**2 - (1 - 2 * a) * bend)) * v - (1 + half * mu) * slope,
        ),
    }
    noises = {1: (0, -1), 2: (-half, -(1 + half * mu))}

    def generator(g, order):
        (fu, fv), (bu, bv) = drifts[order], noises[order]
        second = bu**2 * sympy.diff(g, u, 2) + 2 * bu * bv * sympy.diff(g, u, v) + bv**2 * sympy.diff(g, v, 2)
        return fu * sympy.diff(g, u) + fv * sympy.diff(g, v) + e * root**2 * second / 2

    def expected(g):
        ahead = v - e * (mu * v + slope.subs(u, u + a * e * v) + w * root)
        after = sympy.expand(g.subs({u: u + e * ahead, v: ahead}, simultaneous=True))
        return after.subs(w**3, 0).subs(w**2, 1).subs(w, 0)

    def to_square(expression):
        return [sympy.expand(sympy.expand(expression).coeff(e, power)) for power in range(3)]

    for g in (u, v, u**2, u * v, v**2, v**3):
        once = {order: generator(g, order) for order in (1, 2)}
        law = {order: g + e * once[order] + e**2 * generator(once[order], order) / 2 for order in (1, 2)}
        step = to_square(expected(g))
        assert all(sympy.expand(x - y) == 0 for x, y in zip(step, to_square(law[2]), strict=True))
        first = to_square(law[1])
        assert sympy.expand(step[1] - first[1]) == 0
        assert sympy.expand(step[2] - first[2]) != 0


# --- weak order -------------------------------------------------------------------------------------------------------


class WithoutNoiseCorrection(mf.StochasticModifiedEquation):
    """The drift of order 2 with the noise of order 1."""

    def noise(self, loss, point):
        return mf.StochasticModifiedEquation(self.method, 1, data=self.batches.data).noise(loss, point)


def orders(alike, lookahead, make):
    """The two finest slopes in ε of the mean, the second moments and the covariance, from exact moments."""
    data, begin, rows = moments.batches(0, 3, alike), moments.start(START), []
    for scale in SCALES:
        lam = 1 - scale * MU
        method = mf.momentum_method(scale**2, lam, lam if lookahead == "lam" else lookahead)
        steps = round(HORIZON / scale)
        exact = moments.of_method(method, data, begin, steps)
        ours = moments.of_equation(make(method, moments.Batches(*map(jnp.asarray, data))), begin, steps)
        parts = (moments.mean, moments.second, moments.covariance)
        rows.append([np.abs(part(exact) - part(ours)).max() for part in parts])
    return np.diff(np.log2(rows), axis=0).T / np.diff(np.log2(SCALES))


def equation(order):
    return lambda method, data: mf.StochasticModifiedEquation(method, order, data=data)


@pytest.mark.parametrize("lookahead", [0.0, 0.25, "lam"], ids=["HB", "a=1/4", "NAG"])
@pytest.mark.parametrize("alike", [True, False], ids=["additive", "of u"])
def test_weak_orders(alike, lookahead):
    mean, second, covariance = orders(alike, lookahead, equation(2))
    assert mean == pytest.approx(2, abs=0.1)
    assert second == pytest.approx(2, abs=0.1)
    assert covariance == pytest.approx(3 if alike else 2, abs=0.1)
    mean, second, covariance = orders(alike, lookahead, equation(1))
    assert mean == pytest.approx(1, abs=0.1)
    assert second == pytest.approx(1, abs=0.1)
    assert covariance == pytest.approx(2, abs=0.1)


def test_order_2_does_not_need_the_noise_corrected():
    mean, second, covariance = orders(True, 0.0, lambda m, d: WithoutNoiseCorrection(m, data=d))
    assert [mean, second, covariance] == [pytest.approx(2, abs=0.1)] * 3


def test_a_wrong_look_ahead_costs_the_second_order():
    """Control: heavy ball's equation for Nesterov."""
    mean, *_ = orders(True, "lam", lambda m, d: equation(2)(mf.heavy_ball(m.learning_rate, m.momentum), d))
    assert mean == pytest.approx(1, abs=0.1)


# --- sampling ---------------------------------------------------------------------------------------------------------

DATA = moments.Batches(*map(jnp.asarray, moments.batches(0, 3, alike=False)))
HB = mf.heavy_ball(2.0**-6, 1 - 2.0**-3)
MEAN = jax.tree.map(lambda x: jnp.mean(x, 0), DATA)


def mean_loss(u):
    return moments.loss(u, MEAN)


def batch_root(u):
    """The batches' noise as a root, by hand."""
    gradients = DATA.hessians @ u - DATA.pulls
    return (gradients - gradients.mean(0)) / np.sqrt(3)


def test_paths_have_the_exact_moments():
    """20 000 paths at S = 2 within 3 standard errors of the equation's own moments; those of order 1 are not."""
    runs = mf.sample_paths(
        mf.StochasticModifiedEquation(HB, data=DATA), moments.loss, jnp.array(START), 16, jax.random.key(1), 20_000,
        save_every=None,
    )  # fmt: skip
    assert runs.outcome == "20000 of 20000 completed"
    assert runs.times[:, -1] == pytest.approx(16 * 2.0**-6)
    z = np.hstack([runs.params[:, 0], runs.velocity[:, 0] * 2.0**-3])  # V = √h v
    apart = {}
    for order in (1, 2):
        law = moments.of_equation(equation(order)(HB, DATA), moments.start(START), 16)[-1:]
        error = z.std(0) / np.sqrt(len(z))
        covariance, expected = np.cov(z.T), moments.covariance(law)[0]
        spread = np.sqrt(np.outer(np.diag(expected), np.diag(expected)) + expected**2) / np.sqrt(len(z))
        gaps = [
            np.abs(z.mean(0) - moments.mean(law)[0]) / error,
            np.abs(covariance - expected).ravel() / spread.ravel(),
        ]
        apart[order] = max(gap.max() for gap in gaps)
    assert apart[2] < 3 < apart[1]


def test_without_noise_it_is_an_ordinary_equation():
    """On a pytree, from a velocity: a root of 0 gives every path the second-order method's iterates to O(ε²)."""

    def loss(p):
        return jnp.sum(jnp.cos(p["w"])) + p["b"] ** 4 / 4 + p["b"] * p["w"][0]

    params, errors = {"w": jnp.array([0.5, -1.0]), "b": jnp.array(0.7)}, []
    velocity = jax.tree.map(lambda x: 0.5 * jnp.ones_like(x), params)
    for scale in (2.0**-5, 2.0**-6):
        method = mf.nesterov(scale**2, 1 - scale)
        root = jax.tree.map(lambda x: jnp.zeros((1, *x.shape)), params)
        start = jax.tree.map(lambda x, s=scale: x / s, velocity)
        model = mf.StochasticModifiedEquation(method, root=root)
        runs = mf.sample_paths(model, loss, params, round(1 / scale), jax.random.key(0), 2, start)
        exact = mf.iterate(method, loss, params, round(1 / scale), start)
        assert np.array_equal(runs.params["w"][0], runs.params["w"][1])
        assert np.allclose(runs.times[0], exact.times)
        assert np.allclose(runs.velocity["b"][:, 0], exact.velocity["b"][0])
        errors.append(max(np.abs(runs.params[name][0] - exact.params[name]).max() for name in params))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.1)


def test_a_root_of_the_params_is_the_batches_noise():
    """Rows (∇E_j - ∇Φ)/√m by hand: the same paths from the same key."""
    known = (jnp.array(START), 8, jax.random.key(2), 3)
    runs = mf.sample_paths(mf.StochasticModifiedEquation(HB, data=DATA), moments.loss, *known)
    same = mf.sample_paths(
        mf.StochasticModifiedEquation(HB, root=batch_root), mean_loss, *known, save_every=4
    )
    assert np.allclose(runs.params[:, ::4], same.params, atol=1e-12)
    assert not np.allclose(runs.params[0, -1], runs.params[1, -1])


@pytest.mark.parametrize(
    "root",
    [jnp.eye(2, dtype=int), np.eye(2, dtype=np.int8), lambda u: jnp.eye(2, dtype=int)],
    ids=["constant", "int8", "callable"],
)
def test_a_root_of_integers_is_the_same_noise(root):
    """A spread of 0.2, not of rounding: the paths are those of the floating-point root."""
    known = (lambda u: jnp.sum(u**2) / 2, jnp.array(START), 8, jax.random.key(2), 3)
    for order in (1, 2):
        runs = mf.sample_paths(mf.StochasticModifiedEquation(HB, order, root), *known)
        same = mf.sample_paths(mf.StochasticModifiedEquation(HB, order, jnp.eye(2)), *known)
        assert np.array_equal(runs.params, same.params)
        assert np.ptp(runs.params[:, -1], 0).min() > 1e-2


@pytest.mark.parametrize("order", [1, 2])
def test_float32_params_beside_float64_noise(order):
    """Data and the same noise as a root, in float64: equal float32 paths, with the spread of the float64 ones."""

    def root(u):
        return batch_root(u.astype(float))

    known = (8, jax.random.key(2), 400)
    start = jnp.array(START, jnp.float32)
    drawn, given = (
        mf.StochasticModifiedEquation(HB, order, data=DATA), mf.StochasticModifiedEquation(HB, order, root=root),
    )  # fmt: skip
    runs = mf.sample_paths(drawn, moments.loss, start, *known)
    same = mf.sample_paths(given, mean_loss, start, *known)
    wide = mf.sample_paths(drawn, moments.loss, jnp.array(START), *known)
    assert runs.params.dtype == same.params.dtype == runs.velocity.dtype == jnp.float32
    assert np.allclose(runs.params, same.params, atol=1e-5)
    assert np.allclose(runs.params[:, -1].std(0), wide.params[:, -1].std(0), rtol=0.2)  # 400 draws: 4 %


def test_float32_params_with_a_constant_float64_root():
    start = {"w": jnp.array(START, jnp.float32)}
    known = (lambda p: jnp.sum(p["w"] ** 2) / 2, start, 8, jax.random.key(2), 3)
    wide, narrow = (
        mf.sample_paths(mf.StochasticModifiedEquation(HB, root={"w": jnp.eye(2, dtype=kind)}), *known)
        for kind in ("float64", "float32")
    )
    assert wide.params["w"].dtype == jnp.float32
    assert np.array_equal(wide.params["w"], narrow.params["w"])


def test_a_path_that_overflows_is_an_outcome():
    model = mf.StochasticModifiedEquation(HB, root=jnp.eye(1))
    runs = mf.sample_paths(model, lambda u: -jnp.sum(u**4), jnp.array([5.0]), 40, jax.random.key(0), 2)
    assert runs.outcome == "0 of 2 completed"
    assert np.all((runs.diverged_at > 0) & (runs.diverged_at < 40))


@pytest.fixture
def untyped():
    """A session without the suite's type checks, as a user's."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


# --- bad input --------------------------------------------------------------------------------------------------------

ROOT = jnp.eye(2)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (
            (mf.gradient_descent(0.1), 2, ROOT),
            ValueError,
            "momentum must be > 0, got 0: .* gradient descent has no",
        ),
        ((mf.heavy_ball(0.1, 0.0), 2, ROOT), ValueError, "momentum must be > 0"),
        ((mf.nesterov_sequence(0.1), 2, ROOT), TypeError, "family"),
        ((HB, 3, ROOT), ValueError, "order must be 1 or 2, got 3"),
        ((HB, True, ROOT), ValueError, "order must be an integer >= 1, got True"),
        ((HB, 2, ROOT * np.nan), ValueError, "root must be finite"),
        ((HB, 2, {"w": [ROOT, ROOT / 0]}), ValueError, "root must be finite"),
        ((HB, 2), ValueError, "neither of root and data"),
        ((HB, 2, ROOT, DATA), ValueError, "both of root and data"),
        ((HB, 2, None, jnp.ones((1, 2))), ValueError, "at least 2 mini-batches, got 1"),
        ((HB, 2, None, {"a": jnp.ones(2), "b": jnp.ones(3)}), ValueError, "one leading axis"),
    ],
)
def test_bad_equations(arguments, error, words):
    with pytest.raises(error, match=words):
        mf.StochasticModifiedEquation(*arguments)


NOISY, DRAWN = mf.StochasticModifiedEquation(HB, root=ROOT), mf.StochasticModifiedEquation(HB, data=DATA)


def test_an_order_that_is_no_integer(untyped):
    with pytest.raises(ValueError, match=r"order must be an integer >= 1, got 2\.0"):
        mf.StochasticModifiedEquation(HB, 2.0, ROOT)


def rooted(root):
    return mf.StochasticModifiedEquation(HB, root=root)


@pytest.mark.parametrize(
    ("model", "loss", "changes", "error", "words"),
    [
        (mf.MomentumODE(HB), jnp.sum, {}, TypeError, "StochasticModifiedEquation"),
        (rooted(jnp.eye(3)), jnp.sum, {}, ValueError, "with one leading axis more"),
        (rooted([ROOT]), jnp.sum, {}, ValueError, "with one leading axis more"),
        (rooted(jnp.eye(2, dtype=bool)), jnp.sum, {}, TypeError, "of real numbers, got bool"),
        (rooted(lambda u: 1j * ROOT), jnp.sum, {}, TypeError, "of real numbers, got complex128"),
        (rooted(jnp.zeros((0, 2))), jnp.sum, {}, ValueError, "at least one row"),
        (rooted(lambda u: jnp.zeros((0, 2))), jnp.sum, {}, ValueError, "at least one row"),
        (NOISY, lambda u: u, {}, ValueError, "one scalar"),
        (NOISY, mf.VectorField(lambda u: -u), {}, TypeError, "VectorField"),
        (DRAWN, lambda u, d: u, {}, ValueError, "one scalar"),
        (NOISY, jnp.sum, {"start": "manifold"}, ValueError, "'rest' or a velocity"),
        (NOISY, jnp.sum, {"substeps": 0}, ValueError, "substeps"),
        (NOISY, jnp.sum, {"paths": 0}, ValueError, "paths"),
        (NOISY, jnp.sum, {"save_every": 3}, ValueError, "save_every must divide"),
    ],
)
def test_bad_samples(model, loss, changes, error, words):
    with pytest.raises(error, match=words):
        mf.sample_paths(model, loss, jnp.ones(2), 4, jax.random.key(0), **changes)
