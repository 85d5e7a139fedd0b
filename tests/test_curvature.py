"""The curvature of a loss against numpy's eigenvalues of the assembled Hessian; bad input; memory; batches.

Independent route: `jax.hessian` of the flattened loss, by numpy.linalg.eigvalsh. A loss that is an eqx.Module keeps its
constants out of the program, which is then compiled once for all of them.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import momentumflow as mf
from momentumflow.study import curvature as module
from momentumflow.study import full_batch

RNG = np.random.default_rng(0)
NETWORK = mf.Autoencoder((4, 3), code="tanh")
BATCHES = jnp.asarray(RNG.uniform(size=(3, 5, 4)))
SPECTRUM = np.array([-2.0, 0.5, 1.0, 4.0, 7.0])


class Diagonal(eqx.Module):
    k: jax.Array
    shift: jax.Array

    def __call__(self, u):
        return jnp.sum(self.k * u**2) / 2 + self.shift @ u


class Power(eqx.Module):
    exponent: jax.Array

    def __call__(self, u):
        return jnp.sum(jnp.abs(u) ** self.exponent)


def diagonal(spectrum=SPECTRUM, shift=0.0):
    return Diagonal(jnp.asarray(spectrum), jnp.full(len(spectrum), shift))


def measure(loss, u, velocity=None, **changes):
    velocity = jnp.zeros_like(u) if velocity is None else velocity
    return mf.curvature(loss, u, velocity=velocity, **{"samples": 2, "count": 9} | changes)


@pytest.mark.parametrize(("dtype", "close"), [(jnp.float64, 1e-9), (jnp.float32, 2e-5)])
def test_a_network_in_mini_batches(dtype, close):
    u = NETWORK.init(jax.random.key(1), dtype)
    found = mf.curvature(NETWORK.loss, u, batches=BATCHES.astype(dtype), depth=31, count=3)
    flat, unravel = ravel_pytree(jax.tree.map(lambda x: x.astype(float), u))
    hessian = jax.jit(jax.hessian(lambda x: NETWORK.loss(unravel(x), BATCHES.reshape(-1, 4))))(flat)
    exact = np.linalg.eigvalsh(hessian)[::-1]
    assert found.dimension == exact.size
    np.testing.assert_allclose(found.largest, exact[:3], atol=close)
    np.testing.assert_allclose(found.smallest, exact[-1], atol=close)
    assert found.converged.all()
    assert found.kind == "indefinite"
    assert abs(found.trace - exact.sum()) < 4 * found.trace_error


def test_a_quadratic_is_known_exactly():
    u, v = jnp.arange(1.0, 6.0), jnp.array([1.0, 0, 0, 0, 1.0])
    found = measure(diagonal(), u, v)
    np.testing.assert_allclose(found.largest, [7, 4, 1, 0.5, -2], atol=1e-12)
    gradient = SPECTRUM * np.arange(1, 6)
    np.testing.assert_allclose(found.gradient_norm, np.linalg.norm(gradient))
    np.testing.assert_allclose(found.along_gradient, (SPECTRUM * gradient**2).sum() / (gradient**2).sum())
    np.testing.assert_allclose(found.along_velocity, 2.5)
    np.testing.assert_allclose((found.trace, found.trace_error), (SPECTRUM.sum(), 0), atol=1e-12)
    assert (found.products, found.radius, found.kind) == (5 + 2 + 2, found.sharpness, "indefinite")
    still = measure(diagonal(), 0 * u)
    assert np.isnan([still.along_gradient, still.along_velocity]).all()


def test_the_quadrature_integrates_polynomials_and_the_density_is_normalised():
    many = measure(diagonal(), jnp.ones(5), depth=3, runs=2000)
    assert many.nodes.shape == many.weights.shape == (6000,)
    np.testing.assert_allclose(many.weights.sum(), 1)
    for power in range(
        6
    ):  # exact for each z up to degree 2·3 - 1; over random directions the mean is tr Hᵖ/d
        moments = (many.weights * many.nodes**power).reshape(2000, 3).sum(1) * 2000
        error = moments.std() / np.sqrt(2000)
        assert abs(moments.mean() - (SPECTRUM**power).mean()) < 4 * error + 1e-12
    grid = np.linspace(-12, 17, 401)
    np.testing.assert_allclose(many.density(grid, 0.5).sum() * (grid[1] - grid[0]), 1, atol=1e-6)
    with pytest.raises(ValueError, match="width must be finite and > 0"):
        many.density(0.0, 0.0)


def test_the_residual_bounds_the_distance_to_an_eigenvalue():
    k = np.sort(RNG.normal(size=60))
    found = measure(diagonal(k), jnp.ones(60), depth=12, count=4)
    distance = np.abs(found.largest[:, None] - k).min(1)
    assert (distance <= found.largest_residuals * (1 + 1e-9)).all()
    assert not found.converged.all()
    assert (found.largest <= k[::-1][:4] + 1e-12).all()


@pytest.mark.parametrize(
    ("spectrum", "kind"),
    [
        ([0.5, 1.0, 2.0, 3.0, 3.5], "positive"),
        ([0.0, 1.0, 2.0, 3.0, 3.5], "semidefinite"),
        ([-1.0, 1.0, 2.0, 3.0, 3.5], "indefinite"),
        ([-1.0, -2.0, -3.0, -3.5, -4.0], "negative"),
        ([0.0, 0.0, 0.0, 0.0, 0.0], "zero"),
        ([2.0, 2.0, 2.0, 2.0, 2.0], "positive"),
    ],
)
def test_the_kind_of_a_hessian_and_eigenvalues_of_any_multiplicity(spectrum, kind):
    found = measure(diagonal(spectrum, 1.0), jnp.zeros(5))
    assert found.kind == kind
    np.testing.assert_allclose(found.largest, sorted(set(spectrum), reverse=True), atol=1e-13)


def test_the_params_stay_as_they_are_and_a_second_call_compiles_nothing():
    u = jnp.ones(5)
    measure(diagonal(), u)
    size = module._measure._cached._cache_size()
    measure(diagonal(SPECTRUM + 1), 2 * u, key=jax.random.key(3))
    assert module._measure._cached._cache_size() == size
    assert np.array_equal(u, np.ones(5))


def test_the_memory_of_many_batches_is_that_of_one():
    wide = mf.Autoencoder((64, 16), hidden="tanh")
    u = jax.eval_shape(wide.init, jax.random.key(0))

    def temporaries(count):
        def product(u, batches):
            return jax.linearize(full_batch.field(wide.loss, batches), u)[1](u)

        batches = jax.ShapeDtypeStruct((count, 50, 64), jnp.float32)
        return jax.jit(product).lower(u, batches).compile().memory_analysis().temp_size_in_bytes

    copy = 36 * 4 * 50 * 64
    assert temporaries(40) - temporaries(4) < 1.1 * copy  # a copy of the batches at most, no activations


@pytest.mark.parametrize(
    ("exponent", "message"),
    [
        (1.5, r"Hessian-vector products must be finite .*, got (nan|inf|-inf): .*smooth"),
        (0.5, r"gradient must be finite .*, got (nan|inf): a square root"),
        (-1.0, "loss must be finite .*, got inf: check the params"),
    ],
)
def test_what_is_not_finite_is_said(exponent, message):
    with pytest.raises(ValueError, match=message):
        measure(Power(jnp.asarray(exponent)), jnp.zeros(5))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"loss": mf.VectorField(lambda u: -u)}, TypeError, "VectorField: it has no Hessian"),
        ({"loss": lambda u: u}, ValueError, "loss must return one scalar"),
        ({"params": jnp.ones(3, int)}, TypeError, "floating point"),
        ({"velocity": jnp.ones(2)}, ValueError, "the velocity must have shape"),
        ({"batches": (jnp.ones((2, 3)), jnp.ones((3, 3)))}, ValueError, "alike in the first"),
        ({"count": 0}, ValueError, "count must be an integer >= 1"),
        ({"depth": 0}, ValueError, "depth must be an integer >= 1"),
        ({"samples": 1}, ValueError, "samples must be an integer >= 2"),
        ({"tolerance": 0.0}, ValueError, "tolerance must be finite and > 0"),
    ],
)
def test_bad_input(changes, error, message):
    arguments = {"loss": lambda u: jnp.sum(u**2), "params": jnp.ones(3)} | changes
    with pytest.raises(error, match=message):
        mf.curvature(**arguments)
