"""Two wells and a saddle in the plane."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _validate
from .problem import AbstractProblem, scalar


class DoubleWell(AbstractProblem):
    r"""$\Phi(u) = \tfrac14(u_1^2-1)^2 + \tfrac12u_2^2 + c\,u_1u_2$: two wells, a saddle at 0, coupled by c.

    The minimisers are $\pm(\sqrt{1+c^2}, -c\sqrt{1+c^2})$; `minimizer` is the one with $u_1 > 0$. On
    $|u| \le R$, with $m = \sqrt{1+c^2}$:

    - $B_0^2 = R^4\max(0, R^2-2) + \tfrac{3\sqrt3}8|c|R^4 + m^2R^2$: sharp for c = 0, else an upper bound
      (of $u_1^6 - 2u_1^4 + 2cu_1^3u_2 + m^2|u|^2$, term by term);
    - $B_1$ = the larger of $|k|$ over the curvatures, $B_2 = 6R$: sharp;
    - curvature from $-m$, at 0, to the larger eigenvalue of the Hessian at $(R, 0)$: sharp.

    **Arguments:** `coupling` $c$, finite.

    **Raises:** `ValueError` for a coupling that is not finite.

    !!! example

        >>> import momentumflow as mf
        >>> problem = mf.DoubleWell(coupling=0.75)
        >>> problem.minimizer.tolist(), round(float(problem(problem.minimizer)), 6)
        ([1.25, -0.9375], -0.360352)
        >>> float(problem.curvature(2.0).smallest), float(problem.bounds(2.0).B2)
        (-1.25, 12.0)
    """

    coupling: ArrayLike = eqx.field(converter=scalar, default=0.5)

    def __check_init__(self) -> None:
        _validate.finite("coupling", self.coupling, "0 leaves the two directions independent")

    @property
    def dimension(self) -> int:
        return 2

    @property
    def minimizer(self) -> Float[Array, "2"]:
        c = self.coupling
        return jnp.sqrt(1 + c**2) * jnp.stack([jnp.ones_like(c), -c])

    def _value(self, u: Float[Array, "2"]) -> Float[Array, ""]:
        return (u[0] ** 2 - 1) ** 2 / 4 + u[1] ** 2 / 2 + self.coupling * u[0] * u[1]

    def _bounds(self, radius: Float[Array, ""]) -> tuple:
        c, R = self.coupling, radius
        squared = R**4 * jnp.maximum(0, R**2 - 2) + 3 * 3**0.5 / 8 * jnp.abs(c) * R**4 + (1 + c**2) * R**2
        smallest, largest = self._curvature(R)
        steepest = jnp.where(jnp.isinf(R), jnp.inf, jnp.sqrt(squared))
        return steepest, jnp.maximum(-smallest, largest), 6 * R

    def _curvature(self, radius: Float[Array, ""]) -> tuple:
        c, first = self.coupling, 3 * radius**2 - 1
        return -jnp.hypot(1.0, c), (first + 1) / 2 + jnp.hypot((first - 1) / 2, c)
