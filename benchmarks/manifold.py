"""The exact invariant manifold of a network of 10⁴ params, tolerance 1e-8, in units of one gradient.

Run `python -m benchmarks.manifold`. An autoencoder 64-64-16 with tanh on 200 of scikit-learn's digits, λ = 0.9, at two
values of hk/x₋ for the largest curvature k at the params. Beside it the series of order p: its error is the distance
from the exact graph.
"""

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits

import momentumflow as mf
from benchmarks._bench import Comparison, compare, environment, report
from momentumflow.linear.family import slow_limit
from momentumflow.problems.networks import Autoencoder

LAM, TOLERANCE, IMAGES, GRADIENTS = 0.9, 1e-8, 200, 20


def network(width: int, code: int):
    """Loss and params, in float64."""
    model = Autoencoder((64, width, code), hidden="tanh")
    images = jnp.asarray(load_digits().data[:IMAGES] / 16)
    return lambda p: model.loss(p, images), model.init(jax.random.key(0), jnp.float64)


def norm(tree) -> float:
    return float(jnp.sqrt(sum(jnp.sum(x**2) for x in jax.tree.leaves(tree))))


def costs(near: float) -> None:
    """Time of the exact velocity and of the series over that of a gradient."""
    loss, params = network(64, 16)
    first = mf.InvariantManifold(mf.nesterov(1e-6, LAM), loss, TOLERANCE).solve(params)
    sharpness = float(first.sharpness[0])
    method = mf.nesterov(near * float(slow_limit(LAM, LAM)) / sharpness, LAM)
    exact = mf.InvariantManifold(method, loss, TOLERANCE)
    found, gradient = exact.solve(params), jax.jit(jax.grad(loss))

    def against(label: str, work) -> Comparison:
        def gradients() -> object:
            return [gradient(params) for _ in range(GRADIENTS)]

        return compare(label, gradients, lambda: work(params), 7, GRADIENTS)

    cost, residual = f"{int(found.gradients)} gradients, {int(found.sweeps)} sweeps", float(found.residual)
    label = f"exact: {cost}, residual {residual:.0e}"
    rows = [against(label, exact.velocity)]
    for order in (1, 2, 3, 4):
        series = mf.SeriesManifold(method, loss, order)
        error = float(series.distance(params, found.velocity)) / norm(found.velocity)
        rows.append(against(f"series of order {order}, error {error:.0e}", series.velocity))
    count = sum(x.size for x in jax.tree.leaves(params))
    title = (
        f"{count} params, hk/x₋ = {near:g} (sweeps {float(found.contraction):.2g}): ratio = cost in gradients"
    )
    report(title, rows)


def memory() -> None:
    """Temporary memory of the compiled velocity over that of the params, all gradients at once and one by one."""
    table = Table(title="Memory of the velocity, tolerance 1e-8", caption=environment())
    for column in ("params", "all at once / params", "one by one / params"):
        table.add_column(column, justify="right")
    for width in (32, 64, 128, 256):
        loss, params = network(width, 16)
        size = sum(x.size for x in jax.tree.leaves(params))
        row = []
        for batch in (None, 1):
            manifold = mf.InvariantManifold(mf.nesterov(1e-5, LAM), loss, TOLERANCE, batch_size=batch)
            compiled = jax.jit(lambda p, m=manifold: m.velocity(p)).lower(params).compile()
            row.append(compiled.memory_analysis().temp_size_in_bytes / (8 * size))
        table.add_row(str(size), *(f"{x:.0f}" for x in row))
    Console(width=110).print(table)


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    for near in (0.05, 0.2):
        costs(near)
    memory()


if __name__ == "__main__":
    main()
