"""The six methods of Kovachki & Stuart (2021), Figure 6."""

from collections.abc import Callable, Sequence

from jaxtyping import ArrayLike

from .. import _validate
from ..methods.linear_memory import AbstractLinearMemory
from ..methods.momentum import heavy_ball, nesterov, rescaled_gradient_descent
from ..methods.strongly_convex import heavy_ball_strongly_convex, nesterov_strongly_convex, wilson_splitting

_Make = Callable[[ArrayLike, ArrayLike], AbstractLinearMemory]
_FIXED_MOMENTUM: dict[str, _Make] = {"GF": rescaled_gradient_descent, "HB": heavy_ball, "NAG": nesterov}
_STRONGLY_CONVEX: dict[str, _Make] = {
    "Wilson": wilson_splitting,
    "HB-mu": heavy_ball_strongly_convex,
    "NAG-mu": nesterov_strongly_convex,
}
STRONGLY_CONVEX_NAMES = tuple(_STRONGLY_CONVEX)
METHOD_NAMES = (*_FIXED_MOMENTUM, *STRONGLY_CONVEX_NAMES)


def six_methods(
    learning_rate: ArrayLike,
    momentum: ArrayLike = 0.9,
    strong_convexity: ArrayLike = 1.0,
    names: Sequence[str] | None = None,
) -> dict[str, AbstractLinearMemory]:
    r"""The methods compared in Figure 6, by name and in its order.

    "GF" is (35), "HB" and "NAG" are (7) with a fixed λ, "Wilson" is (36) with the corrected exponent, "HB-mu" and
    "NAG-mu" are (7) with $\lambda = (1-\sqrt{\mu h})/(1+\sqrt{\mu h})$ of (5).

    **Arguments:** `learning_rate` $h > 0$; `momentum` $\lambda \in [0, 1)$; `strong_convexity` $\mu > 0$,
    $\mu h \le 1$; `names`: those wanted, `None` for all six.

    **Raises:** `ValueError` for values outside these ranges, or an unknown name.

    Kovachki & Stuart (2021), §5 and Figure 6.

        >>> from momentumflow.training import six_methods
        >>> list(six_methods(0.25)), list(six_methods(0.25, names=["NAG"]))
        (['GF', 'HB', 'NAG', 'Wilson', 'HB-mu', 'NAG-mu'], ['NAG'])
    """
    wanted = METHOD_NAMES if names is None else tuple(dict.fromkeys(names))
    for name in wanted:
        if name not in METHOD_NAMES:
            raise _validate.unknown("method", name, METHOD_NAMES)
    return {
        name: _FIXED_MOMENTUM[name](learning_rate, momentum)
        if name in _FIXED_MOMENTUM
        else _STRONGLY_CONVEX[name](learning_rate, strong_convexity)
        for name in wanted
    }
