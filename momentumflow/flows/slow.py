"""The slow flow, to any order: what a method does on its slow manifold; order 2 is (20)."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .. import _tree, _validate
from .._types import Loss, Params, VectorField, descent_field
from ..expansion.coefficients import manifold_of, modified_equation_of
from ..expansion.differentials import combine
from ..expansion.trees import Tree, order, up_to
from ..methods.linear_memory import AbstractLinearMemory
from ..methods.manifold import Start, slow_response, start_state
from .model import AFTER_LAYER, AbstractFlow, Claim, ModelField, ModelState, family_only, linear_memory_only

_LINEAR = linear_memory_only("SlowFlow")
_PRINTED_FOR = family_only("SlowFlow(printed=True)")


class SlowFlow(AbstractFlow):
    r"""The slow flow of order p, the method's modified equation cut after $h^{p-1}$:

    $$\dot u = \bar\lambda f + hF_2(u) + \dots + h^{p-1}F_p(u),$$

    $F_k$ a combination of elementary differentials of f (`momentumflow.modified_equation`). Order 2 is the
    modified gradient flow of Kovachki & Stuart (2021), (20), (21):

    $$\dot u = -\bar\lambda\nabla\big(\Phi + \tfrac12 hc|\nabla\Phi|^2\big) = \bar\lambda f - h\bar\lambda c\,f'f,
      \qquad c = \bar\lambda(\bar\lambda - a - \tfrac12) = \alpha\bar\lambda^2.$$

    (19) prints $c = \bar\lambda(\bar\lambda - a + \tfrac12)$, a sign slip that costs the second order.
    A method started with velocity $v_0$ falls onto the slow flow that starts, to second order, from

    $$u_0 + h\lambda\bar\lambda\big(v_0 - w_p(u_0)\big), \qquad w_p = \bar\lambda f + hg_1 + \dots + h^{p-1}g_{p-1},$$

    with the invariant manifold $w_p$ (`momentumflow.manifold_expansion`): from rest a lag of $\lambda/(1-\lambda)$
    iterations, and no shift for a start on the manifold. For a general linear-memory method the
    coefficients follow from $A, b, c$.

    Claims: order p from a start on the manifold (Theorem 6; for $p \ge 3$ the start must be on the graph of
    order p-1 or more), and order min(p, 2) from rest outside the initial layer.

    **Arguments:**

    - `method`: with fixed momentum.
    - `order`: $p \ge 1$; 1 is the rescaled gradient flow, with the lagged start.
    - `printed`: use (19) as printed; for the family (7) and order 2.

    **Raises:** `ValueError` for another order, or momentum that varies.

    Its coefficients are found when it is built: build it inside `grad` for a derivative by λ or a.

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> method, loss = mf.nesterov(2**-8, 0.5), lambda u: jnp.sum(jnp.cosh(u))
        >>> run = mf.iterate(method, loss, jnp.ones(1), steps=256, start="manifold")
        >>> flow = mf.solve(mf.SlowFlow(method), loss, jnp.ones(1), run.times, start="manifold")
        >>> bool(jnp.max(jnp.abs(flow.params - run.params)) < 1e-4)
        True
    """

    method: AbstractLinearMemory = eqx.field(converter=_LINEAR)
    order: int = eqx.field(static=True, default=2)
    printed: bool = eqx.field(static=True, default=False)
    series: Float[Array, "rows trees"] | None = None  # found by __post_init__, whatever is passed

    def __post_init__(self) -> None:
        _LINEAR(self.method)
        _validate.count("order", self.order)
        if self.printed:
            _PRINTED_FOR(self.method)
            if self.order != 2:
                raise ValueError(f"(19) is printed for order 2, got order {self.order}: drop printed=True")
        # here rather than in the field, whose program would hold the whole recursion; an ensemble waits for its vmap
        ensemble = any(map(np.ndim, jax.tree.leaves(self.method)))
        self.series = None if ensemble else _series(self.method, self.order)

    @property
    def claims(self) -> tuple[Claim, ...]:
        if self.printed:
            return (Claim(1, "manifold"),)
        return Claim(min(self.order, 2), "manifold"), Claim(min(self.order, 2), "rest", AFTER_LAYER)

    def field(self, loss: Loss | VectorField) -> ModelField:
        force, coefficients = descent_field(loss), _by_tree(self._expansions()[0], self.order)

        def field(t: ArrayLike, state: ModelState) -> ModelState:
            return (combine(force, state[0], coefficients),)

        return field

    def _expansions(self) -> Float[Array, "rows trees"]:
        """Coefficients of the flow and of each memory row, powers of the time step included."""
        series = _series(self.method, self.order) if self.series is None else self.series
        dt = self.method.time_step
        if self.printed:
            method = _PRINTED_FOR(self.method)
            c = method.amplification * (method.amplification - method.lookahead + 0.5)
            series = series.at[0, 1].set(-method.amplification * c)
        return series * jnp.asarray(dt) ** np.array([order(tree) - 1 for tree in up_to(self.order)])

    def initial_state(self, loss: Loss | VectorField, params: Params, start: Start) -> ModelState:
        _, *rows = start_state(self.method, loss, params, start)
        if not rows:
            return (params,)
        lags = slow_response(self.method).lag
        graph = -lags @ self._expansions()[1:]
        fall = combine(descent_field(loss), params, _by_tree(graph, self.order))
        return (_tree.linear((1, 1, *lags), (params, fall, *rows)),)


def _series(method: AbstractLinearMemory, highest: int) -> Float[Array, "rows trees"]:
    rows = [modified_equation_of(method, highest), *manifold_of(method, highest)]
    return jnp.asarray([list(row.values()) for row in rows], float)


def _by_tree(coefficients: Float[Array, " trees"], highest: int) -> dict[Tree, Array]:
    return dict(zip(up_to(highest), coefficients, strict=True))
