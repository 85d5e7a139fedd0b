"""A convolutional network that classifies images: no normalisation, so that its loss is a function of the params."""

import math
from collections.abc import Iterable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Integer, PRNGKeyArray

from .. import _validate
from .._types import Params
from .networks import NONLINEARITIES

Images = Float[Array, "images height width channels"]
Labels = Integer[Array, " images"]

_INITIALIZERS = ("he_normal", "he_uniform", "glorot_normal", "glorot_uniform")
_CUT_SPREAD = 0.8796256610342398
"""Standard deviation of a standard normal cut at ±2."""


def _sizes(sizes: Any) -> tuple[int, ...]:
    if not isinstance(sizes, Iterable):
        raise ValueError(
            f"image and channels must be tuples, got {sizes!r}: for instance (32, 32, 3) and (16, 32)"
        )
    return tuple(sizes)


class ConvolutionalNetwork(eqx.Module):
    r"""Convolutions with strides in place of pooling, then one dense layer $z$ of as many numbers as classes.

    $$\Phi(u) = \frac1N\sum_{i=1}^N\Big(\log\sum_c e^{z_c(x_i; u)} - z_{y_i}(x_i; u)\Big),$$

    the cross-entropy of N images $x_i$ with labels $y_i$. A convolution pads with zeros, by half the width of its
    kernel, and adds a bias. There is no batch normalisation and no dropout: $\Phi$ is a function of u and the batch.

    **Arguments:**

    - `image`: (height, width, channels) of an image.
    - `channels`: of each convolution, at least one.
    - `strides`: of each convolution; one number for all.
    - `kernel`: odd width of every kernel.
    - `classes`: at least 2.
    - `nonlinearity`: after each convolution: "relu", "tanh", "sigmoid" or "linear".
    - `initializer`: of the weights: "he_normal", "he_uniform", "glorot_uniform" or "glorot_normal"; biases are 0.

    **Raises:** `ValueError` for sizes that are no sizes, or a name that is not known.

    Springenberg, Dosovitskiy, Brox & Riedmiller (2015), Striving for simplicity: the all convolutional net.

    !!! example

        >>> import jax, jax.numpy as jnp
        >>> from momentumflow.problems.convolutional import ConvolutionalNetwork
        >>> network = ConvolutionalNetwork((8, 8, 1), channels=(4, 8))
        >>> params = network.init(jax.random.key(0))
        >>> network.apply(params, jnp.zeros((5, 8, 8, 1))).shape
        (5, 10)
        >>> batch = jnp.zeros((5, 8, 8, 1)), jnp.arange(5)
        >>> round(network.loss(params, batch).item(), 6), round(float(jnp.log(10)), 6)
        (2.302585, 2.302585)
    """

    image: tuple[int, int, int] = eqx.field(static=True, converter=_sizes)
    channels: tuple[int, ...] = eqx.field(static=True, converter=_sizes)
    strides: tuple[int, ...] | int = eqx.field(static=True, default=2)
    kernel: int = eqx.field(static=True, default=3)
    classes: int = eqx.field(static=True, default=10)
    nonlinearity: str = eqx.field(static=True, default="relu")
    initializer: str = eqx.field(static=True, default="he_normal")

    def __check_init__(self) -> None:
        for size in (*self.image, *self.channels, *self.each_stride):
            _validate.count("each entry of image, channels and strides", size)
        if len(self.image) != 3 or not self.channels or len(self.each_stride) != len(self.channels):
            raise ValueError(
                "image must be (height, width, channels) and strides one for each of the channels, got "
                f"{self.image}, {self.channels} and {self.strides}: for instance (32, 32, 3), (16, 32) and 2"
            )
        if _validate.count("kernel", self.kernel) % 2 == 0:
            raise ValueError(f"kernel must be odd, got {self.kernel}: it is centred on a pixel, take 3")
        _validate.count("classes", self.classes, minimum=2)
        if self.nonlinearity not in NONLINEARITIES:
            raise _validate.unknown("nonlinearity", self.nonlinearity, NONLINEARITIES)
        if self.initializer not in _INITIALIZERS:
            raise _validate.unknown("initialisation", self.initializer, _INITIALIZERS)

    @property
    def each_stride(self) -> tuple[int, ...]:
        """One a convolution."""
        if isinstance(self.strides, int):
            return (self.strides,) * len(self.channels)
        return tuple(self.strides)

    @property
    def features(self) -> int:
        """Numbers that the dense layer reads."""
        height, width, _ = self.image
        for stride in self.each_stride:
            height, width = -(-height // stride), -(-width // stride)
        return height * width * self.channels[-1]

    def init(self, key: PRNGKeyArray, dtype: DTypeLike = jnp.float32) -> Params:
        r"""Random weights and zero biases, a list of layers with "weight" and "bias".

        He: variance 2/fan in; Glorot: 2/(fan in + fan out). A fan of a kernel counts its pixels. A normal is cut at
        two standard deviations.

        He, Zhang, Ren & Sun (2015), eq. (10); Glorot & Bengio (2010), eq. (16).
        """
        inputs = (self.image[2], *self.channels[:-1])
        square = (self.kernel, self.kernel)
        kernels = [(*square, i, o) for i, o in zip(inputs, self.channels, strict=True)]
        shapes = [*kernels, (self.features, self.classes)]
        return [
            {"weight": _draw(self.initializer, k, shape, dtype), "bias": jnp.zeros(shape[-1], dtype)}
            for k, shape in zip(jax.random.split(key, len(shapes)), shapes, strict=True)
        ]

    def apply(self, params: Params, images: Images) -> Float[Array, "images classes"]:
        """The numbers z, shape (images, classes); their softmax is the probability of each class."""
        *convolutions, dense = params
        for layer, stride in zip(convolutions, self.each_stride, strict=True):
            images = NONLINEARITIES[self.nonlinearity](
                convolve(images, layer["weight"], stride) + layer["bias"]
            )
        return images.reshape(len(images), -1) @ dense["weight"] + dense["bias"]

    def loss(self, params: Params, batch: tuple[Images, Labels]) -> Float[Array, ""]:
        """Mean cross-entropy of a batch of images and their labels."""
        images, labels = batch
        z = self.apply(params, images)
        return jnp.mean(jax.nn.logsumexp(z, axis=1) - jnp.take_along_axis(z, labels[:, None], axis=1)[:, 0])

    def accuracy(self, params: Params, batch: tuple[Images, Labels]) -> Float[Array, ""]:
        """Share of a batch whose largest number is that of the label."""
        images, labels = batch
        z = self.apply(params, images)
        return jnp.mean(jnp.argmax(z, axis=1) == labels, dtype=z.dtype)


def _draw(name: str, key: PRNGKeyArray, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """The numbers of jax.nn.initializers, drawn as one vector: in four dimensions XLA takes seconds to compile them."""
    inputs = math.prod(shape[:-1])
    outputs = math.prod(shape[:-2]) * shape[-1]
    spread = math.sqrt(2 / inputs if name.startswith("he") else 2 / (inputs + outputs))
    if name.endswith("uniform"):
        drawn = math.sqrt(3) * jax.random.uniform(key, (math.prod(shape),), dtype, -1.0, 1.0)
    else:
        drawn = jax.random.truncated_normal(key, -2.0, 2.0, (math.prod(shape),), dtype) / _CUT_SPREAD
    return (spread * drawn).reshape(shape)


def convolve(
    images: Images, kernel: Float[Array, "size size channels out"], stride: int
) -> Float[Array, "images h w out"]:
    """Cross-correlation with an odd kernel, zeros around the image.

    A convolution of XLA inside a loop takes 19 times as long on a CPU as the product of matrices that it is; on a GPU
    it is the faster one. Both are the same numbers.

        >>> import jax.numpy as jnp
        >>> from momentumflow.problems.convolutional import convolve
        >>> convolve(jnp.ones((1, 2, 2, 1)), jnp.ones((3, 3, 1, 1)), 1)[0, :, :, 0].tolist()
        [[4.0, 4.0], [4.0, 4.0]]
    """

    def by_product(x: Images, w: Array) -> Array:
        return _by_product(x, w, stride)

    def by_xla(x: Images, w: Array) -> Array:
        return _by_xla(x, w, stride)

    return jax.lax.platform_dependent(images, kernel, cpu=by_product, default=by_xla)


def _by_product(images: Images, kernel: Array, stride: int) -> Array:
    size, out = kernel.shape[0], kernel.shape[-1]
    height, width = images.shape[1:3]
    pad = (size // 2, size // 2)
    around = jnp.pad(images, ((0, 0), pad, pad, (0, 0)))
    shifted = [
        around[:, i : i + height : stride, j : j + width : stride] for i in range(size) for j in range(size)
    ]
    return jnp.concatenate(shifted, axis=-1) @ kernel.reshape(-1, out)


def _by_xla(images: Images, kernel: Array, stride: int) -> Array:
    pad = (kernel.shape[0] // 2,) * 2
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        images, kernel, (stride, stride), (pad, pad), dimension_numbers=layout
    )
