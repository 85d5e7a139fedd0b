"""Two weights in a row: a valley of minimisers of every sharpness."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from .. import _validate
from .problem import AbstractProblem, scalar


class ProductLoss(AbstractProblem):
    r"""$\Phi(w) = \tfrac12(y - w_1w_2x)^2$: a linear network of two weights on one datum.

    The minimisers are the hyperbola $w_1w_2 = y/x$; `minimizer` is its flattest point, nearest to 0 with
    $w_1 \ge 0$. On $|w| \le R$: $B_0 = |x|R(|y| + \tfrac12|x|R^2)$,
    $B_1 = \tfrac32x^2R^2 + |xy|$, $B_2 = 3x^2R$, curvature from $-(\tfrac12x^2R^2 + |xy|)$ to $B_1$; all
    sharp.

    **Arguments:** the datum: `x`, finite and not 0; `y`, finite.

    **Raises:** `ValueError` for values outside these ranges.

    Ghosh et al. (2023), the two-parameter experiment, with x = 1, y = 0.6.

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> problem = mf.ProductLoss(x=1.0, y=0.6)
        >>> round(float(problem.sharpness(problem.minimizer)), 6)
        1.2
        >>> round(float(problem(jnp.array([2.8, 3.4]))), 4)
        39.7832
    """

    x: ArrayLike = eqx.field(converter=scalar)
    y: ArrayLike = eqx.field(converter=scalar)

    def __check_init__(self) -> None:
        _validate.finite("x", self.x, "it is the input of the datum")
        _validate.finite("y", self.y, "it is the target of the datum")
        if _validate.is_concrete(self.x) and np.any(np.asarray(self.x) == 0):
            raise ValueError("x must not be 0, got 0.0: without an input the weights have no effect")

    @property
    def dimension(self) -> int:
        return 2

    @property
    def minimizer(self) -> Float[Array, "2"]:
        product = self.y / self.x
        root = jnp.sqrt(jnp.abs(product))
        return jnp.stack([root, jnp.copysign(root, product)])

    def sharpness(self, params: PyTree) -> Float[Array, ""]:
        r"""$x^2(w_1^2+w_2^2)$, the trace of the Hessian; at a minimiser its largest eigenvalue.

        **Arguments:** `params` $w$, shape `(2,)`. **Raises:** `ValueError` for another shape.

            >>> import jax.numpy as jnp, momentumflow as mf
            >>> float(mf.ProductLoss(1.0, 0.5).sharpness(jnp.array([0.25, 2.0])))
            4.0625
        """
        return jnp.square(self.x) * jnp.sum(self._checked(params) ** 2)

    def _value(self, u: Float[Array, "2"]) -> Float[Array, ""]:
        return jnp.square(self.y - u[0] * u[1] * self.x) / 2

    def _bounds(self, radius: Float[Array, ""]) -> tuple:
        x, y, R = jnp.abs(self.x), jnp.abs(self.y), radius
        return x * R * (y + x * R**2 / 2), self._curvature(R)[1], 3 * x**2 * R

    def _curvature(self, radius: Float[Array, ""]) -> tuple:
        half, offset = (self.x * radius) ** 2 / 2, jnp.abs(self.x * self.y)
        return -(half + offset), 3 * half + offset
