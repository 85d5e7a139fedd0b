"""The quadratic with a given spectrum."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import _validate
from .problem import AbstractProblem, is_vector


class Quadratic(AbstractProblem):
    r"""$\Phi(u) = \tfrac12\langle u, Qu\rangle$ with $Q = W\,\mathrm{diag}(k)\,W^\top$.

    With $k_* = \max_i |k_i|$: $B_0 = k_* R$, $B_1 = k_*$, $B_2 = 0$, curvature from $\min k_i$ to
    $\max k_i$; all sharp. The minimiser is 0, one of many if some $k_i = 0$, and `None` if some $k_i < 0$
    (not under `jit`, where the values cannot be seen).

    **Arguments:**

    - `eigenvalues`: $k$, shape `(d,)`, finite, of any sign.
    - `basis`: $W$, shape `(d, d)`, orthogonal, its columns the eigenvectors; `None` for the identity.

    **Raises:** `ValueError` for another shape, a number that is not finite, or a basis that is not
    orthogonal.

    Kovachki & Stuart (2021), §2.3, with eigenvalues (1, κ).

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> problem = mf.Quadratic([1.0, 5.0], basis=[[0.6, -0.8], [0.8, 0.6]])
        >>> round(float(problem(jnp.array([0.6, 0.8]))), 6)
        0.5
        >>> float(problem.bounds(2.0).B0)
        10.0
    """

    eigenvalues: Float[Array, " d"] = eqx.field(converter=_validate.array_field)
    basis: Float[Array, "d d"] | None = eqx.field(
        default=None, converter=lambda x: None if x is None else _validate.array_field(x)
    )

    def __check_init__(self) -> None:
        is_vector("eigenvalues", self.eigenvalues)
        if self.basis is not None:
            _check_orthogonal(self.basis, self.dimension)

    @property
    def dimension(self) -> int:
        return self.eigenvalues.shape[-1]

    @property
    def minimizer(self) -> Float[Array, " d"] | None:
        if _validate.is_concrete(self.eigenvalues) and np.any(np.asarray(self.eigenvalues) < 0):
            return None
        return jnp.zeros_like(self.eigenvalues)

    def _value(self, u: Float[Array, " d"]) -> Float[Array, ""]:
        w = u if self.basis is None else jnp.matmul(u, self.basis, precision=jax.lax.Precision.HIGHEST)
        return jnp.sum(self.eigenvalues * w**2) / 2

    def _bounds(self, radius: Float[Array, ""]) -> tuple:
        steepest = jnp.max(jnp.abs(self.eigenvalues))
        return jnp.where(steepest == 0, 0, steepest * radius), steepest, 0.0

    def _curvature(self, radius: Float[Array, ""]) -> tuple:
        return jnp.min(self.eigenvalues), jnp.max(self.eigenvalues)


def _check_orthogonal(basis: Float[Array, "d d"], dimension: int) -> None:
    if basis.shape != (dimension, dimension):
        raise ValueError(
            f"basis must have shape ({dimension}, {dimension}) to fit the eigenvalues, got {basis.shape}: "
            "its columns are the eigenvectors"
        )
    if not _validate.is_concrete(basis):
        return
    W = np.asarray(basis, float)
    defect = np.max(np.abs(W.T @ W - np.eye(dimension)))
    if not defect <= 100 * dimension * float(jnp.finfo(basis.dtype).eps):
        raise ValueError(
            f"basis must be orthogonal, got max |WᵀW - I| = {defect:.2g}: "
            "orthogonalise its columns, for instance with jnp.linalg.qr"
        )
