"""Functions of a symmetric operator on a pytree, from a subspace: a Krylov space by matfree, or all of it."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree
from matfree.decomp import tridiag_sym

Product = Callable[[PyTree], PyTree]
"""v -> Av with A symmetric and linear, for instance a Hessian-vector product."""


class Subspace(NamedTuple):
    """A on a subspace: m orthonormal vectors, stacked in front of each leaf, and A between them.

    `coordinates` are those of the vector from which the space was made; `matrix` is symmetric, (m, m). `rest` is the
    norm of what A takes out of the space: of a Krylov space that of the next vector of Lanczos, all of it beside the
    last one of the basis, so that |As - θs| = rest |s_m| for an eigenvector s of the matrix.
    """

    basis: PyTree
    matrix: Float[Array, "m m"]
    coordinates: Float[Array, " m"]
    rest: Float[Array, ""] | float = 0.0


def lanczos(product: Product, vector: PyTree, depth: int) -> Subspace:
    """The Krylov space of b, Ab, …, A^{m-1}b by m products, m = min(depth, dimension), reorthogonalised.

    Where it is invariant before depth m, the vectors beyond are zero, decoupled, and repeat the first diagonal
    entry, so that the eigenvalues of `matrix` stay within those of A. A vector 0 is replaced by one of all
    entries alike, with coordinates 0.
    """
    flat, unravel = ravel_pytree(vector)
    depth = min(depth, flat.size)
    norm = jnp.linalg.norm(flat)
    decompose = tridiag_sym(depth, materialize=False, reortho="full", custom_vjp=False)
    start = jnp.where(norm == 0, jnp.ones_like(flat), flat)
    with jax.default_matmul_precision("highest"):  # a GPU's TF32 would cost the orthogonality
        found = decompose(lambda x: ravel_pytree(product(unravel(x)))[0], start)
    diagonal, coupling = found.J_small
    rounding = depth * jnp.finfo(flat.dtype).eps * jnp.nanmax(jnp.abs(jnp.concatenate(found.J_small)))
    # a quotient 0/0 follows an exact breakdown: its NaN is not above the rounding either
    inside = jnp.cumprod(jnp.concatenate([jnp.ones(1, bool), coupling > rounding])).astype(bool)
    coupling = jnp.where(inside[1:], coupling, 0)
    matrix = (
        jnp.diag(jnp.where(inside, diagonal, diagonal[0])) + jnp.diag(coupling, 1) + jnp.diag(coupling, -1)
    )
    basis = jax.vmap(unravel)(jnp.where(inside[:, None], found.Q_tall, 0))
    rest = jnp.where(inside[-1], jnp.linalg.norm(found.residual), 0)
    return Subspace(basis, matrix, jnp.zeros_like(diagonal).at[0].set(norm), rest)


def whole(product: Product, vector: PyTree) -> Subspace:
    """The whole space, by as many products as it has dimensions: for small ones."""
    flat, unravel = ravel_pytree(vector)
    basis = jax.vmap(unravel)(jnp.eye(flat.size, dtype=flat.dtype))
    rows = jax.vmap(lambda v: ravel_pytree(product(v))[0])(basis)
    return Subspace(basis, (rows + rows.T) / 2, flat)


def eigenvalues(space: Subspace) -> Float[Array, " m"]:
    """Ritz values, ascending: the eigenvalues of A if the space is all of it, else between them."""
    return jnp.linalg.eigvalsh(space.matrix)


def apply(functions: Callable[[Float[Array, " m"]], Float[Array, "count m"]], space: Subspace) -> PyTree:
    """f(A)b for several scalar f at once, stacked in front of each leaf; b is the vector of the space.

    `functions` maps the eigenvalues to one row for each f. An f without a value (NaN) where b has no component
    leaves no trace.
    """
    values, vectors = jnp.linalg.eigh(space.matrix)
    component = space.coordinates @ vectors
    scaled = jnp.where(component == 0, 0, functions(values) * component)
    weights = scaled.astype(component.dtype) @ vectors.T
    return jax.tree.map(
        lambda x: jnp.tensordot(weights.astype(x.dtype), x, 1, precision=jax.lax.Precision.HIGHEST),
        space.basis,
    )
