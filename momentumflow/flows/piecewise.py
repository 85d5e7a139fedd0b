"""Models whose field changes at every step of the method: exact on each interval, one scan over the saved times."""

from abc import abstractmethod
from collections.abc import Callable

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Float, Int, PyTree

from .. import _tree, _validate
from .._types import COMPLETED, NON_FINITE, SOLVER_FAILED, STEP_LIMIT, Field, Params, Trajectory
from ..methods.batches import Batches, BatchLoss, require_batch_loss, require_steps
from ..methods.iterate import require_own_start
from ..methods.linear_memory import require_scalars
from ..methods.manifold import Start, start_velocity
from ..methods.momentum import MomentumMethod
from .model import Claim

Memory = PyTree[Array]


class AbstractPiecewiseFlow(eqx.Module):
    r"""A model whose field changes with every step: $\dot x = F_k(x)$ on $[t_k, t_{k+1})$, $F_k$ fixed as it begins.

    On mini-batches, or on one loss, where `batches` is `None`. What it remembers has a size that does not grow with k.

    >>> import jax.numpy as jnp, momentumflow as mf
    >>> flow = mf.StochasticModifiedFlow(mf.heavy_ball(0.1, 0.5), jnp.eye(2), jnp.array([0, 1]))
    >>> isinstance(flow, mf.AbstractPiecewiseFlow)
    True
    """

    method: eqx.AbstractVar[MomentumMethod]
    batches: eqx.AbstractVar[Batches | None]

    @property
    @abstractmethod
    def claims(self) -> tuple[Claim, ...]:
        """How closely the model follows its method on every sequence of batches; measured by its test."""

    @abstractmethod
    def begin(self, loss: BatchLoss, params: Params, velocity: Params | None) -> tuple[Memory, Params]:
        """The memory before the first interval, and x(0), for a method started with a velocity; None is rest."""

    @abstractmethod
    def enter(self, loss: BatchLoss, k: Int[ArrayLike, ""], memory: Memory, x: Params) -> Memory:
        """The memory on [t_k, t_{k+1}), from that of the interval before and x(t_k)."""

    @abstractmethod
    def piece(self, loss: BatchLoss, k: Int[ArrayLike, ""], memory: Memory) -> Field:
        """F_k."""

    @abstractmethod
    def readout(self, memory: Memory, x: Params, fraction: ArrayLike) -> Params:
        """u(t) at the given fraction of the interval of that memory."""


class Position(eqx.Module):
    """Where a solve stands: interval, time since it began, its memory, the state as a vector, the outcome so far."""

    k: Int[Array, ""]
    elapsed: Float[Array, ""]
    memory: Memory
    x: Float[Array, " n"]
    status: Int[Array, ""]


class Walker(eqx.Module):
    """Carries a position over one interval, or to a point within one."""

    flow: AbstractPiecewiseFlow
    loss: BatchLoss
    tolerance: float | Float[Array, ""]
    unravel: Callable[[Array], Params] = eqx.field(static=True)
    solver: diffrax.AbstractSolver = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def reach(self, at: Position, target: Float[ArrayLike, ""]) -> Position:
        """Into the next interval if this one is done, then to the time `target` since it began."""
        done = at.elapsed >= self.flow.method.time_step
        k = at.k + done
        entered = self.flow.enter(self.loss, k, at.memory, self.unravel(at.x))
        memory = jax.tree.map(lambda new, old: jnp.where(done, new, old), entered, at.memory)
        length = jnp.asarray(target - jnp.where(done, 0, at.elapsed))
        x, status = self._integrate(self.flow.piece(self.loss, k, memory), at.x, length)
        return Position(k, jnp.asarray(target), memory, x, jnp.maximum(at.status, status))

    def _integrate(
        self, field: Field, x: Float[Array, " n"], length: Float[Array, ""]
    ) -> tuple[Float[Array, " n"], Int[Array, ""]]:
        # below the spacing of floating-point numbers the solution blows up, as in `solve`
        smallest = 4 * float(jnp.finfo(x.dtype).eps) * jnp.asarray(self.flow.method.time_step)
        tolerance = self.tolerance
        controller = diffrax.PIDController(tolerance, tolerance, dtmin=smallest, force_dtmin=False)
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, args: ravel_pytree(field(self.unravel(y)))[0]),
            self.solver,
            t0=jnp.zeros_like(length),
            t1=length,
            dt0=length,  # one step of an explicit solver resolves the interval of a stable method
            y0=x,
            saveat=diffrax.SaveAt(t1=True),
            stepsize_controller=controller,
            adjoint=diffrax.ForwardMode(),
            max_steps=self.max_steps,
            throw=False,
        )
        limit = solution.result == diffrax.RESULTS.max_steps_reached
        failed = jnp.where(limit, STEP_LIMIT, SOLVER_FAILED)
        status = jnp.where(solution.result == diffrax.RESULTS.successful, COMPLETED, failed)
        assert solution.ys is not None
        return solution.ys[0], status

    def params(self, at: Position) -> Params:
        """The model's params there."""
        fraction = at.elapsed / self.flow.method.time_step
        return self.flow.readout(at.memory, self.unravel(at.x), fraction)


def depart(
    flow: AbstractPiecewiseFlow,
    loss: BatchLoss,
    params: Params,
    velocity: Params | None,
    tolerance: float | Float[Array, ""],
    max_steps: int,
    solver: diffrax.AbstractSolver | None = None,
) -> tuple[Walker, Position]:
    """A walker, and t = 0 as the end of the interval before the first."""
    memory, x = flow.begin(loss, params, velocity)
    vector, unravel = ravel_pytree(x)
    walker = Walker(flow, loss, tolerance, unravel, solver or diffrax.Tsit5(), max_steps)
    h = jnp.asarray(flow.method.time_step, vector.dtype)
    return walker, Position(jnp.array(-1), h, memory, vector, jnp.array(COMPLETED))


def solve_piecewise(
    flow: AbstractPiecewiseFlow,
    loss: BatchLoss,
    params: Params,
    times: Float[Array, " times"],
    start: Start,
    solver: diffrax.AbstractSolver | None,
    tolerance: float,
    max_steps: int,
) -> Trajectory:
    """`momentumflow.solve` for a model with jumps; `max_steps` holds on each interval."""
    require_scalars(flow.method)
    if flow.batches is None:
        _validate.check_loss(loss, params)
    else:
        require_batch_loss(flow.batches, loss, params)
        require_own_start(start, params)
    velocity = start_velocity(flow.method, loss, params, start)
    if (
        flow.batches is not None
        and _validate.is_concrete(times)
        and _validate.is_concrete(flow.method.time_step)
    ):
        require_steps(flow.batches, int(jnp.ceil(times[-1] / flow.method.time_step - SLACK)))
    return _solve(flow, loss, params, velocity, times, solver, tolerance, max_steps)


SLACK = 1e-6
"""Fraction of a step by which a time may miss t_k and still be taken for it."""


@eqx.filter_jit
def _solve(
    flow: AbstractPiecewiseFlow,
    loss: BatchLoss,
    params: Params,
    velocity: Params | None,
    times: Float[Array, " times"],
    solver: diffrax.AbstractSolver | None,
    tolerance: float | Float[Array, ""],
    max_steps: int,
) -> Trajectory:
    h = jnp.asarray(flow.method.time_step, times.dtype)
    walker, at = depart(flow, loss, params, velocity, tolerance, max_steps, solver)

    def save(at: Position, time: Float[Array, ""]) -> tuple[Position, tuple[Params, Array]]:
        # the interval that ends at t_k holds it: a jump belongs to what comes after
        last = jnp.ceil(time / h - SLACK).astype(int) - 1
        rest = time - last * h
        rest = jnp.where(jnp.abs(rest - h) <= SLACK * h, h, rest)

        def advance(at: Position) -> Position:
            done = at.elapsed >= h
            return walker.reach(at, jnp.where(at.k + done < last, h, rest))

        at = jax.lax.while_loop(
            lambda at: (at.status == COMPLETED) & ((at.k < last) | (at.elapsed < rest)), advance, at
        )
        return at, (walker.params(at), at.status)

    _, (states, statuses) = jax.lax.scan(save, at, times)
    finite = jax.vmap(_tree.is_finite)(states)
    good = finite & (statuses == COMPLETED)
    states = jax.tree.map(lambda x: jnp.where(good.reshape(-1, *[1] * (x.ndim - 1)), x, jnp.nan), states)
    status = jnp.where(finite.all() | (statuses[-1] != COMPLETED), statuses[-1], NON_FINITE)
    return Trajectory(times, states, None, jnp.where(good.all(), -1, jnp.argmin(good)), status)
