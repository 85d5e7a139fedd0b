"""What is known of a loss: its minimiser, bounds on its derivatives, the range of its curvature."""

from abc import abstractmethod
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from .. import _validate
from .._types import Params


class Bounds(NamedTuple):
    r"""$B_{j-1} \ge \sup_{|u| \le R} \|D^j\Phi(u)\|$, j = 1, 2, 3, Euclidean operator norms.

    Kovachki & Stuart (2021), Assumption 1.

        >>> import momentumflow as mf
        >>> mf.Bounds(1.0, 2.0, 0.0).B1
        2.0
    """

    B0: ArrayLike
    B1: ArrayLike
    B2: ArrayLike


class CurvatureRange(NamedTuple):
    """Bounds on the smallest and the largest eigenvalue of the Hessian."""

    smallest: ArrayLike
    largest: ArrayLike


class AbstractProblem(eqx.Module):
    r"""A loss $\Phi(u)$, $u$ of shape `(dimension,)`, of which constants are known.

    Call it on params, of any floating dtype, for the loss in that dtype. Each problem's docstring says
    which of its bounds are sharp, that is attained or approached in the ball; the others are valid upper
    bounds. A new problem states `dimension`, `minimizer`, `_value`, `_bounds` and `_curvature`.

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> problem = mf.Cosine()
        >>> isinstance(problem, mf.AbstractProblem), float(problem(problem.minimizer))
        (True, 0.0)
    """

    dimension: eqx.AbstractVar[int]

    @property
    @abstractmethod
    def minimizer(self) -> Params | None:
        """A global minimiser; `None` where there is none."""

    @abstractmethod
    def _value(self, u: Float[Array, " d"]) -> Float[Array, ""]:
        """The loss; the constants have the dtype of u."""

    @abstractmethod
    def _bounds(self, radius: Float[Array, ""]) -> tuple[ArrayLike, ArrayLike, ArrayLike]:
        """B0, B1, B2 for a radius in [0, inf]."""

    @abstractmethod
    def _curvature(self, radius: Float[Array, ""]) -> tuple[ArrayLike, ArrayLike]:
        """Smallest and largest eigenvalue for a radius in [0, inf]."""

    def __call__(self, params: PyTree) -> Float[Array, ""]:
        u = self._checked(params)
        return jax.tree.map(lambda constant: jnp.asarray(constant, u.dtype), self)._value(u)

    def bounds(self, radius: ArrayLike) -> Bounds:
        r"""Bounds of Kovachki & Stuart (2021), Assumption 1, on the ball $|u| \le R$.

        **Arguments:** `radius` $R \ge 0$; `math.inf` for the whole space.

        **Returns:** `Bounds` with $B_{j-1} \ge \sup \|D^j\Phi\|$; infinite where there is no bound.

        **Raises:** `ValueError` for a radius that is negative or not a number.

            >>> import math, momentumflow as mf
            >>> [float(b) for b in mf.Cosine().bounds(math.inf)]
            [1.0, 1.0, 1.0]
        """
        return Bounds(*map(jnp.asarray, self._bounds(_ball(radius))))

    def curvature(self, radius: ArrayLike) -> CurvatureRange:
        r"""Enclosure of the eigenvalues of the Hessian on the ball $|u| \le R$.

        **Arguments:** `radius` $R \ge 0$; `math.inf` for the whole space.

        **Returns:** (smallest, largest).

        **Raises:** `ValueError` for a radius that is negative or not a number.

            >>> import momentumflow as mf
            >>> smallest, largest = mf.Quadratic([1.0, 20.0]).curvature(radius=3.0)
            >>> float(smallest), float(largest)
            (1.0, 20.0)
        """
        return CurvatureRange(*map(jnp.asarray, self._curvature(_ball(radius))))

    def _checked(self, params: PyTree) -> Float[Array, " d"]:
        name, shape = type(self).__name__, getattr(params, "shape", None)
        if shape != (self.dimension,):
            got = type(params).__name__ if shape is None else f"shape {shape}"
            raise ValueError(
                f"params of {name} must be an array of shape ({self.dimension},), got {got}: "
                "one number for each dimension of the problem"
            )
        if not jnp.issubdtype(params.dtype, jnp.floating):
            raise TypeError(
                f"params of {name} must be real floating point, got {params.dtype}: use params.astype(float)"
            )
        return jnp.asarray(params)


def scalar(x: ArrayLike) -> ArrayLike:
    """Converter of a problem's number: always an array, 0 too, so that no value ever retraces."""
    return _validate.scalar_field(float(x) if type(x) is int else x)


def is_vector(name: str, value: Array) -> None:
    """Raises unless the value is a non-empty vector of finite numbers."""
    if value.ndim != 1 or value.size == 0:
        raise ValueError(
            f"{name} must be a non-empty vector, got shape {value.shape}: "
            "one number for each dimension; for an ensemble use eqx.filter_vmap"
        )
    _validate.finite(name, value, "check for NaN or infinity")


def _ball(radius: ArrayLike) -> Float[Array, ""]:
    if _validate.is_concrete(radius) and not np.all(np.asarray(radius, float) >= 0):
        raise ValueError(
            f"radius must be >= 0, got {radius}: it is the radius of a ball around 0; "
            "math.inf is the whole space"
        )
    return jnp.asarray(radius, float)
