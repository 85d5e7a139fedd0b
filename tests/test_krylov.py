"""Functions of a symmetric operator against numpy's eigendecomposition; breakdown, zero vectors, pytrees.

Independent route: f(A)b by numpy.linalg.eigh of the assembled matrix.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from momentumflow import _krylov

RNG = np.random.default_rng(1)
BASIS = np.linalg.qr(RNG.normal(size=(6, 6)))[0]
SPREAD = BASIS @ np.diag([-1.0, 0.0, 0.5, 2.0, 3.0, 7.0]) @ BASIS.T
VECTOR = {"a": jnp.asarray(RNG.normal(size=(2, 2))), "b": jnp.asarray(RNG.normal(size=2))}
FLAT = np.concatenate([np.ravel(x) for x in jax.tree.leaves(VECTOR)])


def product(matrix):
    def multiply(tree):
        flat, unravel = ravel_pytree(tree)
        return unravel(jnp.asarray(matrix, flat.dtype) @ flat)

    return multiply


def functions(x):
    return jnp.stack([jnp.exp(-x), x**2])


def exact(matrix, flat):
    values, vectors = np.linalg.eigh(matrix)
    return [vectors @ (f * (vectors.T @ flat)) for f in (np.exp(-values), values**2)]


@eqx.filter_jit
def lanczos(matrix, vector, depth=6):
    """f(A)b, the space and its Ritz values."""
    space = _krylov.lanczos(product(matrix), vector, depth)
    return _krylov.apply(functions, space), space, _krylov.eigenvalues(space)


def flattened(stacked):
    return np.concatenate([np.reshape(x, (len(x), -1)) for x in jax.tree.leaves(stacked)], axis=1)


@pytest.mark.parametrize("depth", [6, 20])
def test_the_whole_krylov_space_is_exact(depth):
    """Beyond the dimension it is the dimension."""
    assert np.allclose(flattened(lanczos(SPREAD, VECTOR, depth)[0]), exact(SPREAD, FLAT), atol=1e-11)


def test_the_dense_space_is_exact():
    dense = jax.jit(lambda A, b: _krylov.apply(functions, _krylov.whole(product(A), b)))
    assert np.allclose(flattened(dense(SPREAD, VECTOR)), exact(SPREAD, FLAT), atol=1e-11)


def test_a_krylov_space_is_orthonormal_and_meets_a_in_it():
    _, space, ritz = lanczos(SPREAD, VECTOR, 4)
    V = flattened(space.basis)
    assert np.allclose(V @ V.T, np.eye(4), atol=1e-14)
    assert np.allclose(V @ SPREAD @ V.T, space.matrix, atol=1e-13)
    assert np.allclose(V.T @ space.coordinates, FLAT, atol=1e-14)
    spectrum = np.linalg.eigvalsh(SPREAD)
    assert spectrum[0] - 1e-12 <= ritz[0] < ritz[-1] <= spectrum[-1] + 1e-12


DEGENERATE = {
    "two eigenvalues": BASIS @ np.diag([1.0, 1.0, 1.0, 4.0, 4.0, 4.0]) @ BASIS.T,
    "a multiple of the identity": 3 * np.eye(6),
    "zero": np.zeros((6, 6)),
}


@pytest.mark.parametrize("matrix", DEGENERATE.values(), ids=DEGENERATE)
def test_an_early_breakdown_leaves_no_trace(matrix):
    found, _, ritz = lanczos(matrix, VECTOR)
    assert np.allclose(flattened(found), exact(matrix, FLAT), atol=1e-12)
    spectrum = np.linalg.eigvalsh(matrix)
    assert spectrum[0] - 1e-12 <= ritz[0] <= ritz[-1] <= spectrum[-1] + 1e-12


def test_a_zero_vector_stays_zero_and_still_sees_the_spectrum():
    found, _, ritz = lanczos(SPREAD, jax.tree.map(jnp.zeros_like, VECTOR))
    assert np.all(flattened(found) == 0)
    assert np.allclose(ritz, np.linalg.eigvalsh(SPREAD), atol=1e-12)


def test_a_function_without_a_value_where_there_is_no_component_leaves_no_trace():
    space = _krylov.Subspace(jnp.eye(3), jnp.diag(jnp.array([1.0, 2.0, 5.0])), jnp.array([1.0, 1.0, 0.0]))
    found = _krylov.apply(lambda x: jnp.stack([jnp.where(x < 3, x, jnp.nan)]), space)
    assert found.tolist() == [[1, 2, 0]]


def test_the_dtype_is_that_of_the_vector():
    single = jax.tree.map(lambda x: x.astype(jnp.float32), VECTOR)
    shapes = jax.eval_shape(lambda v: lanczos(SPREAD, v, 3)[0], single)
    assert {x.dtype for x in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}


def test_it_maps_over_vectors():
    both = jax.tree.map(lambda x: jnp.stack([x, 0 * x]), VECTOR)
    found = jax.jit(jax.vmap(lambda v: lanczos(SPREAD, v)[0]))(both)
    assert np.allclose(flattened(jax.tree.map(lambda x: x[0], found)), exact(SPREAD, FLAT), atol=1e-11)
    assert np.all(flattened(jax.tree.map(lambda x: x[1], found)) == 0)
