"""The one engine: methods that are linear in their memory, x⁺ = (A⊗I)x + (b⊗I) f((cᵀ⊗I)x)."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .. import _tree, _validate
from .._types import Field, Params


class Memory(NamedTuple):
    """Matrix A (m, m) and vectors b, c (m,) of one step; entries 0 and 1 of Python are structure.

    `stride` is Δt where u⁺ = u + Δt v⁺, which then replaces the first row: one multiplication less.
    """

    A: Sequence[Sequence[ArrayLike]] | Float[Array, "m m"]
    b: Sequence[ArrayLike] | Float[Array, " m"]
    c: Sequence[ArrayLike] | Float[Array, " m"]
    stride: ArrayLike | None = None


State = tuple[Params, ...]


class AbstractLinearMemory(eqx.Module):
    r"""A method whose step is linear in its memory and evaluates the field once:

    $$x_{n+1} = (A\otimes I)\,x_n + (b\otimes I)\,f\big((c^\top\otimes I)\,x_n\big),
      \qquad x = (u, w_1, \dots, w_{m-1}),$$

    in the basis in which the first row is the params $u_n$ and the others vanish at rest, so
    $Ae_0 = e_0$ and $c_0 = 1$. The second row, if there is one, is the velocity $v_n$.
    """

    @abstractmethod
    def memory(self, n: ArrayLike) -> Memory:
        """A, b, c of the step from u_n to u_{n+1}."""

    @property
    @abstractmethod
    def time_step(self) -> ArrayLike:
        """Δt, so that u_n stands at t_n = n Δt of the continuous models."""

    @property
    def rows(self) -> int:
        """Number m of rows of the memory, the params included."""
        return len(self.memory(0).b)

    @property
    def varies(self) -> bool:
        """Whether A, b, c depend on n."""
        return False

    def initial_state(self, params: Params, velocity: Params | None = None) -> State:
        """(u_0, v_0, 0, …); at rest without a velocity."""
        rest = tuple(_tree.zeros_like(params) for _ in range(self.rows - 1))
        return (params, *rest) if velocity is None else (params, velocity, *rest[1:])

    def step(self, field: Field, state: State, n: ArrayLike) -> State:
        """One step, with one evaluation of the field."""
        memory = self.memory(n)
        force = field(_tree.linear(memory.c, state))
        first, *rest = zip(memory.A, memory.b, strict=True)
        rows = tuple(_tree.linear((*row, gain), (*state, force)) for row, gain in rest)
        if memory.stride is not None:
            return (_tree.linear((1, memory.stride), (state[0], rows[0])), *rows)
        return (_tree.linear((*first[0], first[1]), (*state, force)), *rows)


class LinearMemory(AbstractLinearMemory):
    r"""Any fixed linear-memory method, by its matrix and vectors.

    $x_{n+1} = (A\otimes I)x_n + (b\otimes I)f((c^\top\otimes I)x_n)$, $x = (u, w_1, \dots)$.

    **Arguments:**

    - `matrix`: $A$, shape `(m, m)`, first column $(1, 0, \dots)$.
    - `gain`: $b$, shape `(m,)`.
    - `query`: $c$, shape `(m,)`, $c_0 = 1$.
    - `step_length`: $\Delta t > 0$, the time of one step.

    **Raises:** `ValueError` for shapes that do not fit, or params that a rest state does not keep.

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> h, lam = 0.1, 0.9
        >>> heavy_ball = mf.LinearMemory([[1, h * lam], [0, lam]], [h, 1.0], [1.0, 0.0], h)
        >>> run = mf.iterate(heavy_ball, lambda u: jnp.sum(u**2) / 2, jnp.ones(1), 2)
        >>> run.params[:, 0].round(3).tolist()
        [1.0, 0.9, 0.72]
    """

    matrix: Float[Array, "m m"] = eqx.field(converter=_validate.array_field)
    gain: Float[Array, " m"] = eqx.field(converter=_validate.array_field)
    query: Float[Array, " m"] = eqx.field(converter=_validate.array_field)
    step_length: ArrayLike = eqx.field(converter=_validate.scalar_field)

    def __check_init__(self) -> None:
        m = self.gain.size
        if m == 0 or (self.matrix.shape, self.gain.shape, self.query.shape) != ((m, m), (m,), (m,)):
            raise ValueError(
                "matrix, gain, query must have shapes (m, m), (m,), (m,) with m >= 1, got "
                f"{self.matrix.shape}, {self.gain.shape}, {self.query.shape}: one row per memory"
            )
        _validate.positive("step_length", self.step_length, "it is the time of one step")
        for name in ("matrix", "gain", "query"):
            _validate.finite(name, getattr(self, name), "a step with such a number is not finite either")
        if _validate.is_concrete(self.matrix) and _validate.is_concrete(self.query):
            column, lead = np.asarray(self.matrix)[:, 0], float(np.asarray(self.query)[0])
            if not np.array_equal(column, np.eye(m)[0]) or lead != 1:
                raise ValueError(
                    "the first column of the matrix must be (1, 0, ...) and query[0] must be 1, got "
                    f"{column} and {lead}: choose the basis (params, rows that vanish at rest)"
                )

    def memory(self, n: ArrayLike) -> Memory:
        return Memory(self.matrix, self.gain, self.query)

    @property
    def time_step(self) -> ArrayLike:
        return self.step_length


def gradient_query(method: AbstractLinearMemory, state: State, n: ArrayLike = 0) -> Params:
    """The point u_n + … at which the next step evaluates the field."""
    return _tree.linear(method.memory(n).c, state)


def require_scalars(method: AbstractLinearMemory) -> None:
    """Raises for an ensemble that was not mapped over: its constants would be taken coordinate by coordinate."""
    A, b, c, _ = method.memory(0)
    shapes = {np.shape(x) for x in (*(x for row in A for x in row), *b, *c, method.time_step)}
    if shapes != {()}:
        raise ValueError(
            f"a method's constants must be scalars, got shapes {sorted(shapes - {()})}: "
            "map over an ensemble of methods with eqx.filter_vmap"
        )
