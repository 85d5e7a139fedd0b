"""The methods as their sources print them, in plain NumPy, and one loss with its gradient by hand."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

Gradient = Callable[[np.ndarray], np.ndarray]

STIFFNESS = np.array([0.7, 1.9])
START = np.array([1.1, -0.6])


def loss(u):
    """Φ(u) = Σ k_i (1 - cos u_i) + ¼ u_0² u_1²: neither quadratic nor separable."""
    return jnp.sum(STIFFNESS.astype(u.dtype) * (1 - jnp.cos(u))) + (u[0] * u[1]) ** 2 / 4


def gradient(u: np.ndarray) -> np.ndarray:
    return STIFFNESS.astype(u.dtype) * np.sin(u) + u[0] * u[1] * u[::-1] / 2


def two_step(
    gradient: Gradient,
    u0: np.ndarray,
    steps: int,
    h: float,
    momentum: float | Callable[[int], float],
    lookahead: float | Callable[[int], float],
    first_shift: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Kovachki & Stuart (7), u_{n+1} = u_n + λ(u_n - u_{n-1}) - h ∇Φ(u_n + a(u_n - u_{n-1})).

    At rest u_{-1} = u_0; else u_{-1} = u_0 - first_shift.
    """
    previous, current = u0 - first_shift, u0
    iterates = [u0]
    for n in range(steps):
        lam = momentum(n) if callable(momentum) else momentum
        a = lookahead(n) if callable(lookahead) else lookahead
        shift = current - previous
        previous, current = current, current + lam * shift - h * gradient(current + a * shift)
        iterates.append(current)
    return np.stack(iterates)


def rescaled(gradient: Gradient, u0: np.ndarray, steps: int, h: float, lam: float) -> np.ndarray:
    """(35): gradient descent with step h/(1-λ)."""
    iterates = [u0]
    for _ in range(steps):
        iterates.append(iterates[-1] - h / (1 - lam) * gradient(iterates[-1]))
    return np.stack(iterates)


def wilson(
    gradient: Gradient, u0: np.ndarray, v0: np.ndarray, steps: int, h: float, mu: float, printed: bool
) -> tuple[np.ndarray, np.ndarray]:
    """(36): the exact flow of u̇ = v, v̇ = -2√μ v over √h, then the kick -√h ∇Φ.

    The printed exponent is -2√μ h; Appendix D with t = √h gives -2√μ √h = -2√(μh).
    """
    decay = np.exp(-2 * np.sqrt(mu) * (h if printed else np.sqrt(h)))
    us, vs = [u0], [v0]
    for _ in range(steps):
        us.append(us[-1] + (1 - decay) / (2 * np.sqrt(mu)) * vs[-1])
        vs.append(decay * vs[-1] - np.sqrt(h) * gradient(us[-1]))
    return np.stack(us), np.stack(vs)


def strongly_convex_momentum(h: float, mu: float) -> float:
    """(5): λ = (1-√(μh))/(1+√(μh))."""
    return (1 - np.sqrt(mu * h)) / (1 + np.sqrt(mu * h))
