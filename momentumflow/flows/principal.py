"""The principal flow: the logarithm of a step, one Hessian eigen-direction at a time; exact on quadratics."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .. import _krylov, _tree, _validate
from .._types import Loss, Params, VectorField, descent_field
from ..linear.family import flow_limit, slow_limit, slow_mode, step_logarithm
from ..methods.manifold import Start, start_state
from ..methods.momentum import MomentumMethod
from .model import AFTER_LAYER, AbstractFlow, Claim, ModelField, ModelState, family_only

LARGEST_DENSE = 64
"""Up to this many params the Hessian is formed; beyond, the Lanczos process needs a `depth`."""

Scalars = Callable[[Float[Array, " m"]], Float[Array, "count m"]]

_FAMILY = family_only("PrincipalFlow")


class PrincipalFlow(AbstractFlow):
    r"""The flow whose every Hessian eigen-direction is exact: functions of $hH(u)$ in front of $f$ and $v$.

    On $(u, v)$, with $L(x) = \log M(x)$ the real logarithm of the 2×2 matrix of a step on curvature $k = x/h$,

    $$\dot u = \varphi_u(hH)f + \psi_u(hH)v, \qquad h\dot v = \varphi_v(hH)f + \psi_v(hH)v,$$

    $\varphi_u = -L_{11}/x$, $\psi_u = L_{12}$, $\varphi_v = -L_{21}/x$, $\psi_v = L_{22}$: it passes through the
    iterates of a quadratic from any start, transient included, monotone and rippling, for every
    $hk < x_+$ (`linear.family.flow_limit`: heavy ball $(1+\sqrt\lambda)^2$, Nesterov 1).

    To first order, `phase=False`, with the slow root $\rho$ of that matrix,

    $$\dot u = -\frac{\log\rho(hH)}{hH}f,$$

    for every $hk < x_-$ (`slow_limit`); without momentum it is Rosca et al.'s principal flow, $\rho = 1 - x$. It
    starts from the slow part of $(u_0, v_0)$,
    $u_0 + h\frac{\rho_1\rho_2}{\rho_1-\rho_2}(hH)\big(v_0 - \frac{1-\rho_1}{x\rho_1}(hH)f\big)$.

    Claims: $O(h^2)$, as it leaves out $f''$: on $(u, v)$ for all t, from rest and with the transient; to first order
    from a start on the manifold, and from rest outside the initial layer. The `velocity` of a solution on $(u, v)$
    is the method's v.

    **Arguments:**

    - `method`: of the family (7).
    - `phase`: on $(u, v)$, λ > 0; by default unless λ = 0.
    - `depth`: m Hessian-vector products for each of f and v, by the Lanczos process; by default the dense
      Hessian, for at most 64 params.
    - `every_second`: where $\rho < 0$ take $\log|\rho|$, on $(u, v)$ $\tfrac12\log M^2$ for $hk \ge x_+$: in that
      direction the flow passes through every second iterate.

    **Raises:** `ValueError` for λ = 0 on $(u, v)$, for a `VectorField`, for more than 64 params without `depth`;
    by `solve` for an eigenvalue beyond the limit at the start. Beyond it later, the field is not finite and the
    solve an outcome.

    Rosca, Wu, Qin & Dherin (2023), principal flow; for heavy ball to first order Cattaneo & Shigida (2025).

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> method, loss, start = mf.heavy_ball(0.1, 0.9), mf.Quadratic([1.0, 30.0]), jnp.ones(2)
        >>> run = mf.iterate(method, loss, start, steps=20)
        >>> flow = mf.solve(mf.PrincipalFlow(method), loss, start, run.times)
        >>> bool(jnp.max(jnp.abs(flow.params - run.params)) < 1e-8)
        True
    """

    method: MomentumMethod = eqx.field(converter=_FAMILY)
    phase: bool | None = eqx.field(static=True, default=None)
    depth: int | None = eqx.field(static=True, default=None)
    every_second: bool = eqx.field(static=True, default=False)

    def __post_init__(self) -> None:
        lam = _FAMILY(self.method).momentum
        still = _validate.is_concrete(lam) and not np.all(np.asarray(lam) > 0)
        if self.phase is None:
            self.phase = not still
        if self.phase and still:
            raise ValueError(
                f"momentum must be > 0 for the principal flow on (u, v), got {lam}: log λ has no value; "
                "phase=False is the flow without v"
            )
        if self.depth is not None:
            _validate.count("depth", self.depth)

    @property
    def claims(self) -> tuple[Claim, ...]:
        return Claim(2, "manifold"), Claim(2, "rest") if self.phase else Claim(2, "rest", AFTER_LAYER)

    def field(self, loss: Loss | VectorField) -> ModelField:
        def first_order(t: ArrayLike, state: ModelState) -> ModelState:
            force, curvature = self._linearized(loss, state[0])
            (rate,) = self._apply(lambda x: jnp.stack(self._slow(x)[:1]), curvature, force)
            return (rate,)

        def phase_space(t: ArrayLike, state: ModelState) -> ModelState:
            force, curvature = self._linearized(loss, state[0])
            both = jax.tree.map(lambda *x: jnp.stack(x), force, state[1])

            def part(which: Array, vector: Params) -> tuple[Params, ...]:
                """The terms of u̇ and of hv̇ in f (which = 0) or in v (which = 1)."""
                return self._apply(
                    lambda x: jnp.stack(self._phase(x))[jnp.array([0, 2]) + which], curvature, vector
                )

            # one program for both vectors; a dense Hessian is not made twice
            u, v = (jax.tree.map(lambda x: x[0] + x[1], x) for x in jax.vmap(part)(jnp.arange(2), both))
            return u, _tree.linear((1 / self.method.learning_rate,), (v,))

        return phase_space if self.phase else first_order

    def initial_state(self, loss: Loss | VectorField, params: Params, start: Start) -> ModelState:
        u, v = start_state(self.method, loss, params, start)
        if self.phase:
            return u, v
        force, curvature = self._linearized(loss, u)

        def shifts(x: Float[Array, " m"]) -> Float[Array, "2 m"]:
            _, memory, lag = self._slow(x)
            return jnp.stack([lag, lag * memory])

        _, by_force = self._apply(shifts, curvature, force)
        by_velocity, _ = self._apply(shifts, curvature, v)
        h = self.method.learning_rate
        return (_tree.linear((1, h, -h), (u, by_velocity, by_force)),)

    def check(self, loss: Loss | VectorField, params: Params) -> None:
        x, scalars = _spectrum(self, loss, params)
        method = self.method
        if not all(map(_validate.is_concrete, (x, method.momentum, method.lookahead, method.learning_rate))):
            return
        beyond = ~np.all(np.isfinite(scalars), axis=0)
        if beyond.any():
            raise ValueError(self._refusal(float(np.asarray(x)[beyond].max())))

    def _refusal(self, x: float) -> str:
        method = self.method
        lam, a, h = (float(np.asarray(c)) for c in (method.momentum, method.lookahead, method.learning_rate))
        if not self.phase:
            name, limit, reason = "x₋", slow_limit(lam, a), "the slow root is not real and positive"
            remedy = "phase=True, InertialFlow or PhaseFlow" if lam > 0 else "every_second=True"
        else:
            name, limit = "x₊", flow_limit(lam, a)
            reason = (
                "two negative roots flip the sign at every step"
                if lam - x * a > 0
                else "a step reverses orientation (det M < 0), which no autonomous flow in (u, v) does"
            )
            remedy = "every_second=True, which passes through every second iterate"
        return (
            f"hk must be below {name} = {float(limit):.6g} for every eigenvalue k of the Hessian, got k = {x / h:.6g}, "
            f"hk = {x:.6g}: beyond it {reason}; use {remedy}, or a smaller learning rate"
        )

    def _slow(self, x: Float[Array, " m"]) -> tuple[Array, ...]:
        return slow_mode(x, self.method.momentum, self.method.lookahead, self.every_second)

    def _phase(self, x: Float[Array, " m"]) -> tuple[Array, ...]:
        return step_logarithm(x, self.method.momentum, self.method.lookahead, self.every_second)

    def _linearized(self, loss: Loss | VectorField, params: Params) -> tuple[Params, _krylov.Product]:
        """f and w -> hHw at the params."""
        if isinstance(loss, VectorField):
            raise ValueError(
                "PrincipalFlow must have a loss, got a VectorField: it is made of eigenvalues of a symmetric Hessian; "
                "PhaseFlow and SlowFlow take any field"
            )
        if self.depth is None and _tree.size(params) > LARGEST_DENSE:
            raise ValueError(
                f"depth must be given for more than {LARGEST_DENSE} params, got {_tree.size(params)} params: depth=20 "
                "takes 20 Hessian-vector products for each of f and v"
            )
        force, slope = jax.linearize(descent_field(loss), params)
        return force, lambda w: _tree.linear((-self.method.learning_rate,), (slope(w),))

    def _space(self, curvature: _krylov.Product, vector: Params) -> _krylov.Subspace:
        if self.depth is None:
            return _krylov.whole(curvature, vector)
        return _krylov.lanczos(curvature, vector, self.depth)

    def _apply(self, scalars: Scalars, curvature: _krylov.Product, vector: Params) -> tuple[Params, ...]:
        """g(hH) of a vector, for each scalar function g."""
        stacked = _krylov.apply(scalars, self._space(curvature, vector))
        count = jax.tree.leaves(stacked)[0].shape[0]
        return tuple(_tree.at(stacked, i) for i in range(count))


@eqx.filter_jit
def _spectrum(
    flow: PrincipalFlow, loss: Loss | VectorField, params: Params
) -> tuple[Float[Array, " m"], Float[Array, "count m"]]:
    """hk, and the scalar functions there, for the eigenvalues of the Hessian, or the Ritz values met in f."""
    force, curvature = flow._linearized(loss, params)
    x = _krylov.eigenvalues(flow._space(curvature, force))
    return x, jnp.stack(flow._phase(x) if flow.phase else flow._slow(x))
