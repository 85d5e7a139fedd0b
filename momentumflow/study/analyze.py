"""What a method does on a loss at a point: stability, time constants, regimes, models to trust, a tuning."""

import math
from collections.abc import Iterator
from io import StringIO
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike, PRNGKeyArray, PyTree

from .. import _validate
from ..linear.family import flow_limit, slow_limit
from ..linear.memory_spectrum import sharpness_limit
from ..methods.linear_memory import AbstractLinearMemory
from ..methods.momentum import MomentumMethod
from . import full_batch, quantities
from .curvature import Curvature, curvature
from .findings import Finding, Suggestion, findings, suggest, trusted
from .full_batch import AnyLoss
from .local_models import Forces, ModelError, measure_forces, model_errors, slow_of
from .modes import Mode, modes, number, time_constant, transient
from .quantities import NO_FLOW, Quantity, name_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Analysis(eqx.Module):
    r"""What `momentumflow.analyze` found. `print` shows it as tables.

    **Fields:**

    - `method`: the method.
    - `curvature`: a `momentumflow.Curvature`.
    - `quantities`: numbers with name, symbol, unit and note; `analysis["stability limit"]` is the value of one.
    - `modes`: of the leading eigenvalues and of the smallest: factor per iteration, regime, time constant, period.
    - `models`: of each continuous model the leading error here, see the table of `momentumflow.study.local_models`:
      `drift` is a norm per unit of time $t_n = nh$, `relative` the same as a share of the speed $\bar\lambda|f|$,
      `offset` and `layer` are norms in all.
    - `trust`: the model to trust and the reason; (None, reason) where there is none.
    - `suggestion`: a learning rate and a momentum, or the reason why none is suggested.
    - `findings`: sentences, each with the number that it rests on.

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> analysis = mf.analyze(mf.Quadratic([1.0, 10.0]), jnp.ones(2), mf.heavy_ball(0.1, 0.9))
        >>> round(analysis["stability limit"], 9), analysis.modes[0].regime, analysis.trust[0]
        (38.0, 'rippling', 'inertial flow')
    """

    method: AbstractLinearMemory
    curvature: Curvature
    quantities: tuple[Quantity, ...] = eqx.field(static=True)
    modes: tuple[Mode, ...] = eqx.field(static=True)
    models: tuple[ModelError, ...] = eqx.field(static=True)
    trust: tuple[str | None, str] = eqx.field(static=True)
    suggestion: Suggestion | str = eqx.field(static=True)
    findings: tuple[Finding, ...] = eqx.field(static=True)

    def __getitem__(self, name: str) -> float | None:
        table = {quantity.name: quantity.value for quantity in self.quantities}
        if name not in table:
            raise _validate.unknown("quantity", name, table)
        return table[name]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: None for what has no value or is infinite."""
        suggestion = self.suggestion
        return {
            "method": name_of(self.method),
            "quantities": [_plain(quantity._asdict()) for quantity in self.quantities],
            "modes": [_plain(mode._asdict()) for mode in self.modes],
            "models": [_plain(model._asdict()) for model in self.models],
            "trust": {"model": self.trust[0], "reason": self.trust[1]},
            "suggestion": {"reason": suggestion}
            if isinstance(suggestion, str)
            else _plain(suggestion._asdict()),
            "findings": [_plain(finding._asdict()) for finding in self.findings],
        }

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from . import tables

        yield from tables.of(
            name_of(self.method), self.findings, self.suggestion, self.quantities, self.modes, self.models
        )

    def __str__(self) -> str:
        from rich.console import Console

        shown = StringIO()
        Console(file=shown, width=118, color_system=None).print(self)
        return shown.getvalue()

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        r"""The plane of hk and λ with the positive curvatures found laid over it, in colours of the four regimes.

        Lines: $x_-$ (thin), $x_+$ (dashed), the change of sign (dotted), the stability limit (thick). Nesterov's plane
        has $a = \lambda$; any other a is kept.

        **Arguments:** `ax`: matplotlib axes, by default new ones. **Returns:** the axes.

        **Raises:** `ValueError` for a method outside the family (7).
        """
        method = self.method
        if not isinstance(method, MomentumMethod):
            raise ValueError(
                f"the plane is drawn for the family (7), got {type(method).__name__}: its modes are in analysis.modes"
            )
        from .. import _plot
        from . import plane

        h, lam, a = (number(x) for x in (method.learning_rate, method.momentum, method.lookahead))
        x = [h * mode.curvature for mode in self.modes if mode.curvature > self.curvature.rounding]
        nesterov = a == lam and a > 0
        shown = plane.with_spectrum(
            _plot.axes(ax), (lambda row: row) if nesterov else (lambda row: 0 * row + a), lam, x
        )
        shown.set_title(name_of(method))
        return shown


def analyze(
    loss: AnyLoss,
    params: PyTree,
    method: AbstractLinearMemory,
    batches: PyTree[ArrayLike] | None = None,
    *,
    velocity: PyTree | None = None,
    iteration: int | None = None,
    count: int = 5,
    depth: int = 40,
    samples: int = 16,
    key: PRNGKeyArray | None = None,
) -> Analysis:
    r"""What a method does on a loss, from the Hessian at one point: a local quadratic model and its next terms.

    Sharpness and its margin to the stability limit; effective learning rate $h\bar\lambda$, initial layer
    $-1/\log\lambda$ and lag $\lambda/(1-\lambda)$ in iterations; regime and time constant of the leading modes; size of
    the implicit regulariser $\tfrac12hc|\nabla\Phi|^2$, $c = \bar\lambda(\bar\lambda-a-\tfrac12)$; the leading error of
    each continuous model, and which to trust, by $h\max|k|$ against $x_-$ and $x_+$ (`momentumflow.PrincipalFlow`) and
    against Theorem 3's $(1-\lambda)^2/(2\alpha)$, with $B_1 \ge \max|k|$; a suggested $(h, \lambda)$; findings.

    The params are not changed. Where a part has no value, the reason stands in its place.

    **Arguments:**

    - `loss`, `params`, `batches`, `velocity`, `count`, `depth`, `samples`, `key`: as of `momentumflow.curvature`;
      `velocity` is the method's $v_n$, at rest by default.
    - `method`: linear in its memory, $(h, \lambda, a)$ or any A, b, c.
    - `iteration`: n, for a method whose constants vary: it is frozen there.

    **Returns:** an `Analysis`: `print` it, or `.to_dict()`, `.plot()`.

    **Raises:** `TypeError` for a method that is not linear in its memory; `ValueError` or `TypeError` for arguments
    that do not fit, or a loss, gradient or Hessian that is not finite.

    Kovachki & Stuart (2021), eqs. (7)-(20), Theorem 3; Cohen et al. (2021) for the edge of stability.

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> analysis = mf.analyze(mf.Quadratic([1.0, 10.0]), jnp.ones(2), mf.nesterov(0.1, 0.9))
        >>> round(analysis["effective learning rate"], 9), round(analysis["layer"], 4)
        (1.0, 9.4912)
        >>> print(analysis.findings[0].text)
        Stable: the sharpness 10 is 73.7 % of the stability limit 13.57, a margin of a factor 1.36.
    """
    limit = sharpness_limit(method, iteration)
    params, batches = _validate.as_params(params), full_batch.as_batches(batches)
    found = curvature(
        loss, params, batches=batches, velocity=velocity, count=count, depth=depth, samples=samples, key=key
    )
    if velocity is not None:
        velocity = jax.tree.map(lambda v, p: jnp.asarray(v, p.dtype), velocity, params)
    forces = measure_forces(loss, params, batches, velocity)
    return _analysis(method, found, forces, limit, iteration, depth)


def _analysis(
    method: AbstractLinearMemory,
    found: Curvature,
    forces: Forces,
    limit: float,
    iteration: int | None,
    depth: int,
) -> Analysis:
    slow = slow_of(method)
    family = method if isinstance(method, MomentumMethod) else None
    x = number(family.learning_rate) * found.radius if family is not None else None
    limits = (math.nan, math.nan)
    if family is not None:
        constants = family.momentum, family.lookahead
        limits = float(slow_limit(*constants)), float(flow_limit(*constants))
    shown = dict.fromkeys((*map(float, found.largest), found.smallest))
    seen = modes(method, list(shown), found.rounding, iteration)
    errors = () if slow is None else model_errors(method, slow, forces, x, limits)
    stable = found.sharpness < limit or found.sharpness <= found.rounding
    trust = (None, NO_FLOW) if slow is None else trusted(method, errors, stable, x, limits)
    layer = time_constant(transient(method, iteration))
    numbers = (
        *quantities.of_curvature(found),
        *quantities.of_stability(method, found, limit),
        *quantities.of_time(slow, layer, seen),
        *quantities.of_regularizer(slow, found, x is not None and x >= limits[0]),
        *quantities.of_limits(family, x, limits),
    )
    suggestion = suggest(method, found, limit)
    table = {quantity.name: quantity.value for quantity in numbers}
    said = findings(found, min(depth, found.dimension), limit, seen, slow, layer, errors, trust, table)
    if isinstance(suggestion, Suggestion):
        text = f"Try h = {suggestion.learning_rate:.4g}, λ = {suggestion.momentum:.4g}: {suggestion.reason}."
        said = (*said, Finding("suggested learning rate", text, suggestion.learning_rate))
    return Analysis(method, found, numbers, seen, errors, trust, suggestion, said)


def _plain(record: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
