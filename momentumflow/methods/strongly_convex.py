"""Methods tuned to strong convexity μ, on the time scale t_n = n√h: (5) and Wilson's splitting (36)."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike

from .. import _validate
from .linear_memory import AbstractLinearMemory, Memory
from .momentum import family


def _check(learning_rate: ArrayLike, strong_convexity: ArrayLike, largest: float | None) -> None:
    _validate.positive("learning_rate", learning_rate, "the time step is its square root")
    _validate.positive("strong_convexity", strong_convexity, "it is a lower bound on the curvature")
    concrete = _validate.is_concrete(learning_rate) and _validate.is_concrete(strong_convexity)
    product = np.asarray(learning_rate) * np.asarray(strong_convexity) if concrete else np.nan
    if largest is not None and np.any(product > largest):
        raise ValueError(
            f"learning_rate * strong_convexity must be <= {largest:g}, got {product}: beyond it the momentum "
            "(1-√(μh))/(1+√(μh)) is negative; use a smaller learning rate"
        )


class StronglyConvexMomentum(AbstractLinearMemory):
    r"""The family (7) with the momentum (5), $\lambda = (1-\sqrt{\mu h})/(1+\sqrt{\mu h})$.

    **Arguments:**

    - `learning_rate`: $h > 0$, $\mu h \le 1$; time step $\sqrt h$ and $v_n = (u_n - u_{n-1})/\sqrt h$.
    - `strong_convexity`: $\mu > 0$.
    - `nesterov`: whether $a = \lambda$ (NAG-μ) or $a = 0$ (HB-μ).

    **Raises:** `ValueError` for values outside these ranges.

    !!! example

        >>> import momentumflow as mf
        >>> method = mf.StronglyConvexMomentum(0.01, 1.0, nesterov=True)
        >>> round(float(method.momentum), 6)
        0.818182
    """

    learning_rate: ArrayLike = eqx.field(converter=_validate.scalar_field)
    strong_convexity: ArrayLike = eqx.field(converter=_validate.scalar_field)
    nesterov: bool = eqx.field(static=True)

    def __check_init__(self) -> None:
        _check(self.learning_rate, self.strong_convexity, largest=1.0)

    def memory(self, n: ArrayLike) -> Memory:
        return family(self.momentum, self.lookahead, self.learning_rate, self.time_step)

    @property
    def time_step(self) -> ArrayLike:
        """t_n = n √h."""
        return jnp.sqrt(self.learning_rate)

    @property
    def momentum(self) -> ArrayLike:
        r"""$\lambda = (1-\sqrt{\mu h})/(1+\sqrt{\mu h})$."""
        root = jnp.sqrt(self.strong_convexity * self.learning_rate)
        return (1 - root) / (1 + root)

    @property
    def lookahead(self) -> ArrayLike:
        """λ for NAG-μ, 0 for HB-μ."""
        return self.momentum if self.nesterov else 0


class WilsonSplitting(AbstractLinearMemory):
    r"""The splitting of $\ddot u + 2\sqrt\mu\,\dot u + \nabla\Phi = 0$, Kovachki & Stuart (2021), eq. (36):

    $$u_{n+1} = u_n + \frac{1-e}{2\sqrt\mu}v_n, \qquad v_{n+1} = e\,v_n - \sqrt h\,\nabla\Phi(u_{n+1}),$$

    with $e = e^{-2\sqrt{\mu h}}$ as Appendix D derives it; (36) prints $e^{-2\sqrt\mu h}$.

    **Arguments:**

    - `learning_rate`: $h > 0$; time step $\sqrt h$.
    - `strong_convexity`: $\mu > 0$.
    - `printed`: use the exponent as printed, which does not converge to the ODE.

    **Raises:** `ValueError` for values outside these ranges.

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> method = mf.wilson_splitting(0.01, 1.0)
        >>> run = mf.iterate(method, lambda u: jnp.sum(u**2) / 2, jnp.ones(1), 100)
        >>> bool(abs(run.params[-1, 0]) < 1e-3)
        True
    """

    learning_rate: ArrayLike = eqx.field(converter=_validate.scalar_field)
    strong_convexity: ArrayLike = eqx.field(converter=_validate.scalar_field)
    printed: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        _check(self.learning_rate, self.strong_convexity, largest=None)

    def memory(self, n: ArrayLike) -> Memory:
        root_mu = jnp.sqrt(self.strong_convexity)
        span = self.learning_rate if self.printed else self.time_step
        advance = -jnp.expm1(-2 * root_mu * span) / (2 * root_mu)
        keep = jnp.exp(-2 * root_mu * span)
        return Memory(A=((1, advance), (0, keep)), b=(0, self.time_step), c=(1, advance))

    @property
    def time_step(self) -> ArrayLike:
        """t_n = n √h."""
        return jnp.sqrt(self.learning_rate)


def heavy_ball_strongly_convex(
    learning_rate: ArrayLike, strong_convexity: ArrayLike
) -> StronglyConvexMomentum:
    r"""HB-μ: heavy ball with the momentum (5), $\lambda = (1-\sqrt{\mu h})/(1+\sqrt{\mu h})$, $t_n = n\sqrt h$.

    **Arguments:** `learning_rate` $h > 0$, `strong_convexity` $\mu > 0$, $\mu h \le 1$.

    **Raises:** `ValueError` for values outside these ranges.

    Kovachki & Stuart (2021), eq. (5) and §5.

        >>> import momentumflow as mf
        >>> mf.heavy_ball_strongly_convex(0.01, 1.0).lookahead
        0
    """
    return StronglyConvexMomentum(learning_rate, strong_convexity, nesterov=False)


def nesterov_strongly_convex(learning_rate: ArrayLike, strong_convexity: ArrayLike) -> StronglyConvexMomentum:
    r"""NAG-μ: Nesterov with the momentum (5), $a = \lambda = (1-\sqrt{\mu h})/(1+\sqrt{\mu h})$, $t_n = n\sqrt h$.

    **Arguments:** `learning_rate` $h > 0$, `strong_convexity` $\mu > 0$, $\mu h \le 1$.

    **Raises:** `ValueError` for values outside these ranges.

    Kovachki & Stuart (2021), eq. (5) and §5.

        >>> import momentumflow as mf
        >>> round(float(mf.nesterov_strongly_convex(0.01, 1.0).lookahead), 6)
        0.818182
    """
    return StronglyConvexMomentum(learning_rate, strong_convexity, nesterov=True)


def wilson_splitting(
    learning_rate: ArrayLike, strong_convexity: ArrayLike, printed: bool = False
) -> WilsonSplitting:
    r"""The splitting (36) of the strongly convex ODE with time step $\sqrt h$.

    **Arguments:** `learning_rate` $h > 0$, `strong_convexity` $\mu > 0$, `printed`: the exponent
    $e^{-2\sqrt\mu h}$ of (36) as printed instead of $e^{-2\sqrt{\mu h}}$.

    **Raises:** `ValueError` for values outside these ranges.

    Kovachki & Stuart (2021), eq. (36) and Appendix D.

        >>> import momentumflow as mf
        >>> round(float(mf.wilson_splitting(0.04, 1.0).time_step), 6)
        0.2
    """
    return WilsonSplitting(learning_rate, strong_convexity, printed)
