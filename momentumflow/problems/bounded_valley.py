"""Rosenbrock's curved valley under a logarithm, so that all derivatives are bounded."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _validate
from .problem import AbstractProblem, scalar


class BoundedValley(AbstractProblem):
    r"""$\Phi(u) = \log\big(1 + (1-u_1)^2 + b(u_2-u_1^2)^2\big)$: not convex, derivatives globally bounded.

    The only minimiser is (1, 1). With $z = (1-u_1, \sqrt b(u_2-u_1^2))$, $s = 1+|z|^2$, its Jacobian J,
    $\|J\|^2 \le 1+b+4bu_1^2$ and $|u_1| \le \min(R, 1+|z_1|)$, on $|u| \le R$:

    - $B_0 = \min\big(\sqrt{1+b+4bR^2},\ \sqrt{b + (\tfrac12+\sqrt{\tfrac14+8b})^2}\big)$;
    - $B_1 = 2\kappa^2 + 2\sqrt b$, $B_2 = 4\kappa^3 + 12\sqrt b\,\kappa$ with
      $\kappa^2 = \min\big(1+b+4bR^2,\ \tfrac{1+9b}2 + \sqrt{\tfrac{(1+b)^2}4+16b^2}\big) \ge \|J\|^2/s$;
    - curvature from $-\tfrac12B_0^2 - 2\sqrt b$ to $B_1$.

    Upper bounds, not sharp: for b = 5 and $R = \infty$, 2, 6 and 60 per cent above the supremum; the
    smallest curvature is -10.9, its bound -30.4.

    **Arguments:** `steepness` $b > 0$ of the valley's walls.

    **Raises:** `ValueError` unless b > 0.

    After Rosenbrock (1960).

    !!! example

        >>> import math, jax.numpy as jnp, momentumflow as mf
        >>> problem = mf.BoundedValley()
        >>> round(float(problem(jnp.array([-1.0, 1.0]))), 6)
        1.609438
        >>> [round(float(b), 2) for b in problem.bounds(math.inf)]
        [7.2, 90.92, 1313.11]
    """

    steepness: ArrayLike = eqx.field(converter=scalar, default=5.0)

    def __check_init__(self) -> None:
        _validate.positive("steepness", self.steepness, "100 is Rosenbrock's choice")

    @property
    def dimension(self) -> int:
        return 2

    @property
    def minimizer(self) -> Float[Array, "2"]:
        return jnp.ones(2)

    def _value(self, u: Float[Array, "2"]) -> Float[Array, ""]:
        return jnp.log1p((1 - u[0]) ** 2 + self.steepness * (u[1] - u[0] ** 2) ** 2)

    def _bounds(self, radius: Float[Array, ""]) -> tuple:
        b = self.steepness
        root, jacobian = jnp.sqrt(b), 1 + b + 4 * b * radius**2
        far = b + (0.5 + jnp.sqrt(0.25 + 8 * b)) ** 2
        kappa = jnp.sqrt(jnp.minimum(jacobian, (1 + 9 * b) / 2 + jnp.hypot((1 + b) / 2, 4 * b)))
        return (
            jnp.sqrt(jnp.minimum(jacobian, far)),
            2 * kappa**2 + 2 * root,
            4 * kappa**3 + 12 * root * kappa,
        )

    def _curvature(self, radius: Float[Array, ""]) -> tuple:
        # ∇²Φ = (2/s)Jᵀ(I - 2zzᵀ/s)J + (2/s)z·D²z, and JᵀJ ⪰ Jᵀz(Jᵀz)ᵀ/|z|² leaves -½∇Φ∇Φᵀ of the first
        B0, B1, _ = self._bounds(radius)
        return -(B0**2) / 2 - 2 * jnp.sqrt(self.steepness), B1
