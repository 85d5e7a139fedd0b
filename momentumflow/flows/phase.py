"""The phase-space flow: a field on (u, v) whose flow passes through the iterates, transient included."""

from functools import lru_cache
from typing import cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .. import _tree, _validate
from .._types import Field, Loss, Params, VectorField, descent_field
from ..expansion.differentials import combinations
from ..expansion.interpolation import increments
from ..expansion.phase import V, phase_expansion
from ..expansion.trees import Tree, up_to
from ..expansion.trees import order as size
from ..methods.manifold import Start, start_state
from ..methods.momentum import MomentumMethod
from .model import AbstractFlow, Claim, ModelField, ModelState, family_only

HIGHEST = 4
SMALLEST_NODE = 0.05
"""Of λ^p: below, the interpolated log is worse than the flow of order 1 at every h of use."""
LARGEST_ROUNDING = 2e-3
"""Σ|W| times the rounding unit of the session: what the weights leave of the field's digits."""

_FAMILY = family_only("PhaseFlow")


class PhaseFlow(AbstractFlow):
    r"""The flow on $(u, v)$ through the iterates of (15), to order p: by iterates (the default)

    $$\frac{d}{dt}(u, v) = \frac1h\sum_{j=0}^{K} w_jP_h^j(u, v)
      = \frac1h\sum_{j=1}^{K} W_j\big(P_h^j - P_h^{j-1}\big)(u, v),
      \qquad K = \tfrac{(p+1)(p+2)}2 - 1, \quad W_j = w_j + \dots + w_K,$$

    with one step $P_h$ of the method itself and the weights of the polynomial that interpolates log at
    $1, \lambda, \dots, \lambda^p$: K gradients, no derivative of f. Or, with `series`, by the series itself
    (`momentumflow.phase_expansion`), cut after $h^{p-1}$ in $\dot u$ and $h^{p-2}$ in $\dot v$,

    $$\dot u = \sum_{|\tau|\le p} h^{|\tau|-1}c_\tau F(\tau)(u, v), \qquad
      \dot v = \sum_{|\tau|\le p} h^{|\tau|-2}d_\tau F(\tau)(u, v),$$

    by derivatives of f along f and v, for every λ > 0. Both keep the method's fixed points exactly.

    Claim: $O(h^p)$ for all t, from rest and with the transient. The `velocity` of a solution is the method's v.

    **Arguments:**

    - `method`: of the family (7) with λ > 0, concrete (not traced): its constants are found exactly.
    - `order`: p from 1 to 4.
    - `series`: the series in place of the iterates, whose weights cancel at small λ and large p: there the flow
      by iterates is refused. It is good for $hk \ll \lambda^p$, the series up to about 1.

    **Raises:** `ValueError` for λ = 0, another order, or weights that cancel too much.

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> method, loss = mf.nesterov(2**-6, 0.5), lambda u: jnp.sum(jnp.cosh(u))
        >>> run = mf.iterate(method, loss, jnp.ones(1), steps=64)
        >>> for series in (False, True):
        ...     flow = mf.solve(mf.PhaseFlow(method, series=series), loss, jnp.ones(1), run.times)
        ...     print(bool(jnp.max(jnp.abs(flow.params - run.params)) < 1e-3))
        True
        True
    """

    method: MomentumMethod = eqx.field(converter=_FAMILY)
    order: int = eqx.field(static=True, default=2)
    series: bool = eqx.field(static=True, default=False)
    constants: Float[Array, " K"] | Float[Array, "2 trees"] | None = (
        None  # found by __post_init__, whatever is passed
    )

    def __post_init__(self) -> None:
        _FAMILY(self.method)
        order = _validate.count("order", self.order)
        if order > HIGHEST:
            raise ValueError(
                f"order must be <= {HIGHEST}, got {order}: order 4 takes 14 gradients by iterates, some 35 by series"
            )
        momentum, lookahead = (
            _number(name, getattr(self.method, name)) for name in ("momentum", "lookahead")
        )
        if self.series:
            self.constants = jnp.asarray(series_coefficients(momentum, lookahead, order))
        else:
            found = jnp.asarray(_checked_increments(momentum, order))
            self.constants = found
            _require_digits(found, jnp.result_type(float))

    @property
    def claims(self) -> tuple[Claim, ...]:
        return Claim(self.order, "rest"), Claim(self.order, "manifold")

    def field(self, loss: Loss | VectorField) -> ModelField:
        force, h = descent_field(loss), self.method.learning_rate
        constants = cast(Array, self.constants)

        def by_iterates(t: ArrayLike, state: ModelState) -> ModelState:
            return _through_iterates(self.method, force, state, constants)

        def by_series(t: ArrayLike, state: ModelState) -> ModelState:
            u, v = state
            rows = [
                series_row(self.order, row, h, power) for row, power in zip(constants, (1, 2), strict=True)
            ]
            du, dv = combinations(force, u, rows, {V: v})
            return du, dv

        return by_series if self.series else by_iterates

    def initial_state(self, loss: Loss | VectorField, params: Params, start: Start) -> ModelState:
        return start_state(self.method, loss, params, start)

    def check(self, loss: Loss | VectorField, params: Params) -> None:
        if not self.series and _validate.is_concrete(self.constants):
            _require_digits(cast(Array, self.constants), _tree.dtype(params))


def _through_iterates(method: MomentumMethod, field: Field, state: ModelState, found: Array) -> ModelState:
    """Σ W_j z_j, as P^j - P^{j-1} is h z_j in u, and Σ W_j (v_j - v_{j-1})/h.

    One step at a time, so that the program does not grow with the order; in increments, since iterates times
    weights over h would leave rounding of the size of u/h.
    """
    h = method.learning_rate

    def add(
        carry: tuple[ModelState, ModelState], weight: Array
    ) -> tuple[tuple[ModelState, ModelState], None]:
        before, total = carry
        after = method.step(field, before, 0)
        rate = (after[1], _tree.linear((1 / h,), (_tree.linear((1, -1), (after[1], before[1])),)))
        return (after, _tree.linear((1, weight), (total, rate))), None

    (_, total), _ = jax.lax.scan(add, (state, _tree.zeros_like(state)), found)
    return total


def _number(name: str, value: ArrayLike) -> float:
    if not _validate.is_concrete(value):
        raise ValueError(
            f"PhaseFlow must be built outside jit, vmap and grad: its constants need the {name} as a number"
        )
    if np.ndim(value):
        raise ValueError(
            f"the {name} must be a scalar, got shape {np.shape(value)}: build one model for each"
        )
    return float(np.asarray(value))


def _checked_increments(momentum: float, order: int) -> np.ndarray:
    """W_1, …, W_K, or the reason why there are none."""
    _require_momentum(momentum)
    if momentum**order < SMALLEST_NODE:
        raise ValueError(
            f"λ^p must be >= {SMALLEST_NODE} for the flow by iterates, got {momentum**order:.2g} at λ = {momentum:g}, "
            f"p = {order}: it interpolates log at λ^p and is good for hk well below; use series=True or a lower order"
        )
    return np.array(increments(momentum, order))


def _require_digits(found: Array, dtype: jnp.dtype) -> None:
    total, limit = float(jnp.abs(found).sum()), LARGEST_ROUNDING / float(jnp.finfo(dtype).eps)
    if total > limit:
        raise ValueError(
            f"the weights of the iterates must not cancel, got Σ|W| = {total:.1e} > {limit:.0e} in {dtype}: "
            "use series=True or a lower order"
        )


def _require_momentum(momentum: float) -> None:
    if not momentum > 0:
        raise ValueError(
            f"momentum must be > 0 for a phase flow, got {momentum}: log λ has no value; without momentum "
            "SlowFlow follows the method from the start"
        )


@lru_cache(maxsize=256)
def series_coefficients(momentum: float, lookahead: float, order: int) -> np.ndarray:
    """c_τ and d_τ of all trees up to the order; shape (2, number of trees)."""
    _require_momentum(momentum)
    return np.array([list(row.values()) for row in phase_expansion(order, momentum, lookahead)])


def series_row(
    order: int, coefficients: Float[Array, " trees"], h: ArrayLike, power: int
) -> dict[Tree, Array]:
    """Coefficients of the elementary differentials, h^(|τ|-power) included: power 1 for u', 2 for v'."""
    return {
        tree: c * h ** (size(tree) - power) for tree, c in zip(up_to(order, (V,)), coefficients, strict=True)
    }
