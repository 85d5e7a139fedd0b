"""The oscillator of one eigenvalue: roots, speed-up, stability and the best momentum, by numpy and by search.

Sources: Qian (1999), eq. (7)-(12) of the poster. Independent route: numpy's polynomial roots and eigenvalues.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import momentumflow as mf
from momentumflow.linear.oscillator import (
    best_momentum,
    continuous_roots,
    converges,
    critical_curvature,
    discrete_roots,
    speed_up,
)

positive = st.floats(0.01, 100)


def spectral_radius(p, step):
    return np.abs(np.linalg.eigvals([[0, 1], [-p, 1 + p - step]])).max()


@given(positive, positive, st.floats(0, 100))
def test_continuous_roots_solve_their_equation_and_come_slow_first(mass, friction, curvature):
    for root in (roots := continuous_roots(mass, friction, curvature)):
        terms = np.array([mass * root**2, friction * root, curvature])
        assert abs(terms.sum()) <= 1e-13 * np.abs(terms).sum()
    slow, fast = map(complex, roots)
    assert fast.real * (1 + 1e-14) <= slow.real <= 0
    assert (slow.imag > 0) == (curvature > critical_curvature(mass, friction))


def test_the_slow_root_keeps_its_digits():
    # by (8) as it stands, -1 + sqrt(1 - 1e-17) = 0; to first order the root is -k/friction
    assert float(continuous_roots(1.0, 2.0, 1e-17)[0].real) == pytest.approx(-0.5e-17, rel=1e-15)


@given(positive, positive, st.floats(1e-3, 1e3))
def test_speed_up_is_the_ratio_of_rates(mass, friction, curvature):
    assume(abs(curvature / critical_curvature(mass, friction) - 1) > 1e-3)  # numpy's double root is coarse
    rate = -np.roots([mass, friction, curvature]).real.max()
    # numpy's slow root loses as many digits as it is smaller than the fast one
    loss = 1e-14 * (friction / mass) / rate
    assert float(speed_up(mass, friction, curvature)) == pytest.approx(
        rate / (curvature / friction), rel=1e-12 + loss
    )


def test_speed_up_without_mass_or_curvature_is_one():
    assert float(speed_up(0.0, 3.0, 7.0)) == 1
    assert float(speed_up(2.0, 3.0, 0.0)) == 1


@given(positive, positive, st.floats(1e-3, 3))
def test_momentum_speeds_up_below_twice_the_critical_curvature_only(mass, friction, ratio):
    assume(abs(ratio - 2) > 1e-9)
    curvature = ratio * float(critical_curvature(mass, friction))
    alpha = float(speed_up(mass, friction, curvature))
    assert (alpha > 1) == (ratio < 2)
    assert alpha <= 2 + 1e-6


@given(st.floats(-1.5, 1.5), positive, st.floats(-5, 5))
def test_discrete_roots_are_the_eigenvalues_of_the_companion_matrix(p, learning_rate, step):
    roots = np.array(discrete_roots(p, learning_rate, step / learning_rate))
    matrix = np.array([[0, 1], [-p, 1 + p - step]])
    assert np.poly(roots) == pytest.approx(
        np.poly(matrix), abs=1e-12
    )  # not itself sensitive at a double root
    assert roots[0].real >= roots[1].real


@given(st.floats(-1.5, 1.5), st.floats(-1, 6))
def test_converges_is_a_spectral_radius_below_one(p, step):
    radius = spectral_radius(p, step)
    assume(abs(radius - 1) > 1e-6)
    assert bool(converges(p, 1.0, step)) == (radius < 1)
    assert bool(converges(p, 0.25, 4 * step)) == (radius < 1)


@given(st.floats(0.01, 3.9))
def test_no_momentum_is_better_than_the_best(step):
    best = float(best_momentum(1.0, step))
    grid = np.linspace(-0.999, 0.999, 1999)
    radii = [spectral_radius(p, step) for p in grid]
    found = float(np.max(np.abs(discrete_roots(best, 1.0, step))))
    assert found == pytest.approx(abs(1 - np.sqrt(step)), abs=1e-7)  # a double root
    assert found <= min(radii) + 1e-7
    assert grid[np.argmin(radii)] == pytest.approx(best, abs=2e-3)


def test_iterates_grow_or_shrink_as_the_roots_say():
    method = mf.from_physical(mass=2.0, friction=4.0, time_step=0.5)
    for curvature in (3.0, 30.0, 60.0):
        run = mf.iterate(method, mf.Quadratic([curvature]), jnp.ones(1), steps=60)
        first, second = (complex(r) for r in discrete_roots(method.momentum, method.learning_rate, curvature))
        weight = (1 - second**-1) / (first**-1 - second**-1)  # w_{-1} = w_0 = 1
        n = np.arange(61)
        exact = (weight * first**n + (1 - weight) * second**n).real
        assert np.allclose(run.params[:, 0], exact, rtol=1e-11, atol=1e-12)
        assert bool(converges(method.momentum, method.learning_rate, curvature)) == (curvature < 48)  # εk < 3


def test_they_broadcast_differentiate_and_stay_in_float32():
    k = jnp.array([[0.5], [1.0]])
    assert speed_up(jnp.array([1.0, 2.0, 3.0]), 4.0, k).shape == (2, 3)
    assert continuous_roots(1.0, 4.0, k)[0].shape == discrete_roots(0.5, 0.1, k)[0].shape == (2, 1)
    slope = jax.jit(jax.grad(speed_up, argnums=2))(2.0, 4.0, 1.0)
    difference = (speed_up(2.0, 4.0, 1 + 1e-6) - speed_up(2.0, 4.0, 1 - 1e-6)) / 2e-6
    assert float(slope) == pytest.approx(float(difference), rel=1e-6)
    single = jnp.float32(1)
    assert speed_up(single, 4 * single, single).dtype == jnp.float32
    assert discrete_roots(single, single, single)[0].dtype == jnp.complex64


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: continuous_roots(0.0, 1.0, 1.0), "mass must be finite and > 0, got 0.0"),
        (lambda: continuous_roots(1.0, 0.0, 1.0), "friction must be finite and > 0, got 0.0"),
        (lambda: continuous_roots(1.0, 1.0, -1.0), "curvature must be finite and >= 0, got -1.0"),
        (lambda: speed_up(-1.0, 1.0, 1.0), "mass must be finite and >= 0, got -1.0"),
        (lambda: critical_curvature(0.0, 1.0), "mass must be finite and > 0, got 0.0"),
        (lambda: discrete_roots(np.nan, 1.0, 1.0), "momentum must be finite, got nan"),
        (lambda: converges(0.5, -1.0, 1.0), "learning_rate must be finite and > 0, got -1.0"),
        (lambda: best_momentum(1.0, -1.0), "curvature must be finite and >= 0, got -1.0"),
        (
            lambda: best_momentum(0.1, 50.0),
            r"4 - learning_rate \* curvature must be finite and > 0, got -1.0",
        ),
    ],
)
def test_bad_values_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
