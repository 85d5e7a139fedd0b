"""Theorem 6 from the invariant manifold itself: order p with the slow flow of order p, for t ≥ 0."""

import jax
import jax.numpy as jnp
import pytest

import momentumflow as mf

LAM = 0.5
START = {"w": jnp.array([0.9, -0.6]), "b": jnp.array(0.4)}
RATES = [2.0**-k for k in range(6, 10)]
LOOKAHEADS = {"HB": 0.0, "NAG": LAM}


def loss(p):
    """Non-quadratic and non-separable, on a pytree, |k| < 3 everywhere: hk < x₋ all along every orbit."""
    x = jnp.stack([p["w"][0] + 0.4 * p["b"], p["w"][1] - 0.3 * p["w"][0], p["b"] + 0.2 * p["w"][1]])
    return jnp.sum(jax.nn.softplus(2 * x) - x) + 0.2 * jnp.sin(x[0] + 2 * x[1])


def order(name, flow, start):
    """The worse of the last two slopes."""
    study = mf.convergence_study(
        lambda h: mf.momentum_method(h, LAM, LOOKAHEADS[name]), flow, loss, START, RATES, 1.0, start=start
    )
    return min(study.last_orders(2))


def second(method):
    return mf.SlowFlow(method, order=2)


def third(method):
    return mf.SlowFlow(method, order=3)


@pytest.mark.parametrize("name", LOOKAHEADS)
@pytest.mark.parametrize(("flow", "expected"), [(second, 2), (third, 3)], ids=["order 2", "order 3"])
@pytest.mark.parametrize("graph", [None, 3, 2], ids=["exact", "order-3 graph", "order-2 graph"])
def test_theorem_6_from_the_manifold(name, flow, expected, graph):
    assert order(name, flow, mf.manifold_start(graph)) == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("name", LOOKAHEADS)
def test_the_printed_constant_costs_an_order_there_too(name):
    printed = order(name, lambda method: mf.SlowFlow(method, printed=True), mf.manifold_start())
    assert printed == pytest.approx(1, abs=0.1)


def test_off_the_manifold_by_its_leading_correction_the_third_order_is_lost():
    """v₀ = λ̄f, an O(h) away: u_n is O(h²) off inside the layer."""
    assert order("HB", third, mf.manifold_start(1)) == pytest.approx(2, abs=0.1)
