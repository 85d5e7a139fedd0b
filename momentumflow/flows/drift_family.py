"""The family of O(h²) flows of momentum from rest on one loss: drifts that change from step to step."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from .. import _tree, _validate
from .._types import Field, Params, descent_field
from ..methods.batches import BatchLoss
from ..methods.linear_memory import AbstractLinearMemory, require_scalars
from ..methods.momentum import MomentumMethod
from .model import AFTER_LAYER, EVERYWHERE, Claim, family_only
from .piecewise import AbstractPiecewiseFlow, Memory
from .transient_drift import drift_and_bend

_FAMILY = family_only("FamilyFlow")
Numbers = ArrayLike | Sequence[float]
_FORGOTTEN, _EQUAL, _ROUNDINGS = 1e-17, 1e-9, 8


class Defects(NamedTuple):
    r"""By how much a flow misses the conditions of `FamilyFlow`: limit of the drift, lag, limit of the bend.

    >>> import momentumflow as mf
    >>> mf.FamilyFlow(mf.heavy_ball(0.1, 0.5), drift=[2.0], bend=[6.0]).defects
    Defects(limit=0.0, lag=-2.0, bend=0.0)
    """

    limit: float
    lag: float
    bend: float


class FamilyFlow(AbstractPiecewiseFlow):
    r"""A flow of momentum from rest on one loss, with a drift for every step: on $[t_k, t_{k+1})$

    $$\dot u = -a_k\nabla\Phi - h\,b_k\nabla^2\Phi\nabla\Phi, \qquad u(0) = u_0 + h\,s\,\nabla\Phi(u_0).$$

    Where $a_k$ and $b_k$ settle geometrically, $|u_n - u(t_n)| = O(h^2)$ outside the initial layer iff

    1. $a_k \to \bar\lambda$ and $s + \sum_k(\bar\lambda - a_k) = \lambda\bar\lambda^2$, the lag of momentum at rest;
    2. $b_k \to \bar\lambda c = \bar\lambda^2(\bar\lambda - a - \tfrac12)$, for heavy ball
       $(1+\lambda)/(2(1-\lambda)^3)$;

    what $b_k$ is in the layer is free. Within the layer, too, the error is O(h²) iff $s = 0$ and
    $a_k = (1-\lambda^{k+1})\bar\lambda$, up to O(h). Members by name:

    - "transient": that $a_k$, and the $b_k$ of `momentumflow.transient_drift`; Ghosh et al.'s flow on one loss.
    - "lagged": $a_k = \bar\lambda$ with the shift $s = \lambda\bar\lambda^2$: the slow flow (20) with its start.
    - "waiting": no shift and $a_k = 0$ for the first $\lambda/(1-\lambda)$ iterations, the last of them perhaps in
      part, then $\bar\lambda$.

    **Arguments:**

    - `method`: of the family (7), with fixed momentum.
    - `member`: a name from above, or `None` for a member of your own:
    - `drift`: $a_0, a_1, \dots$, its last value kept from there on, shape `(K,)`.
    - `bend`: $b_0, b_1, \dots$, the same, of any length.
    - `shift`: s, a number, 0 where left out.

    **Raises:** `ValueError` for an unknown name, a name together with sequences or a shift, sequences that are empty or
    not finite, or a shift that is no finite number; `TypeError` for another method. `solve` raises for a start other
    than "rest".

    The slide "Family of O(h²) modified flows" of Ghosh et al. (2023) is a figure; the conditions are derived here.

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> method, loss = mf.heavy_ball(2**-8, 0.6), lambda u: jnp.sum(jnp.cosh(u))
        >>> run = mf.iterate(method, loss, jnp.ones(1), 256)
        >>> for member in ("transient", "lagged", "waiting"):
        ...     model = mf.FamilyFlow(method, member)
        ...     gap = abs(mf.solve(model, loss, jnp.ones(1), run.times).params - run.params)
        ...     print(member, model.claims[0].region, bool(gap.max() < 1e-3), bool(gap[128:].max() < 1e-3))
        transient t >= 0 True True
        lagged t >= t0 False True
        waiting t >= t0 False True
    """

    method: MomentumMethod
    drift: Float[Array | np.ndarray, " K"]
    bend: Float[Array | np.ndarray, " L"]
    shift: ArrayLike
    batches: None = None

    def __init__(
        self,
        method: AbstractLinearMemory,
        member: str | None = None,
        *,
        drift: Numbers | None = None,
        bend: Numbers | None = None,
        shift: ArrayLike | None = None,
    ):
        self.method = _FAMILY(method)
        require_scalars(method)
        given = [part is not None for part in (member, drift, bend)]
        if given not in ([True, False, False], [False, True, True]):
            raise ValueError(
                f"a flow of the family must be given by a name or by its drift and bend, got member={member!r}, "
                f"drift={drift!r}, bend={bend!r}: {', '.join(map(repr, _MEMBERS))} are the names"
            )
        if member is not None and shift is not None:
            raise ValueError(
                f"the shift must be left out where the member has a name, got member={member!r}, shift={shift!r}: its "
                "shift is known; give drift and bend for one of your own"
            )
        found = (drift, bend, _number(shift)) if member is None else _named(member)(_constants(self.method))
        self.drift, self.bend = _sequence("drift", found[0]), _sequence("bend", found[1])
        self.shift = _validate.scalar_field(found[2])
        _validate.finite("shift", self.shift, "λ/(1-λ)² is that of the lagged member")

    @property
    def defects(self) -> Defects:
        r"""$a_\infty - \bar\lambda$, $s + \sum(\bar\lambda - a_k) - \lambda\bar\lambda^2$ and
        $b_\infty - \bar\lambda c$; all zero for a member of the family."""
        known = _constants(self.method)
        lag = float(np.sum(known.pace - np.asarray(self.drift)) + np.asarray(self.shift)) - known.lag
        return Defects(float(self.drift[-1]) - known.pace, lag, float(self.bend[-1]) - known.bend)

    @property
    def claims(self) -> tuple[Claim, ...]:
        (limit, lag, bend), known = self.defects, _constants(self.method)
        # λ̄ is as well known as λ, and sequences of one's own are given in the precision of the session
        equal = max(_EQUAL, _ROUNDINGS * known.rounding * known.pace)
        if abs(limit) > equal * known.pace:
            return ()  # another flow altogether
        if max(abs(lag), abs(bend)) > equal * known.pace**3:
            return (Claim(1, "rest"),)
        transient, _ = drift_and_bend(known.momentum, np.arange(self.drift.size))
        at_once = np.all(np.asarray(self.shift) == 0) and np.allclose(self.drift, transient, rtol=equal)
        return (Claim(2, "rest", EVERYWHERE if at_once else AFTER_LAYER),)

    def begin(self, loss: BatchLoss, params: Params, velocity: Params | None) -> tuple[Memory, Params]:
        if velocity is not None:
            raise ValueError(
                "FamilyFlow is stated from rest, got a start velocity: use start='rest', or mf.SlowFlow, which takes "
                "one"
            )
        if isinstance(self.shift, int):  # 0
            return None, params
        push = -self.method.learning_rate * self.shift
        return None, _tree.linear((1, push), (params, descent_field(loss)(params)))

    def enter(self, loss: BatchLoss, k: Int[ArrayLike, ""], memory: Memory, x: Params) -> Memory:
        return memory

    def piece(self, loss: BatchLoss, k: Int[ArrayLike, ""], memory: Memory) -> Field:
        force, h = descent_field(loss), self.method.learning_rate
        pace, bend = (
            jnp.asarray(values, float)[jnp.minimum(k, values.size - 1)] for values in (self.drift, self.bend)
        )

        def field(params: Params) -> Params:
            f, slope = jax.linearize(force, params)
            return _tree.linear((pace, -h * bend), (f, slope(f)))

        return field

    def readout(self, memory: Memory, x: Params, fraction: ArrayLike) -> Params:
        return x


def _number(shift: ArrayLike | None) -> ArrayLike:
    shift = 0 if shift is None else shift
    if jnp.ndim(shift) != 0:
        raise ValueError(
            f"shift must be a number, got shape {jnp.shape(shift)}: it multiplies h∇Φ(u₀), all of it alike"
        )
    return shift


def _sequence(name: str, values: Numbers | None) -> Float[Array | np.ndarray, " K"]:
    # float64 whatever the session's precision: their sum decides what is claimed
    traced = not all(map(_validate.is_concrete, jax.tree.leaves(values)))
    values = _validate.array_field(values) if traced else np.asarray(values, float)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(
            f"{name} must be a vector of at least one number, got shape {values.shape}: the last is kept for ever"
        )
    _validate.finite(name, values, "a flow with such a number is not finite either")
    return values


class _Constants(NamedTuple):
    """λ, a, λ̄, λλ̄², λ̄c and the rounding of λ as numbers: the length of a sequence depends on them."""

    momentum: float
    lookahead: float
    pace: float
    lag: float
    bend: float
    rounding: float


def _constants(method: MomentumMethod) -> _Constants:
    if not all(map(_validate.is_concrete, (method.momentum, method.lookahead))):
        raise TypeError(
            "a FamilyFlow must know λ and a as numbers, got traced ones: build it outside jit, grad and vmap"
        )
    lam, a = (float(np.asarray(x)) for x in (method.momentum, method.lookahead))
    kind = np.result_type(np.asarray(method.momentum), np.float16)  # of an integer 0 too
    pace, rounding = 1 / (1 - lam), float(jnp.finfo(kind).eps)
    return _Constants(lam, a, pace, lam * pace**2, pace**2 * (pace - a - 0.5), rounding)


_Sequences = tuple[Numbers, Numbers, ArrayLike]


def _transient(known: _Constants) -> _Sequences:
    lam = known.momentum
    steps = np.arange(1 if lam == 0 else int(np.ceil(np.log(_FORGOTTEN) / np.log(lam))))
    drift, twice = drift_and_bend(lam, steps, known.lookahead)
    return np.append(drift, known.pace), np.append(np.divide(twice, 2), known.bend), 0


def _lagged(known: _Constants) -> _Sequences:
    return np.array([known.pace]), np.array([known.bend]), known.lag


def _waiting(known: _Constants) -> _Sequences:
    wait = known.momentum * known.pace
    moving = np.clip(np.arange(int(np.ceil(wait)) + 1) + 1 - wait, 0, 1)
    return known.pace * moving, np.array([known.bend]), 0


_MEMBERS: Mapping[str, Callable[[_Constants], _Sequences]] = {
    "transient": _transient,
    "lagged": _lagged,
    "waiting": _waiting,
}


def _named(member: str) -> Callable[[_Constants], _Sequences]:
    if member not in _MEMBERS:
        raise _validate.unknown("member", member, _MEMBERS)
    return _MEMBERS[member]
