"""Runs side by side that see the same batch at every step: one program, and an epoch of it is one scan."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, PyTree

from .. import _tree
from .._types import Params
from ..methods.batches import BatchLoss
from ..methods.linear_memory import AbstractLinearMemory, LinearMemory, State, gradient_query

Pairs = tuple[tuple[int, int], ...]
"""Runs whose distance is measured: (i, the one that i is compared with)."""
Members = Any
"""The states of all runs, as their layout keeps them."""


class AbstractEnsemble(eqx.Module):
    """Runs by their methods, on one loss; how their states lie in memory is up to the layout."""

    @abstractmethod
    def start(self, params: Sequence[Params]) -> Members:
        """All runs at rest; the params are copied."""

    @abstractmethod
    def step(
        self, members: Members, batch: PyTree[Array], n: Int[Array, ""]
    ) -> tuple[Members, Float[Array, " runs"]]:
        """One step of every run, and the losses where the gradients were taken."""

    @abstractmethod
    def distances(self, members: Members) -> Float[Array, " pairs"]:
        """|u_n - u_n'| of every pair, in the Euclidean norm of all params."""

    @abstractmethod
    def errors(self, members: Members, batches: PyTree[Array]) -> Float[Array, " runs"]:
        """Mean loss of every run over the batches."""

    @abstractmethod
    def params(self, members: Members) -> list[Params]:
        """The params of every run."""


class Apart(AbstractEnsemble):
    """Every run has arrays of its own, and a step takes one after the other: small enough for a processor's cache.

    **Arguments:** `methods`: one a run. `loss`: of (params, batch). `pairs`: whose distances are measured.

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> from momentumflow.training import Apart
        >>> runs = Apart((mf.gradient_descent(0.1), mf.heavy_ball(0.1, 0.5)), lambda u, x: jnp.sum((u - x) ** 2))
        >>> members, losses = runs.step(runs.start([jnp.ones(2)] * 2), jnp.zeros(2), jnp.array(0))
        >>> losses.tolist()
        [2.0, 2.0]
    """

    methods: tuple[AbstractLinearMemory, ...]
    loss: BatchLoss
    pairs: Pairs = eqx.field(static=True, default=())

    def start(self, params: Sequence[Params]) -> Members:
        return tuple(
            method.initial_state(jax.tree.map(jnp.copy, u))
            for method, u in zip(self.methods, params, strict=True)
        )

    def step(
        self, members: Members, batch: PyTree[Array], n: Int[Array, ""]
    ) -> tuple[Members, Float[Array, " runs"]]:
        moved = [
            _step(method, self.loss, state, batch, n)
            for method, state in zip(self.methods, members, strict=True)
        ]
        return tuple(state for state, _ in moved), jnp.stack([loss for _, loss in moved])

    def distances(self, members: Members) -> Float[Array, " pairs"]:
        return _norms([_tree.linear((1, -1), (members[i][0], members[j][0])) for i, j in self.pairs])

    def errors(self, members: Members, batches: PyTree[Array]) -> Float[Array, " runs"]:
        return jnp.stack([evaluate(self.loss, state[0], batches) for state in members])

    def params(self, members: Members) -> list[Params]:
        return [state[0] for state in members]


class Together(AbstractEnsemble):
    """The runs are one more axis of every array, mapped over, and shared out over the devices of that axis.

    Made by `together`. `methods`: every constant with a leading axis, repeated at its end so that each device has
    as many; `runs`: how many of them count.
    """

    methods: LinearMemory
    loss: BatchLoss
    pairs: Pairs = eqx.field(static=True)
    runs: int = eqx.field(static=True)
    devices: tuple[jax.Device, ...] = eqx.field(static=True)

    def start(self, params: Sequence[Params]) -> Members:
        last = [params[-1]] * (len(self.methods.gain) - self.runs)
        stacked = jax.tree.map(lambda *x: np.stack(x), *params, *last)
        members = eqx.filter_vmap(lambda method, u: method.initial_state(u))(self.methods, stacked)
        return jax.device_put(members, _sharding(self.devices, "runs"))

    def step(
        self, members: Members, batch: PyTree[Array], n: Int[Array, ""]
    ) -> tuple[Members, Float[Array, " runs"]]:
        def one(method: LinearMemory, state: State) -> tuple[State, Float[Array, ""]]:
            return _step(method, self.loss, state, batch, n)

        members, losses = eqx.filter_vmap(one)(self.methods, members)
        return eqx.filter_shard(members, _sharding(self.devices, "runs")), losses[: self.runs]

    def distances(self, members: Members) -> Float[Array, " pairs"]:
        return _norms([jax.tree.map(lambda x, i=i, j=j: x[i] - x[j], members[0]) for i, j in self.pairs])

    def errors(self, members: Members, batches: PyTree[Array]) -> Float[Array, " runs"]:
        every = eqx.filter_vmap(evaluate, in_axes=(None, 0, None))(self.loss, members[0], batches)
        return every[: self.runs]

    def params(self, members: Members) -> list[Params]:
        return [_tree.at(members[0], i) for i in range(self.runs)]


def together(
    methods: Sequence[AbstractLinearMemory],
    loss: BatchLoss,
    pairs: Pairs = (),
    devices: Sequence[jax.Device] | None = None,
) -> Together:
    """Runs as one more axis of every array.

    **Arguments:** `methods`: with constants that do not vary with n, of any number of rows. `loss`, `pairs`: as of
    `Apart`. `devices`: those that share the runs; `None` is all of this process.

    **Raises:** `ValueError` for a method whose constants vary with n.

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> from momentumflow.training import together
        >>> methods = (mf.gradient_descent(0.1), mf.heavy_ball(0.1, 0.5))
        >>> runs = together(methods, lambda u, x: jnp.sum((u - x) ** 2), pairs=((1, 0),))
        >>> members = runs.start([jnp.ones(2)] * 2)
        >>> for n in range(2):
        ...     members, losses = runs.step(members, jnp.zeros(2), jnp.array(n))
        >>> round(float(runs.distances(members)[0]), 6)  # h λ |f(u_0)|
        0.141421
    """
    if varying := [method for method in methods if method.varies]:
        raise ValueError(
            f"methods side by side on one axis must have fixed constants, got {varying[0]!r}: use the layout 'apart'"
        )
    devices = tuple(jax.devices() if devices is None else devices)
    rows = max(method.rows for method in methods)
    full = [*methods, *[methods[-1]] * (-len(methods) % len(devices))]
    constants = [_constants(method, rows) for method in full]
    stacked = [np.stack(parts) for parts in zip(*constants, strict=True)]
    return Together(eqx.filter_vmap(LinearMemory)(*stacked), loss, pairs, len(methods), devices)


def _constants(method: AbstractLinearMemory, rows: int) -> tuple[np.ndarray, ...]:
    """A, b, c, Δt with rows of zeros for memory that the method does not have."""
    A, b, c, _ = method.memory(0)
    m = method.rows
    matrix, gain, query = np.zeros((rows, rows)), np.zeros(rows), np.zeros(rows)
    matrix[:m, :m], gain[:m], query[:m] = np.array(A, float), np.array(b, float), np.array(c, float)
    return matrix, gain, query, np.asarray(method.time_step, float)


def _sharding(devices: tuple[jax.Device, ...], *axes: str) -> NamedSharding:
    return NamedSharding(Mesh(np.array(devices), ("runs",)), PartitionSpec(*axes))


def replicate(tree: PyTree[Array], ensemble: AbstractEnsemble) -> PyTree[Array]:
    """The arrays on every device of the ensemble."""
    return jax.device_put(tree, _sharding(ensemble.devices)) if isinstance(ensemble, Together) else tree


class Carry(NamedTuple):
    """What goes from one epoch to the next: states, step number n, and the largest distances so far."""

    members: Members
    n: Int[Array, ""]
    largest: Float[Array, " pairs"]


class EpochOutput(NamedTuple):
    """Losses of every step where its gradient was taken, and the distances at the end."""

    losses: Float[Array, "batches runs"]
    distances: Float[Array, " pairs"]


def begin(ensemble: AbstractEnsemble, params: Sequence[Params]) -> Carry:
    """All runs at rest at n = 0."""
    members = ensemble.start(params)
    counts = (jnp.zeros((), int), jnp.zeros_like(ensemble.distances(members)))
    return Carry(members, *replicate(counts, ensemble))


@eqx.filter_jit(donate="all-except-first")
def run_epoch(problem: tuple[AbstractEnsemble, PyTree[Array]], carry: Carry) -> tuple[Carry, EpochOutput]:
    """One pass over the batches from step n on; `carry` is consumed."""
    ensemble, batches = problem

    def advance(carry: Carry, batch: PyTree[Array]) -> tuple[Carry, Float[Array, " runs"]]:
        members, losses = ensemble.step(carry.members, batch, carry.n)
        largest = jnp.maximum(carry.largest, ensemble.distances(members))
        return Carry(members, carry.n + 1, largest), losses

    # accelerators would multiply float32 matrices in fewer bits, and the runs differ by what that rounds away
    with jax.default_matmul_precision("highest"):
        carry, losses = jax.lax.scan(advance, carry, batches)
        return carry, EpochOutput(losses, ensemble.distances(carry.members))


@eqx.filter_jit
def errors(problem: tuple[AbstractEnsemble, PyTree[Array]], members: Members) -> Float[Array, " runs"]:
    """Mean loss of every run over all batches."""
    ensemble, batches = problem
    with jax.default_matmul_precision("highest"):
        return ensemble.errors(members, batches)


@eqx.filter_jit
def evaluate(loss: BatchLoss, params: Params, batches: PyTree[Array]) -> Float[Array, ""]:
    """Mean of the loss over batches of equal size, one at a time.

    >>> import jax.numpy as jnp
    >>> from momentumflow.training import evaluate
    >>> float(evaluate(lambda u, x: jnp.mean((u - x) ** 2), jnp.zeros(()), jnp.array([[0.0, 1.0], [0.0, 3.0]])))
    2.5
    """
    return jnp.mean(jax.lax.map(lambda batch: loss(params, batch), batches))


def _step(
    method: AbstractLinearMemory, loss: BatchLoss, state: State, batch: PyTree[Array], n: Int[Array, ""]
) -> tuple[State, Float[Array, ""]]:
    value, gradient = jax.value_and_grad(loss)(gradient_query(method, state, n), batch)
    force = jax.tree.map(jnp.negative, gradient)
    return method.step(lambda _: force, state, n), value


def _norms(trees: Sequence[Params]) -> Float[Array, " pairs"]:
    return jnp.stack([_tree.norm(tree) for tree in trees]) if trees else jnp.zeros(0)
