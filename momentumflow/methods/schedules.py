"""Momentum that varies with the iteration: Nesterov's sequence (4)."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _validate
from .linear_memory import AbstractLinearMemory, Memory
from .momentum import family


class NesterovSequence(AbstractLinearMemory):
    r"""Nesterov's method with $\lambda_n = n/(n+3)$, $a = \lambda_n$, on the time scale $t_n = n\sqrt h$.

    **Arguments:** `learning_rate` $h > 0$.

    **Raises:** `ValueError` unless $h > 0$.

    Nesterov (1983); Kovachki & Stuart (2021), eq. (4).

    !!! example

        >>> import momentumflow as mf
        >>> mf.NesterovSequence(0.01).varies
        True
    """

    learning_rate: ArrayLike = eqx.field(converter=_validate.scalar_field)

    def __check_init__(self) -> None:
        _validate.positive("learning_rate", self.learning_rate, "the time step is its square root")

    def memory(self, n: ArrayLike) -> Memory:
        momentum = n / (n + 3)
        return family(momentum, momentum, self.learning_rate, self.time_step)

    @property
    def varies(self) -> bool:
        return True

    @property
    def time_step(self) -> ArrayLike:
        """t_n = n √h."""
        return jnp.sqrt(self.learning_rate)


def nesterov_sequence(learning_rate: ArrayLike) -> NesterovSequence:
    r"""Nesterov's method with the momentum (4), $\lambda_n = n/(n+3)$.

    **Arguments:** `learning_rate` $h > 0$; $t_n = n\sqrt h$.

    **Raises:** `ValueError` unless $h > 0$.

    Nesterov (1983); Kovachki & Stuart (2021), eq. (4).

        >>> import momentumflow as mf
        >>> mf.nesterov_sequence(0.01).rows
        2
    """
    return NesterovSequence(learning_rate)
