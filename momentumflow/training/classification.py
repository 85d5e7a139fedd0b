"""Training of a classifier by mini-batches that are reshuffled every epoch, with the test accuracy after each."""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PRNGKeyArray

from .. import _validate
from .._types import Params
from ..methods.linear_memory import AbstractLinearMemory, State
from ..methods.momentum import heavy_ball
from ..problems.convolutional import ConvolutionalNetwork
from .ensemble import Apart, Carry, run_epoch
from .labelled import Labelled

_TESTED_AT_ONCE = 256


class Curves(NamedTuple):
    """What each epoch showed: mean of its batch losses, taken where the gradients were; test accuracy at its end.

    Both are NaN for an epoch in which a batch loss was not finite, or at whose end an entry of the params is not.
    """

    train_loss: Float[Array, "*runs epochs"]
    test_accuracy: Float[Array, "*runs epochs"]


class RunState(NamedTuple):
    """Where a run is: the method's state and the number n of steps done. All that a checkpoint needs."""

    state: State
    n: Int[Array, "*runs"]


class Classification(eqx.Module):
    """A network, the images that it is trained and tested on, and the number of them in a batch.

    Made by `classification`. An epoch's batches are the rows of a random permutation; images after the last full batch
    are left out of that epoch.
    """

    network: ConvolutionalNetwork
    images: Float[Array, "images height width channels"]
    labels: Int[Array, " images"]
    test_images: Float[Array, "tests height width channels"]
    test_labels: Int[Array, " tests"]
    batch_size: int = eqx.field(static=True)

    @property
    def batches(self) -> int:
        """Steps of an epoch."""
        return len(self.labels) // self.batch_size

    def loss(self, params: Params, indices: Int[Array, " batch"]) -> Float[Array, ""]:
        """Mean cross-entropy of some of the training images."""
        return self.network.loss(params, (self.images[indices], self.labels[indices]))

    def order(self, key: PRNGKeyArray, epoch: ArrayLike) -> Int[Array, "batches batch"]:
        """The images of each step of an epoch: a permutation drawn from the key and the epoch's number."""
        shuffled = jax.random.permutation(jax.random.fold_in(key, epoch), len(self.labels))
        return shuffled[: self.batches * self.batch_size].reshape(self.batches, self.batch_size)

    def accuracy(self, params: Params) -> Float[Array, ""]:
        """Share of the test images whose largest number is that of the label."""

        tests = len(self.test_labels)
        rows, extra = -(-tests // _TESTED_AT_ONCE), -tests % _TESTED_AT_ONCE
        images = jnp.pad(self.test_images, ((0, extra), (0, 0), (0, 0), (0, 0)))
        labels = jnp.pad(self.test_labels, (0, extra), constant_values=-1)  # which no network ever says
        batches = (images.reshape(rows, -1, *images.shape[1:]), labels.reshape(rows, -1))
        shares = jax.lax.map(lambda batch: self.network.accuracy(params, batch), batches)
        return jnp.mean(shares) * (tests + extra) / tests


def classification(
    network: ConvolutionalNetwork, data: Labelled, batch_size: int, dtype: DTypeLike = jnp.float32
) -> Classification:
    """The task of classifying a data set with a network, its arrays on the device.

    **Arguments:** `network`: for images of the data set's shape. `data`: from `load_labelled`, usually
    `.standardised()`. `batch_size`: from 1 to the number of training images. `dtype`: of the images.

    **Raises:** `ValueError` for a network that does not fit the data set, or a batch size out of range.
    """
    if network.image != data.shape or network.classes < data.classes:
        raise ValueError(
            f"the network must take images of shape {data.shape} and {data.classes} classes, those of {data.name}, got "
            f"{network.image} and {network.classes}: build it as ConvolutionalNetwork(data.shape, ...)"
        )
    if _validate.count("batch_size", batch_size) > len(data.train.labels):
        raise ValueError(
            f"batch_size must be at most {len(data.train.labels)}, the training images of {data.name}, got {batch_size}"
        )
    (images, labels), (test_images, test_labels) = data.train, data.test
    return Classification(
        network,
        jnp.asarray(images, dtype),
        jnp.asarray(labels),
        jnp.asarray(test_images, dtype),
        jnp.asarray(test_labels),
        batch_size,
    )


def begin(task: Classification, method: AbstractLinearMemory, key: PRNGKeyArray) -> RunState:
    """A run at rest, before its first step, with weights drawn from the key."""
    params = task.network.init(key, task.images.dtype)
    return RunState(method.initial_state(params), jnp.zeros((), int))


@eqx.filter_jit
def train_classifier(
    task: Classification, method: AbstractLinearMemory, run: RunState, key: PRNGKeyArray, epochs: int
) -> tuple[RunState, Curves]:
    r"""Some epochs of a run: step n of epoch e on the batch that a permutation drawn from (key, e) gives.

    One compiled program, one gradient a step. A run that was left off after some epochs goes on exactly as if it had
    not been: all that it depends on is in `run` and the key.

    **Arguments:** `task`: from `classification`. `method`: any of `momentumflow`'s. `run`: from `begin`, or
    returned from here. `key`: of the permutations, the same for the whole run. `epochs`: how many.

    **Returns:** the new `RunState` and the `Curves` of these epochs.

    Ghosh et al. (ICLR 2023) for the setting, SGD with and without momentum; Smith et al. (2021) for reshuffling.

    !!! example

        >>> import jax, momentumflow as mf
        >>> from momentumflow.problems.convolutional import ConvolutionalNetwork
        >>> from momentumflow.training.classification import begin, classification, train_classifier
        >>> from momentumflow.training.labelled import load_labelled
        >>> digits = load_labelled("digits").standardised()
        >>> task = classification(ConvolutionalNetwork(digits.shape, (4, 8)), digits, batch_size=32)
        >>> method = mf.heavy_ball(0.02, 0.9)
        >>> start = begin(task, method, jax.random.key(0))
        >>> end, curves = train_classifier(task, method, start, jax.random.key(1), epochs=5)
        >>> int(end.n), bool(curves.test_accuracy[-1] > 0.8)
        (140, True)
    """

    alone = Apart((method,), task.loss)

    def epoch(run: RunState, _: None) -> tuple[RunState, Curves]:
        order = task.order(key, run.n // task.batches)
        carry, seen = run_epoch((alone, order), Carry((run.state,), run.n, jnp.zeros(0)))
        (state,), n, loss = carry.members, carry.n, jnp.mean(seen.losses)
        finite = jnp.isfinite(loss) & _all_finite(state[0])
        curves = Curves(loss, task.accuracy(state[0]))
        return RunState(state, n), jax.tree.map(lambda x: jnp.where(finite, x, jnp.nan), curves)

    return jax.lax.scan(epoch, run, None, length=epochs)


def _all_finite(params: Params) -> Bool[Array, ""]:
    return jnp.array([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]).all()


def train_seeds(
    task: Classification,
    runs: Sequence[tuple[float, float, int]],
    epochs: int,
) -> Curves:
    """Whole runs of heavy ball side by side, one program for all: (h, λ, seed) each.

    Runs of one seed have the same initial weights and the same batches, so that a difference between them is the
    methods' own.

    **Arguments:** `runs`: $h > 0$, $\\lambda \\in [0, 1)$, 0 for plain SGD, and the seed of each. `epochs`: at least 1.

    **Returns:** `Curves`, shapes `(runs, epochs)`.

    **Raises:** `ValueError` for values outside these ranges, before work starts.
    """
    epochs = _validate.count("epochs", epochs)
    if not runs:
        raise ValueError("runs must hold at least one (h, λ, seed), got none")
    rates, momenta, seeds = (jnp.array(column) for column in zip(*runs, strict=True))
    heavy_ball(rates, momenta)  # checks the numbers, which are traced below
    return _train_seeds(task, rates, momenta, seeds, epochs)


@eqx.filter_jit
def _train_seeds(task: Classification, rates: Array, momenta: Array, seeds: Array, epochs: int) -> Curves:
    def one(learning_rate: Array, momentum: Array, seed: Array) -> Curves:
        init_key, order_key = jax.random.split(jax.random.key(seed))
        method = heavy_ball(learning_rate, momentum)
        return train_classifier(task, method, begin(task, method, init_key), order_key, epochs)[1]

    if (
        len(seeds) == 1
    ):  # without a mapped axis a convolution keeps one kernel for all images, which is faster
        return jax.tree.map(lambda x: x[None], one(rates[0], momenta[0], seeds[0]))
    return jax.vmap(one)(rates, momenta, seeds)
