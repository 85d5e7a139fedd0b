"""A million heavy-ball steps on a loss of two params, against optax in a `lax.scan` and against NumPy.

    python benchmarks/iterate.py

The learning rate is so small that the run is still under way at the end: nobody computes with zeros.
Outside `jit`, a call of `iterate` spends half a millisecond on checks of its input and on dispatch.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import momentumflow as mf
from benchmarks._bench import compare, report

STEPS, SHORT = 1_000_000, 20_000
LEARNING_RATE, MOMENTUM = 1e-6, 0.9
START = (1.0, -0.5)


def loss(u: jax.Array) -> jax.Array:
    """Φ(u) = ½(u_0² + 5 u_1²) + ¼ u_0² u_1²: not quadratic, and cheap, so that the loop itself is seen."""
    return (u[0] ** 2 + 5 * u[1] ** 2) / 2 + (u[0] * u[1]) ** 2 / 4


@jax.jit
def with_optax(params: jax.Array) -> jax.Array:
    optimizer = optax.sgd(LEARNING_RATE, momentum=MOMENTUM)

    def step(carry: tuple, _: None) -> tuple:
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, optimizer.init(params)), None, length=STEPS)[0][0]


def with_numpy(steps: int = SHORT) -> np.ndarray:
    u, v = np.array(START), np.zeros(2)
    stiffness = np.array([1.0, 5.0])
    for _ in range(steps):
        v = MOMENTUM * v - (stiffness * u + u * u[::-1] ** 2 / 2)
        u = u + LEARNING_RATE * v
    return u


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    method, params = mf.heavy_ball(LEARNING_RATE, MOMENTUM), jnp.array(START)

    def ours() -> jax.Array:
        return mf.iterate(method, loss, params, STEPS, save_every=None).params

    np.testing.assert_allclose(ours()[0], with_optax(params), rtol=1e-9)
    np.testing.assert_allclose(ours()[0], with_numpy(STEPS), rtol=1e-9)
    compiled = jax.jit(lambda u: mf.iterate(method, loss, u, STEPS, save_every=None).params)
    peer = lambda: with_optax(params)  # noqa: E731
    rows = [
        compare("optax.sgd in lax.scan", ours, peer, pairs=25),
        compare("the same, ours under jit too", lambda: compiled(params), peer, pairs=25),
        compare("NumPy loop (scaled)", ours, with_numpy, pairs=5, scale=STEPS / SHORT),
    ]
    aims = dict(zip((row.peer for row in rows), (">= 1", ">= 1", ">= 50"), strict=True))
    report(f"{STEPS:,} heavy-ball steps, 2 params, float64", rows, aims)


if __name__ == "__main__":
    main()
