"""`solve`: accuracy between the steps, starts, dtypes, outcomes, bad input."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm

import momentumflow as mf
from momentumflow.flows.quintic import QuinticHermite, StiffSolver, _weights

LAM = 0.9


def quadratic(u):
    return 0.5 * jnp.sum(jnp.array([1.0, 20.0]) * u**2)


def exact_momentum_ode(method, times, k, u0, v0):
    """(u, u̇) of (11) on a quadratic of curvature k, by the matrix exponential."""
    mass, damping = float(method.learning_rate * method.inertia), 1 - float(method.momentum)
    matrix = np.array([[0, 1], [-k / mass, -damping / mass]])
    return np.array([expm(matrix * t) @ [u0, v0] for t in np.asarray(times)])


@pytest.mark.parametrize("h", [2.0**-4, 2.0**-8, 2.0**-12])
def test_output_between_steps_is_as_accurate_as_the_steps(h):
    """Both solvers against the exact solution on a grid that has nothing to do with their steps."""
    method = mf.heavy_ball(h, LAM)
    times = jnp.linspace(0, 2, 997)
    flow = mf.solve(mf.MomentumODE(method), quadratic, jnp.ones(2), times)
    v0 = -float(method.amplification * (1 - LAM / method.inertia))
    for i, k in enumerate([1.0, 20.0]):
        exact = exact_momentum_ode(method, times, k, 1.0, v0 * k)
        scale = np.abs(exact).max(axis=0)
        assert np.abs(flow.params[:, i] - exact[:, 0]).max() < 1e-9
        assert np.abs(flow.velocity[:, i] - exact[:, 1]).max() < 1e-9 * max(scale[1], 1)


def test_cubic_output_of_kvaerno5_would_not_be_accurate():
    """Negative control for the quintic: diffrax's own interpolant is far worse than the tolerance."""
    method, times = mf.heavy_ball(2.0**-12, LAM), jnp.linspace(0, 2, 997)
    v0 = -float(method.amplification * (1 - LAM / method.inertia))
    exact = exact_momentum_ode(method, times, 1.0, 1.0, v0)[:, 0]
    error = {}
    for solver in (StiffSolver(), diffrax.Kvaerno5()):
        flow = mf.solve(mf.MomentumODE(method), quadratic, jnp.ones(2), times, solver=solver)
        error[type(solver)] = np.abs(flow.params[:, 0] - exact).max()
    assert error[diffrax.Kvaerno5] > 20 * error[StiffSolver]


def test_quintic_reproduces_quintics_and_not_sextics():
    def ends(p):
        d1, d2 = np.polyder(p), np.polyder(p, 2)
        return tuple(jnp.asarray(np.polyval(q, s)) for s in (0.0, 1.0) for q in (p, d1, d2))

    s = np.linspace(0, 1, 7)
    for degree, fits in ((5, True), (6, False)):
        p = np.arange(1.0, degree + 2)
        curve = QuinticHermite(t0=jnp.array(0.0), t1=jnp.array(1.0), ends=ends(p))
        values = np.array([curve.evaluate(jnp.array(x)) for x in s])
        assert np.allclose(values, np.polyval(p, s), atol=1e-12) == fits
    assert np.isclose(sum(float(w) for w in _weights(jnp.array(0.3))[::3]), 1)


def test_su_boyd_candes_from_time_zero():
    """u(t) = 2 J₁(√k t)/(√k t) on a quadratic (Su, Boyd & Candès 2014); u''(0) = f/4."""
    from scipy.special import j1

    times = jnp.linspace(0.0, 3.0, 50)
    flow = mf.solve(mf.SuBoydCandesODE(), quadratic, jnp.ones(2), times)
    for i, k in enumerate([1.0, 20.0]):
        x = np.sqrt(k) * np.asarray(times[1:])
        assert np.abs(flow.params[1:, i] - 2 * j1(x) / x).max() < 1e-8


def test_starts_become_each_models_own_initial_state():
    method, u0 = mf.nesterov(0.01, 0.5), jnp.array([1.0, -1.0])
    force = -jnp.array([1.0, 20.0]) * u0
    lam, alpha = 0.5, float(method.inertia)
    v0 = jnp.array([0.3, 0.2])
    slow = mf.MomentumODE(method)
    expected = 2 * force + lam / alpha * (v0 - 2 * force)  # SPEC 3: λ̄f + (λ/α)(v₀ - λ̄f)
    assert np.allclose(slow.initial_state(quadratic, u0, v0)[1], expected)
    lagged = u0 + 0.01 * lam * 2 * (v0 - 2 * force)  # u₀ + hλλ̄(v₀ - λ̄f)
    assert np.allclose(mf.SlowFlow(method, order=1).initial_state(quadratic, u0, v0)[0], lagged)
    curved = 0.01 * 4 * (lam - 2) * -jnp.array([1.0, 20.0]) * force  # h g, g = λ̄²(a-λ̄)f'f (31)
    second = lagged - 0.01 * lam * 2 * curved
    assert np.allclose(mf.SlowFlow(method).initial_state(quadratic, u0, v0)[0], second)
    called = mf.solve(
        mf.SlowFlow(method, order=1), quadratic, u0, jnp.array([0.0]), start=lambda m, loss, p: v0
    )
    assert np.allclose(called.params[0], lagged)
    assert mf.RescaledGradientFlow(method).initial_state(quadratic, u0, v0)[0] is u0


@pytest.mark.parametrize(("lam", "a"), [(0.5, 0.0), (0.9, 0.9), (0.7, 0.2)])
def test_velocity_from_rest(lam, a):
    """Closed forms of SPEC 3 and 7; HB: slow f/(1+λ), taylor f/2, printed -λf/2 (MATH E2)."""
    method, u0 = mf.momentum_method(0.01, lam, a), jnp.ones(2)
    force = -jnp.array([1.0, 20.0])
    alpha = (1 + lam - 2 * a * (1 - lam)) / 2
    values = {
        "slow": (1 - lam / alpha) / (1 - lam),
        "taylor": (2 * alpha - 1) / (2 * alpha + lam - 1),
        "printed": (1 - 2 * alpha) / (2 * alpha - lam + 1),
        "zero": 0.0,
    }
    if a == 0:
        assert values["slow"] == pytest.approx(1 / (1 + lam))
        assert values["taylor"] == pytest.approx(0.5)
        assert values["printed"] == pytest.approx(-lam / 2)
    for name, fraction in values.items():
        _, v = mf.MomentumODE(method, name).initial_state(quadratic, u0, "rest")
        assert np.allclose(v, fraction * force, rtol=1e-12)


def test_slow_flow_field_is_minus_the_gradient_of_the_modified_loss():
    """(20), (21): u̇ = -λ̄∇(Φ + ½hc|∇Φ|²), by an autodiff of the right-hand side itself."""

    def loss(u):
        return jnp.sum(jnp.cosh(u)) + 0.3 * u[0] * u[1]

    for lam, a in ((0.5, 0.0), (0.5, 0.5), (0.8, 0.3)):
        method, u = mf.momentum_method(0.02, lam, a), jnp.array([0.4, -0.9])
        for printed, sign in ((False, -0.5), (True, 0.5)):
            bar = 1 / (1 - lam)
            c = bar * (bar - a + sign)
            modified = lambda u, c=c: loss(u) + 0.01 * c * jnp.sum(jax.grad(loss)(u) ** 2)  # noqa: E731
            (field,) = mf.SlowFlow(method, printed=printed).field(loss)(0.0, (u,))
            assert np.allclose(field, -bar * jax.grad(modified)(u), rtol=1e-12)


def test_dtype_follows_the_params_and_tolerance_the_dtype():
    run = mf.solve(mf.MomentumODE(mf.heavy_ball(0.1, 0.5)), lambda u: jnp.sum(u**2), jnp.ones(2, jnp.float32),
                   jnp.linspace(0, 1, 5))  # fmt: skip
    assert run.params.dtype == run.velocity.dtype == run.times.dtype == jnp.float32
    assert run.outcome == "completed"


def test_network_gets_no_dense_jacobian():
    """A stiff model of a network is solved explicitly: no array as large as the square of its size."""
    params = jnp.linspace(-1, 1, 3000)
    model = mf.MomentumODE(mf.heavy_ball(0.1, 0.5))

    def program(u):
        return mf.solve(model, lambda u: jnp.sum(jnp.cosh(u)), u, jnp.array([0.0, 1.0]), max_steps=64).params

    largest = max(
        np.prod(v.aval.shape) for e in jax.make_jaxpr(program)(params).jaxpr.eqns for v in e.outvars
    )
    assert largest < 3000 * 200


def test_works_under_vmap_and_grad():
    def end(h):
        flow = mf.MomentumODE(mf.momentum_method(h, 0.5, 0.0))
        return mf.solve(flow, quadratic, jnp.ones(2), jnp.array([0.0, 0.5])).params[-1, 0]

    hs = jnp.array([0.02, 0.05])
    many = eqx.filter_vmap(end)(hs)
    assert np.allclose(many, [end(h) for h in hs], atol=1e-9)
    slope = float(jax.grad(end)(0.05))
    assert slope == pytest.approx(float(end(0.05 + 1e-4) - end(0.05 - 1e-4)) / 2e-4, rel=1e-5)


def test_vector_field_in_place_of_a_loss():
    spiral = mf.VectorField(lambda u: jnp.stack([-u[1], u[0]]))
    flow = mf.solve(mf.GradientFlow(), spiral, jnp.array([1.0, 0.0]), jnp.array([0.0, np.pi / 2]))
    assert np.allclose(flow.params[-1], [0, 1], atol=1e-9)


def test_blow_up_is_an_outcome_with_its_time():
    """u̇ = u² from 1 blows up at t = 1."""
    times = jnp.array([0.0, 0.5, 0.9, 1.1, 2.0])
    flow = mf.solve(mf.GradientFlow(), lambda u: -jnp.sum(u**3) / 3, jnp.ones(1), times)
    assert int(flow.diverged_at) == 3
    assert "from step 3" in flow.outcome
    assert "completed" not in flow.outcome
    assert flow.params[2, 0] == pytest.approx(10, rel=1e-6)


def test_step_limit_is_an_outcome_that_says_so():
    flow = mf.solve(mf.GradientFlow(), quadratic, jnp.ones(2), jnp.array([0.0, 5.0]), max_steps=5)
    assert "limit of steps" in flow.outcome


def test_save_every():
    times = jnp.linspace(0, 1, 7)
    whole = mf.solve(mf.GradientFlow(), quadratic, jnp.ones(2), times)
    third = mf.solve(mf.GradientFlow(), quadratic, jnp.ones(2), times, save_every=3)
    last = mf.solve(mf.GradientFlow(), quadratic, jnp.ones(2), times, save_every=None)
    assert np.allclose(third.params, whole.params[::3], atol=1e-12)
    assert np.allclose(last.params, whole.params[-1:], atol=1e-12)


METHOD = mf.heavy_ball(0.1, 0.5)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: mf.MomentumODE(METHOD, "slwo"), ValueError, "did you mean 'slow'"),
        (
            lambda: mf.MomentumODE(mf.gradient_descent(0.1), "taylor"),
            ValueError,
            r"2α \+ λ - 1 different from 0",
        ),
        (
            lambda: mf.MomentumODE(mf.momentum_method(0.1, 0.5, 1.0), "taylor"),
            ValueError,
            "use initial_velocity",
        ),
        (
            lambda: mf.MomentumODE(mf.momentum_method(0.1, 0.5, 9.0)),
            ValueError,
            "inertia .* must be finite and > 0",
        ),
        (lambda: mf.MomentumODE(mf.nesterov_sequence(0.1)), TypeError, "family .*got NesterovSequence"),
        (lambda: mf.SlowFlow(METHOD, order=0), ValueError, "order must be an integer >= 1"),
        (lambda: mf.SlowFlow(METHOD, order=1, printed=True), ValueError, "drop printed=True"),
        (lambda: mf.StronglyConvexODE(0.0), ValueError, "strong_convexity must be finite and > 0"),
    ],
)
def test_bad_models(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        (
            {"times": jnp.array([0.0, 1.0, 1.0])},
            ValueError,
            "strictly increasing, got 1.0 then 1.0 at positions 1, 2",
        ),
        ({"times": jnp.array([-1.0, 1.0])}, ValueError, "finite and >= 0"),
        ({"times": jnp.array([0.0, np.nan])}, ValueError, "finite"),
        ({"times": jnp.zeros((2, 2))}, ValueError, "non-empty vector"),
        ({"params": jnp.array([1, 2])}, TypeError, "real floating point, got int"),
        ({"loss": lambda u: u}, ValueError, "one scalar"),
        ({"tolerance": 0.0}, ValueError, "tolerance must be finite and > 0"),
        ({"max_steps": 0}, ValueError, "max_steps must be an integer >= 1"),
        ({"start": "manifold"}, ValueError, "knows no method"),
        ({"start": {"w": jnp.ones(2)}}, ValueError, "tree structure"),
    ],
)
def test_bad_calls(changes, error, words):
    call = {"loss": quadratic, "params": jnp.ones(2), "times": jnp.array([0.0, 1.0]), **changes}
    with pytest.raises(error, match=words):
        mf.solve(mf.StronglyConvexODE(1.0), **call)


def test_the_start_is_known_even_where_no_step_succeeds():
    flow = mf.solve(
        mf.GradientFlow(), lambda u: -jnp.sum(jnp.exp(100 * u)), jnp.ones(1), jnp.array([0.0, 1.0])
    )
    assert flow.params[0, 0] == 1
    assert int(flow.diverged_at) == 1


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: mf.solve(METHOD, quadratic, jnp.ones(2), jnp.array([0.0, 1.0])),
            TypeError,
            "continuous model",
        ),
        (lambda: mf.SlowFlow("x"), TypeError, "needs a linear-memory method"),
        (lambda: mf.RescaledGradientFlow(0.1), TypeError, "needs a linear-memory method"),
        (
            lambda: mf.solve(
                mf.MomentumODE(mf.nesterov(np.array([0.1, 0.2]), 0.5)),
                quadratic,
                jnp.ones(2),
                jnp.array([0.0, 1.0]),
            ),
            ValueError,
            "constants must be scalars",
        ),
        (
            lambda: mf.solve(mf.GradientFlow(), quadratic, jnp.ones(2), jnp.array([0.0, 1.0]), start="bad"),
            ValueError,
            "unknown start 'bad'",
        ),
    ],
)
def test_what_is_no_model(call, error, words):
    """As users have it: without the session's type checker, which would speak first."""
    import jaxtyping

    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(error, match=words):
            call()
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def test_su_boyd_candes_refuses_a_velocity():
    with pytest.raises(ValueError, match="only from rest"):
        mf.solve(mf.SuBoydCandesODE(), quadratic, jnp.ones(2), jnp.array([0.0, 1.0]), start=jnp.ones(2))


@pytest.mark.parametrize(
    "model",
    [mf.MomentumODE, mf.InertialFlow, mf.PhaseFlow, mf.PrincipalFlow, lambda m: mf.HigherOrderODE(m, 3),
     lambda m: mf.SlowFlow(m, printed=True)],
)  # fmt: skip
def test_models_of_the_family_refuse_other_methods(model):
    with pytest.raises(TypeError, match=r"is stated for the family \(7\)"):
        model(mf.wilson_splitting(0.1, 1.0))
