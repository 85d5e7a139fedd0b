"""The exact invariant manifold against closed forms and brute force in 60 digits."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

import momentumflow as mf
from momentumflow.linear.family import slow_limit

FAMILY = {"HB": lambda h, lam: mf.heavy_ball(h, lam), "NAG": lambda h, lam: mf.nesterov(h, lam)}
FAMILY["a=1/4"] = lambda h, lam: mf.momentum_method(h, lam, 0.25)
EVERY = pytest.mark.parametrize("name", FAMILY)


def linear(curvature):
    return mf.Quadratic(curvature)


def slow_slope(x, lam, a):
    """v = -slope k u with (1 - 1/ρ)/x = -slope, ρ the principal root: the closed form without its cancellation."""
    b = 1 - lam + x * (1 + a)
    z = 2 / (b + np.sqrt(b * b - 4 * x))  # 1 - ρ = x z
    return z / (1 - x * z)


@pytest.mark.parametrize("lam", [0.5, 0.9, 0.99])
@EVERY
def test_the_linear_case_per_eigenvalue(name, lam):
    """v = (1-1/ρ)u/h in every eigen-direction, up to 0.9 x₋ and for a negative curvature, to 1e-12."""
    limit = float(slow_limit(lam, FAMILY[name](1.0, lam).lookahead))
    k = np.array([0.9, 0.5, 0.1, 1e-3, -0.3])
    h = limit
    method = FAMILY[name](h, lam)
    manifold = mf.InvariantManifold(method, linear(k), tolerance=1e-13, sharpness=0.9)
    u = jnp.array([1.0, -2.0, 0.5, 3.0, 1.0])
    exact = -slow_slope(h * k, lam, float(method.lookahead)) * k * np.asarray(u)
    found = manifold.solve(u)
    np.testing.assert_allclose(found.velocity, exact, rtol=1e-12)
    assert found.converged
    assert float(found.residual) < 1e-12
    # a sweep contracts by hk/x₋; the first ones faster
    assert 0.85 < float(found.contraction) < 0.9
    leading, bar = mf.SeriesManifold(method, linear(k)).velocity(u), 1 / (1 - lam)
    np.testing.assert_allclose(
        leading, (bar**2 * (float(method.lookahead) - bar) * h * k - bar) * k * u, rtol=1e-12
    )
    assert np.max(np.abs(leading / exact - 1)) > 0.1  # the negative control


def test_a_field_that_is_no_gradient():
    """A spiral, k = 1 ± i/2: the closed form holds for complex eigenvalues."""
    lam, h, k = 0.5, 0.02, 1 + 0.5j
    field = mf.VectorField(lambda u: -jnp.stack([u[0] - 0.5 * u[1], u[1] + 0.5 * u[0]]))
    v = mf.InvariantManifold(mf.nesterov(h, lam), field, tolerance=1e-13).velocity(jnp.array([1.0, 2.0]))
    w = -slow_slope(h * k, lam, lam) * k * (1.0 + 2.0j)  # u_0 + i u_1 is an eigen-coordinate
    np.testing.assert_allclose(v, [w.real, w.imag], rtol=1e-12)


STIFF = (0.7, 1.3)


def potential(u):
    """Φ = Σ k_i (1 - cos u_i) + 0.3 sin(u_0 + 2 u_1) + u_0²/8: neither quadratic nor separable."""
    return STIFF[0] * (1 - jnp.cos(u[0])) + _rest(u)


def _rest(u):
    return STIFF[1] * (1 - jnp.cos(u[1])) + 0.3 * jnp.sin(u[0] + 2 * u[1]) + u[0] ** 2 / 8


def force(u):
    """-∇Φ of `potential`, by hand, in mpmath."""
    bend = mpmath.mpf("0.3") * mpmath.cos(u[0] + 2 * u[1])
    k = [mpmath.mpf(repr(x)) for x in STIFF]
    return mpmath.matrix([-k[0] * mpmath.sin(u[0]) - bend - u[0] / 4, -k[1] * mpmath.sin(u[1]) - 2 * bend])


def on_a_line(u):
    """Φ = Σ 1 - cos u + u²/8."""
    return jnp.sum(1 - jnp.cos(u) + u**2 / 8)


def brute_force(force, u0, h, lam, a, steps):
    """w(u₀): where a run from the graph v = λ̄f(u), far back, must start to arrive at u₀, by Newton's method."""
    h, lam, a = map(mpmath.mpf, (h, lam, a))
    size = len(u0)

    def arrive(far):
        u, v = far, force(far) / (1 - lam)
        for _ in range(steps):
            v = lam * v + force(u + h * a * v)
            u = u + h * v
        return u, v

    target = mpmath.matrix([mpmath.mpf(x) for x in u0])
    far = target
    for _ in range(steps):  # the guess: the leading velocity, backwards
        far = far - h * force(far) / (1 - lam)
    step = mpmath.mpf(10) ** -30
    for _ in range(30):
        landed = arrive(far)[0]
        slope = mpmath.matrix(size, size)
        for i in range(size):
            beside = far.copy()
            beside[i] += step
            slope[:, i] = (arrive(beside)[0] - landed) / step
        move = mpmath.lu_solve(slope, target - landed)
        far = far + move
        if mpmath.norm(move) < mpmath.mpf(10) ** -25 * mpmath.norm(far):
            break
    u, v = arrive(far)
    assert mpmath.norm(u - target) < 1e-20
    return np.array([float(x) for x in v])


@pytest.mark.parametrize(
    ("name", "lam", "fraction"), [("HB", 0.5, 0.4), ("NAG", 0.5, 0.2), ("a=1/4", 0.7, 0.3)]
)
def test_brute_force_in_60_digits(name, lam, fraction):
    """1-D and 2-D, non-quadratic: to 1e-10; a run that is half as long is as close, the leading order is not."""
    method = FAMILY[name](1.0, lam)
    h = fraction * float(slow_limit(lam, method.lookahead)) / 2.4  # the curvature is below 2.4
    method = FAMILY[name](h, lam)
    with mpmath.workdps(60):
        plane = brute_force(force, (0.8, -0.5), h, lam, float(method.lookahead), 140)
        line = brute_force(
            lambda u: -u.apply(mpmath.sin) - u / 4, (1.1,), h, lam, float(method.lookahead), 140
        )
    found = mf.InvariantManifold(method, potential).velocity(jnp.array([0.8, -0.5]))
    np.testing.assert_allclose(found, plane, rtol=1e-10)
    np.testing.assert_allclose(
        mf.InvariantManifold(method, on_a_line).velocity(jnp.array([1.1])), line, rtol=1e-10
    )
    leading = mf.SeriesManifold(method, potential).velocity(jnp.array([0.8, -0.5]))
    assert np.max(np.abs(leading / plane - 1)) > 1e-4


def test_the_series_of_order_p_is_within_h_to_the_p():
    u = jnp.array([0.8, -0.5])
    for order in (1, 2, 3, 4):
        errors = []
        for h in (2.0**-9, 2.0**-10):
            method = mf.nesterov(h, 0.5)
            exact = mf.InvariantManifold(method, potential, tolerance=1e-14).velocity(u)
            errors.append(float(mf.SeriesManifold(method, potential, order).distance(u, exact)))
        assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.1)


def test_a_run_started_on_the_graph_stays_on_it():
    """e_n at the level of the residual for the exact start; from rest it falls from |w(u₀)|, faster than λ̄/2."""
    method, u = mf.nesterov(0.01, 0.5), jnp.array([0.8, -0.5])
    manifold = mf.InvariantManifold(method, potential)
    distances = jax.jit(jax.vmap(manifold.distance))
    exact = mf.iterate(method, potential, u, 40, start=mf.manifold_start())
    assert np.max(distances(exact.params, exact.velocity)) < 1e-10
    rest = mf.iterate(method, potential, u, 40)
    fall = np.asarray(distances(rest.params, rest.velocity))
    assert fall[0] == pytest.approx(np.linalg.norm(manifold.velocity(u)), rel=1e-12)
    assert np.all(fall[1:20] < 0.6 * fall[:19])
    series = mf.iterate(method, potential, u, 40, start=mf.manifold_start(3))
    between = np.asarray(distances(series.params, series.velocity))
    assert 1e-8 < between[0] < 1e-3 * fall[0]


@eqx.filter_jit
def gap(method, u, v, steps, order):
    """|u_N - u(Nh)| of a run from (u, v) and the slow flow from u, by four steps of Runge-Kutta's method for one."""
    slow, dt = mf.SlowFlow(method, order=order).field(potential), method.learning_rate / 4

    def force(u):
        return -jax.grad(potential)(u)

    def runge_kutta(_, u):
        def stage(carry, weights):
            k, total = carry
            k = slow(0.0, (u + dt * weights[0] * k,))[0]
            return (k, total + dt * weights[1] * k), None

        stages = jnp.array([(0, 1 / 6), (1 / 2, 1 / 3), (1 / 2, 1 / 3), (1, 1 / 6)])
        return jax.lax.scan(stage, (u, u), stages)[0][1]

    run = jax.lax.fori_loop(0, steps, lambda n, state: method.step(force, state, n), (u, v))
    return jnp.linalg.norm(run[0] - jax.lax.fori_loop(0, 4 * steps, runge_kutta, u))


@pytest.mark.parametrize("order", [2, 3])
def test_theorem_6_from_the_manifold(order):
    """The slow flow of order p stays within O(h^p), and no closer, of a run started on the graph; at rest, O(h)."""
    u, errors, rest = jnp.array([0.8, -0.5]), [], []
    for k in (7, 8, 9):
        method, steps = mf.nesterov(2.0**-k, 0.5), 2 ** (k - 1)
        v = mf.manifold_start()(method, potential, u)
        errors.append(gap(method, u, v, steps, order))
        rest.append(gap(method, u, 0 * v, steps, order))
    np.testing.assert_allclose(-np.diff(np.log2(errors)), order, atol=0.1)
    np.testing.assert_allclose(-np.diff(np.log2(rest)), 1, atol=0.1)


def test_solve_takes_the_same_start():
    method, u, times = mf.heavy_ball(0.01, 0.5), jnp.array([0.8, -0.5]), jnp.linspace(0.0, 0.4, 41)
    model = mf.SlowFlow(method, order=1)
    rule = mf.solve(model, potential, u, times, start=mf.manifold_start())
    tree = mf.solve(model, potential, u, times, start=mf.InvariantManifold(method, potential).velocity(u))
    np.testing.assert_array_equal(rule.params, tree.params)


def test_any_pytree_and_any_dtype():
    method = mf.nesterov(0.01, 0.5)

    def loss(tree):
        return potential(jnp.concatenate([tree["a"][None], tree["b"]]))

    flat = mf.InvariantManifold(method, potential).velocity(jnp.array([0.8, -0.5]))
    tree = mf.InvariantManifold(method, loss).velocity({"a": jnp.array(0.8), "b": jnp.array([-0.5])})
    np.testing.assert_allclose(jnp.concatenate([tree["a"][None], tree["b"]]), flat, rtol=1e-13)
    single = mf.InvariantManifold(method, potential).velocity(jnp.array([0.8, -0.5], "float32"))
    assert single.dtype == "float32"
    np.testing.assert_allclose(single, flat, rtol=2e-5)


def test_jit_vmap_and_a_traced_method():
    manifold, us = (
        mf.InvariantManifold(mf.nesterov(0.01, 0.5), potential),
        jnp.array([[0.8, -0.5], [0.0, 2.0]]),
    )
    one_by_one = jnp.stack([manifold.velocity(u) for u in us])
    np.testing.assert_allclose(jax.jit(jax.vmap(manifold.velocity))(us), one_by_one, rtol=1e-12)

    @eqx.filter_jit
    def traced(method, u):
        return mf.InvariantManifold(method, potential, length=60).velocity(u)

    np.testing.assert_allclose(traced(mf.nesterov(0.01, 0.5), us[0]), one_by_one[0], rtol=1e-10)
    with pytest.raises(ValueError, match="length must be given where momentum or lookahead is traced"):
        eqx.filter_jit(lambda m, u: mf.InvariantManifold(m, potential).velocity(u))(
            mf.nesterov(0.01, 0.5), us[0]
        )


def test_batches_change_nothing():
    method, u = mf.nesterov(0.01, 0.5), jnp.array([0.8, -0.5])
    batched = mf.InvariantManifold(method, potential, batch_size=8).velocity(u)
    np.testing.assert_allclose(batched, mf.InvariantManifold(method, potential).velocity(u), rtol=1e-13)


def test_gradients_are_counted_and_nothing_is_traced_twice():
    calls, traces = [], []

    def field(u):
        traces.append(1)
        jax.debug.callback(lambda _: calls.append(1), u)
        return -jnp.sin(u)

    def run(h, lam):
        manifold = mf.InvariantManifold(
            mf.heavy_ball(h, lam), vector_field, order=1, points=12, tolerance=1e-6
        )
        return manifold, manifold.velocity(jnp.ones(2))

    vector_field = mf.VectorField(field)
    manifold, _ = run(0.01, 0.5)
    jax.effects_barrier()
    counted, traced = len(calls), len(traces)
    run(0.001, 0.9)  # another window, another learning rate: the same program
    assert len(traces) == traced
    assert counted == int(manifold._attempt(jnp.ones(2), full=False).gradients)


def test_gradient_descent_has_a_graph_of_one_step_back():
    """λ = a = 0: v = f(u_{-1}), u_{-1} + hf(u_{-1}) = u: an implicit Euler step."""
    v = mf.InvariantManifold(mf.gradient_descent(0.3), mf.Cosine(), tolerance=1e-13).velocity(jnp.ones(1))
    before = 1 - 0.3 * v
    np.testing.assert_allclose(before - 0.3 * jnp.sin(before), 1, rtol=1e-12)
    np.testing.assert_allclose(v, -jnp.sin(before), rtol=1e-12)


def test_at_a_critical_point_the_velocity_is_0():
    velocity = mf.InvariantManifold(mf.heavy_ball(0.01, 0.5), linear([1.0, 0.1])).velocity(jnp.zeros(2))
    assert velocity.tolist() == [0.0, 0.0]


def test_derivatives_are_those_of_the_graph():
    """Forward mode: on a linear loss w is a matrix."""
    k = np.array([1.0, 0.3])
    manifold = mf.InvariantManifold(mf.heavy_ball(0.02, 0.5), linear(k))
    slope = np.diag(-slow_slope(0.02 * k, 0.5, 0.0) * k)
    np.testing.assert_allclose(
        jax.jacfwd(manifold.velocity)(jnp.array([1.0, 2.0])), slope, rtol=1e-9, atol=1e-12
    )


def test_a_series_of_order_9_outside_and_inside_jit():
    """A linear loss leaves the chains of trees: the Taylor series of the closed form, error O((hk)^9)."""
    series = mf.SeriesManifold(mf.heavy_ball(0.002, 0.5), mf.VectorField(jnp.negative), 9)
    exact = -slow_slope(0.002, 0.5, 0.0)
    np.testing.assert_allclose(series.velocity(jnp.ones(1)), exact, rtol=1e-13)
    np.testing.assert_allclose(jax.jit(lambda u: series.velocity(u))(jnp.ones(1)), exact, rtol=1e-13)
