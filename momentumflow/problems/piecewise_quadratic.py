"""The strongly convex loss on which the best heavy ball for quadratics cycles for ever."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .. import _validate
from .problem import AbstractProblem, scalar


class PiecewiseQuadratic(AbstractProblem):
    r"""$\Phi(u) = \sum_i \varphi(u_i)$, $\varphi$ once continuously differentiable with
    curvature L outside and μ inside $[1, 2)$:

    $$\varphi'(x) = \begin{cases} Lx & x < 1\\ \mu x + L - \mu & 1 \le x < 2\\ Lx - L + \mu & x \ge 2
    \end{cases}$$

    For μ = 1, L = 25: 25x, x + 24, 25x - 24. Heavy ball with the step 1/9 and the momentum 4/9, the best
    for quadratics with this spectrum, has an attracting cycle of three points on it. The only minimiser is
    0. On $|u| \le R$: $B_0 = LR$, $B_1 = L$, curvature from L (μ if $R \ge 1$) to L, $B_2 = 0$ for
    $R < 1$ and infinite beyond, since $\varphi''$ jumps; all sharp.

    **Arguments:**

    - `strong_convexity`: $\mu > 0$.
    - `smoothness`: $L > \mu$.
    - `dimension`: d ≥ 1.

    **Raises:** `ValueError` for values outside these ranges.

    Lessard, Recht & Packard (2016), SIAM J. Optim. 26(1), the counterexample for heavy ball.

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> method = mf.heavy_ball(1 / 9, 4 / 9)
        >>> run = mf.iterate(method, mf.PiecewiseQuadratic(), jnp.array([3.3]), 302)
        >>> sorted((run.params[-3:, 0] * 1225).round(3).tolist())
        [-2208.0, 792.0, 2592.0]
    """

    strong_convexity: ArrayLike = eqx.field(converter=scalar, default=1.0)
    smoothness: ArrayLike = eqx.field(converter=scalar, default=25.0)
    dimension: int = eqx.field(static=True, default=1, converter=lambda d: _validate.count("dimension", d))

    def __check_init__(self) -> None:
        mu, L = self.strong_convexity, self.smoothness
        _validate.positive("strong_convexity", mu, "it is the smaller curvature")
        _validate.positive("smoothness", L, "it is the larger curvature")
        concrete = _validate.is_concrete(mu) and _validate.is_concrete(L)
        if concrete and not np.all(np.asarray(mu) < np.asarray(L)):
            raise ValueError(
                f"smoothness must be > strong_convexity, got {L} and {mu}: they are the larger and the "
                "smaller curvature; for one curvature use Quadratic"
            )

    @property
    def minimizer(self) -> Float[Array, " d"]:
        return jnp.zeros(self.dimension)

    def _value(self, u: Float[Array, " d"]) -> Float[Array, ""]:
        L, gap = self.smoothness, self.smoothness - self.strong_convexity
        outer = L * u**2 / 2
        middle = outer - gap * (u - 1) ** 2 / 2
        return jnp.sum(jnp.where(u < 1, outer, jnp.where(u < 2, middle, outer - gap * (u - 1.5))))

    def _bounds(self, radius: Float[Array, ""]) -> tuple:
        return self.smoothness * radius, self.smoothness, jnp.where(radius < 1, 0, jnp.inf)

    def _curvature(self, radius: Float[Array, ""]) -> tuple:
        return jnp.where(radius < 1, self.smoothness, self.strong_convexity), self.smoothness
