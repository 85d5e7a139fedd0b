"""What a method does along eigenvectors of the Hessian, from A, b, c alone."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike

from ..linear.family import REGIMES
from ..linear.memory_spectrum import step_matrix
from ..methods.linear_memory import AbstractLinearMemory

FLAT, ESCAPING = "flat", "escaping"
_ROUNDING = 1e-12
"""A root of smaller modulus is 0: the minimum is reached in a step."""


class Mode(NamedTuple):
    r"""One eigenvalue of the Hessian under a method.

    **Fields:** `curvature` k; `factor` $\max|\rho|$ per iteration; `regime`: "monotone", "rippling", "sign-flipping",
    "divergent", "flat" ($k = 0$ up to rounding) or "escaping" ($k < 0$); `time_constant` $1/|\log\max|\rho||$ in
    iterations, to shrink e-fold, or to grow where the factor exceeds 1; `period` of the ripples in iterations, infinite
    without.
    """

    curvature: float
    factor: float
    regime: str
    time_constant: float
    period: float


def modes(
    method: AbstractLinearMemory, curvatures: Sequence[float], rounding: float, iteration: int | None = None
) -> tuple[Mode, ...]:
    """The mode of each curvature; those within `rounding` of 0 are flat."""
    matrices = np.asarray(step_matrix(method, np.asarray(curvatures), iteration), float)
    found = []
    for k, roots in zip(curvatures, np.linalg.eigvals(matrices).astype(complex), strict=True):
        root = roots[np.abs(roots).argmax()]
        found.append(_mode(float(k), root if abs(root) > _ROUNDING else 0j, rounding))
    return tuple(found)


def transient(method: AbstractLinearMemory, iteration: int | None = None) -> float:
    """The modulus of the largest root at curvature 0 but the one at 1: λ for the family (7), 0 without memory."""
    roots = np.linalg.eigvals(np.asarray(step_matrix(method, 0.0, iteration), float))
    others = np.delete(roots, np.abs(roots - 1).argmin())
    return float(np.abs(others).max(initial=0.0))


def number(x: ArrayLike) -> float:
    """A constant of a method as a float."""
    return float(np.asarray(x))


def time_constant(factor: float) -> float:
    """1/|log factor|: iterations to change e-fold."""
    if factor in (0.0, 1.0):
        return 0.0 if factor == 0 else math.inf
    return 1 / abs(math.log(factor))


def _mode(k: float, root: complex, rounding: float) -> Mode:
    if abs(k) <= rounding:
        return Mode(k, 1.0, FLAT, math.inf, math.inf)
    factor, angle = float(abs(root)), float(abs(np.angle(root)))
    period = 2 * math.pi / angle if 0 < angle < math.pi else math.inf
    if k < 0:
        regime = ESCAPING
    elif factor >= 1:
        regime = REGIMES[3]
    else:
        regime = REGIMES[0 if angle == 0 else 2 if angle == math.pi else 1]
    return Mode(k, factor, regime, time_constant(factor), period)
