"""A training step on the loss with the explicit regulariser, in units of a plain step.

    python -m benchmarks.regularized_step

Heavy ball on the paper's autoencoder, float32, batch 200 of random images: `RegularizedLoss.descent`, a gradient and
one Hessian-vector product, beside `jax.grad` of Φ + ½κ|∇Φ|² written out, which differentiates in reverse twice, and
beside the plain loss. MOMENTUMFLOW_BENCH_SMALL takes the network for the digits.
"""

import os
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

import momentumflow as mf
from benchmarks._bench import compare, report
from momentumflow import _tree
from momentumflow.problems.networks import DIGITS_SIZES, MNIST_SIZES

BATCH, STEPS, PAIRS = 200, 4, 9
SIZES = DIGITS_SIZES if os.environ.get("MOMENTUMFLOW_BENCH_SMALL") else MNIST_SIZES


def main() -> None:
    network, method = mf.Autoencoder(SIZES), mf.heavy_ball(0.01, 0.9)
    params = network.init(jax.random.key(0))
    images = jnp.asarray(np.random.default_rng(0).random((BATCH, SIZES[0])), jnp.float32)

    def loss(u: list) -> jax.Array:
        return network.loss(u, images)

    penalty = mf.implicit_regularizer(method)(loss)

    def written_out(u: list) -> jax.Array:
        slope = jax.grad(loss)(u)
        return loss(u) + 0.5 * penalty.strength * _tree.inner(slope, slope)

    def steps(objective: object) -> Callable[[], object]:
        run = jax.jit(lambda p: mf.iterate(method, objective, p, STEPS, save_every=None).params)
        return lambda: run(params)

    ours, plain, twice = steps(penalty.added(1.0).descent), steps(loss), steps(written_out)
    same = jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), ours(), twice())
    del same
    rows = [
        compare("the plain step: its time / ours", ours, plain, PAIRS),
        compare("grad of grad", ours, twice, PAIRS),
    ]
    report(
        f"{STEPS} training steps, {SIZES}, batch {BATCH}, float32",
        rows,
        {rows[0].peer: ">= 0.333", rows[1].peer: ">= 1"},
    )


if __name__ == "__main__":
    main()
