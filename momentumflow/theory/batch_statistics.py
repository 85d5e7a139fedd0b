"""Momentum on independent mini-batches: variance of the averaged gradient, of the iterates, and the regulariser."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .. import _validate
from ..methods.linear_memory import AbstractLinearMemory, require_scalars
from ..methods.momentum import MomentumMethod


def gradient_variance(momentum: ArrayLike, averaged: bool = True) -> Float[Array, "*batch"]:
    r"""By how much momentum changes the covariance of a gradient, for independent batches and $k \to \infty$:

    $$\operatorname{Cov}\big((1-\lambda)\nabla G_k\big) = \frac{1-\lambda}{1+\lambda}\operatorname{Cov}(\nabla E_k),
      \qquad \operatorname{Cov}(\nabla G_k) = \frac{1}{1-\lambda^2}\operatorname{Cov}(\nabla E_k).$$

    **Arguments:** `momentum` $\lambda \in [0, 1)$; `averaged`: of the average $(1-\lambda)G_k$, else of the sum $G_k$.

    **Returns:** the factor, of the shape of `momentum`. **Raises:** `ValueError` for λ outside [0, 1).

    Ghosh et al. (2023), Remarks, Obs-1, which states the first for $G_k$.

        >>> import momentumflow as mf
        >>> round(float(mf.gradient_variance(0.6)), 6), round(float(mf.gradient_variance(0.6, averaged=False)), 6)
        (0.25, 1.5625)
    """
    _validate.momentum_factor("momentum", momentum)
    lam = jnp.asarray(momentum, float)
    return (1 - lam) / (1 + lam) if averaged else 1 / (1 - lam**2)


class ExpectedRegularizer(NamedTuple):
    """The two terms of `expected_regularizer`: of the mean gradient, and of the noise.

    >>> import momentumflow as mf
    >>> [round(float(x), 6) for x in mf.ExpectedRegularizer(*mf.expected_regularizer(0.5, 1.0, 0.0))]
    [12.0, 0.0]
    """

    mean: Float[Array, "*batch"]
    noise: Float[Array, "*batch"]

    @property
    def total(self) -> Float[Array, "*batch"]:
        """Their sum."""
        return self.mean + self.noise


def expected_regularizer(
    momentum: ArrayLike, mean_square: ArrayLike, noise_trace: ArrayLike
) -> ExpectedRegularizer:
    r"""What heavy ball's regulariser on independent batches is on average, for $k \to \infty$ and without the $h/4$:

    $$\mathbb E\Big[|\nabla G_k|^2 + 2\sum_{r<k}\lambda^{k-r}|\nabla G_r|^2\Big]
      = \frac{1+\lambda}{(1-\lambda)^3}|g|^2 + \frac{\operatorname{tr}\Sigma}{(1-\lambda)^2}.$$

    Times $1-\lambda$, which scales $G_k$ to E, it is $1/(1-\lambda)$ times $|g|^2 + \operatorname{tr}\Sigma$ only where
    $g = 0$. At equal effective learning rate $h_e$ it is
    $\tfrac{h_e}4\big(\tfrac{1+\lambda}{1-\lambda}|g|^2 + \operatorname{tr}\Sigma\big)$: momentum does not amplify the
    noise's part.
    (This average is no drift of the mean path: see `momentumflow.reshuffling_constant`.)

    **Arguments:** `momentum` $\lambda \in [0, 1)$; `mean_square` $|g|^2 \ge 0$ and `noise_trace`
    $\operatorname{tr}\Sigma \ge 0$ of the batch gradients.

    **Returns:** both terms, and their `total`. **Raises:** `ValueError` for values outside these ranges.

    Ghosh et al. (2023), Remarks, Obs-2, which prints $1/(1-\lambda)$ throughout.

        >>> import momentumflow as mf
        >>> [round(float(x), 6) for x in mf.expected_regularizer(0.5, mean_square=1.0, noise_trace=1.0)]
        [12.0, 4.0]
    """
    _validate.momentum_factor("momentum", momentum)
    _validate.non_negative("mean_square", mean_square, "it is the square of the mean gradient")
    _validate.non_negative("noise_trace", noise_trace, "it is the trace of a covariance")
    kept = 1 - jnp.asarray(momentum, float)
    square, trace = jnp.asarray(mean_square), jnp.asarray(noise_trace)
    return ExpectedRegularizer((2 - kept) / kept**3 * square, trace / kept**2)


def stationary_variance(
    method: AbstractLinearMemory, curvature: ArrayLike, noise_variance: ArrayLike
) -> Float[Array, "*batch"]:
    r"""Variance of the iterates in the end, on $\tfrac12ku^2$ with independent noise $\xi$ in every gradient:

    $$\operatorname{Var}u_\infty = \frac{h\sigma^2\,(1+\lambda-hka)}
      {k\,(1-\lambda+hka)\,\big(2(1+\lambda)-hk(1+2a)\big)}.$$

    For heavy ball that is $h_e\sigma^2/\big(k(2 - \tfrac{1-\lambda}{1+\lambda}h_ek)\big)$ with $h_e = h/(1-\lambda)$,
    against $h_e\sigma^2/(k(2 - h_ek))$ for gradient descent with step $h_e$: equal but for $O(h_ek)$ of it, as Wang
    et al. (2024) have it.

    **Arguments:** `method` of the family (7); `curvature` $k > 0$; `noise_variance` $\sigma^2 \ge 0$ of one gradient.

    **Returns:** the variance; infinite where the method is unstable, $hk \ge 2(1+\lambda)/(1+2a)$.

    **Raises:** `TypeError` for another method, `ValueError` for values outside these ranges.

    $u_{n+1} = (1+\lambda-hk(1+a))u_n - (\lambda-hka)u_{n-1} + h\xi_n$ is an autoregression of order 2. Derived here.

        >>> import momentumflow as mf
        >>> [round(float(mf.stationary_variance(m, 1.0, 1.0)), 6)
        ...  for m in (mf.gradient_descent(0.5), mf.heavy_ball(0.25, 0.5), mf.nesterov(0.25, 0.5))]
        [0.333333, 0.272727, 0.22]
    """
    if not isinstance(method, MomentumMethod):
        raise TypeError(
            f"stationary_variance is stated for the family (7), got {type(method).__name__}: use heavy_ball or nesterov"
        )
    require_scalars(method)
    _validate.positive("curvature", curvature, "without it the variance grows for ever")
    _validate.non_negative("noise_variance", noise_variance, "it is the variance of one gradient's noise")
    k = jnp.asarray(curvature, float)
    h, lam, a = method.learning_rate, method.momentum, method.lookahead
    q = h * k
    room = 2 * (1 + lam) - q * (1 + 2 * a)
    variance = h * noise_variance * (1 + lam - q * a) / (k * (1 - lam + q * a) * jnp.where(room > 0, room, 1))
    return jnp.where(room > 0, variance, np.inf)
