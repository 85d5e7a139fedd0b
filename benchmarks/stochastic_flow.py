"""The flows on mini-batches: gradients per interval at tolerance 1e-6, and memory against the number of steps.

    python -m benchmarks.stochastic_flow

A tanh autoencoder of 5 000 params on m mini-batches of random images, float64. (A relu network's field jumps, the
solver has to look for the kinks, and the counts are no longer those of the flow.) Gradients are counted by a callback
in the loss; each is followed by one Hessian-vector product. An evaluation of the modified flow is a gradient of each
of its m batches, counted as one of the whole; of the lagged flow a gradient of one batch. The last column is the time
of an interval in units of one such gradient's. Memory is what the compiled solve needs for its temporaries, over the
bytes of the params.
"""

import statistics

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

import momentumflow as mf
from benchmarks._bench import Counter, environment, seconds
from momentumflow import _tree
from momentumflow.flows import piecewise
from momentumflow.problems.networks import DIGITS_SIZES

BATCHES, BATCH, STEPS, TOLERANCE, RUNS = 8, 16, 32, 1e-6, 3
METHOD = mf.heavy_ball(0.02, 0.5)
MODELS = {
    "StochasticModifiedFlow": mf.StochasticModifiedFlow,
    "StochasticLaggedFlow": mf.StochasticLaggedFlow,
}
SOLVERS = {"Tsit5 (default)": None, "Bosh3": diffrax.Bosh3()}
LENGTHS = (16, 256, 4096)


COUNTER = Counter()


class Loss(eqx.Module):
    """The autoencoder's, counted or not."""

    network: mf.Autoencoder
    counted: bool = eqx.field(static=True)

    def __call__(self, params: list, images: jax.Array) -> jax.Array:
        if self.counted:
            jax.debug.callback(COUNTER)
        return self.network.loss(params, images)


def problem() -> tuple[mf.Autoencoder, list, jax.Array]:
    network = mf.Autoencoder(DIGITS_SIZES, hidden="tanh")
    data = np.random.default_rng(0).random((BATCHES, BATCH, DIGITS_SIZES[0]))
    return network, network.init(jax.random.key(0), jnp.float64), jnp.asarray(data)


def order(steps: int) -> jax.Array:
    return jax.random.randint(jax.random.key(1), (steps,), 0, BATCHES)


def solved(model: type, loss: Loss, params: list, data: jax.Array, solver: object) -> mf.Trajectory:
    flow = model(METHOD, data, order(STEPS))
    end = jnp.array([STEPS * float(METHOD.learning_rate)])
    return mf.solve(flow, loss, params, end, solver=solver, tolerance=TOLERANCE)


def gradients(loss: Loss, params: list, data: jax.Array, each: bool) -> object:
    """As many gradients as there are intervals, each at another point: of every batch, or of one."""

    def step(point: list, k: jax.Array) -> tuple[list, None]:
        if each:
            all_of_them = jax.vmap(jax.grad(loss), (None, 0))(point, data)
            slope = jax.tree.map(lambda g: jnp.mean(g, 0), all_of_them)
        else:
            slope = jax.grad(loss)(point, data[k])
        return _tree.linear((1, -0.05), (point, slope)), None

    return jax.lax.scan(step, params, order(STEPS))[0]


def counts() -> None:
    network, params, data = problem()
    table = Table(title=f"Per interval, tolerance {TOLERANCE:g}, {STEPS} intervals", caption=environment())
    for column in ("model", "solver", "gradients", "aim", "error", "time / gradient's"):
        table.add_column(column, justify="left" if column in ("model", "solver") else "right")
    run = mf.iterate(
        METHOD, Loss(network, False), params, STEPS, save_every=None, data=data, order_of_use=order(STEPS)
    )
    for name, model in MODELS.items():
        each = name == "StochasticModifiedFlow"
        unit = jax.jit(lambda p, each=each: gradients(Loss(network, False), p, data, each))
        for solver_name, solver in SOLVERS.items():
            COUNTER.calls = 0
            end = solved(model, Loss(network, True), params, data, solver)
            jax.block_until_ready(end.params)
            jax.effects_barrier()
            calls = COUNTER.calls / STEPS  # under vmap one call stands for all batches
            gap = float(_tree.norm(jax.tree.map(lambda a, b: a[0] - b[0], end.params, run.params)))
            works = (
                lambda model=model, solver=solver: (
                    solved(model, Loss(network, False), params, data, solver).params
                ),
                lambda unit=unit: unit(params),
            )
            ours, theirs = ([seconds(work) for _ in range(RUNS + 1)][1:] for work in works)
            ratio = statistics.median(ours) / statistics.median(theirs)
            table.add_row(name, solver_name, f"{calls:.2f}", "<= 10", f"{gap:.1e}", f"{ratio:.1f}")
    Console(width=110).print(table)


def memory() -> None:
    network, params, data = problem()
    size = 8 * _tree.size(params)
    table = Table(title="Temporaries of the compiled solve / bytes of the params", caption=environment())
    for column in ("model", *(f"{steps} steps" for steps in LENGTHS), "aim"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for name, model in MODELS.items():
        row = []
        for steps in LENGTHS:
            flow, end = model(METHOD, data, order(steps)), jnp.array([steps * float(METHOD.learning_rate)])
            known = (flow, Loss(network, False), params, None, end, None, TOLERANCE, 1024)
            arrays, fixed = eqx.partition(known, eqx.is_array)
            program = jax.jit(lambda a, fixed=fixed: piecewise._solve(*eqx.combine(a, fixed)).params)
            row.append(program.lower(arrays).compile().memory_analysis().temp_size_in_bytes / size)
        table.add_row(name, *(f"{x:.2f}" for x in row), "flat")
    Console(width=110).print(table)


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    counts()
    memory()


if __name__ == "__main__":
    main()
