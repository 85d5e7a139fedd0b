"""Graphs v = w(u) that a method is attracted to, and the invariant manifold by its series."""

from abc import abstractmethod

import equinox as eqx
from jaxtyping import Array, ArrayLike, Float

from .. import _tree, _validate
from .._types import Loss, Params, VectorField, descent_field
from ..expansion.coefficients import manifold_of
from ..expansion.differentials import combine
from ..expansion.trees import Tree, order
from ..flows.model import linear_memory_only
from ..methods.linear_memory import AbstractLinearMemory, require_scalars


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
        _validate.count("order", self.order)
        if self.method.rows < 2:
            raise ValueError(
                f"{type(self.method).__name__} has no velocity and so no manifold: use a method with momentum"
            )

    def velocity(self, params: Params) -> Params:
        r"""$w_p(u)$ by `order` - 1 nested forward derivatives of f. **Arguments:** `params`."""
        return _series(self, _validate.as_params(params))

    def coefficients(self) -> dict[Tree, ArrayLike]:
        """Of the elementary differentials, powers of the time step included."""
        require_scalars(self.method)
        dt, rows = self.method.time_step, manifold_of(self.method, self.order)
        return {tree: c * dt ** (order(tree) - 1) for tree, c in rows[0].items()}


@eqx.filter_jit
def _series(manifold: SeriesManifold, params: Params) -> Params:
    _validate.check_loss(manifold.loss, params)
    return combine(descent_field(manifold.loss), params, manifold.coefficients())
