"""The full-batch drift of momentum from its first step on, in closed form."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _validate


def transient_drift(
    momentum: ArrayLike, steps: ArrayLike, lookahead: ArrayLike = 0
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    r"""$a_k$ and $S_k$ of the flow that momentum from rest follows on $[t_k, t_{k+1})$, on one loss:

    $$\dot u = -a_k\nabla\Phi - \tfrac h2S_k\nabla^2\Phi\nabla\Phi, \qquad
      a_k = \frac{1-\lambda^{k+1}}{1-\lambda}, \qquad S_k = 2C_k - a_k^2 - 2aD_k,$$

    with $C_k = \sum_{r\le k}\lambda^{k-r}a_r^2 = \big(a_k - 2(k+1)\lambda^{k+1} + \lambda^{k+2}a_k\big)/(1-\lambda)^2$
    and $D_k = \sum_{r<k}\lambda^{k-1-r}a_r = (a_{k-1} - k\lambda^k)/(1-\lambda)$. For $k \to \infty$ that is the
    slow flow, $a_k \to \bar\lambda$ and $S_k \to 2\bar\lambda c = (1+\lambda)/(1-\lambda)^3$ for heavy ball.

    **Arguments:** `momentum` $\lambda \in [0, 1)$; `steps`: $k \ge 0$, any shape; `lookahead` $a \ge 0$.

    **Returns:** $a_k$ and $S_k$, of the shape of `steps`.

    **Raises:** `ValueError` for values outside these ranges.

    Ghosh et al. (2023), IGRM-S with $E_k = \Phi$; the sums and the look-ahead are done here.

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> [x.round(6).tolist() for x in mf.transient_drift(0.5, jnp.array([0, 1, 100]))]
        [[1.0, 1.5, 2.0], [1.0, 3.25, 12.0]]
    """
    _validate.momentum_factor("momentum", momentum)
    _validate.non_negative("lookahead", lookahead, "0 is heavy ball, the momentum is Nesterov")
    _validate.non_negative("steps", steps, "the first interval is k = 0")
    lam, k = jnp.asarray(momentum, float), jnp.asarray(steps)
    kept = 1 - lam
    drift, before = (1 - lam ** (k + 1)) / kept, (1 - lam**k) / kept
    past = (drift - 2 * (k + 1) * lam ** (k + 1) + lam ** (k + 2) * drift) / kept**2
    ahead = (before - k * lam**k) / kept
    return drift, 2 * past - drift**2 - 2 * lookahead * ahead
