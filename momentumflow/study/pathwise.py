"""How closely a model follows a method on mini-batches, path by path."""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, PyTree

from .. import _tree, _validate
from ..flows.piecewise import SLACK, AbstractPiecewiseFlow, depart
from ..flows.solve import default_tolerance
from ..methods.batches import BatchLoss, as_batches, require_batch_loss, require_steps
from ..methods.iterate import batch_stepper
from ..methods.momentum import MomentumMethod
from .convergence import floor_share, learning_rate_ladder
from .lockstep import lockstep
from .orders import ConvergenceStudy

MethodOf = Callable[[ArrayLike], MomentumMethod]
FlowOf = Callable[[MomentumMethod, PyTree[Array], Int[Array, " steps"]], AbstractPiecewiseFlow]


def pathwise_study(
    method: MethodOf,
    flow: FlowOf,
    loss: BatchLoss,
    params: PyTree,
    data: PyTree[ArrayLike],
    orders_of_use: Int[ArrayLike, "paths steps"],
    learning_rates: Sequence[float],
    final_time: float,
    tolerance: float | None = None,
    max_steps: int = 1024,
    label: str = "",
) -> ConvergenceStudy:
    r"""Errors $\max_{t_n \le T}|u_n - u(t_n)|$ of a model from rest on the same mini-batches, and their orders.

    A single path has errors that jump with h, as other batches come in; their root mean square over several paths
    has a slope. Every path runs in lockstep with its model, so that nothing is kept.

    **Arguments:**

    - `method`: function from $h$ to a method of the family (7).
    - `flow`: function of (method, data, order of use) to its model, for instance `mf.StochasticModifiedFlow`.
    - `loss`, `params`: function of (params, datum), and $u_0$.
    - `data`: the mini-batches, a pytree of arrays with one leading axis.
    - `orders_of_use`: the batch of each step of each path, shape `(paths, steps)`; a coarse h uses the first of them.
    - `learning_rates`: at least two, positive.
    - `final_time`: $T > 0$; steps must reach it at the smallest h.
    - `tolerance`, `max_steps`: of the solver, the second on each interval.
    - `label`: words for a legend.

    **Returns:** a `ConvergenceStudy`. **Raises:** `ValueError` that names the requirement.

    !!! example

        >>> import jax.numpy as jnp, numpy as np, momentumflow as mf
        >>> study = mf.pathwise_study(
        ...     lambda h: mf.heavy_ball(h, 0.5), mf.StochasticLaggedFlow, lambda u, x: jnp.log(jnp.cosh(u - x)),
        ...     jnp.array(1.0), jnp.array([-1.0, 2.0]), jnp.arange(64)[None] % 2, [2.0**-k for k in (4, 5, 6)], 1.0)
        >>> bool(np.all(abs(study.orders - 2) < 0.1))
        True
    """
    rates, params = learning_rate_ladder(learning_rates), _validate.as_params(params)
    _validate.positive("final_time", final_time, "it is the length of the comparison")
    tolerance = default_tolerance(params) if tolerance is None else tolerance
    _validate.positive("tolerance", tolerance, "leave it out for the default")
    paths = jnp.atleast_2d(jnp.asarray(orders_of_use))
    batches = as_batches(data, paths[0])
    require_batch_loss(batches, loss, params)
    require_steps(batches, int(np.floor(final_time / rates[-1] + SLACK)))
    rows, shares, dtype = [], [], _tree.dtype(params)
    for h in rates:
        stepper = method(float(h))
        flow(stepper, data, paths[0])  # checked while its values are there
        end = jnp.asarray(final_time, dtype)
        shares.append(floor_share(tolerance, final_time / float(np.asarray(stepper.time_step)), dtype))
        rows.append(_errors(stepper, flow, loss, params, data, paths, end, tolerance, max_steps))
    errors = [float(jnp.sqrt(jnp.mean(error**2))) for error, _ in rows]
    floors = [float(scale.max()) * share for (_, scale), share in zip(rows, shares, strict=True)]
    return ConvergenceStudy(rates, np.asarray(errors), np.asarray(floors), label)


@eqx.filter_jit
def _errors(
    method: MomentumMethod,
    flow: FlowOf,
    loss: BatchLoss,
    params: PyTree,
    data: PyTree[Array],
    paths: Int[Array, "paths steps"],
    end: Float[Array, ""],
    tolerance: float,
    max_steps: int,
) -> tuple[Float[Array, " paths"], Float[Array, " paths"]]:
    """max |u_n - u(t_n)| and max |u_n| of each path."""
    steps = jnp.floor(end / method.time_step + SLACK).astype(int)

    def one(order: Int[Array, " steps"]) -> tuple[Array, Array]:
        model = flow(method, data, order)
        walker, at = depart(model, loss, params, None, tolerance, max_steps)
        advance = batch_stepper(method, loss, as_batches(data, order))
        run = (method.initial_state(params), jnp.zeros((), int), jnp.array(-1))
        return lockstep(advance, run, walker, at, jnp.zeros((), int), steps)

    return jax.vmap(one)(paths)
