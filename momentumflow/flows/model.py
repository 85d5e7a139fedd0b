"""What every continuous model is: a field, an initial state, and claims that one test measures."""

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import equinox as eqx
from jaxtyping import Array, Float

from .. import _validate
from .._types import Loss, Params, VectorField
from ..methods.linear_memory import AbstractLinearMemory, require_scalars
from ..methods.manifold import Start
from ..methods.momentum import MomentumMethod

ModelState = tuple[Params, ...]
ModelField = Callable[[Float[Array, ""], ModelState], ModelState]

EVERYWHERE = "t >= 0"
AFTER_LAYER = "t >= t0"


class Claim(NamedTuple):
    """sup |u(t_n) - u_n| = O(h^order) over the region, for a method started as `start` says.

    `region` is "t >= 0", or "t >= t0" for every fixed t0 > 0: outside the initial layer.

        >>> import momentumflow as mf
        >>> mf.SlowFlow(mf.heavy_ball(0.1, 0.5)).claims[0]
        Claim(order=2, start='manifold', region='t >= 0')
    """

    order: float
    start: str
    region: str = EVERYWHERE


class AbstractFlow(eqx.Module):
    r"""A continuous model $\dot x = F(t, x)$ of a method, $x = (u,)$ or $(u, \dot u)$.

    >>> import momentumflow as mf
    >>> isinstance(mf.GradientFlow(), mf.AbstractFlow)
    True
    """

    stiff: ClassVar[bool] = False
    """Whether an initial layer of width O(h) calls for an implicit solver in small dimension."""

    @property
    @abstractmethod
    def claims(self) -> tuple[Claim, ...]:
        """How closely the model follows its method; measured by tests/test_claims.py."""

    @abstractmethod
    def field(self, loss: Loss | VectorField) -> ModelField:
        """F(t, x)."""

    @abstractmethod
    def initial_state(self, loss: Loss | VectorField, params: Params, start: Start) -> ModelState:
        """x(0) for a method that starts at `params` as `start` says."""

    def check(self, loss: Loss | VectorField, params: Params) -> None:
        """Raises where the model does not exist at these params; called once, before a solve and outside jit."""


def velocity_or_none(start: Start, params: Params, model: str) -> Params | None:
    """The velocity tree of a start, for models that know no method; None at rest."""
    if isinstance(start, str) and start == "rest":
        return None
    if isinstance(start, str):
        raise ValueError(
            f"{model} knows no method, so its start must be 'rest' or a velocity tree, got {start!r}"
        )
    _validate.same_shapes("the start velocity", start, params, "params")
    return start


def family_only(model: str) -> Callable[[AbstractLinearMemory], MomentumMethod]:
    """The method itself if it is of the family (7), else an error: a field's converter, and where a module has a
    `__post_init__`, which runs before converters do, a call there too."""

    def convert(method: AbstractLinearMemory) -> MomentumMethod:
        if not isinstance(method, MomentumMethod):
            raise TypeError(
                f"{model} is stated for the family (7) with fixed momentum, got {type(method).__name__}: "
                "use heavy_ball, nesterov or momentum_method"
            )
        return method

    return convert


def linear_memory_only(model: str) -> Callable[[AbstractLinearMemory], AbstractLinearMemory]:
    """The method itself if it is linear in its memory, else an error; used as `family_only`."""

    def convert(method: AbstractLinearMemory) -> AbstractLinearMemory:
        if not isinstance(method, AbstractLinearMemory):
            raise TypeError(f"{model} needs a linear-memory method, got {method!r}: call mf.heavy_ball(h, λ)")
        return method

    return convert


def require_flow(flow: AbstractFlow) -> None:
    """Raises unless it is a model, of one method and not of an ensemble."""
    if not isinstance(flow, AbstractFlow):
        raise TypeError(
            f"flow must be a continuous model, got {flow!r}: call mf.MomentumODE(method) or its like"
        )
    method = getattr(flow, "method", None)
    if method is not None:
        require_scalars(method)
