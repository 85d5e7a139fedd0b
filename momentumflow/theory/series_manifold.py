"""Graphs v = w(u) that a method is attracted to, and the invariant manifold by its series."""

from abc import abstractmethod

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .. import _tree, _validate
from .._types import Loss, Params, VectorField, descent_field
from ..expansion.coefficients import manifold_of
from ..expansion.differentials import combine
from ..expansion.trees import Tree, order, up_to
from ..flows.model import linear_memory_only
from ..methods.linear_memory import AbstractLinearMemory, require_scalars

HIGHEST = 12
"""Order of a series; its coefficients take seconds."""


class AbstractManifold(eqx.Module):
    r"""A graph $v = w(u)$ that a method is attracted to.

    >>> import momentumflow as mf
    >>> issubclass(mf.InvariantManifold, mf.AbstractManifold)
    True
    """

    method: eqx.AbstractVar[AbstractLinearMemory]
    loss: eqx.AbstractVar[Loss | VectorField]

    @abstractmethod
    def velocity(self, params: Params) -> Params:
        """w(u), a pytree like `params`."""

    def distance(self, params: Params, velocity: Params) -> Float[Array, ""]:
        r"""$e_n = |v_n - w(u_n)|$, the Euclidean norm over all leaves. Kovachki & Stuart (2021), eq. (34).

        **Arguments:** `params` $u_n$, `velocity` $v_n$: pytrees alike; `jax.vmap` maps over a trajectory.
        """
        _validate.same_shapes("velocity", velocity, params, "params")
        return _tree.norm(_tree.linear((1, -1), (velocity, self.velocity(params))))


class SeriesManifold(AbstractManifold):
    r"""The invariant manifold cut after $h^{p-1}$: $w = \bar\lambda f + hg_1 + \dots + h^{p-1}g_{p-1}$, error $O(h^p)$.

    Order 2 is the leading order $g$ of Kovachki & Stuart (2021), (31)-(33); the coefficients of any order are
    those of `momentumflow.manifold_expansion`.

    **Arguments:** `method` with fixed momentum (any linear-memory method with a velocity); `loss`, or a
    `VectorField`; `order` p from 1 to 12.

    **Raises:** `TypeError` or `ValueError` for another method or order.

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> leading = mf.SeriesManifold(mf.heavy_ball(0.01, 0.5), lambda u: jnp.sum(u**2) / 2, order=2)
        >>> round(float(leading.velocity(jnp.ones(1))[0]), 6)  # -2 - 0.01*4*2
        -2.08
        >>> round(float(leading.distance(jnp.ones(1), jnp.zeros(1))), 6)
        2.08
    """

    method: AbstractLinearMemory = eqx.field(converter=linear_memory_only("SeriesManifold"))
    loss: Loss | VectorField
    order: int = eqx.field(static=True, default=2)

    def __check_init__(self) -> None:
        graph_order(self.order)
        if self.method.rows < 2:
            raise ValueError(
                f"{type(self.method).__name__} has no velocity and so no manifold: use a method with momentum"
            )

    def velocity(self, params: Params) -> Params:
        r"""$w_p(u)$ by `order` - 1 nested forward derivatives of f. **Arguments:** `params`."""
        return _velocity(
            self.loss, _validate.as_params(params), graph_series(self.method, self.order), self.order
        )

    def coefficients(self) -> dict[Tree, ArrayLike]:
        """Of the elementary differentials, powers of the time step included."""
        return dict(zip(up_to(self.order), graph_series(self.method, self.order), strict=True))


def graph_order(order: int) -> int:
    """Raises unless there is a series of this order."""
    if _validate.count("order", order) > HIGHEST:
        raise ValueError(f"order must be <= {HIGHEST}, got {order}: 2, 3 and 4 are those that can be used")
    return order


def graph_series(method: AbstractLinearMemory, highest: int) -> Float[Array, " trees"]:
    """Coefficients over `up_to(highest)`, outside the program of the velocity, which would hold the recursion."""
    require_scalars(method)
    series = jnp.asarray(list(manifold_of(method, highest)[0].values()), float)
    return series * jnp.asarray(method.time_step) ** np.array([order(tree) - 1 for tree in up_to(highest)])


def along(loss: Loss | VectorField, series: Float[Array, " trees"], highest: int, params: Params) -> Params:
    """The velocity of the series."""
    return combine(descent_field(loss), params, dict(zip(up_to(highest), series, strict=True)))


@eqx.filter_jit
def _velocity(
    loss: Loss | VectorField, params: Params, series: Float[Array, " trees"], highest: int
) -> Params:
    _validate.check_loss(loss, params)
    return along(loss, series, highest, params)
