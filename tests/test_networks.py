"""The autoencoder: its initialisation, its layers, its loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import momentumflow as mf
from momentumflow import _tree
from momentumflow.problems.networks import MNIST_SIZES, autoencoder
from momentumflow.training import load


def test_the_papers_network_has_its_layers():
    params = autoencoder(MNIST_SIZES, jax.random.key(0))
    # 2(784·1000 + 1000·500 + 500·250 + 250·30) weights and 2(1000 + 500 + 250) + 30 + 784 biases
    assert _tree.size(params) == 2 * 1_416_500 + 4_314
    assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("init", ["glorot_uniform", "glorot_normal"])
def test_glorot_variance(init):
    first, *_ = autoencoder((784, 1000), jax.random.key(1), float, init)
    weight, variance = np.asarray(first["weight"]), 2 / (784 + 1000)  # Glorot & Bengio (2010), eq. (12)
    # 784 000 samples: the sample variance of a uniform is off by a factor of 1 ± 0.001, of a normal 1 ± 0.0016
    assert abs(weight.var() / variance - 1) < 0.01
    assert abs(weight.mean()) < 5 * np.sqrt(variance / weight.size)
    assert (np.abs(weight).max() <= np.sqrt(6 / 1784)) == (init == "glorot_uniform")
    assert not np.any(first["bias"])


FUNCTIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "linear": lambda x: x,
}


@pytest.mark.parametrize("hidden", FUNCTIONS)
@pytest.mark.parametrize(("code", "output"), [("linear", "linear"), ("relu", "sigmoid")])
def test_apply_is_the_layers_one_by_one(hidden, code, output):
    network = mf.Autoencoder((64, 20, 10, 5), hidden=hidden, code=code, output=output)
    params = network.init(jax.random.key(2), float)
    images = load("digits").images[:7].astype(float)
    given = jnp.asarray(images)
    x = images
    for layer, name in zip(params, [hidden, hidden, code, hidden, hidden, output], strict=True):
        x = FUNCTIONS[name](x @ np.asarray(layer["weight"]) + np.asarray(layer["bias"]))
    np.testing.assert_allclose(network.apply(params, given), x, rtol=1e-12, atol=1e-14)
    expected = sum((x[i, j] - images[i, j]) ** 2 for i in range(7) for j in range(64)) / (7 * 64)
    np.testing.assert_allclose(network.loss(params, given), expected, rtol=1e-12)


def test_bad_networks_are_reported():
    with pytest.raises(ValueError, match="unknown nonlinearity 'rely': did you mean 'relu'"):
        mf.Autoencoder((64, 8), hidden="rely")
    with pytest.raises(ValueError, match="unknown initialisation 'glorot'"):
        autoencoder((64, 8), jax.random.key(0), init="glorot")
    with pytest.raises(ValueError, match="at least pixels and code"):
        mf.Autoencoder((64,))
    with pytest.raises(ValueError, match="each entry of sizes must be an integer >= 1, got 0"):
        mf.Autoencoder((64, 0))
