"""The diagonal network and its balance; orbits, and which number decides them."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import simpson

import momentumflow as mf
from momentumflow.experiments import _orbits as orbits

RNG = np.random.default_rng(0)
INPUTS = np.sqrt(2) * np.linalg.qr(RNG.normal(size=(4, 2)))[0].T
NETWORK = mf.DiagonalNetwork(INPUTS, INPUTS @ np.array([1.5, -1.0, 0.0, 0.0]))
START = jnp.stack([jnp.full(4, 0.6), jnp.zeros(4)])


def test_the_loss():
    w = jnp.asarray(RNG.normal(size=(2, 4)))
    expected = np.sum((INPUTS @ (w[0] * w[1]) - np.asarray(NETWORK.targets)) ** 2) / 4
    assert float(NETWORK(w)) == pytest.approx(expected)
    assert np.allclose(NETWORK.balance(w), np.abs(w[0] ** 2 - w[1] ** 2))
    assert NETWORK(w.astype(jnp.float32)).dtype == jnp.float32


def test_the_gradient_flow_keeps_the_balance():
    flow = mf.solve(mf.GradientFlow(), NETWORK, START, jnp.array([0.0, 1.0, 30.0]))
    assert np.allclose(jax.vmap(NETWORK.balance)(flow.params), 0.36, atol=1e-9)
    assert float(NETWORK(flow.params[-1])) < 1e-12


def balance_lost(strength, lam, velocity="rest"):
    """log(Δ₀/Δ∞), Σ(ρ₊² + ρ₋²)/(1-λ) and the least w_±/w_±(0), weight by weight."""
    h = 2 * strength * (1 - lam) ** 2 / (1 + lam)
    method, steps = mf.momentum_method(h, lam, 0.0), int(30 * (1 - lam) / h)
    path = mf.iterate(method, NETWORK, START, steps, velocity).params
    both = np.stack([path[:, 0] + path[:, 1], path[:, 0] - path[:, 1]])
    squares = np.sum((both[:, 1:] / both[:, :-1] - 1) ** 2, (0, 1))
    fallen = np.log(NETWORK.balance(path[0]) / NETWORK.balance(path[-1]))
    return fallen, squares / (1 - lam), (both / both[:, :1]).min()


@pytest.mark.parametrize("lam", [0.0, 0.6])
def test_the_balance_that_heavy_ball_loses(lam):
    """The sum over the steps to O(h³); with 1/(1-λ) in place of (1+λ)/(2(1-λ)) it is wrong by (1+λ)/2."""
    errors = []
    for strength in (0.04, 0.02):
        fallen, squares, smallest = balance_lost(strength, lam)
        errors.append(np.abs(fallen - (1 + lam) / 2 * squares).max())
        assert np.sum(fallen) / np.sum(squares) == pytest.approx((1 + lam) / 2, abs=2e-3)
        assert smallest > 0
    assert np.log2(errors[0] / errors[1]) == pytest.approx(3, abs=0.15)


def test_when_the_balance_is_another():
    """Controls: the sum is wrong from a velocity, and where a sign changes."""
    fallen, squares, smallest = balance_lost(0.02, 0.6, 3 * jnp.ones((2, 4)))
    assert smallest > 0
    assert np.abs(fallen - 0.8 * squares).max() > 0.05
    fallen, squares, smallest = balance_lost(8.0, 0.97)
    assert smallest < 0
    assert np.abs(fallen - 0.985 * squares).max() > 100


@pytest.mark.parametrize("velocity", ["slow", "zero"])
def test_the_balance_along_the_momentum_ode(velocity):
    """log(Δ₀/Δ) = hc ∫(ẇ₊/w₊)² + (ẇ₋/w₋)² dτ, here in t: (1-λ)hc of the squares of the rates."""
    method = mf.heavy_ball(0.02, 0.5)
    layer = np.linspace(0, 1.5, 1501)
    late = np.linspace(1.5, 15, 1501)
    times = np.append(layer, late[1:])
    flow = mf.solve(mf.MomentumODE(method, velocity), NETWORK, START, times, solver=diffrax.Dopri8())
    w, rate = np.asarray(flow.params), np.asarray(flow.velocity)
    squares = sum((rate[:, 0] + s * rate[:, 1]) ** 2 / (w[:, 0] + s * w[:, 1]) ** 2 for s in (1, -1))
    assert all(((w[:, 0] + s * w[:, 1]) / (w[0, 0] + s * w[0, 1])).min() > 0 for s in (1, -1))
    integral = simpson(squares[:1501], layer, axis=0) + simpson(squares[1500:], late, axis=0)
    strength = 0.5 * float(method.learning_rate * method.regularization)
    fallen = np.log(NETWORK.balance(w[0]) / NETWORK.balance(w[-1]))
    assert float(jnp.max(fallen)) > 0.01
    assert np.allclose(fallen, strength * integral, atol=1e-9)


def test_the_distance_of_orbits():
    """Two circles of radius 1 and 1.01, at different paces; the same circle at different paces."""
    one, two = np.linspace(0, 2, 300), np.linspace(0, 2, 257) ** 1.1

    def circle(times, radius):
        return times, radius * np.stack([np.cos(times), np.sin(times)], 1)

    assert orbits.distance(circle(one, 1.01), circle(two, 1.0)) == pytest.approx(0.01, rel=1e-6)
    assert orbits.distance(circle(one, 1.0), circle(two, 1.0)) < 1e-8


def test_equal_strength_of_the_regulariser_means_equal_orbits():
    """λ = 0.6 and 0.9 at equal hc: order 2; at equal h/(1-λ)²: order 1."""
    loss, start, rows = mf.BoundedValley(2.0), jnp.array([-0.8, 0.9]), []
    for s in (2.0**-8, 2.0**-9):
        distances = []
        for lam_factor in (lambda lam: 2 / (1 + lam), lambda lam: 1):
            runs = [
                orbits.orbit(
                    mf.momentum_method(s * (1 - lam) ** 2 * lam_factor(lam), lam, 0.0), loss, start, 2.0
                )
                for lam in (0.6, 0.9)
            ]
            distances.append(orbits.distance(*runs))
        rows.append(distances)
    same, other = np.log2(np.divide(*rows))
    assert same == pytest.approx(2, abs=0.2)
    assert other == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: mf.DiagonalNetwork(jnp.ones(3), jnp.ones(3)), r"shapes \(n, d\) and \(n,\)"),
        (lambda: mf.DiagonalNetwork(jnp.ones((3, 2)), jnp.ones(2)), "one row and one number for each datum"),
        (lambda: mf.DiagonalNetwork(jnp.full((1, 2), jnp.nan), jnp.ones(1)), "inputs must be finite"),
        (lambda: NETWORK(jnp.ones((2, 3))), r"must have shape \(2, 4\), got \(2, 3\): u above v"),
        (lambda: NETWORK(jnp.ones(4)), r"must have shape \(2, 4\)"),
    ],
)
def test_bad_networks(make, words):
    with pytest.raises((ValueError, TypeError), match=words):
        make()
