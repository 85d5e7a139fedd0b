"""Divergence is an outcome with its step, the same whatever is kept, in every dtype."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_iterate import CONSTRUCTORS, STEPS, U0, run

import momentumflow as mf
from momentumflow import _tree


def quartic(u):
    return jnp.sum(u**4) / 4


def first_failure(u, v, h, lam, steps):
    """Heavy ball on the quartic by a plain loop: the first n with u_n or v_n not finite, else -1."""
    with np.errstate(over="ignore", invalid="ignore"):
        for n in range(steps + 1):
            if not (np.isfinite(u).all() and np.isfinite(v).all()):
                return n
            v = lam * v - u**3
            u = u + h * v
    return -1


@given(h=st.floats(0.5, 100.0), lam=st.floats(0, 0.95), size=st.floats(0.5, 50.0))
def test_diverged_at_is_the_first_step_that_is_not_finite(h, lam, size):
    u = np.array([size, 0.1])
    trajectory = run(mf.heavy_ball(h, lam), quartic, jnp.asarray(u))
    expected = first_failure(u, 0 * u, h, lam, STEPS)
    assert trajectory.diverged_at == expected
    assert trajectory.outcome == ("completed" if expected < 0 else f"not finite from step {expected}")
    state = np.isfinite(trajectory.params).all(axis=1) & np.isfinite(trajectory.velocity).all(axis=1)
    assert state[:expected].all()
    if expected >= 0:
        assert not state[expected]


@pytest.mark.parametrize("save_every", [1, 4, None])
def test_diverged_at_does_not_depend_on_what_is_kept(save_every):
    u = np.array([3.0, 0.1])
    trajectory = run(mf.heavy_ball(1.0, 0.5), quartic, jnp.asarray(u), save_every=save_every)
    assert trajectory.diverged_at == first_failure(u, 0 * u, 1.0, 0.5, STEPS) > 1


def test_overflow_at_the_start():
    huge = jnp.array([1e200, 0.1])
    assert run(mf.heavy_ball(1.0, 0.5), quartic, huge).outcome == "not finite from step 1"
    assert run(mf.heavy_ball(1.0, 0.5), quartic, huge, start="manifold").outcome == "not finite from step 0"
    assert run(start=jnp.array([jnp.inf, 0.0])).diverged_at == 0
    assert jax.jit(lambda u: run(params=u).diverged_at)(U0 * jnp.nan) == 0  # abstract params pass the check


@pytest.mark.parametrize("name", ["gradient descent", "nesterov", "wilson"])
def test_a_start_velocity_that_is_not_finite_is_a_failure_at_0(name):
    """Also for gradient descent, which forgets it at the first step."""
    assert run(CONSTRUCTORS[name](0.1), start=jnp.array([jnp.inf, 0.0])).diverged_at == 0


def test_a_velocity_that_overflows_in_the_last_step():
    """Wilson's velocity is kicked after the params have moved: (36)."""
    method = mf.wilson_splitting(0.1, 1.0)
    steep = mf.VectorField(lambda u: jnp.where(u > 1, jnp.inf, 1.0))
    alone = run(method, steep, jnp.array([0.999]))
    assert jnp.isfinite(alone.params[alone.diverged_at - 1 :][:1]).all()
    last = run(method, steep, jnp.array([0.999]), steps=int(jnp.isfinite(alone.velocity[:, 0]).sum()))
    assert last.diverged_at == len(last.times) - 1
    assert jnp.isfinite(last.params).all()
    assert not jnp.isfinite(last.velocity[-1]).all()


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, -jnp.inf])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_is_finite(dtype, bad):
    largest = jnp.finfo(dtype).max
    tree = {"a": jnp.array([largest, -largest, 0.0], dtype), "b": (jnp.ones(()), jnp.zeros((0, 2)))}
    assert jax.jit(_tree.is_finite)(tree)
    assert not jax.jit(_tree.is_finite)({**tree, "c": jnp.array([1.0, bad], dtype)})


def test_divergence_in_one_leaf_and_in_one_member():
    def loss(p):
        return quartic(p["a"]) + jnp.sum(p["b"] ** 2) / 2

    trajectory = run(mf.heavy_ball(1.0, 0.5), loss, {"a": jnp.array([3.0]), "b": jnp.ones(2)})
    assert trajectory.diverged_at > 1
    assert jnp.isfinite(trajectory.params["b"]).all()
    ensemble = jax.vmap(lambda u: run(mf.heavy_ball(0.1, 0.5), quartic, u))(jnp.array([[1.0], [90.0]]))
    assert ensemble.outcome == "1 of 2 completed"
    assert ensemble.diverged_at[0] == -1


def test_float32_overflows_sooner():
    def diverged_at(dtype):
        return run(mf.heavy_ball(1.0, 0.5), quartic, jnp.array([3.0], dtype)).diverged_at

    assert 0 < diverged_at("float32") < diverged_at("float64")
