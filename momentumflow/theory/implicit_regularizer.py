"""The penalty on the gradient that a method adds to its loss, to look at, to add or to cancel."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree, _validate
from .._types import Loss, Params, VectorField
from ..methods.linear_memory import AbstractLinearMemory
from .modified_loss import LossModification, modified_loss


class ImplicitRegularizer(eqx.Module):
    r"""$R(u) = \tfrac12\kappa|\nabla\Phi(u)|^2$ of a loss: see `implicit_regularizer`, which makes it.

    **Arguments:**

    - `loss`: $\Phi$, function from params to a scalar.
    - `strength`: $\kappa$, in units of the learning rate; $hc$ for the family (7).

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> penalty = mf.implicit_regularizer(mf.gradient_descent(0.1))(lambda u: jnp.sum(u**2))
        >>> u = jnp.array([3.0, 4.0])  # |∇Φ| = 10, κ = h/2
        >>> [round(float(x), 6) for x in (penalty(u), penalty.ratio(u), *penalty.gradient(u))]
        [2.5, 0.1, 0.6, 0.8]
    """

    loss: Loss
    strength: Float[Array, ""]

    def __call__(self, params: Params) -> Float[Array, ""]:
        gradient = jax.grad(self.loss)(params)
        return 0.5 * self.strength * _tree.inner(gradient, gradient)

    def gradient(self, params: Params) -> Params:
        r"""$\nabla R = \kappa\,\nabla^2\Phi\,\nabla\Phi$: one gradient and one Hessian-vector product."""
        return _tree.linear((self.strength,), _gradient_and_bend(self.loss, params)[1:])

    def ratio(self, params: Params) -> Float[Array, ""]:
        r"""$R/\Phi$, which says how much of the modified loss is the method's own doing."""
        return self(params) / self.loss(params)

    def added(self, scale: ArrayLike = 1.0) -> "RegularizedLoss":
        r"""The loss $\Phi + sR$ to train with.

        **Arguments:** `scale`: s; -1 cancels what the method adds, to leading order, 1 doubles it.

        **Raises:** `ValueError` unless s is finite.
        """
        _validate.finite("scale", scale, "-1 cancels the regulariser and 1 doubles it")
        return RegularizedLoss(self, jnp.asarray(scale, float))


class RegularizedLoss(eqx.Module):
    r"""$\Phi + sR$, a loss like any other; made by `ImplicitRegularizer.added`.

    **Arguments:** `regularizer`: R, which knows $\Phi$; `scale`: s.

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> method, loss = mf.heavy_ball(0.1, 0.5), lambda u: jnp.sum(u**2)
        >>> cancelled = mf.implicit_regularizer(method)(loss).added(-1.0)
        >>> run = mf.iterate(method, cancelled.descent, jnp.ones(2), 10)
        >>> run.outcome
        'completed'
    """

    regularizer: ImplicitRegularizer
    scale: Float[Array, ""]

    def __call__(self, params: Params) -> Float[Array, ""]:
        return self.regularizer.loss(params) + self.scale * self.regularizer(params)

    def gradient(self, params: Params) -> Params:
        """The gradient by one Hessian-vector product; `jax.grad` would differentiate in reverse twice."""
        parts = _gradient_and_bend(self.regularizer.loss, params)
        return _tree.linear((1, self.scale * self.regularizer.strength), parts)

    @property
    def descent(self) -> VectorField:
        """Minus `gradient`, for `momentumflow.iterate` and `momentumflow.solve` in place of the loss."""
        return VectorField(Descent(self))


class Descent(eqx.Module):
    """Minus the gradient of a `RegularizedLoss`: a module, so that its numbers are values and nothing retraces."""

    loss: RegularizedLoss

    def __call__(self, params: Params) -> Params:
        return jax.tree.map(jnp.negative, self.loss.gradient(params))


class RegularizerOf(eqx.Module):
    """Turns a loss into its `ImplicitRegularizer`; made by `implicit_regularizer`."""

    modification: LossModification

    def __call__(self, loss: Loss) -> ImplicitRegularizer:
        modified = self.modification(loss)  # R = -c|∇Φ|², c the coefficient of the tree of two nodes
        return ImplicitRegularizer(modified.loss, -2 * modified.coefficients[0])


def implicit_regularizer(method: AbstractLinearMemory, steps: bool = False) -> RegularizerOf:
    r"""What a method adds to its loss on its slow manifold, to first order in h: it descends $\Phi + R$,

    $$R = \tfrac12\kappa|\nabla\Phi|^2, \qquad
      \kappa = hc = h\bar\lambda\big(\bar\lambda - a - \tfrac12\big)\text{ for the family (7)}:$$

    $\tfrac h4|\nabla\Phi|^2$ for gradient descent, $\tfrac{(1+\lambda)h}{4(1-\lambda)^2}|\nabla\Phi|^2$ for heavy ball
    (IGR-M), $\tfrac{(1-\lambda+2\lambda^2)h}{4(1-\lambda)^2}|\nabla\Phi|^2$ for Nesterov. At the same effective
    learning rate $h\bar\lambda$ heavy ball's is $(1+\lambda)/(1-\lambda)$ times that of gradient descent.

    **Arguments:**

    - `method`: with fixed momentum, linear in its memory.
    - `steps`: of the discrete steps instead of the flow through them: $c - \tfrac12\bar\lambda$ in place of c, and 0
      for gradient descent.

    **Returns:** a function from a loss to an `ImplicitRegularizer`, itself a function of the params under `jit`,
    `grad` and `vmap`.

    **Raises:** `TypeError` for another method or a `VectorField`, `ValueError` for momentum that varies.

    Barrett & Dherin (2021); Ghosh et al. (2023), IGR-M; Kovachki & Stuart (2021), (19), (20) with the sign corrected.

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> [round(float(mf.implicit_regularizer(m)(jnp.sum).strength), 3)
        ...  for m in (mf.gradient_descent(0.1), mf.heavy_ball(0.1, 0.5), mf.nesterov(0.1, 0.5))]
        [0.05, 0.3, 0.2]
    """
    return RegularizerOf(modified_loss(method, 2, steps))


def _gradient_and_bend(loss: Loss, params: Params) -> tuple[Params, Params]:
    """∇Φ and ∇²Φ∇Φ, the Hessian applied through the linear map that the gradient leaves behind."""
    gradient, hessian = jax.linearize(jax.grad(loss), params)
    return gradient, hessian(gradient)
