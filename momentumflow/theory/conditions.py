"""The conditions under which Kovachki & Stuart (2021), Appendix C, prove that the invariant manifold exists."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

_NAMES = ("Lemma 9", "Lemma 10", "(41)", "(43)", "(44)")


class Conditions(NamedTuple):
    r"""Margins of Assumption 11: each condition reads "… < 1", its margin is 1 - …, and it holds where that is > 0.

    **Fields**, in the paper's order; NaN where one that a condition stands on fails:

    - `lemma_9`: $\lambda + hB_1(a+\lambda\bar\lambda) < 1$, for a bound $\gamma$ on g.
    - `lemma_10`: $1 + \alpha_1 + 2\sqrt{\alpha_2\alpha_0} < 1$, for a Lipschitz constant $\delta$ of g: both of
      its requirements, $\alpha_1 < 0$ and $\alpha_1^2 > 4\alpha_2\alpha_0$, in one.
    - `equation_41`: $c < 1$, for the inverse of Lemma 13.
    - `equation_43`: $\max(Q_3, \mu) < 1$, for the contraction of Lemma 15.
    - `equation_44`: $\lambda + h^2\lambda\delta < 1$, for the printed rate of Theorem 5.

    Every margin falls as h grows, for $\gamma = \tau_1$, $\delta = \tau_2^-$ do and everything else grows with
    h, γ and δ; so the admissible h are an interval. Lemma 10 implies the others:

    - Lemma 9, since $\alpha_1 < 0$ asks $\lambda + hB_1(\bar\lambda+a+\lambda\bar\lambda) < 1$ at least;
    - (41), since $0 < K \le \delta(1-c)$;
    - (43), since $\mu \le 1 + \alpha_1 + \alpha_2\delta - hB_1\bar\lambda(1+haB_1)$ by $Q_1 = K$, and
      $\alpha_1 + \alpha_2\delta \le -\alpha_2\tau_2^- \le 0$;
    - (44), since $\lambda(1+h^2\delta) \le (\lambda+haB_1)(1+hK_2) < 1 - hB_1$.

    Kovachki & Stuart (2021), Assumption 11.

    !!! example

        >>> import momentumflow as mf
        >>> found = mf.manifold_constants(mf.Bounds(1.0, 1.0, 1.0), mf.heavy_ball(0.1, 0.5)).conditions
        >>> bool(found.holds), found.failing, round(float(found.margin), 3)
        (False, 'Lemma 10', -0.272)
    """

    lemma_9: Float[Array, "..."]
    lemma_10: Float[Array, "..."]
    equation_41: Float[Array, "..."]
    equation_43: Float[Array, "..."]
    equation_44: Float[Array, "..."]

    @property
    def holds(self) -> Bool[Array, "..."]:
        """Whether Assumption 11 holds."""
        return jnp.all(jnp.stack(self) > 0, axis=0)

    @property
    def margin(self) -> Float[Array, "..."]:
        """The smallest margin: > 0 iff Assumption 11 holds; where it does not, by how much."""
        return jnp.nanmin(jnp.stack(self), axis=0)

    @property
    def binding(self) -> str | np.ndarray:
        """The condition of the smallest margin, the first of them; an array of names for an ensemble."""
        margins = np.stack(self)
        return _name(np.argmin(np.where(np.isnan(margins), np.inf, margins), axis=0))

    @property
    def failing(self) -> str | np.ndarray:
        """The first condition that fails, on which those after it stand; "" where all hold."""
        fails = ~(np.stack(self) > 0)
        return _name(np.where(fails.any(axis=0), fails.argmax(axis=0), len(self)))


def _name(index: np.ndarray | np.integer) -> str | np.ndarray:
    names = np.array([*_NAMES, ""])[index]
    return names if np.ndim(index) else str(names)
