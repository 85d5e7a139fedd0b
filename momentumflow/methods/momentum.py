"""The family (7) with fixed momentum: gradient descent, heavy ball, Nesterov, and (35)."""

import equinox as eqx
from jaxtyping import ArrayLike

from .. import _validate
from .linear_memory import AbstractLinearMemory, Memory

_STEP = "a learning rate below 2(1+λ)/((1+2a)·sharpness) is stable"


def family(
    momentum: ArrayLike, lookahead: ArrayLike, learning_rate: ArrayLike, time_step: ArrayLike
) -> Memory:
    """A, b, c of (15) on (u, v) with v_n = (u_n - u_{n-1})/Δt; Δt = h for fixed momentum."""
    h, dt, lam, a = learning_rate, time_step, momentum, lookahead
    query = 0 if isinstance(a, int) and a == 0 else dt * a
    push = 1 if dt is h else h / dt
    return Memory(A=((1, dt * lam), (0, lam)), b=(h, push), c=(1, query), stride=dt)


class MomentumMethod(AbstractLinearMemory):
    r"""The family (7) of Kovachki & Stuart (2021), in the one-step form (15):

    $$u_{n+1} = u_n + h\lambda v_n + h f(u_n + h a v_n), \qquad v_{n+1} = \lambda v_n + f(u_n + h a v_n).$$

    **Arguments:**

    - `learning_rate`: step size $h > 0$.
    - `momentum`: momentum factor $\lambda \in [0, 1)$.
    - `lookahead`: $a \ge 0$; 0 is heavy ball (9), $\lambda$ is Nesterov (10).

    **Raises:** `ValueError` for values outside these ranges.

    !!! example

        >>> import momentumflow as mf
        >>> method = mf.MomentumMethod(0.1, 0.9, 0.9)
        >>> round(float(method.amplification), 6), round(float(method.inertia), 6)
        (10.0, 0.86)
    """

    learning_rate: ArrayLike = eqx.field(converter=_validate.scalar_field)
    momentum: ArrayLike = eqx.field(converter=_validate.scalar_field)
    lookahead: ArrayLike = eqx.field(converter=_validate.scalar_field)

    def __check_init__(self) -> None:
        _validate.positive("learning_rate", self.learning_rate, _STEP)
        _validate.momentum_factor("momentum", self.momentum)
        _validate.non_negative("lookahead", self.lookahead, "0 is heavy ball, the momentum is Nesterov")

    def memory(self, n: ArrayLike) -> Memory:
        return family(self.momentum, self.lookahead, self.learning_rate, self.learning_rate)

    @property
    def time_step(self) -> ArrayLike:
        """t_n = n h."""
        return self.learning_rate

    @property
    def amplification(self) -> ArrayLike:
        r"""$\bar\lambda = 1/(1-\lambda)$; the effective learning rate is $h\bar\lambda$."""
        return 1 / (1 - self.momentum)

    @property
    def inertia(self) -> ArrayLike:
        r"""$\alpha = \tfrac12(1+\lambda-2a(1-\lambda))$ of Kovachki & Stuart (2021), Theorem 3."""
        return (1 + self.momentum - 2 * self.lookahead * (1 - self.momentum)) / 2

    @property
    def regularization(self) -> ArrayLike:
        r"""$c = \bar\lambda(\bar\lambda - a - \tfrac12) = \alpha\bar\lambda^2$ of (19), with the sign corrected."""
        return self.amplification * (self.amplification - self.lookahead - 0.5)


class RescaledGradientDescent(AbstractLinearMemory):
    r"""Gradient descent with momentum's effective learning rate, Kovachki & Stuart (2021), eq. (35):

    $$u_{n+1} = u_n + \frac{h}{1-\lambda} f(u_n), \qquad t_n = nh.$$

    **Arguments:** `learning_rate` $h > 0$, `momentum` $\lambda \in [0, 1)$ (only rescales).

    **Raises:** `ValueError` for values outside these ranges.

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> method = mf.rescaled_gradient_descent(0.01, 0.9)
        >>> run = mf.iterate(method, lambda u: jnp.sum(u**2) / 2, jnp.ones(1), 1)
        >>> round(float(run.params[-1, 0]), 6)
        0.9
    """

    learning_rate: ArrayLike = eqx.field(converter=_validate.scalar_field)
    momentum: ArrayLike = eqx.field(converter=_validate.scalar_field)

    def __check_init__(self) -> None:
        _validate.positive("learning_rate", self.learning_rate, "learning_rate/(1-momentum) is the step")
        _validate.momentum_factor("momentum", self.momentum)

    def memory(self, n: ArrayLike) -> Memory:
        return Memory(A=((1,),), b=(self.learning_rate * self.amplification,), c=(1,))

    @property
    def time_step(self) -> ArrayLike:
        """t_n = n h, as for the momentum methods that it stands in for."""
        return self.learning_rate

    @property
    def amplification(self) -> ArrayLike:
        r"""$\bar\lambda = 1/(1-\lambda)$."""
        return 1 / (1 - self.momentum)


def momentum_method(learning_rate: ArrayLike, momentum: ArrayLike, lookahead: ArrayLike) -> MomentumMethod:
    r"""The family (7), $u_{n+1} = u_n + \lambda(u_n - u_{n-1}) + h f(u_n + a(u_n - u_{n-1}))$.

    **Arguments:** `learning_rate` $h > 0$, `momentum` $\lambda \in [0, 1)$, `lookahead` $a \ge 0$.

    **Raises:** `ValueError` for values outside these ranges.

    Kovachki & Stuart (2021), eq. (7).

        >>> import momentumflow as mf
        >>> float(mf.momentum_method(0.5, 0.5, 0.25).lookahead)
        0.25
    """
    return MomentumMethod(learning_rate, momentum, lookahead)


def gradient_descent(learning_rate: ArrayLike) -> MomentumMethod:
    r"""Gradient descent $u_{n+1} = u_n + h f(u_n)$: the family (7) with $\lambda = a = 0$.

    **Arguments:** `learning_rate` $h > 0$.

    **Raises:** `ValueError` unless $h > 0$.

    Kovachki & Stuart (2021), eq. (6).

        >>> import momentumflow as mf
        >>> mf.gradient_descent(0.1).momentum
        0
    """
    return MomentumMethod(learning_rate, 0, 0)


def heavy_ball(learning_rate: ArrayLike, momentum: ArrayLike) -> MomentumMethod:
    r"""Heavy ball $u_{n+1} = u_n + \lambda(u_n - u_{n-1}) + h f(u_n)$: $a = 0$.

    **Arguments:** `learning_rate` $h > 0$, `momentum` $\lambda \in [0, 1)$.

    **Raises:** `ValueError` for values outside these ranges.

    Polyak (1964); Kovachki & Stuart (2021), eq. (9).

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> run = mf.iterate(mf.heavy_ball(0.1, 0.9), lambda u: jnp.sum(u**2) / 2, jnp.ones(1), 2)
        >>> run.params[:, 0].round(3).tolist()
        [1.0, 0.9, 0.72]
    """
    return MomentumMethod(learning_rate, momentum, 0)


def nesterov(learning_rate: ArrayLike, momentum: ArrayLike) -> MomentumMethod:
    r"""Nesterov's method with fixed momentum: $a = \lambda$,
    $u_{n+1} = u_n + \lambda(u_n - u_{n-1}) + h f(u_n + \lambda(u_n - u_{n-1}))$.

    **Arguments:** `learning_rate` $h > 0$, `momentum` $\lambda \in [0, 1)$.

    **Raises:** `ValueError` for values outside these ranges.

    Nesterov (1983); Kovachki & Stuart (2021), eq. (10).

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> run = mf.iterate(mf.nesterov(0.1, 0.9), lambda u: jnp.sum(u**2) / 2, jnp.ones(1), 2)
        >>> run.params[:, 0].round(3).tolist()
        [1.0, 0.9, 0.729]
    """
    return MomentumMethod(learning_rate, momentum, momentum)


def rescaled_gradient_descent(learning_rate: ArrayLike, momentum: ArrayLike) -> RescaledGradientDescent:
    r"""Gradient descent with step $h/(1-\lambda)$, "GF" of Kovachki & Stuart (2021), eq. (35).

    **Arguments:** `learning_rate` $h > 0$, `momentum` $\lambda \in [0, 1)$.

    **Raises:** `ValueError` for values outside these ranges.

        >>> import momentumflow as mf
        >>> round(float(mf.rescaled_gradient_descent(0.1, 0.9).amplification), 6)
        10.0
    """
    return RescaledGradientDescent(learning_rate, momentum)
