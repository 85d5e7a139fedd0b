r"""How far each continuous model strays from its method at a point: the first term that the model lacks.

With f and its derivatives at u, `time` $t_n = n\,\Delta t$, $\Delta t = h$ for the family (7):

| model | lacks per unit of time | after the layer | in the layer |
|---|---|---|---|
| rescaled gradient flow (8) | $hF_2$ | $\ell = h\lambda\bar\lambda(v_0-\bar\lambda f)$ | $\ell$ |
| slow flow (20) | $h^2F_3$ | 0 | $\ell$, at n = 0 |
| momentum ODE (11) | $h^2(F_3 - \alpha^2\bar\lambda^5(2f'f'f + f''[f,f]))$ | 0 | $s\ell$ |
| inertial flow, order 2 | $h^2\bar\lambda(d_1f'f'f + d_2f''[f,f])$ | 0 | 0 |
| phase flow, order 2 | $\frac{h^2}6\sum_jw_jj^3\,\bar\lambda^3(f'f'f + f''[f,f])$ | 0 | 0 |

$s = \sup_n|\lambda^n - e^{-n(1-\lambda)/\alpha}|$; $d_1 = c_1+\bar\lambda c_2$ and
$d_2 = c_3+\bar\lambda c_4+\bar\lambda^2c_5$ of `momentumflow.InertialFlow`;
$w_j$ of `momentumflow.PhaseFlow` by iterates; $F_k$ of the slow flow `momentumflow.modified_equation_of`; the first
column on the slow manifold, the others of order h, zeros being $O(h^2)$.

Of (11): its own slow flow has $F_2$ and $\alpha^2\bar\lambda^5(\dots)$ for $F_3$ ($\dot u = \bar\lambda(f - h\alpha
\ddot u)$, solved twice). Of the phase flow: on the slow manifold its iterates are those of a flow, and the weights meet
the moments $\sum_jw_jj^m$ of the logarithm up to m = 2.
"""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from .. import _tree
from .._types import Params
from ..expansion.coefficients import modified_equation_of
from ..expansion.differentials import derivative
from ..expansion.interpolation import weights
from ..flows.inertial import InertialFlow
from ..flows.phase import PhaseFlow
from ..methods.linear_memory import AbstractLinearMemory
from ..methods.manifold import slow_response
from ..methods.momentum import MomentumMethod
from . import full_batch
from .full_batch import AnyLoss
from .modes import number

ELBOW, CHAIN, BUSH = ((),), (((),),), ((), ())
RESCALED, MOMENTUM_ODE, SLOW, INERTIAL, PHASE, PRINCIPAL = (
    "rescaled gradient flow (8)",
    "momentum ODE (11)",
    "slow flow (20)",
    "inertial flow",
    "phase flow",
    "principal flow",
)
_FAMILY_ONLY = "stated for the family (7) only"


class Forces(NamedTuple):
    """|f|, and all inner products of f'e, f'f'e, f''[e, e] with e = f/|f|; |v|² and v·e of the velocity."""

    size: float
    gram: np.ndarray
    velocity: tuple[float, float]

    def norm(self, bent: float = 0.0, chain: float = 0.0, bush: float = 0.0) -> float:
        """|bent f'f + chain f'f'f + bush f''[f, f]|."""
        row = np.array([bent, chain, bush * self.size])
        return self.size * float(np.sqrt(max(row @ self.gram @ row, 0.0)))

    def gap(self, row: float, force: float) -> float:
        """|row v - force f|."""
        square, along = self.velocity
        scaled = force * self.size
        return float(np.sqrt(max(row**2 * square - 2 * row * scaled * along + scaled**2, 0.0)))


class ModelError(NamedTuple):
    r"""The leading error of a model at a point, Euclidean norms; see the table of `study.local_models`.

    **Fields:** `model`; `drift`, per unit of time, on the slow manifold; `relative`: drift over the speed
    $\bar\lambda|f|$, the share of the way that the model misses; `offset`: what is left after the initial layer,
    in all; `layer`: largest within it, in all; `holds`: whether the model exists for every curvature found here, None
    where that is not known; `reason`: why there is no number, or what `holds` is judged by.
    """

    model: str
    drift: float | None
    relative: float | None
    offset: float | None
    layer: float | None
    holds: bool | None
    reason: str


def measure_forces(
    loss: AnyLoss, params: Params, batches: PyTree[Array] | None, velocity: Params | None
) -> Forces:
    """By f and forward derivatives along it."""
    size, gram, square, along = _forces(loss, params, batches, velocity)
    return Forces(float(size), np.asarray(gram, float), (float(square), float(along)))


@eqx.filter_jit
def _forces(
    loss: AnyLoss, params: Params, batches: PyTree[Array] | None, velocity: Params | None
) -> tuple[Float[Array, ""], Float[Array, "3 3"], Float[Array, ""], Float[Array, ""]]:
    field = full_batch.field(loss, batches)
    force = field(params)
    size = _tree.norm(force)
    unit = _tree.linear((1 / jnp.where(size > 0, size, 1),), (force,))
    once = derivative(field, params, [unit])
    parts = (once, derivative(field, params, [once]), derivative(field, params, [unit, unit]))
    gram = jnp.stack([jnp.stack([_tree.inner(a, b) for b in parts]) for a in parts])
    velocity = _tree.zeros_like(params) if velocity is None else velocity
    return size, gram, _tree.inner(velocity, velocity), _tree.inner(velocity, unit)


class Slow(NamedTuple):
    """A slow flow: Δt, speed over f, F_2 over f'f, F_3 over f'f'f and f''[f, f]; the lag row·v - force·f."""

    time_step: float
    speed: float
    second: float
    third: tuple[float, float]
    row: float
    force: float

    @property
    def effective(self) -> float:
        r"""$h\bar\lambda$: of f, moved in an iteration."""
        return self.time_step * self.speed

    @property
    def regularization(self) -> float:
        r"""c of $\tilde\Phi = \Phi + \tfrac12hc|\nabla\Phi|^2$."""
        return -self.second / self.speed


def slow_of(method: AbstractLinearMemory) -> Slow | None:
    """The slow flow's constants in float64; None where there is none: A, b, c vary, or the memory never fades."""
    if method.varies:
        return None
    equation = {tree: float(c) for tree, c in modified_equation_of(method, 3).items()}
    slow = slow_response(method)
    lag, memory = np.asarray(slow.lag, float), np.asarray(slow.memory, float)
    found = Slow(
        number(method.time_step),
        equation[()],
        equation[ELBOW],
        (equation[CHAIN], equation[BUSH]),
        float(lag[0]) if lag.size else 0.0,
        float(lag @ memory),
    )
    return found if np.all(np.isfinite(np.hstack(found))) else None


def model_errors(
    method: AbstractLinearMemory, slow: Slow, forces: Forces, x: float | None, limits: tuple[float, float]
) -> tuple[ModelError, ...]:
    """Of every model; x is the largest h|k|, `limits` are x₋ and x₊, both None outside the family (7)."""
    h, lag = slow.time_step, forces.gap(slow.row, slow.force)
    known = x is not None
    below = (known and x < limits[0]) if known else None
    said = f"h|k| {'<' if below else '≥'} x₋" if known else "x₋ is not known"
    rows = [
        _row(RESCALED, slow, forces, h * forces.norm(slow.second), lag, lag, below, said),
        _row(SLOW, slow, forces, h**2 * forces.norm(0.0, *slow.third), 0.0, lag, below, said),
    ]
    for name, make in ((MOMENTUM_ODE, _momentum_ode), (INERTIAL, _inertial), (PHASE, _phase)):
        try:
            rows.append(make(_family(method), slow, forces, lag, x or 0.0, limits))
        except (ValueError, TypeError) as error:
            rows.append(ModelError(name, None, None, None, None, None, str(error)))
    return tuple(rows)


def _row(
    model: str,
    slow: Slow,
    forces: Forces,
    drift: float,
    offset: float,
    layer: float,
    holds: bool | None,
    reason: str,
) -> ModelError:
    speed = slow.speed * forces.size
    return ModelError(model, drift, drift / speed if speed > 0 else None, offset, layer, holds, reason)


def _family(method: AbstractLinearMemory) -> MomentumMethod:
    if not isinstance(method, MomentumMethod):
        raise ValueError(_FAMILY_ONLY)
    return method


def _momentum_ode(
    method: MomentumMethod, slow: Slow, forces: Forces, lag: float, x: float, limits: tuple[float, float]
) -> ModelError:
    lam, alpha = number(method.momentum), number(method.inertia)
    if alpha <= 0:
        raise ValueError(f"its mass hα is not positive: α = {alpha:.3g}")
    own = alpha**2 * slow.speed**5
    drift = slow.time_step**2 * forces.norm(0.0, slow.third[0] - 2 * own, slow.third[1] - own)
    bound = (1 - lam) ** 2 / (2 * alpha)
    met = x <= bound
    said = f"h|k| {'≤' if met else '>'} (1-λ)²/2α"
    return _row(MOMENTUM_ODE, slow, forces, drift, 0.0, lag * transient_gap(lam, alpha), met, said)


def transient_gap(momentum: float, inertia: float) -> float:
    r"""$\sup_n|\lambda^n - e^{-n(1-\lambda)/\alpha}|$, the transients of the method and of (11)."""
    rate = (1 - momentum) / inertia
    slower = min(rate, -np.log(momentum)) if momentum > 0 else rate
    n = np.arange(int(4 / slower) + 3)
    return float(np.abs(momentum**n - np.exp(-rate * n)).max())


def _inertial(
    method: MomentumMethod, slow: Slow, forces: Forces, lag: float, x: float, limits: tuple[float, float]
) -> ModelError:
    c1, c2, c3, c4, c5 = map(number, InertialFlow(method).constants.second)
    bar = slow.speed
    drift = slow.time_step**2 * bar * forces.norm(0.0, c1 + bar * c2, c3 + bar * c4 + bar**2 * c5)
    return _row(INERTIAL, slow, forces, drift, 0.0, 0.0, *_beyond(x, limits))


def _phase(
    method: MomentumMethod, slow: Slow, forces: Forces, lag: float, x: float, limits: tuple[float, float]
) -> ModelError:
    order = PhaseFlow(method).order  # refused without momentum, and where its weights cancel
    moment = sum(w * j**3 for j, w in enumerate(weights(number(method.momentum), order))) / 6
    drift = slow.time_step**2 * forces.norm(0.0, *[moment * slow.speed**3] * 2)
    return _row(PHASE, slow, forces, drift, 0.0, 0.0, *_beyond(x, limits))


def _beyond(x: float, limits: tuple[float, float]) -> tuple[bool, str]:
    below = x < limits[1]
    return below, f"h|k| {'<' if below else '≥'} x₊"
