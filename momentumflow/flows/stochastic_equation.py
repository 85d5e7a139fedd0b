"""The stochastic modified equations of momentum with 1-λ as small as √h, of weak order 1 and 2."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from .. import _tree, _validate
from .._types import Loss, Params, VectorField
from ..methods.batches import Batches, BatchLoss, as_batches, require_batch_loss
from ..methods.linear_memory import AbstractLinearMemory, require_scalars
from ..methods.momentum import MomentumMethod
from .model import family_only

_FAMILY = family_only("StochasticModifiedEquation")

Rows = PyTree[Float[Array, "sources ..."]]
"""Rows R_j of a square root of a covariance, Σ = Σ_j R_j R_jᵀ: like the params, with a leading axis."""
Root = Callable[[Params], PyTree[ArrayLike]] | PyTree[ArrayLike]
PhasePoint = tuple[Params, Params]


class StochasticModifiedEquation(eqx.Module):
    r"""The Itô equation whose law is that of momentum with noisy gradients, for $1-\lambda$ as small as $\sqrt h$.

    The method steps with $\nabla\Phi + \xi_n$, $\xi_n$ independent with mean 0 and covariance
    $\Sigma(u) = RR^\top$. With $\epsilon = \sqrt h$, friction $\mu = (1-\lambda)/\epsilon$, velocity
    $V_n = (u_n - u_{n-1})/\epsilon$ and time $s_n = n\epsilon$ a step is
    $V^+ = V - \epsilon(\mu V + \nabla\Phi(u + a\epsilon V) + \xi)$, $u^+ = u + \epsilon V^+$, and its equations are,
    of order 1,

    $$dU = V\,ds, \qquad dV = -(\mu V + \nabla\Phi)\,ds - \epsilon^{1/2}R\,dW,$$

    and of order 2

    $$dU = \big[(1-\tfrac\epsilon2\mu)V - \tfrac\epsilon2\nabla\Phi\big]ds - \tfrac12\epsilon^{3/2}R\,dW,$$
    $$dV = -\big[\big(\mu + \tfrac\epsilon2(\mu^2 - (1-2a)\nabla^2\Phi)\big)V
      + (1+\tfrac\epsilon2\mu)\nabla\Phi\big]ds - \epsilon^{1/2}(1+\tfrac\epsilon2\mu)R\,dW.$$

    Claim: at fixed $\mu$ and for smooth g that grow at most like a power,
    $|\mathbb E\,g(u_n, V_n) - \mathbb E\,g(U, V)(s_n)| = O(\epsilon^p)$ for $s_n \le S$: weak order p **in**
    $\epsilon = \sqrt h$. Covariances are $O(\epsilon)$ themselves, and their error with the equation of order 1 is
    already $O(\epsilon^2)$. Order 2 does not need the corrections of the noise; where $\Sigma$ is constant they make
    the error of the covariance $O(\epsilon^3)$. In the Stratonovich sense the drift differs by $O(\epsilon^2)$, which
    the claim allows. At *fixed* λ, where μ grows like $1/\sqrt h$, either equation is O(h) over $nh \le T$, no more
    than `momentumflow.RescaledGradientFlow`: take `momentumflow.StochasticModifiedFlow`, path by path.

    **Arguments:**

    - `method`: of the family (7), $\lambda > 0$.
    - `order`: p, 1 or 2.
    - `root`: R, a function from params to rows like the params with one leading axis, $\Sigma = \sum_jR_jR_j^\top$; or
      such rows themselves, where $\Sigma$ is constant. Real numbers, used in the params' dtype. The loss is then
      $\Phi$.
    - `data`: in its place mini-batches, a pytree of arrays with one leading axis of length $m \ge 2$, each step drawing
      one at random, with replacement. The loss is a function of (params, datum), $\Phi$ its mean, and
      $R_j = (\nabla E_j - \nabla\Phi)/\sqrt m$.

    **Raises:** `TypeError` or `ValueError` that names the requirement: another method, λ = 0, another order, both or
    neither of root and data, data of unequal structure or fewer than two batches, a constant root that is not finite.
    `sample_paths` raises for rows that are not real, none, or unlike the params.

    Li, Tai & E (2019), Stochastic modified equations and dynamics of stochastic gradient algorithms I, for heavy
    ball; re-derived here, for any look-ahead.

    !!! example

        >>> import jax, jax.numpy as jnp, momentumflow as mf
        >>> equation = mf.StochasticModifiedEquation(mf.heavy_ball(0.01, 0.9), root=jnp.eye(2))
        >>> round(float(equation.scale), 6), round(float(equation.friction), 6)
        (0.1, 1.0)
        >>> runs = mf.sample_paths(equation, lambda u: jnp.sum(u**2) / 2, jnp.ones(2), 50, jax.random.key(0), paths=8)
        >>> runs.params.shape
        (8, 51, 2)
    """

    method: MomentumMethod
    order: int = eqx.field(static=True)
    root: Root | None
    batches: Batches | None

    def __init__(
        self,
        method: AbstractLinearMemory,
        order: int = 2,
        root: Root | None = None,
        data: PyTree[ArrayLike] | None = None,
    ):
        self.method = _FAMILY(method)
        _require_momentum(self.method)
        order = _validate.count("order", order)
        if order not in (1, 2):
            raise ValueError(
                f"order must be 1 or 2, got {order!r}: no equation of a higher one is known here"
            )
        if (root is None) == (data is None):
            raise ValueError(
                f"the noise must be given once, got {'neither' if root is None else 'both'} of root and data: pass "
                "a square root of the covariance, or the mini-batches"
            )
        self.order = order
        self.root = root if root is None or callable(root) else _constant(root)
        self.batches = None if data is None else _two_batches(data)

    @property
    def scale(self) -> Float[Array, ""]:
        r"""$\epsilon = \sqrt h$: of time a step, and the unit of the weak order."""
        return jnp.sqrt(jnp.asarray(self.method.learning_rate, float))

    @property
    def friction(self) -> Float[Array, ""]:
        r"""$\mu = (1-\lambda)/\sqrt h$."""
        return jnp.asarray((1 - self.method.momentum) / self.scale)

    def mean_loss(self, loss: BatchLoss) -> Loss:
        r"""$\Phi$: the loss, or its mean over the mini-batches."""
        if self.batches is None:
            return loss
        each = jax.vmap(loss, (None, 0))
        data = self.batches.data
        return lambda params: jnp.mean(each(params, data))

    def drift(self, loss: BatchLoss, point: PhasePoint) -> PhasePoint:
        """The factors of ds at (U, V): one gradient, of order 2 one Hessian-vector product more."""
        u, v = point
        gradient, mu = jax.grad(self.mean_loss(loss)), self.friction
        if self.order == 1:
            return v, _tree.linear((-mu, -1), (v, gradient(u)))
        half = 0.5 * self.scale
        g, bent = jax.jvp(gradient, (u,), (v,))
        twist = half * (1 - 2 * self.method.lookahead)
        return (
            _tree.linear((1 - half * mu, -half), (v, g)),
            _tree.linear((-mu - half * mu**2, twist, -1 - half * mu), (v, bent, g)),
        )

    def noise(self, loss: BatchLoss, point: PhasePoint) -> tuple[Rows, Rows]:
        """The factors of dW at (U, V), a row for each source."""
        u, half = point[0], 0.5 * self.scale
        rows = jax.tree.map(lambda row, x: jnp.asarray(row, x.dtype), self._rows(loss, u), u)
        size = -jnp.sqrt(self.scale)
        if self.order == 1:
            return _tree.zeros_like(rows), _tree.linear((size,), (rows,))
        return (
            _tree.linear((size * half,), (rows,)),
            _tree.linear((size * (1 + half * self.friction),), (rows,)),
        )

    def _rows(self, loss: BatchLoss, params: Params) -> PyTree[ArrayLike]:
        if self.batches is None:
            return self.root(params) if callable(self.root) else self.root
        count = self.batches.count
        each = jax.vmap(jax.grad(loss), (None, 0))(params, self.batches.data)
        return jax.tree.map(lambda g: (g - jnp.mean(g, 0)) / float(np.sqrt(count)), each)

    def sources(self, loss: BatchLoss, params: Params) -> int:
        """Number r of sources of noise; raises where the loss or the root does not fit the params."""
        require_scalars(self.method)
        if self.batches is not None:
            require_batch_loss(self.batches, loss, params)
            return self.batches.count
        if isinstance(loss, VectorField):
            raise TypeError("the stochastic modified equation is that of a loss, got a VectorField: pass Φ")
        _validate.check_loss(loss, params)
        return _require_rows(jax.eval_shape(lambda u: self._rows(loss, u), params), params)


def _require_momentum(method: MomentumMethod) -> None:
    lam = method.momentum
    if _validate.is_concrete(lam) and np.any(np.asarray(lam) == 0):
        raise ValueError(
            "momentum must be > 0, got 0: the equation is that of 1-λ = O(√h), and gradient descent has no velocity; "
            "its flow on mini-batches is mf.StochasticModifiedFlow"
        )


def _constant(root: PyTree[ArrayLike]) -> PyTree[Array]:
    rows = jax.tree.map(jnp.asarray, root)
    for row in jax.tree.leaves(rows):
        _validate.finite("root", row, "check the square root of the covariance")
    return rows


def _two_batches(data: PyTree[ArrayLike]) -> Batches:
    batches = as_batches(data, np.zeros(1, int))
    if batches.count < 2:
        raise ValueError(
            "data must hold at least 2 mini-batches, got 1: one batch has no noise; split the data, or use "
            "mf.MomentumODE"
        )
    return batches


def _require_rows(rows: PyTree, params: Params) -> int:
    """The length of the leading axis of real rows that are else like the params."""
    given, wanted = jax.tree.structure(rows), jax.tree.structure(params)
    shapes, own = ([np.shape(x) for x in jax.tree.leaves(tree)] for tree in (rows, params))
    lengths = {shape[:1] for shape in shapes}
    if given != wanted or [shape[1:] for shape in shapes] != own or len(lengths) != 1 or () in lengths:
        raise ValueError(
            f"the root must be like the params, of shapes {own}, with one leading axis more, got {shapes}: "
            "stack the rows R_j, Σ = Σ_j R_j R_jᵀ"
        )
    kinds = [str(x.dtype) for x in jax.tree.leaves(rows)]
    if not all(jnp.issubdtype(kind, jnp.floating) or jnp.issubdtype(kind, jnp.integer) for kind in kinds):
        raise TypeError(f"the root must be of real numbers, got {', '.join(kinds)}: use .astype(float)")
    count = int(lengths.pop()[0])
    if count == 0:
        raise ValueError(
            f"the root must have at least one row, got shapes {shapes}: one row of zeros is no noise, and "
            "mf.MomentumODE is the model without"
        )
    return count
