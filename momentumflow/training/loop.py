"""Train runs side by side: an epoch is one compiled scan; between epochs errors, checkpoints, the deadline."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Integer, PyTree

from .. import _progress, _validate
from .._types import Params
from ..methods.batches import BatchLoss
from ..methods.linear_memory import AbstractLinearMemory
from .checkpoints import Checkpoints
from .ensemble import AbstractEnsemble, Apart, begin, errors, replicate, run_epoch


class History(NamedTuple):
    """What the epochs so far have shown; NaN where nothing is known.

    **Fields:**

    - `losses`: mean over an epoch of the batch losses where the gradients were taken, shape `(epochs, runs)`.
    - `errors`: mean loss over the whole training set after e epochs, shape `(epochs + 1, runs)`; NaN for an e that
      was not asked for.
    - `largest`: max |u_n - u_n'| of every pair of runs over all steps so far, `(epochs, pairs)`.
    - `distances`: the same distance after each epoch.
    - `diverged_at`: number of the first step whose loss was not finite, -1 if there was none, `(runs,)`.
    """

    losses: Float[np.ndarray, "epochs runs"]
    errors: Float[np.ndarray, "evaluations runs"]
    largest: Float[np.ndarray, "epochs pairs"]
    distances: Float[np.ndarray, "epochs pairs"]
    diverged_at: Integer[np.ndarray, " runs"]

    @classmethod
    def empty(cls, epochs: int, runs: int, pairs: int) -> "History":
        losses, errors = np.full((epochs, runs), np.nan), np.full((epochs + 1, runs), np.nan)
        largest, distances = (np.full((epochs, pairs), np.nan) for _ in range(2))
        return cls(losses, errors, largest, distances, np.full(runs, -1))

    def record(self, epoch: int, losses: np.ndarray, largest: np.ndarray, distances: np.ndarray) -> None:
        """Takes down epoch number `epoch`, from 1 on, whose batch losses are `(batches, runs)`."""
        self.losses[epoch - 1] = losses.mean(0)
        self.largest[epoch - 1], self.distances[epoch - 1] = largest, distances
        broken = ~np.isfinite(losses)
        first = (epoch - 1) * len(losses) + broken.argmax(0)
        self.diverged_at[:] = np.where((self.diverged_at < 0) & broken.any(0), first, self.diverged_at)


class Training(NamedTuple):
    """Epochs done, what they have shown, the params, and whether that is the end."""

    epochs: int
    history: History
    params: list[Params]
    finished: bool


def train_ensemble(
    ensemble: AbstractEnsemble,
    params: Sequence[Params],
    batches: PyTree[ArrayLike],
    epochs: int,
    evaluated: Collection[int] = (),
    progress: _progress.Progress = _progress.SILENT,
    checkpoints: Checkpoints | None = None,
    deadline: float = np.inf,
) -> Training:
    r"""Epochs of every run of an ensemble from rest, step n on the loss of batch $n \bmod N$.

    **Arguments:**

    - `ensemble`: `Apart(...)` or `together(...)`.
    - `params`: $u_0$ of every run.
    - `batches`: array or pytree of arrays of shape `(N, batch, ...)`.
    - `epochs`: at least 1. The training ends before if every run has diverged.
    - `evaluated`: numbers of epochs after which the error over all batches is wanted; 0 and the last always are.
    - `progress`: its `update(done, total, loss)` is called after every epoch, with the smallest loss.
    - `checkpoints`: where to go on from, and where to leave the state; `None` for none.
    - `deadline`: of `time.time()`; when it has passed, the training stops at a checkpoint, unfinished.

    **Returns:** a `Training`.

    **Raises:** `ValueError` or `TypeError` that names the requirement, before work starts; `CheckpointError`.
    """
    epochs = _validate.count("epochs", epochs)
    problem = (ensemble, replicate(_as_batches(batches), ensemble))
    carry = begin(ensemble, params)
    history = History.empty(epochs, len(params), len(ensemble.distances(carry.members)))
    done = 0
    if checkpoints is not None and (found := checkpoints.latest((carry, history))):
        done, (carry, history) = found
    else:
        history.errors[0] = errors(problem, carry.members)
    wanted = {*evaluated, epochs}
    while done < epochs and not np.all(history.diverged_at >= 0):
        carry, seen = run_epoch(problem, carry)
        done += 1
        history.record(done, *(np.asarray(x, float) for x in (seen.losses, carry.largest, seen.distances)))
        if done in wanted:
            history.errors[done] = errors(problem, carry.members)
        progress.update(done, epochs, _smallest(history.losses[done - 1]))
        late = time.time() >= deadline
        if checkpoints is not None and (late or done == epochs or checkpoints.due(done)):
            checkpoints.save(done, (carry, history))
        if late:
            break
    _close(history, done, epochs, batches=len(jax.tree.leaves(problem[1])[0]))
    finished = done == epochs or bool(np.all(history.diverged_at >= 0))
    return Training(done, history, ensemble.params(carry.members), finished)


def _smallest(losses: np.ndarray) -> float:
    return float(np.nanmin(losses)) if np.isfinite(losses).any() else float("nan")


def _close(history: History, done: int, epochs: int, batches: int) -> None:
    """A last error that is not finite is a divergence too; a run that diverged has no last error."""
    if done == epochs:
        overflown = ~np.isfinite(history.errors[epochs]) & (history.diverged_at < 0)
        history.diverged_at[overflown] = epochs * batches
        history.errors[epochs, history.diverged_at >= 0] = np.nan


@dataclass(frozen=True)
class TrainingRun:
    """What training with one method did.

    **Fields:**

    - `losses`: mean of the batch losses seen in each epoch, shape `(epochs,)`; fewer if it diverged. A batch loss
      is taken where the gradient is: before the step, for Nesterov at the look-ahead point.
    - `initial_error`, `final_error`: loss over the whole training set, at the initial and at the last params; NaN
      for the last of a run that diverged.
    - `diverged_at`: number n of the first step whose loss was not finite, -1 if there was none.
    - `params`: the last ones.
    """

    losses: Float[np.ndarray, " epochs"]
    initial_error: float
    final_error: float
    diverged_at: int
    params: Params

    @property
    def succeeded(self) -> bool:
        """Whether the run has an error that says something: finite, and below the initial one."""
        return self.diverged_at < 0 and self.final_error < self.initial_error

    @property
    def status(self) -> str:
        """ "completed", "diverged at step n" or "n/a: error not below the initial one"."""
        return outcome(self.initial_error, self.final_error, self.diverged_at)


def outcome(initial_error: float, final_error: float, diverged_at: int) -> str:
    """ "completed", "diverged at step n" or "n/a: error not below the initial one"."""
    if diverged_at >= 0:
        return f"diverged at step {diverged_at}"
    return "completed" if final_error < initial_error else "n/a: error not below the initial one"


def train(
    method: AbstractLinearMemory,
    loss: BatchLoss,
    params: Params,
    batches: PyTree[ArrayLike],
    epochs: int,
    progress: _progress.Progress = _progress.SILENT,
) -> TrainingRun:
    r"""Steps of a method from rest, step n on the loss of batch $n \bmod N$: file order, never shuffled.

    The batches stay on the device, an epoch is one compiled scan, and a step evaluates one gradient; the loss
    comes with it. A run whose loss is not finite stops after that epoch: divergence is a result.

    **Arguments:**

    - `method`: from `six_methods` or any of `momentumflow`'s.
    - `loss`: function of (params, batch) that returns a scalar, for instance `Autoencoder(...).loss`.
    - `params`: $u_0$; their dtype is that of the run.
    - `batches`: array or pytree of arrays of shape `(N, batch, ...)`.
    - `epochs`: at least 1.
    - `progress`: its `update(done, total, loss)` is called after every epoch.

    **Returns:** a `TrainingRun`.

    **Raises:** `ValueError` or `TypeError` that names the requirement, before work starts.

    Kovachki & Stuart (2021), §5.

    !!! example

        >>> import jax, momentumflow as mf
        >>> from momentumflow.training import load, train
        >>> digits = load("digits")
        >>> network = mf.Autoencoder(digits.sizes)
        >>> params = network.init(jax.random.key(0))
        >>> run = train(mf.heavy_ball(0.1, 0.9), network.loss, params, digits.batches(), epochs=2)
        >>> run.status, bool(run.losses[1] < run.losses[0])
        ('completed', True)
    """
    params, arrays = _validate.as_params(params), _as_batches(batches)
    _validate.check_loss(lambda u: loss(u, jax.tree.map(lambda x: x[0], arrays)), params)
    done, history, after, _ = train_ensemble(
        Apart((method,), loss), [params], arrays, epochs, progress=progress
    )
    initial, final = (float(history.errors[epoch, 0]) for epoch in (0, -1))
    return TrainingRun(history.losses[:done, 0], initial, final, int(history.diverged_at[0]), after[0])


def _as_batches(batches: PyTree[ArrayLike]) -> PyTree[Array]:
    arrays = jax.tree.map(jnp.asarray, batches)
    shapes = [x.shape for x in jax.tree.leaves(arrays)]
    if not shapes or any(len(s) < 2 or s[0] == 0 or s[:2] != shapes[0][:2] for s in shapes):
        raise ValueError(
            f"batches must be arrays of shape (batches, batch, ...), alike in the first two, got {shapes}: "
            "Dataset.batches() makes them"
        )
    for x in jax.tree.leaves(arrays):
        if jnp.issubdtype(x.dtype, jnp.floating) and not jnp.all(jnp.isfinite(x)):
            raise ValueError("batches must be finite, got NaN or infinity: check the data")
    return arrays
