"""The convolutional network: its numbers against PyTorch's, both ways to convolve, its initialisation, its loss."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from momentumflow import _tree
from momentumflow.problems.convolutional import ConvolutionalNetwork, _by_product, _by_xla

CIFAR = ConvolutionalNetwork((32, 32, 3), channels=(6, 8), strides=(1, 2))
DIGITS = ConvolutionalNetwork((8, 8, 1), channels=(4, 8), nonlinearity="tanh")


def batch_of(network, number=5, seed=0):
    images_key, labels_key = jax.random.split(jax.random.key(seed))
    images = jax.random.normal(images_key, (number, *network.image), float)
    return images, jax.random.randint(labels_key, (number,), 0, network.classes)


@pytest.mark.parametrize("network", [CIFAR, DIGITS], ids=["32x32x3", "8x8x1"])
def test_shapes(network):
    params = network.init(jax.random.key(1), float)
    images, labels = batch_of(network)
    assert network.apply(params, images).shape == (5, 10)
    assert network.loss(params, (images, labels)).shape == ()
    # weights 3·3·in·out, the dense one features·10, and a bias for each output
    first, second = network.channels
    inputs, features = network.image[2], network.features
    expected = 9 * inputs * first + first + 9 * first * second + second + features * 10 + 10
    assert _tree.size(params) == expected
    # strides 1 and 2 leave 16 x 16 of 32 x 32; 2 and 2 leave 2 x 2 of 8 x 8
    assert features == {"relu": 16 * 16 * 8, "tanh": 2 * 2 * 8}[network.nonlinearity]


@pytest.mark.parametrize("network", [CIFAR, DIGITS], ids=["32x32x3", "8x8x1"])
def test_loss_and_gradient_are_pytorchs(network):
    torch = pytest.importorskip("torch")
    params, (images, labels) = network.init(jax.random.key(2), float), batch_of(network)
    params = jax.tree.map(lambda x: x + 0.01, params)  # biases that are not 0
    nonlinearity = {"relu": torch.relu, "tanh": torch.tanh}[network.nonlinearity]
    leaves = [
        {name: torch.tensor(np.asarray(x), requires_grad=True) for name, x in layer.items()}
        for layer in params
    ]
    x = torch.tensor(np.asarray(images)).permute(0, 3, 1, 2)
    for layer, stride in zip(leaves[:-1], network.each_stride, strict=True):
        weight = layer["weight"].permute(3, 2, 0, 1)
        x = nonlinearity(torch.nn.functional.conv2d(x, weight, layer["bias"], stride, padding=1))
    z = x.permute(0, 2, 3, 1).reshape(len(images), -1) @ leaves[-1]["weight"] + leaves[-1]["bias"]
    targets = torch.tensor(np.asarray(labels)).long()
    loss = torch.nn.functional.cross_entropy(z, targets)
    loss.backward()
    value, gradient = jax.value_and_grad(network.loss)(params, (images, labels))
    np.testing.assert_allclose(value, loss.item(), rtol=1e-12)
    for ours, theirs in zip(gradient, leaves, strict=True):
        for name in ours:
            np.testing.assert_allclose(ours[name], theirs[name].grad.numpy(), rtol=1e-9, atol=1e-12)
    share = (z.argmax(1) == targets).double().mean().item()
    assert network.accuracy(params, (images, labels)).item() == share


def test_gradient_against_differences():
    params, batch = DIGITS.init(jax.random.key(3), float), batch_of(DIGITS, 3)
    direction = _tree.normal(jax.random.key(8), params)

    @jax.jit
    def along(t):
        return DIGITS.loss(_tree.linear((1, t), (params, direction)), batch)

    slope = _tree.inner(jax.jit(jax.grad(DIGITS.loss))(params, batch), direction).item()
    wide, narrow = ((along(t) - along(-t)).item() / (2 * t) for t in (2e-3, 1e-3))
    assert abs(narrow - slope) < 1e-4
    # a central difference is off by O(t²): its error falls to a quarter, and Richardson's combination is O(t⁴)
    assert abs((wide - slope) / (narrow - slope) - 4) < 0.01
    np.testing.assert_allclose((4 * narrow - wide) / 3, slope, rtol=1e-7)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("shape", [(8, 8), (7, 9)], ids=["even", "odd"])
def test_a_product_of_matrices_is_xlas_convolution(stride, size, shape):
    images = jax.random.normal(jax.random.key(4), (2, *shape, 3), float)
    kernel = jax.random.normal(jax.random.key(5), (size, size, 3, 4), float)
    ours, theirs = _by_product(images, kernel, stride), _by_xla(images, kernel, stride)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["he_normal", "he_uniform", "glorot_normal", "glorot_uniform"])
def test_weights_are_those_of_jax(name):
    first, *_, last = ConvolutionalNetwork((8, 8, 2), (4, 8), initializer=name).init(jax.random.key(6), float)
    first_key, _, last_key = jax.random.split(jax.random.key(6), 3)
    for key, layer in ((first_key, first), (last_key, last)):
        reference = getattr(jax.nn.initializers, name)()(key, layer["weight"].shape, float)
        np.testing.assert_allclose(layer["weight"], reference, rtol=1e-12)
        assert not np.any(layer["bias"])


def test_he_variance():
    dense = ConvolutionalNetwork((32, 32, 3), (64,), 1).init(jax.random.key(7))[-1]["weight"]
    # He et al. (2015), eq. (10): variance 2/fan in; 655 360 samples are off by a factor of 1 ± 0.002
    assert abs(np.asarray(dense, float).var() * dense.shape[0] / 2 - 1) < 0.01


def test_cross_entropy_of_equal_numbers_is_the_logarithm_of_the_classes():
    params = jax.tree.map(jnp.zeros_like, DIGITS.init(jax.random.key(0), float))
    np.testing.assert_allclose(DIGITS.loss(params, batch_of(DIGITS)), math.log(10), rtol=1e-14)


def test_bad_networks_are_reported():
    with pytest.raises(ValueError, match="strides one for each of the channels"):
        ConvolutionalNetwork((8, 8, 1), (4, 8), (1, 2, 1))
    with pytest.raises(ValueError, match=r"image must be \(height, width, channels\)"):
        ConvolutionalNetwork((8, 8), (4,))
    with pytest.raises(ValueError, match="image and channels must be tuples, got 4: for instance"):
        ConvolutionalNetwork((8, 8, 1), channels=4)
    with pytest.raises(ValueError, match="kernel must be odd, got 4"):
        ConvolutionalNetwork((8, 8, 1), (4,), kernel=4)
    with pytest.raises(ValueError, match="must be an integer >= 1, got 0"):
        ConvolutionalNetwork((8, 8, 1), (4, 0))
    with pytest.raises(ValueError, match="unknown nonlinearity 'rely': did you mean 'relu'"):
        ConvolutionalNetwork((8, 8, 1), (4,), nonlinearity="rely")
    with pytest.raises(ValueError, match="unknown initialisation 'he'"):
        ConvolutionalNetwork((8, 8, 1), (4,), initializer="he")
