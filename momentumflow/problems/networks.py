"""The deep autoencoder of the paper's experiment."""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from .. import _validate
from .._types import Params

MNIST_SIZES = (784, 1000, 500, 250, 30)
DIGITS_SIZES = (64, 32, 16, 8)

NONLINEARITIES: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "linear": lambda x: x,
}
INITIALIZERS = {
    "glorot_uniform": jax.nn.initializers.glorot_uniform(),
    "glorot_normal": jax.nn.initializers.glorot_normal(),
}


def autoencoder(
    sizes: Sequence[int], key: PRNGKeyArray, dtype: DTypeLike = jnp.float32, init: str = "glorot_uniform"
) -> list[dict[str, Float[Array, "..."]]]:
    r"""Initial params of a dense autoencoder whose decoder mirrors its encoder.

    Weights of shape (fan in, fan out) have variance $2/(\text{fan in} + \text{fan out})$; biases are 0.

    **Arguments:**

    - `sizes`: widths of the encoder, from pixels to code, for instance `MNIST_SIZES`.
    - `key`: from `jax.random.key(seed)`.
    - `dtype`: a floating-point dtype.
    - `init`: "glorot_uniform" on $\pm\sqrt{6/(\text{fan in} + \text{fan out})}$, or "glorot_normal", cut at two
      standard deviations.

    **Returns:** a list of layers, each with "weight" and "bias".

    **Raises:** `ValueError` for sizes that are no widths, or an unknown initialisation.

    Glorot & Bengio (2010), eq. (16); Hinton & Salakhutdinov (2006) for the layers.

        >>> import jax
        >>> from momentumflow.problems.networks import autoencoder
        >>> [layer["weight"].shape for layer in autoencoder((64, 8, 2), jax.random.key(0))]
        [(64, 8), (8, 2), (2, 8), (8, 64)]
    """
    widths = _mirrored(sizes)
    if init not in INITIALIZERS:
        raise _validate.unknown("initialisation", init, INITIALIZERS)
    keys = jax.random.split(key, len(widths) - 1)
    return [
        {"weight": INITIALIZERS[init](k, (rows, columns), dtype), "bias": jnp.zeros(columns, dtype)}
        for k, rows, columns in zip(keys, widths[:-1], widths[1:], strict=True)
    ]


def _mirrored(sizes: Sequence[int]) -> tuple[int, ...]:
    sizes = tuple(_validate.count("each entry of sizes", size) for size in sizes)
    if len(sizes) < 2:
        raise ValueError(
            f"sizes must hold at least pixels and code, got {sizes}: for instance {DIGITS_SIZES}"
        )
    return sizes + sizes[-2::-1]


class Autoencoder(eqx.Module):
    r"""Dense autoencoder $x \mapsto \hat x$: layers $x \mapsto s(xW + b)$, the decoder the encoder's mirror.

    $$\Phi(u) = \frac{1}{NP}\sum_{i=1}^{N}\sum_{j=1}^{P}\big(\hat x_{ij}(u) - x_{ij}\big)^2,$$

    the mean-squared error over N images of P pixels; $P\,\Phi$ is the error summed over the pixels.

    **Arguments:**

    - `sizes`: widths of the encoder, from pixels to code; `MNIST_SIZES` is the paper's 784-1000-500-250-30.
    - `hidden`, `code`, `output`: the function s of the hidden layers, of the code, and of the output: "relu",
      "tanh", "sigmoid" or "linear".
    - `initializer`: "glorot_uniform" or "glorot_normal".

    **Raises:** `ValueError` for sizes that are no widths, or a name that is not known.

    Kovachki & Stuart (2021), §5, after Hinton & Salakhutdinov (2006). The paper names none of the functions
    and neither of the two initialisations.

    !!! example

        >>> import jax, jax.numpy as jnp, momentumflow as mf
        >>> network = mf.Autoencoder((64, 32, 16, 8))
        >>> params = network.init(jax.random.key(0))
        >>> network.apply(params, jnp.ones((5, 64))).shape, network.loss(params, jnp.zeros((5, 64))).item()
        ((5, 64), 0.0)
    """

    sizes: tuple[int, ...] = eqx.field(static=True, converter=tuple)
    hidden: str = eqx.field(static=True, default="relu")
    code: str = eqx.field(static=True, default="linear")
    output: str = eqx.field(static=True, default="linear")
    initializer: str = eqx.field(static=True, default="glorot_uniform")

    def __check_init__(self) -> None:
        _mirrored(self.sizes)
        for name in (self.hidden, self.code, self.output):
            if name not in NONLINEARITIES:
                raise _validate.unknown("nonlinearity", name, NONLINEARITIES)
        if self.initializer not in INITIALIZERS:
            raise _validate.unknown("initialisation", self.initializer, INITIALIZERS)

    @property
    def nonlinearities(self) -> tuple[str, ...]:
        """One name a layer."""
        depth = len(self.sizes) - 1
        return (*[self.hidden] * (depth - 1), self.code, *[self.hidden] * (depth - 1), self.output)

    def init(self, key: PRNGKeyArray, dtype: DTypeLike = jnp.float32) -> Params:
        """Glorot weights and zero biases; see `autoencoder`."""
        build = eqx.filter_jit(autoencoder)  # one program instead of one for each kind of layer
        return build(self.sizes, key, dtype, self.initializer)

    def apply(self, params: Params, images: Float[Array, "images pixels"]) -> Float[Array, "images pixels"]:
        """The reconstructions, shape (images, pixels)."""
        for layer, name in zip(params, self.nonlinearities, strict=True):
            images = NONLINEARITIES[name](images @ layer["weight"] + layer["bias"])
        return images

    def loss(self, params: Params, images: Float[Array, "images pixels"]) -> Float[Array, ""]:
        """Mean-squared error, over pixels and images."""
        return jnp.mean(jnp.square(self.apply(params, images) - images))
