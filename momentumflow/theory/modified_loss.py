"""The loss that a method really descends, where there is one: of its slow flow, or of its steps."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from .. import _validate
from .._types import Loss, VectorField, descent_field
from ..expansion.coefficients import Expansion, modified_equation_of, step_of
from ..expansion.potential import contract, gaps, is_rounding, potential_coefficients
from ..expansion.trees import Tree, name
from ..expansion.trees import order as size
from ..methods.linear_memory import AbstractLinearMemory, require_scalars


class ModifiedLoss(eqx.Module):
    r"""$\tilde\Phi = \Phi - \sum_t c_tE(t)$, a loss like any other: see `modified_loss`, which makes it.

    **Arguments:**

    - `loss`: $\Phi$, function from params to a scalar.
    - `coefficients`: $c_t$ of the free trees with two and more nodes, powers of h included.
    - `trees`: those trees, rooted at a leaf.

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> loss = mf.modified_loss(mf.gradient_descent(0.1))(lambda u: jnp.sum(u**2) / 2)
        >>> u = jnp.array([3.0, 4.0])
        >>> float(loss(u)), float(loss.regularizer(u))  # ½|u|² and ¼h|u|²
        (13.125, 0.625)
    """

    loss: Loss
    coefficients: Float[Array, " trees"]
    trees: tuple[Tree, ...] = eqx.field(static=True)

    def __call__(self, params: PyTree) -> Float[Array, ""]:
        added = self.regularizer(params)  # which checks the params
        return self.loss(params) + added

    def regularizer(self, params: PyTree) -> Float[Array, ""]:
        """Φ~ - Φ, what the method adds to the loss."""
        params = _validate.as_params(params)
        _validate.check_loss(self.loss, params)
        if not self.trees:
            return jnp.zeros_like(self.loss(params))
        return -contract(
            descent_field(self.loss), params, dict(zip(self.trees, self.coefficients, strict=True))
        )


class LossModification(eqx.Module):
    """Turns a loss into its `ModifiedLoss`, the coefficients at hand; made by `modified_loss`."""

    coefficients: Float[Array, " trees"]
    trees: tuple[Tree, ...] = eqx.field(static=True)

    def __call__(self, loss: Loss) -> ModifiedLoss:
        if isinstance(loss, VectorField):
            raise TypeError("a modified loss needs a loss, got a VectorField: use SlowFlow, which needs none")
        return ModifiedLoss(loss, self.coefficients, self.trees)


def modified_loss(method: AbstractLinearMemory, order: int = 2, steps: bool = False) -> LossModification:
    r"""The loss $\tilde\Phi$ that a method descends on its slow manifold, to order p in h:

    $$\dot u = -\bar\lambda\nabla\tilde\Phi(u) \quad\text{(the slow flow)}, \qquad
      u_{n+1} = u_n - h\bar\lambda\nabla\tilde\Phi(u_n) \quad\text{(`steps=True`)}.$$

    Order 2 is there for every method; for the family (7), with $c = \bar\lambda(\bar\lambda - a - \tfrac12)$,

    $$\tilde\Phi = \Phi + \tfrac12hc\,|\nabla\Phi|^2, \qquad\text{of the steps}\quad
      \tilde\Phi = \Phi + \tfrac12h\big(c - \tfrac12\bar\lambda\big)|\nabla\Phi|^2,$$

    the second with $h\lambda/(2(1-\lambda)^2)$ for heavy ball and $h\lambda^2/(2(1-\lambda)^2)$ for Nesterov. From
    order 3 on the slow flow is a gradient for $a = (1-\lambda)/6$ at order 3 only; heavy ball's steps are one to every
    order: on the manifold it *is* gradient descent on $\tilde\Phi$. `momentumflow.gradient_defect` tells.

    Over free trees t, $\tilde\Phi = -\sum_t h^{|t|-1}\tfrac{\beta(t)}{\bar\lambda\,\sigma(t)}E(t)$
    (`momentumflow/expansion/potential.py`), by forward derivatives of $\nabla\Phi$ only: $\tilde\Phi$ of order p costs
    what the field of order p - 1 costs.

    **Arguments:**

    - `method`: with fixed momentum; for a linear-memory method $\bar\lambda$ stands for its drift per unit time.
    - `order`: $p \ge 1$; 1 is $\Phi$ itself.
    - `steps`: of the discrete steps instead of the flow through them.

    **Returns:** a function from a loss to a `ModifiedLoss`, itself a loss under `grad` and `vmap`, and under `jit` as
    `jax.jit(lambda u: modified(u))`: it holds arrays and has no hash.

    **Raises:** `ValueError` where the field is not a gradient, with the trees that fail. For a method whose momentum is
    traced the values of $\tilde\Phi$ are NaN instead.

    Order 2: Kovachki & Stuart (2021), (20), (21), with (19) corrected; Barrett & Dherin (2021) for λ = 0; of steps:
    Cattaneo, Klusowski & Shigida (2024); to every order for heavy ball: Cattaneo & Shigida (2025).

    !!! example

        >>> import jax, jax.numpy as jnp, momentumflow as mf
        >>> method, loss = mf.heavy_ball(0.01, 0.5), lambda u: jnp.sum(jnp.cosh(u))
        >>> plain = mf.gradient_descent(0.02)  # with hλ̄
        >>> hb = mf.iterate(method, loss, jnp.ones(1), 50, start="manifold")
        >>> errors = []
        >>> for order in (1, 2):
        ...     gd = mf.iterate(plain, mf.modified_loss(method, order, steps=True)(loss), jnp.ones(1), 50)
        ...     errors.append(float(jnp.max(jnp.abs(gd.params - hb.params))))
        >>> [f"{e:.0e}" for e in errors]
        ['9e-03', '8e-04']
    """
    order = _validate.count("order", order)
    if not isinstance(method, AbstractLinearMemory):
        raise TypeError(
            f"modified_loss needs a linear-memory method, got {method!r}: call mf.heavy_ball(h, λ)"
        )
    require_scalars(method)
    series = (step_of if steps else modified_equation_of)(method, order)
    sound = _require_gradient(series, order, steps)
    leading, dt = series[()], method.time_step
    chosen = {tree: c for tree, c in potential_coefficients(series).items() if tree}
    scaled = [jnp.asarray(c * dt ** (size(tree) - 1) / leading, float) for tree, c in chosen.items()]
    coefficients = jnp.where(sound, jnp.stack(scaled), jnp.nan) if scaled else jnp.zeros(0)
    return LossModification(coefficients, tuple(chosen))


def _require_gradient(series: Expansion, order: int, steps: bool) -> Bool[Array, ""] | bool:
    """Raises where known coefficients differ between rootings; whether those that are traced agree."""
    sound = True
    for (one, other), gap, scale in gaps(series):
        close = is_rounding(gap, scale)
        if not _validate.is_concrete(close):
            sound = sound & close
        elif not close:
            raise ValueError(
                f"the {'steps' if steps else 'slow flow'} of order {order} must be a gradient to have a modified loss, "
                f"but {name(one)} and {name(other)}, one tree with two roots, have weights that differ by "
                f"{float(gap):.6g}: use order=2, steps=True for heavy ball, or SlowFlow(method, {order})"
            )
    return sound
