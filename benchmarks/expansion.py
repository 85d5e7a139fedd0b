"""Exact coefficients, and what the field of order p costs in gradients.

Run `python -m benchmarks.expansion`, or with one of `coefficients`, `small`, `large`. The peer is kauri, which
inverts and composes B-series in floats and knows Euler only: λ = a = 0. A field is jitted, float32, on a tanh network
of 10⁴ and on the paper's of 2.8 million params, a batch of 50 images; "compile" is tracing and compiling together,
"memory" is XLA's own count of temporary bytes over the bytes of the params.
"""

import sys
import time
from fractions import Fraction

import jax
import jax.numpy as jnp
from jaxtyping import PyTree
from rich.console import Console
from rich.table import Table

import momentumflow as mf
from benchmarks._bench import compare, environment, seconds
from momentumflow import _tree
from momentumflow.problems.networks import MNIST_SIZES

BATCH = 50
NETWORKS = {"small": (64, 64, 8), "large": MNIST_SIZES}
AIMS = {"slow flow 3": "<= 15", "slow flow 4": "<= 40", "phase flow 2": "5"}


def coefficients() -> None:
    """Order 9, 486 trees: symbolic and rational; order 7 beside kauri."""
    table = Table(title="Coefficients of heavy ball to order 9, 486 trees", caption=environment())
    for column in ("λ", "seconds", "aim / s"):
        table.add_column(column, justify="right")
    for name, momentum, aim in (("symbolic", None, 20), ("9/10", Fraction(9, 10), 1)):
        started = time.perf_counter()
        assert len(mf.modified_equation(9, momentum)) == 486
        table.add_row(name, f"{time.perf_counter() - started:.2f}", f"< {aim}")
    Console(width=110).print(table)
    try:
        import kauri
    except ModuleNotFoundError:
        print("kauri is not installed: no peer")
        return
    known = [tree for n in range(1, 8) for tree in kauri.trees_of_order(n)]
    # once each: kauri remembers what it has computed
    ours = seconds(lambda: mf.modified_equation(7, 0))
    theirs = seconds(lambda: [kauri.omega(tree) for tree in known])
    print(f"Euler to order 7: ours {ours:.2f} s, kauri {theirs:.2f} s, ratio {theirs / ours:.0f}")


def fields(size: str) -> None:
    """Order-p fields on a network, in units of one gradient."""
    network = mf.Autoencoder(NETWORKS[size], "tanh")
    params = network.init(jax.random.key(0), jnp.float32)
    images = jax.random.uniform(jax.random.key(1), (BATCH, NETWORKS[size][0]), jnp.float32)
    method = mf.nesterov(2.0**-10, 0.5)

    def loss(u: PyTree) -> jax.Array:
        return network.loss(u, images)

    gradient = jax.jit(jax.grad(loss))
    models = {f"slow flow {p}": mf.SlowFlow(method, order=p) for p in range(1, 6)} | {
        "inertial flow 2": mf.InertialFlow(method, 2),
        "inertial flow 3": mf.InertialFlow(method, 3),
        "phase flow 2": mf.PhaseFlow(method, 2),
        "phase flow 3": mf.PhaseFlow(method, 3),
        "phase flow 2, series": mf.PhaseFlow(method, 2, series=True),
    }
    count = _tree.size(params)
    table = Table(title=f"One evaluation of a field, {count:,} params", caption=environment())
    for column in ("field", "gradients", "range", "aim", "compile / s", "memory / params"):
        table.add_column(column, justify="left" if column == "field" else "right")
    for name, model in models.items():
        state = model.initial_state(loss, params, "rest")
        field = model.field(loss)
        started = time.perf_counter()
        compiled = jax.jit(lambda x, field=field: field(jnp.zeros(()), x)).lower(state).compile()
        compiling = time.perf_counter() - started
        pairs = compare(name, lambda: gradient(params), lambda c=compiled, x=state: c(x), 7).ratios
        middle = sorted(pairs)[len(pairs) // 2]
        memory = compiled.memory_analysis().temp_size_in_bytes / (4 * count)
        spread = f"{min(pairs):.3g} - {max(pairs):.3g}"
        table.add_row(name, f"{middle:.3g}", spread, AIMS.get(name, ""), f"{compiling:.2f}", f"{memory:.3g}")
    Console(width=110).print(table)
    print(f"one gradient: {1e3 * seconds(lambda: gradient(params)):.2f} ms")


def main() -> None:
    wanted = sys.argv[1:] or ["coefficients", *NETWORKS]
    for name in wanted:
        coefficients() if name == "coefficients" else fields(name)


if __name__ == "__main__":
    main()
