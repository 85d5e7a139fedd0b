"""A loss and a method of your own: which equation does it follow, and how closely?

Quasi-hyperbolic momentum (Ma & Yarats 2019), m⁺ = βm + (1-β)∇Φ, u⁺ = u - h((1-ν)∇Φ + νm⁺), fits a decay to four
numbers. Run it: python examples/my_own_loss.py writes my_own_loss.png.
"""

import jax
import jax.numpy as jnp

import momentumflow as mf

jax.config.update("jax_enable_x64", True)
times, heights = jnp.array([0.0, 1.0, 2.0, 3.0]), jnp.array([2.1, 1.2, 0.8, 0.4])
beta, nu = 0.9, 0.7
start = {"amplitude": jnp.array(0.6), "rate": jnp.array(1.6)}


def loss(params):
    return jnp.sum((params["amplitude"] * jnp.exp(-params["rate"] * times) - heights) ** 2)


def method(h):  # x = (u, -m): x⁺ = Ax + b f(cᵀx), f = -∇Φ
    return mf.LinearMemory([[1, h * nu * beta], [0, beta]], [h * (1 - nu * beta), 1 - beta], [1, 0], h)


run = mf.iterate(method(0.02), loss, start, steps=300)
models = {
    "gradient flow": mf.SlowFlow(method(0.02), order=1),
    "slow flow": mf.SlowFlow(method(0.02), order=2),
}
flows = {name: mf.solve(model, loss, start, run.times) for name, model in models.items()}
ladder = [2.0**-k for k in range(5, 12)]
studies = {
    name: mf.convergence_study(
        method,
        lambda m, order=order: mf.SlowFlow(m, order),
        loss,
        start,
        ladder,
        final_time=4.0,
        from_time=2.0,
    )
    for order, name in enumerate(models, start=1)
}

with mf.plot.style():
    figure = mf.plot.figure(8, 3.6)
    left, right = figure.subplots(1, 2)
    mf.plot.trajectories(run, left, "my method", marker=".", linestyle="none", color="black")
    mf.plot.trajectories(flows, left)
    mf.plot.contours(loss, start, left).legend()
    mf.plot.convergence(studies, right).legend()
    figure.savefig("my_own_loss.png")
print(*(f"{name}: order {study.order:.2f}" for name, study in studies.items()), sep="\n")
