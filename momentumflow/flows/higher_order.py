"""The higher-order ODEs (13), and the operator that they tend to."""

from collections.abc import Callable
from math import factorial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .. import _tree, _validate
from .._types import Field, Loss, Params, VectorField, descent_field
from ..linear.higher_order import USABLE, higher_order_roots, transient_root
from ..methods.linear_memory import require_scalars
from ..methods.manifold import Start
from ..methods.momentum import MomentumMethod
from .model import AFTER_LAYER, AbstractFlow, Claim, ModelField, ModelState, family_only
from .slow import SlowFlow

HIGHEST = 12
_FAMILY = family_only("HigherOrderODE")


class HigherOrderODE(AbstractFlow):
    r"""The higher-order ODE of Kovachki & Stuart (2021), eq. (13), with p terms:

    $$\sum_{k=1}^{p} \frac{1+(-1)^k\lambda}{k!}\,h^{k-1}u^{(k)}
      = f\Big(u + a\sum_{k=1}^{p-1} \frac{(-1)^{k+1}}{k!}h^ku^{(k)}\Big).$$

    They state it for heavy ball, a = 0, where p = 2 is the momentum ODE (11); for a > 0 the look-ahead is expanded
    as the rest is, $u_n - u_{n-1}$ to $h^{p-1}$. The method satisfies it to $O(h^{p+1})$ per step on smooth
    solutions. The state is $(u, \dot u, h\ddot u, \dots, h^{p-2}u^{(p-1)})$, all of order one in the layer.

    (13) needs p data and a method gives two. With the slow flow of the method, $F_q$ of order q and
    $U(0) = u_0 + h\lambda\bar\lambda(v_0 - w_{p-1}(u_0))$ its start (`momentumflow.SlowFlow`),

    $$u(0) = u_0, \qquad u^{(j)}(0) = \frac{d^ju}{dt^j}\Big|_{\dot u = F_{p-j}(u),\ u_0}
      + \frac{\operatorname{Re}\sigma_1^j}{h^j}\,\big(u_0 - U(0)\big), \qquad 1 \le j < p:$$

    the slow solution and a transient $e^{\sigma_1t/h}$ that starts at $u_0$, with the root $\sigma_1 \approx
    \log\lambda$ of the characteristic polynomial; the spurious modes ($e^{-57t/h}$ for p = 3, a pair
    $e^{(-0.05\pm3.5i)t/h}$ for p = 4 at λ = 0.9) are left at rest, and p = 2 has the slow velocity of (11).

    Claims: O(h) for all t from rest, whatever p, since the layer is not smooth: in the limit the error is
    $h|f|\lambda\bar\lambda^2\max_n|\lambda^n - \operatorname{Re}e^{n\sigma_1}|$; $O(h^2)$ outside the layer. From a
    start on the manifold to order p it is $O(h^p)$, from one on it to leading order $O(h^{\min(p, 3)})$.

    On a quadratic of curvature k (13) with a = 0 is stable iff hk < 3(1+λ) for p = 3 and hk < 3(1+λ)/2 for p = 4
    (heavy ball: 2(1+λ)). For every p ≥ 5 and every λ two modes or more grow like
    $e^{ct/h}$ whatever f is: `momentumflow.InertialFlow` and `PhaseFlow` are the models of higher order.

    **Arguments:**

    - `method`: of the family (7), concrete (not traced): $\sigma_1$ is found once, when the model is built.
    - `terms`: p = 2, 3 or 4, and up to 12 with `unstable`.
    - `unstable`: accept p ≥ 5, to see that it is of no use. The slow data then stop at those of p = 4.

    **Raises:** `ValueError` for other terms, or λ that is no number.

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> method, loss = mf.heavy_ball(2**-6, 0.9), lambda u: jnp.sum(u**2) / 8
        >>> run = mf.iterate(method, loss, jnp.ones(1), steps=64)
        >>> flow = mf.solve(mf.HigherOrderODE(method, 4), loss, jnp.ones(1), run.times)
        >>> bool(jnp.max(jnp.abs(flow.params - run.params)) < 1e-3)
        True
    """

    method: MomentumMethod = eqx.field(converter=_FAMILY)
    terms: int = eqx.field(static=True)
    unstable: bool = eqx.field(static=True, default=False)
    layer: Float[Array, " rates"] = None  # type: ignore[assignment]  # found by __post_init__, whatever is passed
    # not `stiff`: the fast modes have rates of order 1/h and are to be followed; Kvaerno5 took 10 to 20 times longer

    def __post_init__(self) -> None:
        momentum = _FAMILY(self.method).momentum
        if not _validate.is_concrete(momentum):
            raise ValueError(
                "HigherOrderODE must be built outside jit, vmap and grad: it needs λ as a number"
            )
        require_scalars(self.method)
        momentum = float(np.asarray(momentum))
        _check_terms(self.terms, momentum, self.unstable)
        powers = transient_root(self.terms, momentum) ** np.arange(1, self.terms)
        self.layer = jnp.asarray(powers.real)

    @property
    def claims(self) -> tuple[Claim, ...]:
        if self.terms > USABLE:
            return ()
        return Claim(1, "rest"), Claim(2, "rest", AFTER_LAYER), Claim(min(self.terms, 3), "manifold")

    def field(self, loss: Loss | VectorField) -> ModelField:
        force, h = descent_field(loss), self.method.learning_rate
        *kept, mass = [_coefficient(k, self.method.momentum) for k in range(1, self.terms + 1)]
        heavy_ball = isinstance(self.method.lookahead, int)  # Python's own 0: no look-ahead is computed
        reach = [
            0 if heavy_ball else h * self.method.lookahead * (-1) ** (k + 1) / factorial(k)
            for k in range(1, self.terms)
        ]

        def field(t: ArrayLike, state: ModelState) -> ModelState:
            _, *rates = state
            pull = force(_tree.linear((1, *reach), state))
            last = _tree.linear((1 / (h * mass), *(-c / (h * mass) for c in kept)), (pull, *rates))
            first, *higher = rates
            return first, *(_tree.linear((1 / h,), (rate,)) for rate in higher), last

        return field

    def initial_state(self, loss: Loss | VectorField, params: Params, start: Start) -> ModelState:
        h, highest = self.method.learning_rate, min(self.terms, USABLE)
        (onset,) = SlowFlow(self.method, highest - 1).initial_state(loss, params, start)
        rates = []
        for j, decay in enumerate(self.layer, 1):
            fall = _tree.linear((decay / h, -decay / h), (params, onset))
            slow = _slow_derivative(self.method, loss, j, highest - j)(params) if j < highest else fall
            rates.append(_tree.linear((1, h ** (j - 1) if j < highest else 0), (fall, slow)))
        return params, *rates


def _coefficient(k: int, momentum: ArrayLike) -> ArrayLike:
    """Of h^{k-1}u^{(k)}."""
    return (1 + (-1) ** k * momentum) / factorial(k)


def _slow_derivative(method: MomentumMethod, loss: Loss | VectorField, j: int, order: int) -> Field:
    """u^{(j)} along the slow flow of an order, as a function of u."""
    flow = SlowFlow(method, order).field(loss)

    def rate(u: Params) -> Params:
        return flow(jnp.zeros(()), (u,))[0]

    derivative: Field = rate
    for _ in range(j - 1):
        derivative = _along(rate, derivative)
    return derivative


def _along(rate: Field, function: Field) -> Field:
    return lambda u: jax.jvp(function, (u,), (rate(u),))[1]


def _check_terms(terms: int, momentum: float, unstable: bool) -> None:
    _validate.count("terms", terms)
    if terms < 2:
        raise ValueError("terms must be >= 2, got 1: (13) with one term is RescaledGradientFlow")
    if terms > HIGHEST:
        raise ValueError(f"terms must be <= {HIGHEST}, got {terms}: 2, 3 and 4 are those that can be used")
    if terms > USABLE and not unstable:
        growth = higher_order_roots(terms, momentum)[0].real
        raise ValueError(
            f"terms must be 2, 3 or 4, got {terms}: (13) then has solutions that grow like "
            f"exp({growth:.3g} t/h) at λ = {momentum:g}, and from p = 5 on at every λ (Routh); "
            "pass unstable=True to see it, or use InertialFlow or PhaseFlow"
        )


def limit_operator(u: Callable[[ArrayLike], Params], method: MomentumMethod) -> Callable[[ArrayLike], Params]:
    r"""What the left-hand side of (13) tends to as p → ∞, applied to a function of time,

    $$(Tu)(t) = \frac{u(t+h) - u(t)}h - \lambda\frac{u(t) - u(t-h)}h,$$

    so that $Tu = f(u + a(u - u(t-h)))$ is the method itself: a delay equation, not an ODE.

    **Arguments:** `u`: function of t, to a pytree; `method`: of the family (7).

    **Returns:** the function $t \mapsto (Tu)(t)$.

    Kovachki & Stuart (2021), §3.2.2, last display.

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> method = mf.heavy_ball(0.5, 0.5)
        >>> round(float(limit_operator(lambda t: t**2, method)(jnp.array(1.0))), 6)  # 2.5 - 0.5*1.5
        1.75
    """
    h, lam = method.learning_rate, method.momentum

    def operator(t: ArrayLike) -> Params:
        before, now, after = u(t - h), u(t), u(t + h)
        return _tree.linear((1 / h, -(1 + lam) / h, lam / h), (after, now, before))

    return operator
