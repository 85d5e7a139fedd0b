"""The slow response of a method: closed forms of the source, exact eigenvalues, and measured orders."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import textbook
from hypothesis import given
from hypothesis import strategies as st

import momentumflow as mf
from momentumflow.methods.manifold import slow_response


class Weak(eqx.Module):
    """A field times a number that is an array, so that other numbers need no other program."""

    strength: jax.Array
    field: Callable = eqx.field(static=True)

    def __call__(self, u):
        return self.strength * self.field(u)


def identity(u):
    return u


def descent(u):
    return -jax.grad(textbook.loss)(u)


LEARNING_RATES = st.floats(1e-3, 1.0)
MOMENTA = st.floats(0.0, 0.95)
LOOKAHEADS = st.floats(0.0, 1.5)
U0 = jnp.asarray(textbook.START)


def three_rows(h=0.1):
    """A method with a second memory: momentum of two time scales."""
    return mf.LinearMemory(
        [[1, 0.5 * h, 0.2 * h], [0, 0.5, 0.1], [0, -0.2, 0.3]], [h, 1.0, 0.7], [1, 0.3 * h, -0.1 * h], h
    )


METHODS = {
    "heavy ball": mf.heavy_ball(0.1, 0.5),
    "nesterov": mf.nesterov(0.1, 0.5),
    "lookahead": mf.momentum_method(0.1, 0.7, 0.25),
    "heavy ball mu": mf.heavy_ball_strongly_convex(0.2, 1.5),
    "nesterov mu": mf.nesterov_strongly_convex(0.2, 1.5),
    "wilson": mf.wilson_splitting(0.25, 4.0),
    "three rows": three_rows(),
}
EVERY = pytest.mark.parametrize("name", METHODS)


@given(h=LEARNING_RATES, lam=MOMENTA, a=LOOKAHEADS)
def test_closed_forms_of_the_family(h, lam, a):
    """Kovachki & Stuart (2021), (31) and (20) with c = λ̄(λ̄-a-½)."""
    slow = slow_response(mf.momentum_method(h, lam, a))
    bar = 1 / (1 - lam)
    c = bar * (bar - a - 0.5)
    flow_correction = slow.drift_correction - slow.drift**2 / 2  # of h u̇: the log of the step map
    actual = (slow.memory[0], slow.memory_correction[0], slow.drift, flow_correction, slow.lag[0])
    expected = (bar, h * bar**2 * (a - bar), h * bar, -(h**2) * bar * c, h * lam * bar)
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-12)


@given(h=LEARNING_RATES, lam=MOMENTA)
def test_closed_forms_of_rescaled_gradient_descent(h, lam):
    slow = slow_response(mf.rescaled_gradient_descent(h, lam))
    assert slow.memory.shape == slow.memory_correction.shape == slow.lag.shape == (0,)
    np.testing.assert_allclose(slow.drift, h / (1 - lam))
    assert slow.drift_correction == 0  # its step is u + h λ̄ f, exactly


@given(h=st.floats(1e-3, 1.0), mu=st.floats(0.05, 5.0))
def test_closed_forms_of_wilson(h, mu):
    r"""By hand from (36): w = √h f(u⁺)/(1-e) at leading order, and a step of (1-e)/(2√μ) w."""
    slow = slow_response(mf.wilson_splitting(h, mu))
    decay, advance = np.exp(-2 * np.sqrt(mu * h)), -np.expm1(-2 * np.sqrt(mu * h)) / (2 * np.sqrt(mu))
    memory = np.sqrt(h) / (1 - decay)
    drift = advance * memory
    # w(u⁺) = e w + √h f(u⁺): order 2 of W f(u + drift f) + W₁ f'f = e W₁ f'f + √h drift f'f
    correction = (np.sqrt(h) - memory) * drift / (1 - decay)
    actual = (slow.memory[0], slow.memory_correction[0], slow.drift, slow.drift_correction, slow.lag[0])
    expected = (memory, correction, drift, advance * correction, advance / (1 - decay))
    np.testing.assert_allclose(actual, expected, rtol=1e-8)


def slopes(errors):
    return np.log2(errors[:-1] / errors[1:])


@EVERY
def test_slow_eigenvalue_and_eigenvector_on_a_linear_field(name):
    """f = K u: the step is the matrix A + K b cᵀ, whose eigenpair near 1 needs no theory of manifolds."""
    method = METHODS[name]
    slow = slow_response(method)
    A, b, c = (np.array(part, float) for part in method.memory(0)[:3])
    drift_errors, memory_errors = [], []
    for K in -0.05 * 2.0 ** -np.arange(5):
        values, vectors = np.linalg.eig(A + K * np.outer(b, c))
        nearest = np.argmin(abs(values - 1))
        rows = (vectors[1:, nearest] / vectors[0, nearest]).real
        drift_errors.append(abs(values[nearest].real - 1 - slow.drift * K - slow.drift_correction * K**2))
        memory_errors.append(np.abs(rows - slow.memory * K - slow.memory_correction * K**2).max())
    for errors in (drift_errors, memory_errors):
        np.testing.assert_allclose(slopes(np.array(errors))[-2:], 3, atol=0.1)


@EVERY
def test_lag_is_the_way_a_method_coasts_without_a_force(name):
    method = METHODS[name]
    still = mf.VectorField(jnp.zeros_like)
    velocity = jnp.array([0.3, -2.0])
    coasted = mf.iterate(method, still, U0, 400, start=velocity, save_every=None).params[0]
    np.testing.assert_allclose(coasted - U0, slow_response(method).lag[0] * velocity, rtol=1e-12)


@EVERY
def test_drift_and_memory_under_a_constant_force(name):
    method, slow = METHODS[name], slow_response(METHODS[name])
    force = jnp.array([0.3, -2.0])
    trajectory = mf.iterate(method, mf.VectorField(lambda u: 0 * u + force), U0, 400, save_every=200)
    np.testing.assert_allclose(trajectory.velocity[-1], slow.memory[0] * force, rtol=1e-12)
    np.testing.assert_allclose(
        np.diff(trajectory.params[1:], axis=0)[0], 200 * slow.drift * force, rtol=1e-12
    )
    still = -jnp.dot(slow.lag, slow.memory)  # at rest a run lags its slow motion by lag · memory
    np.testing.assert_allclose(trajectory.params[-1] - U0, (400 * slow.drift + still) * force, rtol=1e-12)


@pytest.mark.parametrize("name", ["nesterov", "wilson", "three rows"])
def test_the_manifold_start_is_the_slow_mode_to_second_order(name):
    """On f = K u the run goes like ρⁿ u_0: O(K³) off from the manifold, in all rows; O(K) off from rest."""
    method = METHODS[name]
    A, b, c = (np.array(part, float) for part in method.memory(0)[:3])
    errors = {"manifold": [], "rest": []}
    for K in -0.05 * 2.0 ** -np.arange(4):
        values = np.linalg.eigvals(A + K * np.outer(b, c))
        slow = values[np.argmin(abs(values - 1))].real
        for start, found in errors.items():
            linear = mf.VectorField(Weak(jnp.array(K), identity))
            end = mf.iterate(method, linear, U0, 20, start=start, save_every=None).params[0]
            found.append(np.abs(end - slow**20 * textbook.START).max())
    np.testing.assert_allclose(slopes(np.array(errors["manifold"]))[-1], 3, atol=0.1)
    np.testing.assert_allclose(slopes(np.array(errors["rest"]))[-1], 1, atol=0.1)


FAMILY = {
    "heavy ball": lambda h: mf.heavy_ball(h, 0.5),
    "nesterov": lambda h: mf.nesterov(h, 0.5),
    "lookahead": lambda h: mf.momentum_method(h, 0.5, 0.25),
}


def flipped(method, u):
    """The manifold velocity with the sign of its correction flipped: the negative control."""
    return 2 * slow_response(method).memory[0] * descent(u) - mf.manifold_velocity(method, textbook.loss, u)


@pytest.mark.parametrize("name", FAMILY)
def test_iterates_settle_on_the_manifold_to_second_order_in_h(name):
    right, wrong = [], []
    for power in (6, 7, 8):
        method = FAMILY[name](2.0**-power)
        end = mf.iterate(method, textbook.loss, U0, 2**power, save_every=None)  # t = 1, from rest
        u, v = end.params[0], end.velocity[0]
        right.append(jnp.abs(v - mf.manifold_velocity(method, textbook.loss, u)).max())
        wrong.append(jnp.abs(v - flipped(method, u)).max())
    np.testing.assert_allclose(slopes(np.array(right)), 2, atol=0.1)
    np.testing.assert_allclose(slopes(np.array(wrong)), 1, atol=0.1)


@pytest.mark.parametrize("name", ["wilson", "three rows", "nesterov mu"])
def test_iterates_settle_on_the_manifold_to_second_order_in_the_force(name):
    """Methods of fixed h on a weak loss εΦ: v - manifold velocity = O(ε³), O(ε²) with the sign flipped."""
    method, right, wrong = METHODS[name], [], []
    for power in (5, 6, 7):
        weak = mf.VectorField(Weak(jnp.array(2.0**-power), descent))
        end = mf.iterate(method, weak, U0, 2 ** (power + 1), save_every=None)
        u, v = end.params[0], end.velocity[0]
        predicted = mf.manifold_velocity(method, weak, u)
        leading = slow_response(method).memory[0] * weak(u)
        right.append(jnp.abs(v - predicted).max())
        wrong.append(jnp.abs(v - (2 * leading - predicted)).max())
    np.testing.assert_allclose(slopes(np.array(right)), 3, atol=0.1)
    np.testing.assert_allclose(slopes(np.array(wrong)), 2, atol=0.1)


def test_manifold_velocity_on_a_pytree_is_that_of_its_flat_params():
    method = mf.nesterov(0.1, 0.5)
    tree = {"a": U0[0], "b": U0[1:]}

    def loss(tree):
        return textbook.loss(jnp.concatenate([tree["a"][None], tree["b"]]))

    v = mf.manifold_velocity(method, loss, tree)
    flat = mf.manifold_velocity(method, textbook.loss, U0)
    np.testing.assert_allclose(jnp.concatenate([v["a"][None], v["b"]]), flat, rtol=1e-14)


def test_manifold_velocity_under_transformations():
    rates = jnp.array([0.05, 0.1])
    one_by_one = [mf.manifold_velocity(mf.nesterov(h, 0.5), textbook.loss, U0) for h in rates]
    together = jax.jit(jax.vmap(lambda h: mf.manifold_velocity(mf.nesterov(h, 0.5), textbook.loss, U0)))(
        rates
    )
    np.testing.assert_allclose(together, jnp.stack(one_by_one), rtol=1e-13)
    assert mf.manifold_velocity(METHODS["nesterov"], textbook.loss, U0.astype("float32")).dtype == "float32"
