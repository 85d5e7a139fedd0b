"""The cosine potential: B₀ = B₁ = B₂ = 1."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import _validate
from .problem import AbstractProblem


class Cosine(AbstractProblem):
    r"""$\Phi(u) = \sum_{i\le d} (1-\cos u_i)$: in one dimension $B_0 = B_1 = B_2 = 1$ globally.

    It violates Theorem 5 of Kovachki & Stuart (2021) as printed, although it meets every assumption. On
    $|u| \le R$: $B_0 = \sqrt d\sin\min(R/\sqrt d, \pi/2)$ (t ↦ sin²√t is concave up to there), $B_1 = 1$,
    $B_2 = \sin\min(R, \pi/2)$, curvature from $\cos\min(R, \pi)$ to 1; all sharp. `minimizer` is 0; the
    minimisers are $2\pi\mathbb Z^d$.

    **Arguments:** `dimension` d ≥ 1.

    **Raises:** `ValueError` for another dimension.

    !!! example

        >>> import math, jax.numpy as jnp, momentumflow as mf
        >>> problem = mf.Cosine()
        >>> round(float(problem(jnp.array([math.pi]))), 6)
        2.0
        >>> [float(k) for k in problem.curvature(math.inf)]
        [-1.0, 1.0]
    """

    dimension: int = eqx.field(static=True, default=1, converter=lambda d: _validate.count("dimension", d))

    @property
    def minimizer(self) -> Float[Array, " d"]:
        return jnp.zeros(self.dimension)

    def _value(self, u: Float[Array, " d"]) -> Float[Array, ""]:
        return 2 * jnp.sum(jnp.sin(u / 2) ** 2)

    def _bounds(self, radius: Float[Array, ""]) -> tuple:
        root = self.dimension**0.5
        return (
            root * jnp.sin(jnp.minimum(radius / root, jnp.pi / 2)),
            1.0,
            jnp.sin(jnp.minimum(radius, jnp.pi / 2)),
        )

    def _curvature(self, radius: Float[Array, ""]) -> tuple:
        return jnp.cos(jnp.minimum(radius, jnp.pi)), 1.0
