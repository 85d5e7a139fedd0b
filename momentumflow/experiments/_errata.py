"""A row of the errata: one number by the printed form and by the right one, and what it must be."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

import momentumflow as mf

from . import _quadratic as quadratic

STEPS = 512


@dataclass(frozen=True)
class Row:
    """Where it is printed, the quantity, both forms in symbols, and their values (NaN: no such form).

    `reference` is what the quantity must be, `route` how that was found without either form, `relation` and
    `tolerance` as in a `Check`, and `see` the experiment that measures it at length.
    """

    where: str
    quantity: str
    forms: tuple[str, str]
    printed: float
    right: float
    reference: float
    tolerance: float
    route: str
    relation: str = "within"
    see: str = ""


def path(
    name: str, h: float, lam: float, problem: mf.AbstractProblem | None = None, start: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """u_n and v_n, n ≤ 512, from rest in one dimension, by default on u²/2: every row runs this one program."""
    loss = mf.Quadratic([1.0]) if problem is None else problem
    run = mf.iterate(quadratic.method(name, h, lam), loss, jnp.full(1, start), STEPS)
    return np.asarray(run.params)[:, 0], np.asarray(run.velocity)[:, 0]
