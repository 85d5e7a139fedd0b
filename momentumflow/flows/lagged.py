"""The lagged flow of momentum on mini-batches: driven by the newest batch alone."""

import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike, Int, PyTree

from .. import _tree
from .._types import Field, Params, descent_field
from ..methods.batches import Batches, BatchLoss, Order, as_batches
from ..methods.linear_memory import AbstractLinearMemory
from ..methods.momentum import MomentumMethod
from .model import Claim, family_only
from .piecewise import AbstractPiecewiseFlow, Memory
from .stochastic import as_scale, claimed_order

_FAMILY = family_only("StochasticLaggedFlow")


class StochasticLaggedFlow(AbstractPiecewiseFlow):
    r"""The flow of $p_n = u_n + h\lambda\bar\lambda v_n$, the point that momentum makes for, on mini-batches:

    $$\dot p = -\bar\lambda\nabla E_k - \tfrac h2\bar\lambda^2\nabla^2E_k\nabla E_k
        + h\bar\lambda(\lambda\bar\lambda - a)\nabla^2E_k\,v_k \quad\text{on } [t_k, t_{k+1}),
      \qquad u(t_k) = p(t_k) - h\lambda\bar\lambda v_k,$$

    $v_{k+1} = \lambda v_k - \nabla E_k(p(t_k) - h(\lambda\bar\lambda - a)v_k)$; within an interval v is interpolated.
    Another member of the family of $O(h^2)$ flows: its leading drift has the weight $\bar\lambda$ from the first step
    on, and the lag of $\lambda/(1-\lambda)$ iterations is in the readout instead. $|u_n - u(t_n)| = O(h^2)$ for every
    sequence of batches, from rest or with any velocity. An evaluation costs one gradient and one Hessian-vector
    product of one batch, however many there are, and nothing but v is remembered.

    **Arguments:**

    - `method`: of the family (7), with fixed momentum.
    - `data`, `order_of_use`: as in `momentumflow.StochasticModifiedFlow`.
    - `scale`: multiple of the terms in h, a number; 0 leaves them out, a control of order 1.

    **Raises:** as `momentumflow.StochasticModifiedFlow`.

    Derived here: $p_{n+1} = p_n - h\bar\lambda\nabla E_n(p_n - h(\lambda\bar\lambda - a)v_n)$ is exact.

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> data, order = jnp.array([-1.0, 0.5, 2.0]), jnp.arange(64) % 3
        >>> loss = lambda u, x: jnp.log(jnp.cosh(u - x))
        >>> method = mf.nesterov(2**-6, 0.6)
        >>> run = mf.iterate(method, loss, jnp.array(1.0), 64, data=data, order_of_use=order)
        >>> flow = mf.solve(mf.StochasticLaggedFlow(method, data, order), loss, jnp.array(1.0), run.times)
        >>> bool(jnp.max(jnp.abs(flow.params - run.params)) < 1e-3)
        True
    """

    method: MomentumMethod
    batches: Batches
    scale: ArrayLike

    def __init__(
        self,
        method: AbstractLinearMemory,
        data: PyTree[ArrayLike],
        order_of_use: Order,
        scale: ArrayLike = 1.0,
    ):
        self.method = _FAMILY(method)
        self.batches = as_batches(data, order_of_use)
        self.scale = as_scale(scale)

    @property
    def claims(self) -> tuple[Claim, ...]:
        return (Claim(claimed_order(self.scale), "rest"),)

    @property
    def _lag(self) -> ArrayLike:
        return self.method.learning_rate * self.method.momentum * self.method.amplification

    @property
    def _query(self) -> ArrayLike:
        """h(λλ̄ - a)."""
        return self._lag - self.method.learning_rate * self.method.lookahead

    def begin(self, loss: BatchLoss, params: Params, velocity: Params | None) -> tuple[Memory, Params]:
        v = _tree.zeros_like(params) if velocity is None else velocity
        return (v, v), _tree.linear((1, self._lag), (params, v))

    def enter(self, loss: BatchLoss, k: Int[ArrayLike, ""], memory: Memory, x: Params) -> Memory:
        v = memory[1]
        force = descent_field(self.batches.loss(loss, k))(_tree.linear((1, -self._query), (x, v)))
        return v, _tree.linear((self.method.momentum, 1), (v, force))

    def piece(self, loss: BatchLoss, k: Int[ArrayLike, ""], memory: Memory) -> Field:
        force = descent_field(self.batches.loss(loss, k))
        pace, v = self.method.amplification, memory[0]

        def field(params: Params) -> Params:
            if isinstance(self.scale, int):  # 0
                return _tree.linear((pace,), (force(params),))
            f, slope = jax.linearize(force, params)
            half = 0.5 * self.method.learning_rate * pace
            bent = slope(_tree.linear((half, self._query), (f, v)))
            return _tree.linear((pace, -pace * self.scale), (f, bent))

        return field

    def readout(self, memory: Memory, x: Params, fraction: ArrayLike) -> Params:
        share = jnp.asarray(self._lag * fraction)
        return _tree.linear((1, share - self._lag, -share), (x, *memory))
