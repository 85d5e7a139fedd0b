"""Train a network with a method: an epoch is one scan over the batches, in file order."""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, PyTree

from .. import _progress, _validate
from .._types import Params
from ..methods.batches import BatchLoss
from ..methods.linear_memory import AbstractLinearMemory, State, gradient_query


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
        if self.diverged_at >= 0:
            return f"diverged at step {self.diverged_at}"
        return "completed" if self.succeeded else "n/a: error not below the initial one"


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
    epochs = _validate.count("epochs", epochs)
    params, batches = _validate.as_params(params), _as_batches(batches)
    _validate.check_loss(lambda u: loss(u, jax.tree.map(lambda x: x[0], batches)), params)
    initial_error = float(evaluate(loss, params, batches))
    # run_epoch consumes its state, and the params are the caller's
    state = method.initial_state(jax.tree.map(jnp.copy, params))
    state, losses, diverged_at = _epochs((method, loss, batches), state, epochs, progress)
    final_error = float(evaluate(loss, state[0], batches)) if diverged_at < 0 else np.nan
    if diverged_at < 0 and not np.isfinite(final_error):
        diverged_at = losses.size
    return TrainingRun(losses.mean(axis=1), initial_error, final_error, diverged_at, state[0])


def _epochs(
    problem: "Problem", state: State, epochs: int, progress: _progress.Progress
) -> tuple[State, Float[np.ndarray, "epochs batches"], int]:
    n, seen, diverged_at = jnp.zeros((), int), [], -1
    for done in range(1, epochs + 1):
        state, n, losses = run_epoch(problem, state, n)
        seen.append(np.asarray(losses, float))
        progress.update(done, epochs, float(seen[-1].mean()))
        broken = ~np.isfinite(seen[-1])
        if broken.any():
            diverged_at = (done - 1) * losses.size + int(broken.argmax())
            break
    return state, np.stack(seen), diverged_at


Problem = tuple[AbstractLinearMemory, BatchLoss, PyTree[Array]]


@eqx.filter_jit(donate="all-except-first")
def run_epoch(
    problem: Problem, state: State, n: Int[Array, ""]
) -> tuple[State, Int[Array, ""], Float[Array, " batches"]]:
    """One pass over the batches of (method, loss, batches) from step n on; `state` and `n` are consumed.

    Returns the new state and n, and the loss of every step where its gradient was taken.
    """
    method, loss, batches = problem

    def advance(carry: tuple[State, Array], batch: PyTree[Array]) -> tuple[tuple[State, Array], Array]:
        state, n = carry
        value, gradient = jax.value_and_grad(loss)(gradient_query(method, state, n), batch)
        force = jax.tree.map(jnp.negative, gradient)
        return (method.step(lambda _: force, state, n), n + 1), value

    (state, n), losses = jax.lax.scan(advance, (state, n), batches)
    return state, n, losses


@eqx.filter_jit
def evaluate(loss: BatchLoss, params: Params, batches: PyTree[Array]) -> Float[Array, ""]:
    """Mean of the loss over batches of equal size, one at a time.

    >>> import jax.numpy as jnp
    >>> from momentumflow.training import evaluate
    >>> float(evaluate(lambda u, x: jnp.mean((u - x) ** 2), jnp.zeros(()), jnp.array([[0.0, 1.0], [0.0, 3.0]])))
    2.5
    """
    return jnp.mean(jax.lax.map(lambda batch: loss(params, batch), batches))


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
