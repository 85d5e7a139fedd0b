"""Paths of a stochastic modified equation: diffrax, a fixed step, many at once."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Float, Key, PRNGKeyArray, PyTree

from .. import _tree, _validate
from .._types import COMPLETED, NON_FINITE, Loss, Params, Trajectory
from ..methods.batches import BatchLoss
from ..methods.iterate import require_own_start, strides
from ..methods.manifold import Start, start_velocity
from .stochastic_equation import StochasticModifiedEquation


def sample_paths(
    equation: StochasticModifiedEquation,
    loss: Loss | BatchLoss,
    params: PyTree,
    steps: int,
    key: PRNGKeyArray,
    paths: int = 1,
    start: Start = "rest",
    save_every: int | None = 1,
    substeps: int = 4,
) -> Trajectory:
    r"""Independent paths of a stochastic modified equation, at the times of the method's iterates.

    Heun's method of diffrax with the fixed step $\epsilon/$`substeps`, whose error is $O(\epsilon^2)$ like that of the
    equation of order 2. Derivatives of the paths go forward only, by `jax.jvp` and `jax.jacfwd`; `jax.grad` raises.

    **Arguments:**

    - `equation`: a `momentumflow.StochasticModifiedEquation`.
    - `loss`: function from params to a scalar; where the equation has data, a function of (params, datum).
    - `params`: $u_0$, a pytree of floating-point arrays.
    - `steps`: $N \ge 1$, of the method.
    - `key`: a JAX random key.
    - `paths`: how many.
    - `start`: "rest" or a velocity tree $v_0$ of the method, as in `momentumflow.iterate`.
    - `save_every`: keep the state after every k-th step, k a divisor of `steps`; `None` keeps only the last.
    - `substeps`: steps of the solver to a step of the method, $\ge 1$.

    **Returns:** a `Trajectory` with the leading axis `paths`; `times` $t_n = nh$ and `velocity` in the units of
    `momentumflow.iterate`, $v = V/\sqrt h$. A path that overflows is an outcome.

    **Raises:** `TypeError` or `ValueError` that names the requirement, before work starts.

    !!! example

        >>> import jax, jax.numpy as jnp, momentumflow as mf
        >>> data, loss = jnp.array([-1.0, 1.0]), lambda u, x: (u - x) ** 2 / 2
        >>> equation = mf.StochasticModifiedEquation(mf.heavy_ball(0.01, 0.8), data=data)
        >>> runs = mf.sample_paths(equation, loss, jnp.array(1.0), 40, jax.random.key(0), 1000, save_every=None)
        >>> bool(abs(jnp.mean(runs.params) - jnp.exp(-2.0)) < 0.1), runs.outcome
        (True, '1000 of 1000 completed')
    """
    if not isinstance(equation, StochasticModifiedEquation):
        raise TypeError(
            f"equation must be a StochasticModifiedEquation, got {type(equation).__name__}: a model without noise "
            "is for mf.solve"
        )
    params = _validate.as_params(params)
    steps, stride = strides(steps, save_every)
    paths, substeps = _validate.count("paths", paths), _validate.count("substeps", substeps)
    require_own_start(start, params)
    sources = equation.sources(loss, params)
    velocity = start_velocity(equation.method, loss, params, start)
    keys = jax.random.split(key, paths)
    sizes = (steps, stride, substeps, sources, save_every is not None)
    return _sample(equation, loss, params, velocity, keys, sizes)


@eqx.filter_jit
def _sample(
    equation: StochasticModifiedEquation,
    loss: Loss | BatchLoss,
    params: Params,
    velocity: Params | None,
    keys: Key[Array, " paths"],
    sizes: tuple[int, int, int, int, bool],
) -> Trajectory:
    steps, stride, substeps, sources, keep_first = sizes
    dtype, scale = _tree.dtype(params), equation.scale
    v = _tree.zeros_like(params) if velocity is None else _tree.linear((scale,), (velocity,))
    start, unravel = ravel_pytree((params, v))
    grid = jnp.arange(steps * substeps + 1) * jnp.asarray(scale / substeps, dtype)
    kept = grid[:: stride * substeps][0 if keep_first else 1 :]

    def matrix(s: ArrayLike, y: Float[Array, " n"], args: None) -> Float[Array, "n r"]:
        rows = equation.noise(loss, unravel(y))
        return jax.vmap(lambda row: ravel_pytree(row)[0])(rows).T

    def one(key: PRNGKeyArray) -> Float[Array, "times n"]:
        drift = diffrax.ODETerm(lambda s, y, args: ravel_pytree(equation.drift(loss, unravel(y)))[0])
        # its numbers are drawn anew from the key at every step: fixed steps never ask twice
        path = diffrax.UnsafeBrownianPath(jax.ShapeDtypeStruct((sources,), dtype), key)
        solution = diffrax.diffeqsolve(
            diffrax.MultiTerm(drift, diffrax.ControlTerm(matrix, path)),
            diffrax.Heun(),
            t0=grid[0],
            t1=grid[-1],
            dt0=None,
            y0=start,
            saveat=diffrax.SaveAt(ts=kept),
            stepsize_controller=diffrax.StepTo(grid),
            adjoint=diffrax.ForwardMode(),
            max_steps=steps * substeps,
            throw=False,
        )
        assert solution.ys is not None
        return solution.ys

    positions, velocities = jax.vmap(jax.vmap(unravel))(jax.vmap(one)(keys))
    good = jax.vmap(jax.vmap(_tree.is_finite))(positions)
    diverged_at = jnp.where(good.all(1), -1, jnp.argmin(good, 1))
    status = jnp.where(good.all(1), COMPLETED, NON_FINITE)
    times = jnp.broadcast_to(kept * scale, good.shape)
    return Trajectory(times, positions, _tree.linear((1 / scale,), (velocities,)), diverged_at, status)
