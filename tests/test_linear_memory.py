"""Every constructor against the recursion that its source prints, and the engine against itself in other bases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import textbook
from hypothesis import given
from hypothesis import strategies as st

import momentumflow as mf

STEPS = 30
LEARNING_RATES = st.floats(1e-3, 0.3)
MOMENTA = st.floats(0.0, 0.95)
LOOKAHEADS = st.floats(0.0, 1.5)
CONVEXITIES = st.floats(1e-2, 3.0)
U0 = textbook.START
V0 = np.array([0.4, 1.3])


def run(method, **options):
    return mf.iterate(method, textbook.loss, jnp.asarray(U0), STEPS, **options)


def two_step(h, lam, a, shift=0.0):
    return textbook.two_step(textbook.gradient, U0, STEPS, h, lam, a, shift)


def close(actual, expected, scale=1.0):
    np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-11 * scale)


def test_the_gradient_by_hand_is_the_gradient():
    u = jax.random.normal(jax.random.key(0), (5, 2))
    for x in u:
        close(jax.grad(textbook.loss)(x), textbook.gradient(np.asarray(x)))


@given(h=LEARNING_RATES, lam=MOMENTA, a=LOOKAHEADS)
def test_momentum_method_is_the_two_step_recursion_7(h, lam, a):
    trajectory = run(mf.momentum_method(h, lam, a))
    expected = two_step(h, lam, a)
    close(trajectory.params, expected)
    close(trajectory.velocity[0], 0)
    close(trajectory.velocity[1:], np.diff(expected, axis=0) / h, scale=1 / h)
    close(trajectory.times, np.arange(STEPS + 1) * h)


@given(h=LEARNING_RATES, lam=MOMENTA)
def test_heavy_ball_and_nesterov_are_a_0_and_a_lambda(h, lam):
    close(run(mf.heavy_ball(h, lam)).params, two_step(h, lam, 0))
    close(run(mf.nesterov(h, lam)).params, two_step(h, lam, lam))


@given(h=LEARNING_RATES)
def test_gradient_descent(h):
    close(run(mf.gradient_descent(h)).params, two_step(h, 0, 0))


@given(h=LEARNING_RATES, lam=MOMENTA, a=LOOKAHEADS)
def test_a_start_velocity_is_the_first_difference_over_h(h, lam, a):
    trajectory = run(mf.momentum_method(h, lam, a), start=jnp.asarray(V0))
    close(trajectory.params, two_step(h, lam, a, shift=h * V0))
    close(trajectory.velocity[0], V0)


@given(h=st.floats(1e-4, 0.05), lam=MOMENTA)
def test_rescaled_gradient_descent_is_35(h, lam):
    trajectory = run(mf.rescaled_gradient_descent(h, lam))
    close(trajectory.params, textbook.rescaled(textbook.gradient, U0, STEPS, h, lam))
    close(trajectory.times, np.arange(STEPS + 1) * h)
    assert trajectory.velocity is None


@given(h=LEARNING_RATES)
def test_nesterov_sequence_is_4(h):
    def momentum(n):
        return n / (n + 3)

    trajectory = run(mf.nesterov_sequence(h))
    expected = two_step(h, momentum, momentum)
    close(trajectory.params, expected)
    close(trajectory.velocity[1:], np.diff(expected, axis=0) / np.sqrt(h), scale=1 / np.sqrt(h))
    close(trajectory.times, np.arange(STEPS + 1) * np.sqrt(h))


@given(h=LEARNING_RATES, mu=CONVEXITIES)
def test_strongly_convex_methods_have_the_momentum_5(h, mu):
    lam = textbook.strongly_convex_momentum(h, mu)
    for method, a in (
        (mf.heavy_ball_strongly_convex(h, mu), 0),
        (mf.nesterov_strongly_convex(h, mu), lam),
    ):
        trajectory = run(method)
        expected = two_step(h, lam, a)
        close(method.momentum, lam)
        close(trajectory.params, expected)
        close(trajectory.velocity[1:], np.diff(expected, axis=0) / np.sqrt(h), scale=1 / np.sqrt(h))
        close(trajectory.times, np.arange(STEPS + 1) * np.sqrt(h))


def test_strongly_convex_methods_at_mu_h_1_are_gradient_descent():
    for method in (mf.heavy_ball_strongly_convex(0.25, 4.0), mf.nesterov_strongly_convex(0.25, 4.0)):
        close(run(method).params, two_step(0.25, 0, 0))


@pytest.mark.parametrize("printed", [False, True])
@given(h=LEARNING_RATES, mu=CONVEXITIES)
def test_wilson_splitting_is_36_with_both_exponents(printed, h, mu):
    trajectory = run(mf.wilson_splitting(h, mu, printed=printed), start=jnp.asarray(V0))
    us, vs = textbook.wilson(textbook.gradient, U0, V0, STEPS, h, mu, printed)
    close(trajectory.params, us)
    close(trajectory.velocity, vs)
    close(trajectory.times, np.arange(STEPS + 1) * np.sqrt(h))


def test_the_two_exponents_differ():
    right, printed = (run(mf.wilson_splitting(0.1, 1.0, p)).params[-1] for p in (False, True))
    assert jnp.abs(right - printed).max() > 1e-2


def matrices_of(method):
    A, b, c = (np.array(part, float) for part in method.memory(0)[:3])
    return A, b, c, float(method.time_step)


@given(h=LEARNING_RATES, lam=MOMENTA, a=LOOKAHEADS, mu=CONVEXITIES)
def test_linear_memory_by_its_matrix_equals_the_special_classes(h, lam, a, mu):
    special = (
        mf.momentum_method(h, lam, a),
        mf.nesterov_strongly_convex(h, mu),
        mf.wilson_splitting(h, mu),
    )
    for method in special:
        same, general = run(method), run(mf.LinearMemory(*matrices_of(method)))
        close(general.params, same.params)
        close(general.velocity, same.velocity)
        close(general.times, same.times)


@pytest.mark.parametrize(
    "method", [mf.nesterov(0.1, 0.7), mf.nesterov_strongly_convex(0.1, 1.0), mf.nesterov_sequence(0.1)]
)
def test_the_stride_repeats_the_first_row(method):
    """u⁺ = u + Δt v⁺ is A_0 = e_0 + Δt A_1, b_0 = Δt b_1."""
    A, b, _, stride = method.memory(3)
    close(np.array(A[0], float), np.eye(2)[0] + stride * np.array(A[1], float))
    close(b[0], stride * b[1])


def test_linear_memory_of_one_row_is_gradient_descent():
    method = mf.LinearMemory([[1.0]], [0.1], [1.0], 0.1)
    close(run(method).params, two_step(0.1, 0, 0))
    assert method.rows == 1


def three_step(h, beta, gamma):
    """u_{n+1} = u_n + β(u_n - u_{n-1}) + γ(u_{n-1} - u_{n-2}) - h ∇Φ(u_n), three points kept."""
    points = [U0, U0, U0]
    for _ in range(STEPS):
        w, v, u = points[-3:]
        points.append(u + beta * (u - v) + gamma * (v - w) - h * textbook.gradient(u))
    return np.stack(points[2:])


def three_rows(h, beta, gamma, basis=((1.0, 0.0), (0.0, 1.0))):
    """The same on (u_n, S (u_n - u_{n-1}, u_{n-1} - u_{n-2})) for a basis S."""
    A = np.array([[1, beta, gamma], [0, beta, gamma], [0, 1, 0]])
    change = np.eye(3)
    change[1:, 1:] = basis
    b, c = np.array([h, h, 0]), np.array([1.0, 0, 0])
    inverse = np.linalg.inv(change)
    return mf.LinearMemory(change @ A @ inverse, change @ b, inverse.T @ c, h)


@given(h=LEARNING_RATES, beta=st.floats(-0.3, 0.6), gamma=st.floats(-0.3, 0.3))
def test_three_rows_are_a_three_step_recursion(h, beta, gamma):
    close(run(three_rows(h, beta, gamma)).params, three_step(h, beta, gamma))


@given(angle=st.floats(0, 6.28), stretch=st.floats(0.2, 5.0), shear=st.floats(-2, 2))
def test_a_change_of_the_memorys_basis_leaves_the_params(angle, stretch, shear):
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    basis = turn @ np.array([[stretch, shear], [0, 1.0]])
    close(run(three_rows(0.1, 0.5, 0.2, basis)).params, three_step(0.1, 0.5, 0.2))


@given(h=LEARNING_RATES, lam=MOMENTA, a=LOOKAHEADS, scale=st.floats(0.1, 10.0) | st.floats(-10.0, -0.1))
def test_velocity_in_other_units_leaves_the_params(h, lam, a, scale):
    A, b, c, dt = matrices_of(mf.momentum_method(h, lam, a))
    change, back = np.diag([1, scale]), np.diag([1, 1 / scale])
    trajectory = run(
        mf.LinearMemory(change @ A @ back, change @ b, back @ c, dt), start=scale * jnp.asarray(V0)
    )
    expected = run(mf.momentum_method(h, lam, a), start=jnp.asarray(V0))
    close(trajectory.params, expected.params)
    close(trajectory.velocity, scale * expected.velocity, scale=abs(scale))


def test_gradient_query_is_the_lookahead_point():
    from momentumflow.methods.linear_memory import gradient_query

    u, v = jnp.asarray(U0), jnp.asarray(V0)
    close(gradient_query(mf.nesterov(0.1, 0.9), (u, v)), U0 + 0.09 * V0)
    assert gradient_query(mf.heavy_ball(0.1, 0.9), (u, v)) is u  # structure, not a multiplication by 0


def test_constants_of_the_family():
    method = mf.momentum_method(0.1, 0.75, 0.5)
    close(method.amplification, 4.0)  # 1/(1-0.75)
    close(method.inertia, 0.75)  # (1 + 0.75 - 2·0.5·0.25)/2
    close(method.regularization, method.inertia * method.amplification**2)  # MATH: c = αλ̄²
    close(mf.heavy_ball(0.1, 0.5).regularization, 3.0)  # (1+λ)/(2(1-λ)²), Cattaneo & Shigida; Ghosh's IGR-M
    close(mf.gradient_descent(0.1).regularization, 0.5)  # h/4 |∇Φ|², Barrett & Dherin
