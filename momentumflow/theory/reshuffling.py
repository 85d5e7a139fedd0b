"""Random reshuffling with momentum: the loss that the mean path descends."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from .. import _tree, _validate
from .._types import Params
from ..methods.batches import BatchLoss, as_batches
from ..methods.linear_memory import AbstractLinearMemory, require_scalars
from ..methods.momentum import MomentumMethod


def reshuffling_constant(
    batches: ArrayLike, momentum: ArrayLike, lookahead: ArrayLike = 0
) -> Float[Array, "*batch"]:
    r"""$\kappa(m, \lambda)$, by how much momentum weakens the noise's part of the regulariser under reshuffling:

    $$\kappa = 1 - \frac{2(\lambda - a(1-\lambda))\,[m(1-\lambda) - 1 + \lambda^m]}{m(m-1)(1-\lambda)^2}
      = \frac{2}{m(m-1)}\sum_{r<n<m}\big(1 - (\lambda - a(1-\lambda))\lambda^{n-1-r}\big).$$

    1 without momentum; to 1 where an epoch is long against the memory, $m(1-\lambda) \gg 1$; to 0 for heavy ball with
    $\lambda \to 1$ at fixed m, where momentum averages over many epochs. See `reshuffled_loss`.

    **Arguments:** `batches` $m \ge 2$ of an epoch; `momentum` $\lambda \in [0, 1)$; `lookahead` $a \ge 0$. Arrays of
    shapes that broadcast.

    **Raises:** `ValueError` for values outside these ranges.

    Derived here; Smith et al. (2021) have $\lambda = 0$.

        >>> import momentumflow as mf
        >>> [round(float(mf.reshuffling_constant(m, 0.5)), 6) for m in (2, 4, 100)]
        [0.5, 0.645833, 0.980202]
    """
    _require_two(batches)
    _validate.momentum_factor("momentum", momentum)
    _validate.non_negative("lookahead", lookahead, "0 is heavy ball, the momentum is Nesterov")
    m, lam = jnp.broadcast_arrays(jnp.asarray(batches, float), jnp.asarray(momentum, float))
    kept = 1 - lam
    # m(1-λ) - 1 + λ^m vanishes like (1-λ)² and would lose its digits there
    memory = jnp.where(m * kept < _NEAR, _by_series(m, kept), (m * kept - 1 + lam**m) / kept**2)
    return 1 - 2 * (lam - lookahead * kept) * memory / (m * (m - 1))


def _require_two(batches: ArrayLike) -> None:
    if _validate.is_concrete(batches) and np.any(np.asarray(batches) < 2):
        raise ValueError(f"batches must be >= 2 to be shuffled, got {batches}: split the data into more")


_NEAR, _TERMS = 0.5, 14


def _by_series(m: Float[Array, "*batch"], kept: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """((1-x)^m - 1 + mx)/x² = Σ_{j≥2} C(m, j)(-x)^(j-2)."""
    total, term = jnp.zeros_like(m), m * (m - 1) / 2
    for j in range(2, 2 + _TERMS):
        total, term = total + term, -term * kept * (m - j) / (j + 1)
    return total


class ReshuffledLoss(eqx.Module):
    r"""$\tilde C$ of `reshuffled_loss`, which makes it; a loss like any other.

    **Arguments:** `loss`: function of (params, datum); `data`: the mini-batches; `full`, `noise`: weights of
    $|\nabla C|^2$ and of $\tfrac1m\sum|\nabla C_i - \nabla C|^2$.

    >>> import jax.numpy as jnp, momentumflow as mf
    >>> loss = mf.ReshuffledLoss(lambda u, x: (u - x) ** 2 / 2, jnp.array([-1.0, 1.0]), jnp.array(0.0), jnp.array(0.5))
    >>> float(loss(jnp.array(0.0)))
    1.0
    """

    loss: BatchLoss
    data: PyTree[Array]
    full: Float[Array, ""]
    noise: Float[Array, ""]

    def __call__(self, params: Params) -> Float[Array, ""]:
        values, gradients = jax.vmap(jax.value_and_grad(self.loss), (None, 0))(params, self.data)
        mean = jax.tree.map(lambda g: jnp.mean(g, 0), gradients)
        deviation = jax.tree.map(jnp.subtract, gradients, mean)
        spread = _tree.inner(deviation, deviation) / values.shape[0]
        return jnp.mean(values) + self.full * _tree.inner(mean, mean) + self.noise * spread


class Reshuffling(eqx.Module):
    """Turns a loss of (params, datum) into its `ReshuffledLoss`; made by `reshuffled_loss`."""

    data: PyTree[Array]
    full: Float[Array, ""]
    noise: Float[Array, ""]

    def __call__(self, loss: BatchLoss) -> ReshuffledLoss:
        return ReshuffledLoss(loss, self.data, self.full, self.noise)


def reshuffled_loss(
    method: AbstractLinearMemory, data: PyTree[ArrayLike], constant: ArrayLike | None = None
) -> Reshuffling:
    r"""The loss whose rescaled gradient flow is the mean path of momentum with a fresh permutation each epoch:

    $$\tilde C = C + \tfrac12hc\,|\nabla C|^2 + \frac{h\bar\lambda}4\,\kappa\,\frac1m\sum_i|\nabla C_i - \nabla C|^2,
      \qquad C = \frac1m\sum_iC_i,$$

    with c of (19) and $\kappa$ of `reshuffling_constant`; for heavy ball
    $\tfrac12hc = \tfrac{h\bar\lambda}4\tfrac{1+\lambda}{1-\lambda}$. Batches drawn
    independently instead leave no term in the noise: on quadratics the mean path is then exactly that
    of the mean loss.

    **Arguments:**

    - `method`: of the family (7).
    - `data`: the $m \ge 2$ mini-batches, a pytree of arrays with one leading axis.
    - `constant`: in place of κ, for comparison; 1 is the formula of Smith et al. with the effective learning rate.

    **Returns:** a function from a loss of (params, datum) to a `ReshuffledLoss`.

    **Raises:** `TypeError` or `ValueError` that names the requirement.

    Derived here; λ = 0 is Smith, Dherin, Barrett & De (2021), eq. (1).

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> data = {"a": jnp.array([1.0, 2.0]), "b": jnp.array([1.0, -1.0])}
        >>> loss = mf.reshuffled_loss(mf.heavy_ball(0.1, 0.5), data)(lambda u, x: (x["a"] * u - x["b"]) ** 2 / 2)
        >>> round(float(loss(jnp.array(0.5))), 6)
        1.648438
    """
    if not isinstance(method, MomentumMethod):
        raise TypeError(
            f"reshuffled_loss is stated for the family (7), got {type(method).__name__}: use heavy_ball or nesterov"
        )
    require_scalars(method)
    batches = as_batches(data, np.zeros(1, int))
    _require_two(batches.count)
    if constant is not None:
        _validate.finite("constant", constant, "leave it out for κ, or 1 for the formula without momentum")
    kappa = (
        reshuffling_constant(batches.count, method.momentum, method.lookahead)
        if constant is None
        else constant
    )
    h = method.learning_rate
    noise = jnp.asarray(h * method.amplification * kappa / 4, float)
    return Reshuffling(batches.data, jnp.asarray(h * method.regularization / 2, float), noise)
