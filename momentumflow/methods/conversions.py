"""The same method in other words: optax and PyTorch's buffers, Qian's mass and friction."""

import jax
import numpy as np
from jaxtyping import ArrayLike

from .. import _tree, _validate
from .._types import Params
from .momentum import MomentumMethod


def to_sgd(method: MomentumMethod, params: Params, velocity: Params) -> tuple[Params, Params]:
    r"""What `optax.sgd` and `torch.optim.SGD` store for the same run, dampening 0.

    $$\text{params} = u_n + h a v_n, \qquad \text{buffer} = -v_n.$$

    With `nesterov=True` they store the look-ahead point, not $u_n$; the learning rate is outside the buffer.

    **Arguments:** a method with $a = 0$ or $a = \lambda$, its params $u_n$ and velocity $v_n$.

    **Returns:** (params, momentum buffer) as those libraries hold them.

    **Raises:** `ValueError` for another look-ahead, `TypeError` for another kind of method.

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> mf.to_sgd(mf.nesterov(0.5, 0.5), jnp.ones(1), jnp.ones(1))
        (Array([1.25], dtype=float64), Array([-1.], dtype=float64))
    """
    _check_sgd(method)
    ahead = _tree.linear((1, method.learning_rate * method.lookahead), (params, velocity))
    return ahead, jax.tree.map(lambda v: -v, velocity)


def from_sgd(method: MomentumMethod, params: Params, buffer: Params) -> tuple[Params, Params]:
    """(u_n, v_n) from what `optax.sgd` or `torch.optim.SGD` stores; the inverse of `to_sgd`.

    >>> import jax.numpy as jnp, momentumflow as mf
    >>> mf.from_sgd(mf.nesterov(0.5, 0.5), jnp.array([1.25]), jnp.array([-1.0]))
    (Array([1.], dtype=float64), Array([1.], dtype=float64))
    """
    _check_sgd(method)
    velocity = jax.tree.map(lambda b: -b, buffer)
    return _tree.linear((1, -method.learning_rate * method.lookahead), (params, velocity)), velocity


def _check_sgd(method: MomentumMethod) -> None:
    if not isinstance(method, MomentumMethod):
        raise TypeError(
            f"method must have fixed momentum, got {type(method).__name__}: use heavy_ball or nesterov"
        )
    a, lam = method.lookahead, method.momentum
    if _validate.is_concrete(a) and _validate.is_concrete(lam):
        lookahead = np.asarray(a)
        if not np.all((lookahead == 0) | (lookahead == np.asarray(lam))):
            raise ValueError(
                f"lookahead must be 0 or the momentum {lam}, got {a}: SGD knows only "
                "heavy_ball, and nesterov with nesterov=True"
            )


def from_physical(mass: ArrayLike, friction: ArrayLike, time_step: ArrayLike) -> MomentumMethod:
    r"""Heavy ball for a point of mass $m$ in a medium of friction $\tilde\mu$, discretised with $\Delta t$:

    $$\varepsilon = \frac{\Delta t^2}{m + \tilde\mu\Delta t}, \qquad p = \frac{m}{m + \tilde\mu\Delta t}.$$

    **Arguments:** `mass` $m \ge 0$, `friction` $\tilde\mu > 0$, `time_step` $\Delta t > 0$.

    **Raises:** `ValueError` for values outside these ranges.

    Qian (1999), eq. (4), (5) of the poster.

        >>> import momentumflow as mf
        >>> method = mf.from_physical(mass=2.0, friction=4.0, time_step=0.5)
        >>> float(method.learning_rate), float(method.momentum)
        (0.0625, 0.5)
    """
    mass, friction, time_step = map(_validate.scalar_field, (mass, friction, time_step))
    _validate.non_negative("mass", mass, "0 is gradient descent")
    _validate.positive("friction", friction, "without it the momentum would be 1")
    _validate.positive("time_step", time_step, "it is the time between two iterates")
    total = mass + friction * time_step
    return MomentumMethod(time_step**2 / total, mass / total, 0)


def to_physical(method: MomentumMethod, time_step: ArrayLike) -> tuple[ArrayLike, ArrayLike]:
    r"""(mass, friction) whose discretisation with $\Delta t$ is the given heavy ball:
    $m = \Delta t^2 p/\varepsilon$, $\tilde\mu = \Delta t(1-p)/\varepsilon$.

    **Arguments:** a heavy-ball method, `time_step` $\Delta t > 0$.

    **Raises:** `ValueError` for a look-ahead, or $\Delta t \le 0$.

    The inverse of Qian (1999), eq. (4), (5) of the poster.

        >>> import momentumflow as mf
        >>> [float(x) for x in mf.to_physical(mf.heavy_ball(0.0625, 0.5), time_step=0.5)]
        [2.0, 4.0]
    """
    _validate.positive("time_step", time_step, "it is the time between two iterates")
    if _validate.is_concrete(method.lookahead) and np.any(np.asarray(method.lookahead) != 0):
        raise ValueError(
            f"the physical analogy is heavy ball's, got lookahead {method.lookahead}: use heavy_ball"
        )
    scale = time_step / method.learning_rate
    return scale * time_step * method.momentum, scale * (1 - method.momentum)
