r"""The damped oscillator of one eigenvalue, in continuous and in discrete time, after Qian (1999).

Close to a minimum the params along an eigenvector of curvature $k$ are a point of mass $m$ with friction
$\tilde\mu$, $m\ddot w + \tilde\mu\dot w = -kw$; discretised, they are heavy ball (`momentumflow.from_physical`).
"""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Complex, Float

from .. import _validate

_UNDAMPED = "without friction nothing is lost"
_CURVATURE = "around a minimum no curvature is negative"


def continuous_roots(
    mass: ArrayLike, friction: ArrayLike, curvature: ArrayLike
) -> tuple[Complex[Array, "..."], Complex[Array, "..."]]:
    r"""The two exponents of $m\ddot w + \tilde\mu\dot w = -kw$, the slower one first:

    $$\lambda_{1,2} = -\frac{\tilde\mu}{2m} \pm
      \sqrt{\frac{\tilde\mu}{m}\Big(\frac{\tilde\mu}{4m} - \frac{k}{\tilde\mu}\Big)},
      \qquad w(t) = c_1e^{\lambda_1t} + c_2e^{\lambda_2t}.$$

    Real up to `critical_curvature`, a conjugate pair beyond; without mass there is only $-k/\tilde\mu$.

    **Arguments:** `mass` $m > 0$, `friction` $\tilde\mu > 0$, `curvature` $k \ge 0$; they broadcast.

    **Returns:** $(\lambda_1, \lambda_2)$ with $\operatorname{Re}\lambda_2 \le \operatorname{Re}\lambda_1 \le 0$,
    per unit of time.

    **Raises:** `ValueError` for values outside these ranges.

    Qian (1999); eq. (7), (8) of the poster.

        >>> slow, fast = continuous_roots(mass=2.0, friction=4.0, curvature=1.5)
        >>> complex(slow), complex(fast)
        ((-0.5+0j), (-1.5+0j))
    """
    _validate.positive("mass", mass, "the equation without mass has the one exponent -k/friction")
    _check(friction, curvature)
    # (8) loses digits of the slow root where k is small: their product is k/m
    half = jnp.asarray(friction) * (1 + _root(mass, friction, curvature)) / 2
    return -jnp.asarray(curvature) / half, -half / mass


def speed_up(mass: ArrayLike, friction: ArrayLike, curvature: ArrayLike) -> Float[Array, "..."]:
    r"""How much faster the oscillator decays than the same point without mass, $\dot w = -(k/\tilde\mu)w$:

    $$\alpha(k) = \frac{|\operatorname{Re}\lambda_1|}{|\operatorname{Re}\lambda_0|}
      = \operatorname{Re}\frac{2}{1 + \sqrt{1 - 4mk/\tilde\mu^2}}, \qquad \lambda_0 = -k/\tilde\mu.$$

    Above 1 iff $0 < k < \tilde\mu^2/(2m)$; at most 2, at the `critical_curvature` $\tilde\mu^2/(4m)$.

    **Arguments:** `mass` $m \ge 0$, `friction` $\tilde\mu > 0$, `curvature` $k \ge 0$; they broadcast.

    **Raises:** `ValueError` for values outside these ranges.

    Qian (1999); eq. (8), (9) and Figure 2 of the poster.

        >>> [round(float(speed_up(2.0, 4.0, k)), 6) for k in (0.0, 2.0, 4.0, 8.0)]
        [1.0, 2.0, 1.0, 0.5]
    """
    _validate.non_negative("mass", mass, "0 is the point without momentum")
    _check(friction, curvature)
    return (2 / (1 + _root(mass, friction, curvature))).real


def critical_curvature(mass: ArrayLike, friction: ArrayLike) -> Float[Array, "..."]:
    r"""$k = \tilde\mu^2/(4m)$: critical damping, where momentum doubles the rate; beyond it $w$ oscillates.

    **Arguments:** `mass` $m > 0$, `friction` $\tilde\mu > 0$; they broadcast.

    **Raises:** `ValueError` for values outside these ranges.

    Qian (1999); the observations under eq. (9) of the poster.

        >>> float(critical_curvature(mass=2.0, friction=4.0))
        2.0
    """
    _validate.positive("mass", mass, "without mass nothing oscillates, whatever the curvature")
    _validate.positive("friction", friction, _UNDAMPED)
    return jnp.asarray(friction) ** 2 / (4 * mass)


def damping_ratio(mass: ArrayLike, friction: ArrayLike, curvature: ArrayLike) -> Float[Array, "..."]:
    r"""$\zeta = \tilde\mu/(2\sqrt{mk})$: overdamped above 1 (two real exponents), critical at 1, underdamped below.

    The square of $\zeta$ is `critical_curvature` over k.

    **Arguments:** `mass` $m > 0$, `friction` $\tilde\mu > 0$, `curvature` $k > 0$; they broadcast.

    **Raises:** `ValueError` for values outside these ranges.

        >>> [float(damping_ratio(2.0, 4.0, k)) for k in (0.5, 2.0, 8.0)]
        [2.0, 1.0, 0.5]
    """
    _validate.positive("curvature", curvature, "without curvature nothing oscillates")
    return jnp.sqrt(critical_curvature(mass, friction) / curvature)


def discrete_roots(
    momentum: ArrayLike, learning_rate: ArrayLike, curvature: ArrayLike
) -> tuple[Complex[Array, "..."], Complex[Array, "..."]]:
    r"""The two factors per iteration of heavy ball, $w_{t+1} = (1 + p - \varepsilon k)w_t - pw_{t-1}$:

    $$\lambda_{1,2} = \tfrac12\Big(1 + p - \varepsilon k \pm \sqrt{(1 + p - \varepsilon k)^2 - 4p}\Big),$$

    the eigenvalues of the companion matrix of (11), with rows (0, 1) and $(-p, 1 + p - \varepsilon k)$.

    **Arguments:** `momentum` $p$, `learning_rate` $\varepsilon > 0$, `curvature` $k$; they broadcast.

    **Returns:** $(\lambda_1, \lambda_2)$, in the order of (12): the plus sign first.

    **Raises:** `ValueError` unless $\varepsilon > 0$ and the others are finite.

    Qian (1999); eq. (10)-(12) of the poster.

        >>> first, second = discrete_roots(momentum=0.5, learning_rate=0.0625, curvature=60.0)
        >>> complex(first), complex(second)
        ((-0.25+0j), (-2+0j))
    """
    _check_discrete(momentum, learning_rate, curvature)
    half = (1 + jnp.asarray(momentum) - learning_rate * curvature) / 2
    root = jnp.sqrt(half**2 - momentum + 0j)
    return half + root, half - root


def converges(momentum: ArrayLike, learning_rate: ArrayLike, curvature: ArrayLike) -> Bool[Array, "..."]:
    r"""Whether heavy ball converges along an eigenvector: $-1 < p < 1$ and $0 < \varepsilon k < 2 + 2p$,
    which is $\max(|\lambda_1|, |\lambda_2|) < 1$ for the `discrete_roots`.

    **Arguments:** `momentum` $p$, `learning_rate` $\varepsilon > 0$, `curvature` $k$; they broadcast.

    **Raises:** `ValueError` unless $\varepsilon > 0$ and the others are finite.

    Qian (1999); the observations under eq. (12) of the poster.

        >>> [bool(converges(0.5, 0.0625, k)) for k in (30.0, 60.0)]
        [True, False]
    """
    _check_discrete(momentum, learning_rate, curvature)
    p, step = jnp.asarray(momentum), jnp.asarray(learning_rate) * curvature
    return (jnp.abs(p) < 1) & (step > 0) & (step < 2 + 2 * p)


def best_momentum(learning_rate: ArrayLike, curvature: ArrayLike) -> Float[Array, "..."]:
    r"""$p = (1-\sqrt{\varepsilon k})^2$: the fastest heavy ball along one eigenvector.

    Both `discrete_roots` are then $1-\sqrt{\varepsilon k}$, against $1-\varepsilon k$ without momentum. The
    poster states it for small $\varepsilon k$; it is the best for every $\varepsilon k < 4$.

    **Arguments:** `learning_rate` $\varepsilon > 0$, `curvature` $k \ge 0$ with $\varepsilon k < 4$; they broadcast.

    **Raises:** `ValueError` for values outside these ranges.

    Qian (1999); the observations under eq. (12) of the poster.

        >>> round(float(best_momentum(learning_rate=0.03, curvature=3.0)), 6)
        0.49
    """
    _check_discrete(0.0, learning_rate, curvature)
    _validate.non_negative("curvature", curvature, _CURVATURE)
    step = jnp.asarray(learning_rate) * curvature
    _validate.positive(
        "4 - learning_rate * curvature",
        4 - step,
        "no momentum makes heavy ball converge beyond; reduce the step",
    )
    return (1 - jnp.sqrt(step)) ** 2


def _root(mass: ArrayLike, friction: ArrayLike, curvature: ArrayLike) -> Complex[Array, "..."]:
    """√(1 - 4mk/μ̃²): the root of (8) in units of μ̃/2m."""
    return jnp.sqrt(1 - 4 * jnp.asarray(mass) * curvature / jnp.asarray(friction) ** 2 + 0j)


def _check(friction: ArrayLike, curvature: ArrayLike) -> None:
    _validate.positive("friction", friction, _UNDAMPED)
    _validate.non_negative("curvature", curvature, _CURVATURE)


def _check_discrete(momentum: ArrayLike, learning_rate: ArrayLike, curvature: ArrayLike) -> None:
    _validate.positive("learning_rate", learning_rate, "it is the size of a step")
    _validate.finite("momentum", momentum, "it is between 0 and 1 for a method that converges")
    _validate.finite("curvature", curvature, "it is an eigenvalue of the Hessian")
