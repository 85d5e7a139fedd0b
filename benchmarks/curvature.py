"""The ten largest eigenvalues of the Hessian of the paper's autoencoder, beside PyTorch.

    python -m benchmarks.curvature

2.8 million parameters, one batch of 1 000 images of MNIST, or of random ones where it is not to be had. Ours is
`momentumflow.curvature`; the peers, on two threads, are SciPy's `eigsh` on products by double backward, as curvlinops
offers it, and power iteration with deflation, as PyHessian does it. Each stops at a relative 1e-3, ours where the
residual says so, and all three must agree. The last rows are one product, and the memory beside the Krylov basis.
"""

import os
import time
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.sparse.linalg import LinearOperator, eigsh

import momentumflow as mf
from benchmarks._bench import Comparison, compare, environment, report, seconds
from momentumflow.problems.networks import DIGITS_SIZES, MNIST_SIZES
from momentumflow.study import curvature as ours
from momentumflow.training import load

COUNT, BATCH, TOLERANCE, THREADS, PAIRS = 10, 1_000, 1e-3, 2, 5
SIZES = DIGITS_SIZES if os.environ.get("MOMENTUMFLOW_BENCH_SMALL") else MNIST_SIZES
DEPTHS = (60, 80, 120)
"""Krylov vectors tried: ours is timed with the first that settles all eigenvalues."""


def images() -> np.ndarray:
    try:
        found = load("mnist" if SIZES == MNIST_SIZES else "digits").images[:BATCH]
    except (FileNotFoundError, ValueError):
        found = np.random.default_rng(0).random((BATCH, SIZES[0]))
    return np.asarray(found, np.float32)


class Torch:
    """The Hessian-vector product of the same network by double backward; the gradient's graph is made once."""

    def __init__(self, network: mf.Autoencoder, params: list, data: np.ndarray) -> None:
        self.leaves = [
            torch.tensor(np.asarray(layer[name]), requires_grad=True)
            for layer in params
            for name in ("weight", "bias")
        ]
        x = target = torch.tensor(data)
        for i, name in enumerate(network.nonlinearities):
            x = x @ self.leaves[2 * i] + self.leaves[2 * i + 1]
            x = torch.relu(x) if name == "relu" else x
        loss = torch.nn.functional.mse_loss(x, target)
        self.gradient = torch.autograd.grad(loss, self.leaves, create_graph=True)
        self.size = sum(leaf.numel() for leaf in self.leaves)
        self.products = 0

    def __call__(self, v: torch.Tensor) -> torch.Tensor:
        self.products += 1
        parts = torch.split(v, [leaf.numel() for leaf in self.leaves])
        shaped = [part.view_as(leaf) for part, leaf in zip(parts, self.leaves, strict=True)]
        found = torch.autograd.grad(self.gradient, self.leaves, grad_outputs=shaped, retain_graph=True)
        return torch.cat([x.reshape(-1) for x in found])

    def eigsh(self) -> np.ndarray:
        """SciPy's implicitly restarted Lanczos, of the largest algebraically."""

        def product(v: np.ndarray) -> np.ndarray:
            return self(torch.from_numpy(np.ascontiguousarray(v.ravel(), np.float32))).numpy()

        operator = LinearOperator((self.size, self.size), matvec=product, dtype=np.float32)
        start = np.random.default_rng(0).normal(size=self.size).astype(np.float32)
        return eigsh(operator, COUNT, which="LA", tol=TOLERANCE, v0=start, return_eigenvectors=False)[::-1]

    def power_iteration(self, most: int = 100) -> np.ndarray:
        """One eigenvector after another, each orthogonal to those before; of the largest moduli."""
        torch.manual_seed(0)
        values, vectors = [], []
        for _ in range(COUNT):
            v, value = torch.randn(self.size), None
            for _ in range(most):
                for w in vectors:
                    v = v - (v @ w) * w
                v = v / v.norm()
                product = self(v)
                new = float(v @ product)
                if value is not None and abs(new - value) <= TOLERANCE * abs(new):
                    break
                v, value = product, new
            values.append(new)
            vectors.append(v / v.norm())
        return np.array(values)


def settled(loss: Callable, params: list) -> tuple[int, mf.Curvature]:
    for depth in DEPTHS:
        found = mf.curvature(loss, params, count=COUNT, depth=depth, samples=2, tolerance=TOLERANCE)
        if found.converged.all():
            break
    return depth, found


def held_by(work: Callable, *arguments: object) -> float:
    """MB of arguments, results and what XLA sets aside between."""
    found = jax.jit(work).lower(*arguments).compile().memory_analysis()
    parts = (found.argument_size_in_bytes, found.output_size_in_bytes, found.temp_size_in_bytes)
    return sum(parts) / 1e6


def memory(loss: Callable, params: list, depth: int) -> tuple[float, float, float]:
    """MB of the gradient, of ours beside the basis, and of the basis."""
    arrays, fixed = eqx.partition((loss, params, None, None, jax.random.key(0), (depth, 1, 2)), eqx.is_array)
    whole = held_by(lambda a: list(ours._measure(*eqx.combine(a, fixed))), arrays)
    basis = 4e-6 * depth * sum(x.size for x in jax.tree.leaves(params))
    return held_by(jax.grad(loss), params), whole - basis, basis


def main() -> None:
    torch.set_num_threads(THREADS)
    network, data = mf.Autoencoder(SIZES), images()
    params = network.init(jax.random.key(0))
    held = jnp.asarray(data)

    def loss(u: list) -> jax.Array:
        return network.loss(u, held)

    began = time.perf_counter()
    depth, found = settled(loss, params)
    print(f"depth {depth}, first time with compilation {time.perf_counter() - began:.1f} s: {found.largest}")
    peer, rows = Torch(network, params, data), []

    def whole() -> mf.Curvature:
        return mf.curvature(loss, params, count=COUNT, depth=depth, samples=2, tolerance=TOLERANCE)

    # once each, ours before and after: the peers take minutes
    for name, work in (("eigsh", peer.eigsh), ("power iteration", peer.power_iteration)):
        peer.products, values = 0, []
        before, theirs = seconds(whole), seconds(lambda work=work, values=values: values.append(work()))
        print(f"{name}: {np.sort(values[0])[::-1]}")
        if name == "eigsh":
            np.testing.assert_allclose(found.largest, values[0], rtol=10 * TOLERANCE)
        ours_and_after = [before, seconds(whole)]
        label = f"{name} in PyTorch, {peer.products} products against {found.products}"
        rows.append(Comparison(label, ours_and_after, [theirs] * 2))
    vector, flat = jax.tree.map(jnp.ones_like, params), torch.ones(peer.size)
    _, slope = jax.linearize(jax.grad(loss), params)
    product = jax.jit(slope)
    rows.append(compare("one product in PyTorch", lambda: product(vector), lambda: peer(flat), PAIRS))
    title = f"{COUNT} eigenvalues, {peer.size:,} parameters, batch {len(data):,}"
    report(title, rows, dict.fromkeys([row.peer for row in rows], ">= 1"))
    gradient, beside, basis = memory(loss, params, depth)
    table = Table("memory", "MB", "over the gradient's", "aim", caption=environment())
    table.add_row("a gradient: params, result and temporaries", f"{gradient:.1f}", "", "")
    table.add_row("ours, beside the Krylov basis", f"{beside:.1f}", f"{beside / gradient:.2f}", "<= 3")
    table.add_row(f"the basis, {depth} vectors", f"{basis:.1f}", "", "")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
