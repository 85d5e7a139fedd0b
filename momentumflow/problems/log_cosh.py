"""Log-cosh: convex, quadratic near 0, linear far away, every derivative bounded."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import _validate
from .problem import AbstractProblem, is_vector


@jax.custom_jvp
def log_cosh(x: Float[Array, "..."]) -> Float[Array, "..."]:
    r"""$\log\cosh x$ without overflow, to full relative accuracy at small x too.

    Its derivative is given as tanh, so that nested derivatives stay polynomials in tanh: a sum of
    |x| and an exponential would have none at 0.
    """
    near = jnp.abs(x) < 1
    inner = jnp.log1p(jnp.sinh(jnp.where(near, x, 0)) ** 2) / 2
    outer = jnp.abs(x) + jnp.log1p(jnp.exp(-2 * jnp.abs(x))) - math.log(2)
    return jnp.where(near, inner, outer)


@log_cosh.defjvp
def _log_cosh_jvp(primals: tuple, tangents: tuple) -> tuple:
    (x,), (dx,) = primals, tangents
    return log_cosh(x), jnp.tanh(x) * dx


class LogCosh(AbstractProblem):
    r"""$\Phi(u) = \sum_i \log\cosh(s_i u_i)$: convex, with globally bounded derivatives.

    On $|u| \le R$, with $S = \max s_i$, $x_i = \min(s_i R, \operatorname{artanh}\tfrac1{\sqrt3})$:

    - $B_0 = \min\big(|(s_i\tanh s_iR)_i|,\ \sqrt d\,S\tanh(SR/\sqrt d)\big)$: sharp for $R = \infty$,
      for $d = 1$ and for equal scales, else an upper bound (t ↦ tanh²√t is concave);
    - $B_1 = S^2$ and $B_2 = \max_i 2s_i^3\tanh x_i\operatorname{sech}^2 x_i$ (globally
      $4S^3/(3\sqrt3)$): sharp;
    - curvature from $\min_i s_i^2\operatorname{sech}^2(s_iR)$ to $S^2$: sharp.

    The only minimiser is 0.

    **Arguments:** `scales` $s$, shape `(d,)`, finite and > 0.

    **Raises:** `ValueError` for another shape or range.

    !!! example

        >>> import math, jax, jax.numpy as jnp, momentumflow as mf
        >>> problem = mf.LogCosh([1.0, 2.0])
        >>> jax.grad(problem)(jnp.array([1000.0, -1000.0])).tolist()
        [1.0, -2.0]
        >>> [round(float(b), 6) for b in problem.bounds(math.inf)]
        [2.236068, 4.0, 6.158403]
    """

    scales: Float[Array, " d"] = eqx.field(converter=_validate.array_field)

    def __check_init__(self) -> None:
        is_vector("scales", self.scales)
        _validate.positive("scales", self.scales, "a scale is the root of the curvature at 0")

    @property
    def dimension(self) -> int:
        return self.scales.shape[-1]

    @property
    def minimizer(self) -> Float[Array, " d"]:
        return jnp.zeros_like(self.scales)

    def _value(self, u: Float[Array, " d"]) -> Float[Array, ""]:
        return jnp.sum(log_cosh(self.scales * u))

    def _bounds(self, radius: Float[Array, ""]) -> tuple:
        s, root = self.scales, self.dimension**0.5
        S = jnp.max(s)
        separate = jnp.linalg.norm(s * jnp.tanh(s * radius))
        together = root * S * jnp.tanh(S * radius / root)
        x = jnp.minimum(s * radius, jnp.arctanh(3**-0.5))
        third = jnp.max(2 * s**3 * jnp.tanh(x) / jnp.cosh(x) ** 2)
        return jnp.minimum(separate, together), S**2, third

    def _curvature(self, radius: Float[Array, ""]) -> tuple:
        s = self.scales
        return jnp.min((s / jnp.cosh(s * radius)) ** 2), jnp.max(s) ** 2
