"""A small equinox network on a toy data set: heavy ball beside its slow flow and the rescaled gradient flow.

`eqx.partition` takes the arrays out of the network; they are the params, a pytree. Run it:
python examples/small_network.py writes small_network.png.
"""

import equinox as eqx
import jax
import jax.numpy as jnp

import momentumflow as mf

jax.config.update("jax_enable_x64", True)
x = jnp.linspace(-1.0, 1.0, 32)[:, None]
y = jnp.sin(3 * x)

network = eqx.nn.MLP(1, 1, width_size=8, depth=2, activation=jnp.tanh, key=jax.random.key(0))
params, static = eqx.partition(network, eqx.is_inexact_array)


def loss(params):
    return jnp.mean((jax.vmap(eqx.combine(params, static))(x) - y) ** 2)


method = mf.heavy_ball(learning_rate=0.002, momentum=0.9)
run = mf.iterate(method, loss, params, steps=2000)
# from rest, the slow flow starts a lag of λ/(1-λ) steps behind: the peak at t = 0
models = {
    "slow flow (20)": mf.SlowFlow(method),
    "rescaled gradient flow (8)": mf.RescaledGradientFlow(method),
}
flows = {name: mf.solve(model, loss, params, run.times) for name, model in models.items()}

with mf.plot.style():
    figure = mf.plot.figure(8, 3.6)
    left, right = figure.subplots(1, 2)
    left.semilogy(run.times, jax.vmap(loss)(run.params), **mf.plot.look("HB", markevery=100, label="HB"))
    for name, flow in flows.items():
        left.semilogy(flow.times, jax.vmap(loss)(flow.params), **mf.plot.look(name, label=name))
    left.set(xlabel="time $t = nh$", ylabel="loss (mean squared error)")
    left.legend()
    mf.plot.distance(run, flows, right).legend()
    figure.savefig("small_network.png")
