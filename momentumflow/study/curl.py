"""How far a field is from a gradient, measured at one point."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from .. import _tree, _validate
from .._types import Loss, VectorField, descent_field


def curl(
    field: Loss | VectorField, params: PyTree, key: PRNGKeyArray, directions: int = 8
) -> Float[Array, ""]:
    r"""The share of the Jacobian J of a field that is antisymmetric, from random pairs of directions:

    $$\frac{\|J - J^\top\|_F}{2\|J\|_F} \approx
      \frac12\sqrt{\frac{\sum_i(\langle x_i, Jy_i\rangle - \langle y_i, Jx_i\rangle)^2}
      {\tfrac12\sum_i(\langle x_i, Jy_i\rangle^2 + \langle y_i, Jx_i\rangle^2)}}, \qquad x_i, y_i \sim N(0, I).$$

    A field on all of $\mathbb{R}^d$ is a gradient iff this is 0 everywhere; 1 is a rotation, 0.71 an arbitrary field.
    Rounding leaves about ε.

    **Arguments:**

    - `field`: a `VectorField`, for instance of a slow flow; a loss stands for its own $-\nabla\Phi$, whose curl is
      rounding.
    - `params`: the point, any pytree; over several points, `eqx.filter_vmap`.
    - `key`: of the directions.
    - `directions`: number of pairs, two forward derivatives each, one after the other; the relative error is about
      $1/\sqrt{\text{directions}}$.

    **Returns:** a number in [0, 1]; 0 where J vanishes.

    **Raises:** `ValueError` or `TypeError` for params or a field that do not fit.

    !!! example

        >>> import jax, jax.numpy as jnp, momentumflow as mf
        >>> game = mf.VectorField(lambda u: jnp.stack([-u[1], u[0]]))
        >>> round(float(mf.curl(game, jnp.ones(2), jax.random.key(0))), 6)
        1.0
        >>> bool(mf.curl(lambda u: jnp.sum(jnp.cosh(u)) * u[0], jnp.ones(2), jax.random.key(0)) < 1e-12)
        True
    """
    params = _validate.as_params(params)
    _validate.check_loss(field, params)
    return _curl(field, params, key, _validate.count("directions", directions))


@eqx.filter_jit
def _curl(field: Loss | VectorField, params: PyTree, key: PRNGKeyArray, directions: int) -> Float[Array, ""]:
    _, jacobian = jax.linearize(descent_field(field), params)

    def pair(key: PRNGKeyArray) -> tuple[Float[Array, ""], Float[Array, ""]]:
        x, y = (_tree.normal(k, params) for k in jax.random.split(key))
        return _tree.inner(x, jacobian(y)), _tree.inner(y, jacobian(x))

    one, other = jax.lax.map(pair, jax.random.split(key, directions))
    size = 2 * jnp.sum(one**2 + other**2)
    return jnp.sqrt(jnp.sum((one - other) ** 2) / jnp.where(size > 0, size, 1))
