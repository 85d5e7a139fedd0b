"""Functions of a symmetric operator on a pytree, from a subspace: a Krylov space, or all of it."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

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
    start = jnp.where(norm == 0, jnp.ones_like(flat), flat)
    with jax.default_matmul_precision("highest"):  # a GPU's TF32 would cost the orthogonality
        basis, diagonal, norms = _recursion(lambda x: ravel_pytree(product(unravel(x)))[0], start, depth)
    coupling, rest = norms[:-1], norms[-1]
    rounding = depth * jnp.finfo(flat.dtype).eps * jnp.nanmax(jnp.abs(jnp.append(diagonal, coupling)))
    # a quotient 0/0 follows an exact breakdown: its NaN is not above the rounding either
    inside = jnp.cumprod(jnp.concatenate([jnp.ones(1, bool), coupling > rounding])).astype(bool)
    coupling = jnp.where(inside[1:], coupling, 0)
    matrix = (
        jnp.diag(jnp.where(inside, diagonal, diagonal[0])) + jnp.diag(coupling, 1) + jnp.diag(coupling, -1)
    )
    return Subspace(
        jax.vmap(unravel)(jnp.where(inside[:, None], basis, 0)),
        matrix,
        jnp.zeros_like(diagonal).at[0].set(norm),
        jnp.where(inside[-1], rest, 0),
    )


def _recursion(
    product: Callable[[Float[Array, " d"]], Float[Array, " d"]], start: Float[Array, " d"], depth: int
) -> tuple[Float[Array, "m d"], Float[Array, " m"], Float[Array, " m"]]:
    """Lanczos' three terms, then every vector before: the basis, its diagonal, and the norms of what is left.

    Not matfree's `tridiag_sym`, which keeps a second basis and goes over the whole of it four times in a step: with 2.8
    million params five times the time.
    """

    def step(j: Array, carry: tuple) -> tuple:
        basis, vector, norm, diagonal, norms = carry
        unit = vector / norm
        basis = jax.lax.dynamic_update_index_in_dim(basis, unit, j, 0)
        image = product(unit)
        entry = unit @ image
        left = image - entry * unit - jnp.where(j > 0, norm, 0) * basis[jnp.maximum(j - 1, 0)]
        left = jax.lax.fori_loop(0, j + 1, lambda i, w: w - (basis[i] @ w) * basis[i], left)
        size = jnp.linalg.norm(left)
        return basis, left, size, diagonal.at[j].set(entry), norms.at[j].set(size)

    empty, numbers = jnp.zeros((depth, start.size), start.dtype), jnp.zeros(depth, start.dtype)
    first = (empty, start, jnp.linalg.norm(start), numbers, numbers)
    basis, _, _, diagonal, norms = jax.lax.fori_loop(0, depth, step, first)
    return basis, diagonal, norms


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
