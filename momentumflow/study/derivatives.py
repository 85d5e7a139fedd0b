"""Whether autodiff's high derivatives of a loss are its derivatives: a check by finite differences."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from .. import _tree, _validate
from .._types import Field, Loss, Params, VectorField, descent_field
from ..expansion.differentials import derivative

ROUNDINGS = 1000
"""Roundings that one evaluation of a derivative is granted."""

STENCIL = ((-1, 1 / 6), (-0.5, -4 / 3), (0.5, 4 / 3), (1, -1 / 6))
"""Central differences of widths ε and ε/2, extrapolated (Richardson): places in ε, and weights."""


class DerivativeCheck(eqx.Module):
    r"""What `check_derivatives` found of $f', f'', \dots$; its text is a verdict.

    **Fields:**

    - `steps`: the two widths ε of the finite differences, relative to the size of the params, the coarse one first.
    - `differences`: $|A_k - D_k|$ over the larger of the two, A by autodiff and D by finite differences, shape
      `(order, 2)`.
    - `allowed`: how large each may be for a smooth field: ε, more where the derivative is small beside the field a
      length of the params away (at a flat point), and what rounding leaves.

    !!! example

        >>> import numpy as np, momentumflow as mf
        >>> found = np.array([[1e-9, 1e-12], [0.3, 0.3]])
        >>> check = mf.DerivativeCheck(np.array([1e-2, 1e-4]), found, np.full((2, 2), 1e-2))
        >>> check.ok.tolist(), check.trusted_order
        ([True, False], 2)
    """

    steps: Float[np.ndarray, "2"]
    differences: Float[np.ndarray, "order 2"]
    allowed: Float[np.ndarray, "order 2"]

    @property
    def ok(self) -> np.ndarray:
        """Whether each derivative agrees at both widths, shape `(order,)`; NaN does not."""
        return np.all(self.differences <= self.allowed, axis=1)

    @property
    def trusted_order(self) -> int:
        """The highest order of a model whose derivatives all agree: order p takes p - 1 of them."""
        return 1 + int(np.cumprod(self.ok).sum())

    def __str__(self) -> str:
        header = f"{'derivative of f':>15}" + "".join(
            f"  difference at ε = {step:.0e}" for step in self.steps
        )
        rows = [
            f"{k:>15}" + "".join(map(_number, row, limits)) + ("" if fine else "  disagrees")
            for k, (row, limits, fine) in enumerate(
                zip(self.differences, self.allowed, self.ok, strict=True), 1
            )
        ]
        return "\n".join([header, *rows, self._verdict()])

    def _verdict(self) -> str:
        p = self.trusted_order
        if self.ok.all():
            return f"Autodiff and finite differences agree: models up to order {p} may be used."
        near = self.differences[p - 1, 1] <= self.allowed[p - 1, 1]
        reason = (
            f"the loss has kinks within {self.steps[0]:.0e} of these params, relatively (relu, abs, max)"
            if near
            else "the loss has kinks at these params (relu, abs, max), or a layer's custom derivative rule is wrong"
        )
        return (
            f"Autodiff and finite differences disagree from derivative {p} of f on: {reason}. "
            f"Models above order {p} are not to be trusted."
        )


def _number(difference: float, allowed: float) -> str:
    return f"{'0 within tolerance' if difference <= allowed and allowed >= 1 else f'{difference:.1e}':>26}"


def check_derivatives(
    loss: Loss | VectorField,
    params: PyTree,
    order: int,
    key: PRNGKeyArray,
    step: float | None = None,
) -> DerivativeCheck:
    r"""Compares the derivatives that the expansions take of $f = -\nabla\Phi$ with finite differences.

    For $k = 1, \dots$, `order`, along random directions $x_1, \dots, x_k$ as long as the params,

    $$A_k = f^{(k)}(u)[x_1, \dots, x_k] \ \text{(autodiff)}, \qquad
      D_k = \tfrac43 d_k(\tfrac\epsilon2) - \tfrac13 d_k(\epsilon), \quad
      d_k(\epsilon) = \frac{f^{(k-1)}(u+\epsilon x_k) - f^{(k-1)}(u-\epsilon x_k)}{2\epsilon}[x_1, \dots, x_{k-1}],$$

    so that each derivative is judged by the one below, at two widths ε. A model of order p takes derivatives up to
    $p - 1$.

    Where f is not smooth, an order means nothing beyond the derivatives that exist. Of a relu network autodiff returns
    the derivatives of the piece that u lies on: its f jumps across the kinks, and what every model above order 1 adds
    leaves the jumps out. Finite differences see the kinks within ε of u; one further away stays unseen.

    **Arguments:**

    - `loss`: $\Phi$, or a `VectorField`.
    - `params`: u, any pytree.
    - `order`: highest derivative of f, $\ge 1$; derivative k costs about $5\cdot2^k$ gradients.
    - `key`: of the directions.
    - `step`: the coarse ε, relative to the size of the params, below 1; the fine one is its square. The eighth root
      of the machine's ε by default.

    **Returns:** a `DerivativeCheck`. The gradient itself is taken for what it is (see `jax.test_util.check_grads`).

    **Raises:** `ValueError` or `TypeError` for arguments that do not fit.

    !!! example

        >>> import jax, jax.numpy as jnp, momentumflow as mf
        >>> check = mf.check_derivatives(lambda u: jnp.sum(jax.nn.softplus(u)), jnp.ones(3), 3, jax.random.key(0))
        >>> str(check).splitlines()[-1]
        'Autodiff and finite differences agree: models up to order 4 may be used.'
        >>> kinked = lambda u: jnp.sum(jax.nn.relu(jnp.outer(u, jnp.linspace(-1, 1, 2000)) + 0.3))
        >>> mf.check_derivatives(kinked, jnp.ones(3), 2, jax.random.key(0)).trusted_order
        1
    """
    params = _validate.as_params(params)
    _validate.check_loss(loss, params)
    order = _validate.count("order", order)
    eps = float(jnp.finfo(_tree.dtype(params)).eps)
    step = eps**0.125 if step is None else step
    _validate.positive("step", step, "leave it out for the default")
    if step >= 1:
        raise ValueError(f"step must be < 1, got {step}: it is relative to the size of the params")
    steps = np.array([step, step**2])
    differences, sizes, flatness = _differences(
        loss, params, key, jnp.asarray(steps, _tree.dtype(params)), order
    )
    allowed = steps * np.asarray(flatness, float) + ROUNDINGS * eps / steps * np.asarray(sizes, float)
    return DerivativeCheck(steps, np.asarray(differences, float), allowed)


@eqx.filter_jit
def _differences(
    loss: Loss | VectorField, params: Params, key: PRNGKeyArray, steps: Float[Array, "2"], order: int
) -> tuple[Float[Array, "order 2"], Float[Array, "order 2"], Float[Array, "order 2"]]:
    """|A_k - D_k| over the larger of the two; over the same the values that D_k is a difference of, and the unit."""
    field, directions = descent_field(loss), _directions(params, key, order)
    rows = []
    for k in range(1, order + 1):
        exact = derivative(field, params, directions[:k])
        found, sizes, far = _finite_differences(field, params, directions[:k], steps)
        unit = jnp.maximum(_tree.norm(exact), jax.vmap(_tree.norm)(found))
        unit = jnp.where(unit > 0, unit, 1)
        gaps = jax.vmap(_tree.norm)(jax.tree.map(jnp.subtract, found, exact))
        rows.append((gaps / unit, sizes / unit, jnp.maximum(unit, far) / unit))
    gaps, sizes, flatness = map(jnp.stack, zip(*rows, strict=True))
    return gaps, sizes, flatness


def _directions(params: Params, key: PRNGKeyArray, count: int) -> list[Params]:
    """Random directions as long as the params, or of length 1 at 0."""
    length = _tree.norm(params)
    length = jnp.where(length > 0, length, 1)
    drawn = [_tree.normal(k, params) for k in jax.random.split(key, count)]
    return [_tree.linear((length / _tree.norm(x),), (x,)) for x in drawn]


def _finite_differences(
    field: Field, params: Params, directions: list[Params], steps: Float[Array, "2"]
) -> tuple[Params, Float[Array, "2"], Float[Array, ""]]:
    """D_k along the last direction of f^{(k-1)} along the others at each width; how large f^{(k-1)} is there.

    The third is how large it is a whole x_k away, on the side where it is smaller; 0 where it is not finite.
    """
    *inner, last = directions
    places, weights = (jnp.asarray(column, steps.dtype) for column in zip(*STENCIL, strict=True))

    def shifted(place: Float[Array, ""]) -> Params:
        return derivative(field, _tree.linear((1, place), (params, last)), inner)

    ends = jnp.array([-1, 1], steps.dtype)
    values = jax.lax.map(shifted, jnp.concatenate([jnp.outer(steps, places).ravel(), ends]))
    norms = jax.vmap(_tree.norm)(values)
    sizes, far = norms[:-2].reshape(len(steps), -1).max(axis=1), norms[-2:].min()
    matrix = jax.scipy.linalg.block_diag(*(weights / step for step in steps))
    return (
        jax.tree.map(lambda g: jnp.tensordot(matrix.astype(g.dtype), g[:-2], 1), values),
        sizes,
        jnp.where(jnp.isfinite(far), far, 0),
    )
