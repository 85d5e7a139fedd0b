"""What the exact invariant manifold says where the tolerance is missed or the graph does not exist."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_invariant_manifold as oracles

import momentumflow as mf
from momentumflow.linear.family import slow_limit


def test_the_window_grows_outside_jit_and_tells_inside():
    """hk = 0.8 x₋ with a window made for half of x₋."""
    u, h = jnp.array([1.0, 0.0]), 0.8 * float(slow_limit(0.9))
    manifold = mf.InvariantManifold(mf.heavy_ball(h, 0.9), oracles.linear([1.0, 0.1]))
    exact = -oracles.slow_slope(h, 0.9, 0.0)
    np.testing.assert_allclose(manifold.velocity(u)[0], exact, rtol=1e-11)
    inside = jax.jit(lambda u: manifold.solve(u))(u)
    error = abs(float(inside.velocity[0]) / exact - 1)
    assert error > 1e-10
    assert not inside.converged
    assert float(inside.truncation) == pytest.approx(error, rel=0.5)
    fixed = mf.InvariantManifold(manifold.method, manifold.loss, length=100)
    with pytest.warns(UserWarning, match="cut off too early, at an error of about .*: pass a larger length"):
        fixed.solve(u)


@pytest.mark.parametrize("fraction", [1.05, 1.5])
def test_beyond_the_limit_it_warns_and_goes_on(fraction):
    h = fraction * float(slow_limit(0.5))
    manifold = mf.InvariantManifold(mf.heavy_ball(h, 0.5), oracles.linear([1.0, 0.1]))
    with pytest.warns(
        UserWarning, match=r"h\|k\| must be below x₋ = 0.08579.* eigenvalue \|k\| = 1 at the params"
    ):
        found = manifold.solve(jnp.ones(2))
    assert not found.converged
    assert float(found.contraction) > 1
    assert float(found.residual) > 1
    with pytest.warns(
        UserWarning, match="take a smaller learning rate below 0.08579.*do not contract: factor"
    ):
        manifold.velocity(jnp.ones(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jax.jit(lambda u: manifold.velocity(u))(jnp.ones(2))
    # a stiff direction that the orbit does not see is told as well
    with pytest.warns(UserWarning, match="eigenvalue"):
        assert bool(manifold.solve(jnp.array([0.0, 1.0])).converged)


def test_an_orbit_that_runs_off_is_told():
    """The double well grows too fast: the backward orbit leaves where hk < x₋."""
    manifold = mf.InvariantManifold(mf.heavy_ball(0.1 * float(slow_limit(0.9)), 0.9), mf.DoubleWell())
    with pytest.warns(UserWarning, match="along the orbit: take a smaller learning rate;"):
        found = manifold.solve(jnp.array([1.2, 0.7]))
    assert not found.converged


def test_an_orbit_without_numbers_is_told():
    """Four points interpolate so badly that log cosh overflows."""
    manifold = mf.InvariantManifold(mf.nesterov(0.01, 0.5), lambda u: jnp.sum(jnp.log(jnp.cosh(u))), points=4)
    with pytest.warns(
        UserWarning, match="manifold: the orbit left where f is finite: pass more points or .*;"
    ):
        manifold.solve(jnp.ones(2))


def test_a_constant_force_takes_one_sweep():
    manifold = mf.InvariantManifold(mf.heavy_ball(0.02, 0.5), jnp.sum)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = manifold.solve(jnp.ones(2))
    assert found.converged
    assert (int(found.sweeps), float(found.contraction)) == (1, 0)
    np.testing.assert_allclose(found.velocity, -2, rtol=1e-15)


def test_too_few_points_are_told():
    manifold = mf.InvariantManifold(mf.nesterov(0.01, 0.5), oracles.potential, points=16)
    with pytest.warns(
        UserWarning, match="the residual is above the tolerance 1.1e-11: pass more points; relative"
    ):
        found = manifold.solve(jnp.array([0.8, -0.5]))
    assert float(found.residual) > 1e-10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": 1e-16}, r"tolerance must be >= 16 roundings of the params, 3.6e-15, got 1.0e-16"),
        ({"tolerance": -1.0}, "tolerance must be finite and > 0"),
        ({"tolerance": 2.0}, "tolerance must be < 0.1, got 2.0"),
        ({"points": 3}, "points must be an integer >= 4"),
        ({"order": 0}, "order must be an integer >= 1"),
        ({"order": 20}, "order must be <= 12, got 20"),
        ({"sharpness": 0.0}, "sharpness must be finite and > 0"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        mf.InvariantManifold(mf.heavy_ball(0.01, 0.5), oracles.potential, **options).velocity(jnp.ones(2))


def test_other_methods_and_shapes():
    with pytest.raises(TypeError, match=r"InvariantManifold is stated for the family \(7\)"):
        mf.InvariantManifold(mf.rescaled_gradient_descent(0.1, 0.5), oracles.potential)
    with pytest.raises(ValueError, match="has no velocity and so no manifold"):
        mf.SeriesManifold(mf.rescaled_gradient_descent(0.1, 0.5), oracles.potential)
    with pytest.raises(ValueError, match="drop the order or the options"):
        mf.manifold_start(2, tolerance=1e-8)
    with pytest.raises(ValueError, match="order must be <= 12, got 13"):
        mf.manifold_start(13)
    with pytest.raises(ValueError, match="velocity must have shape"):
        mf.SeriesManifold(mf.nesterov(0.01, 0.5), oracles.potential).distance(jnp.ones(2), jnp.ones(3))
