"""Starts on the invariant manifold, for `iterate` and `solve`."""

from collections.abc import Callable
from typing import Any

from .._types import Loss, Params, VectorField
from ..flows.model import family_only
from ..methods.linear_memory import AbstractLinearMemory
from .invariant_manifold import InvariantManifold
from .series_manifold import SeriesManifold, graph_order

_IN_FAMILY = family_only("manifold_start() without an order")


def manifold_start(
    order: int | None = None, **options: Any
) -> Callable[[AbstractLinearMemory, Loss | VectorField, Params], Params]:
    r"""A start on the invariant manifold, for `iterate` and `solve`: $v_0 = w(u_0)$.

    **Arguments:**

    - `order`: p of the series $w_p$ (`SeriesManifold`), for any linear-memory method; `None` is the exact graph
      (`InvariantManifold`), for the family (7).
    - `options`: `tolerance` and the other arguments of `InvariantManifold`.

    **Returns:** a function of (method, loss, params).

    **Raises:** `ValueError` for options beside an order.

    Kovachki & Stuart (2021), Theorem 6.

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> method, loss = mf.heavy_ball(0.02, 0.5), mf.Cosine()
        >>> run = mf.iterate(method, loss, jnp.ones(1), 50, start=mf.manifold_start())
        >>> bool(mf.InvariantManifold(method, loss).distance(run.params[-1], run.velocity[-1]) < 1e-10)
        True
    """
    if order is not None:
        order = graph_order(order)
        if options:
            raise ValueError(
                f"options of the exact manifold must stay out beside an order, got {sorted(options)}: "
                "drop the order or the options"
            )

    def start(method: AbstractLinearMemory, loss: Loss | VectorField, params: Params) -> Params:
        if order is not None:
            return SeriesManifold(method, loss, order).velocity(params)
        return InvariantManifold(_IN_FAMILY(method), loss, **options).velocity(params)

    return start
