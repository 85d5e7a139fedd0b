r"""One eigenvalue k of the Hessian under any method that is linear in its memory, from A, b, c alone.

On a quadratic each eigen-direction is multiplied by $A - k\,bc^\top$ in a step. The method is a linear system of
transfer function $Q/P$ whose input is the force and whose output is the point where it is asked for:

$$\det(zI - A + k\,bc^\top) = P(z) + kQ(z), \qquad P(z) = \det(zI - A), \quad Q(z) = c^\top\mathrm{adj}(zI - A)\,b.$$
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .. import _validate
from ..methods.linear_memory import AbstractLinearMemory, require_scalars

_ROUNDING = 1e-12


def step_matrix(
    method: AbstractLinearMemory, curvature: ArrayLike, iteration: int | None = None
) -> Float[Array, "*batch m m"]:
    r"""$A - k\,bc^\top$: what one step does to the memory along an eigenvector of curvature k.

    **Arguments:**

    - `method`: linear in its memory, of m rows.
    - `curvature`: eigenvalue k of the Hessian, of any sign; an array of any shape.
    - `iteration`: n, for a method whose A, b, c vary: the matrix of the step from $u_n$ to $u_{n+1}$.

    **Returns:** the matrices, shape `(*curvature.shape, m, m)`, on $(u_n - u_\star, v_n, \dots)$.

    **Raises:** `TypeError` for a method that is not linear in its memory; `ValueError` for one that varies, without
    `iteration`, for an ensemble, or a curvature that is not finite.

        >>> import momentumflow as mf
        >>> mf.step_matrix(mf.heavy_ball(0.1, 0.5), 2.0).round(3).tolist()
        [[0.8, 0.05], [-2.0, 0.5]]
    """
    _validate.finite("curvature", curvature, "it is an eigenvalue of the Hessian")
    A, b, c = _memory(method, iteration)
    return A - jnp.asarray(curvature)[..., None, None] * jnp.outer(b, c)


def convergence_factor(
    method: AbstractLinearMemory, curvature: ArrayLike, iteration: int | None = None
) -> Float[Array, "..."]:
    r"""$\max|\rho|$ over the eigenvalues of `step_matrix`: by how much the distance from the minimum along an
    eigenvector of curvature k shrinks per iteration in the end; the method is stable where it is below 1.

    **Arguments** and errors as of `step_matrix`.

        >>> import momentumflow as mf
        >>> [round(float(mf.convergence_factor(mf.heavy_ball(0.1, 0.81), k)), 6) for k in (10.0, 40.0)]
        [0.9, 1.718719]
    """
    return jnp.max(jnp.abs(jnp.linalg.eigvals(step_matrix(method, curvature, iteration))), axis=-1)


def sharpness_limit(method: AbstractLinearMemory, iteration: int | None = None) -> float:
    r"""The largest curvature K such that the method is stable for every curvature in (0, K).

    Heavy ball $2(1+\lambda)/h$, Nesterov $2(1+\lambda)/((1+2\lambda)h)$; for any other method an eigenvalue
    $e^{i\theta}$ on the unit circle needs $k = -P(e^{i\theta})/Q(e^{i\theta})$ to be real: $\theta = \pi$, or a root
    of a polynomial in $\cos\theta$ of degree m - 1. The first such k beyond which the factor exceeds 1 is the limit.

    **Arguments:** as of `step_matrix`; with `iteration`, the limit of a method frozen at that n.

    **Returns:** K, in units of curvature; 0 for a method that is stable for no small curvature.

    **Raises:** `TypeError` and `ValueError` as `step_matrix`, and `TypeError` for a traced method.

    Cohen et al. (2021), "Gradient descent on neural networks typically occurs at the edge of stability".

        >>> import momentumflow as mf
        >>> round(mf.sharpness_limit(mf.heavy_ball(0.1, 0.9)), 9), round(mf.sharpness_limit(mf.nesterov(0.1, 0.9)), 9)
        (38.0, 13.571428571)
    """
    memory = _memory(method, iteration)
    if not all(map(_validate.is_concrete, memory)):
        raise TypeError("the method's constants must be numbers, got traced values: call it outside jit")
    A, b, c = (np.asarray(x, float) for x in memory)
    crossings = _crossings(*_transfer_function(A, b, c))
    if not crossings.size:
        return 0.0
    between = np.append((np.append(0, crossings[:-1]) + crossings) / 2, 2 * crossings[-1:])
    factors = np.abs(np.linalg.eigvals(A - between[:, None, None] * np.outer(b, c))).max(-1)
    return float(np.append(0, crossings)[np.argmax(factors >= 1)])


def _memory(method: Any, iteration: int | None) -> tuple[Array, Array, Array]:
    """A, b, c as arrays."""
    if not isinstance(method, AbstractLinearMemory):
        raise TypeError(
            f"method must be linear in its memory, got {type(method).__name__}: its step must be "
            "x⁺ = (A⊗I)x + (b⊗I)f((cᵀ⊗I)x); write it as mf.LinearMemory(A, b, c, time_step)"
        )
    if method.varies and iteration is None:
        raise ValueError(
            f"{type(method).__name__} has another matrix at each iteration, got iteration=None: pass the n "
            "at which it is frozen"
        )
    n = 0 if iteration is None else _validate.count("iteration", iteration, minimum=0)
    require_scalars(method)
    A, b, c, _ = method.memory(n)
    return jnp.stack([*map(_vector, A)]), _vector(b), _vector(c)


def _vector(x: Any) -> Float[Array, " m"]:
    return jnp.stack([jnp.asarray(entry, float) for entry in x])


def _transfer_function(A: np.ndarray, b: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """P (m+1) and Q (m), the highest power first: Q is the product of P and the series Σ cᵀAʲb z^(-j-1)."""
    P = np.poly(A)
    responses = [c @ np.linalg.matrix_power(A, j) @ b for j in range(len(b))]
    return P, np.convolve(P, responses)[: len(b)]


def _crossings(P: np.ndarray, Q: np.ndarray) -> np.ndarray:
    """Rising curvatures k > 0 at which P + kQ may have a root on the unit circle: none is left out."""
    m = len(Q)
    product = np.convolve(P, Q[::-1])  # P(z)Q(1/z), from z^m down to z^(1-m)
    odd = product[m - 1 :: -1] - np.append(product[m + 1 :], 0)
    # Im P(z)Q(1/z) on the circle is Σ odd_j sin jθ, and sin jθ/sin θ is T_j'/j at cos θ
    cosines = np.polynomial.Chebyshev(np.append(0, odd / np.arange(1, m + 1))).deriv().roots()
    inside = np.maximum(cosines.real[cosines.real < 1 - _ROUNDING], -1)  # at 1 k = 0: a step keeps a minimum
    circle = np.exp(1j * np.append(np.pi, np.arccos(inside)))
    with np.errstate(divide="ignore", invalid="ignore"):
        k = (-np.polyval(P, circle) / np.polyval(Q, circle)).real
    return np.sort(k[np.isfinite(k) & (k > 0)])
