"""A thousand methods (h, λ, a) at once on a loss of two params, against a Python loop over compiled single runs.

python benchmarks/ensemble.py
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import momentumflow as mf
from benchmarks._bench import compare, report

METHODS, STEPS = 1_000, 1_000
START = (1.0, -0.5)


def loss(u: jax.Array) -> jax.Array:
    """Φ(u) = ½(u_0² + 5 u_1²) + ¼ u_0² u_1²."""
    return (u[0] ** 2 + 5 * u[1] ** 2) / 2 + (u[0] * u[1]) ** 2 / 4


def constants() -> jax.Array:
    """Learning rates, momenta and look-aheads, shape (3, METHODS)."""
    uniform = np.random.default_rng(0).uniform
    return jnp.stack(
        [jnp.asarray(uniform(low, high, METHODS)) for low, high in ((0.01, 0.1), (0, 0.9), (0, 1))]
    )


def run(h: jax.Array, lam: jax.Array, a: jax.Array) -> jax.Array:
    method = mf.momentum_method(h, lam, a)
    return mf.iterate(method, loss, jnp.array(START), STEPS, save_every=None).params[0]


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    together = eqx.filter_jit(eqx.filter_vmap(run))
    values = constants()
    singles = [tuple(float(x) for x in column) for column in values.T]

    def at_once() -> jax.Array:
        return together(*values)

    def one_by_one() -> list[jax.Array]:
        return [run(*single) for single in singles]

    np.testing.assert_allclose(at_once(), jnp.stack(one_by_one()), rtol=1e-9, atol=1e-12)
    row = compare("loop over compiled runs", at_once, one_by_one, pairs=7)
    report(f"{METHODS:,} methods, {STEPS:,} steps each, 2 params, float64", [row], {row.peer: ">= 20"})


if __name__ == "__main__":
    main()
