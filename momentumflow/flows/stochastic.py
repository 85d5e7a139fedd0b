"""The modified flow of momentum on mini-batches, IGRM-S, for any sequence of them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, PyTree

from .. import _tree, _validate
from .._types import Field, Params
from ..methods.batches import Batches, BatchLoss, Order, as_batches
from ..methods.linear_memory import AbstractLinearMemory
from ..methods.momentum import MomentumMethod
from .model import Claim, family_only
from .piecewise import AbstractPiecewiseFlow, Memory

_FAMILY = family_only("StochasticModifiedFlow")
FORGOTTEN = 1e-12
"""Weight λ^r below which a batch r steps old is left out, where there are more batches than that."""


class Weights(eqx.Module):
    r"""$\nabla G_k = \sum_i c_i\nabla E_i$, $\sum_{s\le k}\lambda^{k-s}\nabla G_s\nabla G_s^\top$ and
    $\sum_{r\le k}\lambda^{k-r}\nabla E_r\nabla G_{r-1}^\top$ as forms c, C, D in the gradients at hand."""

    single: Float[Array, " m"]
    past: Float[Array, "m m"]
    ahead: Float[Array, "m m"]


class StochasticModifiedFlow(AbstractPiecewiseFlow):
    r"""The flow that momentum on mini-batch losses $E_k$ follows, path by path: on $[t_k, t_{k+1})$

    $$\dot u = -\nabla G_k - \tfrac h2\Big(\nabla^2G_k\nabla G_k
        + 2\sum_{s<k}\lambda^{k-s}\,\nabla^2G_s\nabla G_s
        - 2a\sum_{r\le k}\lambda^{k-r}\,\nabla^2E_r\nabla G_{r-1}\Big),
      \qquad G_k = \sum_{r\le k}\lambda^{k-r}E_r.$$

    For heavy ball that is minus the gradient of
    $G_k + \tfrac h4\big(|\nabla G_k|^2 + 2\sum_{s<k}\lambda^{k-s}|\nabla G_s|^2\big)$, Ghosh et al.'s IGRM-S; the term
    with a, for Nesterov and the others, is in general no gradient. From rest, $|u_n - u(t_n)| = O(h^2)$ at all
    $t_n \le T$ for every sequence of batches, the transient included, and O(h) without the terms in h. On one batch
    alone the drift is $-a_k\nabla E - \tfrac h2S_k\nabla^2E\nabla E$ (`momentumflow.transient_drift`).

    The sums are bilinear in the gradients of the m distinct batches: $c_k = \lambda c_{k-1} + e_{i_k}$,
    $C_k = \lambda C_{k-1} + c_kc_k^\top$, $D_k = \lambda D_{k-1} + e_{i_k}c_{k-1}^\top$, and the drift is
    $-\sum_ic_i\nabla E_i - \tfrac h2\sum_{ij}(2C - cc^\top - 2aD)_{ij}\nabla^2E_i\nabla E_j$: m gradients and m
    Hessian-vector products, whatever k. Where m is larger than the number of batches that momentum remembers, the
    last `window` of them take their place.

    **Arguments:**

    - `method`: of the family (7), with fixed momentum.
    - `data`: the mini-batches, a pytree of arrays with one leading axis of length m; the loss is a function of
      (params, datum).
    - `order_of_use`: the batch of each step, integers of shape `(steps,)`, as in `momentumflow.iterate`.
    - `scale`: multiple of the terms in h, a number; 0 leaves them out, a control of order 1.
    - `window`: number of last batches to remember. By default all m of them if m is at most
      $\log10^{-12}/\log\lambda$, else that number; all m, too, where λ is traced.

    **Raises:** `ValueError` or `TypeError` for data of unequal structure, an order that leaves them, another method.
    `solve` raises for times beyond the sequence, and for a start other than "rest" (a velocity is for
    `momentumflow.StochasticLaggedFlow`).

    Ghosh, Lyu, Zhang & Wang (2023), IGRM-S; the look-ahead is ours.

    !!! example

        >>> import jax, jax.numpy as jnp, momentumflow as mf
        >>> data = jnp.array([-1.0, 0.5, 2.0])
        >>> order = jax.random.randint(jax.random.key(0), (64,), 0, 3)
        >>> loss = lambda u, x: jnp.log(jnp.cosh(u - x))
        >>> method = mf.heavy_ball(2**-6, 0.6)
        >>> run = mf.iterate(method, loss, jnp.array(1.0), 64, data=data, order_of_use=order)
        >>> for scale in (0.0, 1.0):
        ...     model = mf.StochasticModifiedFlow(method, data, order, scale)
        ...     flow = mf.solve(model, loss, jnp.array(1.0), run.times)
        ...     print(f"{float(jnp.max(jnp.abs(flow.params - run.params))):.0e}")
        8e-03
        4e-04
    """

    method: MomentumMethod
    batches: Batches
    scale: ArrayLike
    window: int | None = eqx.field(static=True)

    def __init__(
        self,
        method: AbstractLinearMemory,
        data: PyTree[ArrayLike],
        order_of_use: Order,
        scale: ArrayLike = 1.0,
        window: int | None = None,
    ):
        self.method = _FAMILY(method)
        self.batches = as_batches(data, order_of_use)
        self.scale = as_scale(scale)
        self.window = (
            _window(self.method, self.batches) if window is None else _validate.count("window", window)
        )

    @property
    def claims(self) -> tuple[Claim, ...]:
        return (Claim(claimed_order(self.scale), "rest"),)

    def begin(self, loss: BatchLoss, params: Params, velocity: Params | None) -> tuple[Memory, Params]:
        if velocity is not None:
            raise ValueError(
                "StochasticModifiedFlow is stated from rest, got a start velocity: use start='rest', or "
                "StochasticLaggedFlow, which takes one"
            )
        m, dtype = self.batches.count, _tree.dtype(params)
        if self.window is not None:
            return None, params
        return Weights(jnp.zeros(m, dtype), jnp.zeros((m, m), dtype), jnp.zeros((m, m), dtype)), params

    def enter(self, loss: BatchLoss, k: Int[ArrayLike, ""], memory: Memory, x: Params) -> Memory:
        if memory is None:
            return None
        lam = jnp.asarray(self.method.momentum, memory.single.dtype)
        newest = jax.nn.one_hot(self.batches.order[k], self.batches.count, dtype=memory.single.dtype)
        single = lam * memory.single + newest
        ahead = lam * memory.ahead + jnp.outer(newest, memory.single)
        return Weights(single, lam * memory.past + jnp.outer(single, single), ahead)

    def piece(self, loss: BatchLoss, k: Int[ArrayLike, ""], memory: Memory) -> Field:
        rows, weights = self.batches.data, memory
        if self.window is not None:
            ages = k - jnp.arange(self.window)
            rows = self.batches.rows(self.batches.order[jnp.maximum(ages, 0)])
            weights = _last(self.method.momentum, self.window, jnp.asarray(ages >= 0))
        h, a = self.method.learning_rate, self.method.lookahead
        half = 0.5 * h * self.scale
        bend = 2 * weights.past - jnp.outer(weights.single, weights.single) - 2 * a * weights.ahead

        def field(params: Params) -> Params:
            gradients = jax.vmap(jax.grad(loss), (None, 0))
            if isinstance(self.scale, int):  # 0
                return _mix(-weights.single, gradients(params, rows))
            copies = jax.tree.map(lambda x: jnp.broadcast_to(x, (weights.single.size, *x.shape)), params)
            each, hessians = jax.linearize(lambda u: jax.vmap(jax.grad(loss))(u, rows), copies)
            bent = hessians(jax.tree.map(lambda g: jnp.tensordot(bend.astype(g.dtype), g, 1), each))
            return jax.tree.map(
                lambda g, b: (
                    -jnp.tensordot(weights.single.astype(g.dtype), g, 1)
                    - jnp.asarray(half, g.dtype) * jnp.sum(b, 0)
                ),
                each,
                bent,
            )

        return field

    def readout(self, memory: Memory, x: Params, fraction: ArrayLike) -> Params:
        return x


def as_scale(scale: ArrayLike) -> ArrayLike:
    """A finite number; Python's 0 stays as it is, so that nothing is computed to be multiplied by it."""
    scale = _validate.scalar_field(scale)
    _validate.finite("scale", scale, "1 is the flow of order 2 and 0 the control of order 1")
    return scale


def claimed_order(scale: ArrayLike) -> int:
    """2 with the terms in h as they are, else 1."""
    return 2 if _validate.is_concrete(scale) and bool(np.all(np.asarray(scale) == 1)) else 1


def _mix(weights: Float[Array, " m"], rows: Params) -> Params:
    return jax.tree.map(lambda x: jnp.tensordot(weights.astype(x.dtype), x, 1), rows)


def _window(method: MomentumMethod, batches: Batches) -> int | None:
    """How many batches matter, None if that is all of them."""
    if not _validate.is_concrete(method.momentum) or np.ndim(method.momentum):
        return None
    lam = float(np.asarray(method.momentum))
    remembered = 1 if lam == 0 else int(np.ceil(np.log(FORGOTTEN) / np.log(lam)))
    return remembered if batches.count > remembered else None


def _last(momentum: ArrayLike, window: int, seen: Array) -> Weights:
    """c, C, D by age, newest first, in closed form; batches before the first step have weight 0."""
    lam, age = jnp.asarray(momentum, float), jnp.arange(window)
    old, young = jnp.maximum(age[:, None], age), jnp.minimum(age[:, None], age)
    both = jnp.outer(seen, seen)
    past = lam**old * (1 - lam ** (young + 1)) / (1 - lam)
    ahead = jnp.where(age[:, None] < age, lam ** jnp.maximum(age - 1, 0), 0)
    return Weights(lam**age * seen, past * both, ahead * both)
