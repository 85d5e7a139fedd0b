"""Runs that are trained in one program: which go together, in which layout, and the training itself."""

import contextlib
import dataclasses
import hashlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .. import _files, _progress, _provenance, _validate
from .._types import Params
from ..problems.networks import Autoencoder
from .checkpoints import Checkpoints
from .datasets import Dataset, load
from .ensemble import AbstractEnsemble, Apart, begin, run_epoch, together
from .loop import Training, train_ensemble
from .run import Result, Run, find, finite, known

LAYOUTS = ("apart", "together")
CHECKPOINTS = "checkpoints"
_OF_ONE_RUN = ("method", "learning_rate", "momentum", "strong_convexity", "seed")
_TRIED_RUNS, _TRIED_BATCHES, _TRIALS = 6, 3, 3


@dataclass(frozen=True)
class Group:
    """Runs on the same batches, and the layout they are trained in; `digest` names its checkpoints."""

    runs: tuple[Run, ...]
    layout: str = "apart"

    @property
    def digest(self) -> str:
        text = " ".join([self.layout, *(run.digest for run in self.runs)])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """(i, j): run j is the reference of run i."""
        place = {run: i for i, run in enumerate(self.runs)}
        return tuple((i, place[run.reference]) for run, i in place.items() if run.reference in place)

    @property
    def label(self) -> str:
        last = f" … {self.runs[-1].label}" if len(self.runs) > 1 else ""
        return self.runs[0].label + last


def plan(
    runs: Iterable[Run], layout: str = "apart", lockstep: bool = True, parts: int = 1, most: int | None = None
) -> list[Group]:
    """The runs in groups.

    "apart": the runs of one family at one h. "together": all that share data, network and epochs, in at least `parts`
    groups where there are as many families, of at most `most` runs each but for a family. With `lockstep` a run has
    its reference beside it, wanted or not, and these are a family; without it, each run is one.

    >>> from momentumflow.training import grid, plan
    >>> [len(plan(grid(), *how)) for how in (("apart", True), ("apart", False), ("together", True))]
    [14, 42, 1]
    >>> [run.method for run in plan(grid(methods=["NAG"]))[0].runs]
    ['GF', 'NAG']
    """
    if layout not in LAYOUTS:
        raise _validate.unknown("layout", layout, LAYOUTS)
    families: dict[Run, list[Run]] = {}
    for run in runs:
        limit = (run.reference if lockstep else None) or run
        families.setdefault(limit, [limit]).append(run)
    alike: dict[object, list[tuple[Run, ...]]] = {}
    for limit, members in families.items():
        key = _shared(limit) if layout == "together" else limit
        alike.setdefault(key, []).append(tuple(dict.fromkeys(members)))
    chunks = [chunk for found in alike.values() for chunk in _chunks(found, parts, most)]
    return [Group(tuple(run for family in chunk for run in family), layout) for chunk in chunks]


def _chunks(families: list[tuple[Run, ...]], parts: int, most: int | None) -> Iterator[list[tuple[Run, ...]]]:
    size = -(-len(families) // parts)
    if most is not None:
        size = max(1, min(size, most // max(map(len, families))))
    yield from (families[i : i + size] for i in range(0, len(families), size))


def _shared(run: Run) -> tuple:
    """What runs must have in common to see the same batches in one program."""
    return tuple(value for name, value in dataclasses.asdict(run).items() if name not in _OF_ONE_RUN)


def batches_of(
    run: Run, data: str | os.PathLike[str] | None = None
) -> tuple[Dataset, Float[np.ndarray, "..."]]:
    """The data set of a run, and its batches in the run's order and precision."""
    dataset = load(run.dataset, data)
    if run.order is not None:
        shuffled = np.random.default_rng(run.order).permutation(len(dataset.images))
        dataset = dataset._replace(images=dataset.images[shuffled], labels=dataset.labels[shuffled])
    return dataset, dataset.batches(run.batch_size or None).astype(run.dtype)


def network_of(run: Run, sizes: Sequence[int]) -> Autoencoder:
    """The autoencoder that a run trains."""
    return Autoencoder(tuple(sizes), run.hidden, run.code, run.output, run.initializer)


def initial_params(run: Run, network: Autoencoder) -> Params:
    """Drawn in float32 whatever the run's dtype: runs that differ in it alone differ by rounding alone."""
    drawn = network.init(jax.random.key(run.seed), "float32")
    return jax.tree.map(lambda x: x.astype(run.dtype), drawn)


def ensemble_of(group: Group, network: Autoencoder) -> AbstractEnsemble:
    """The runs of a group in its layout."""
    methods = tuple(run.build() for run in group.runs)
    if group.layout == "together":
        return together(methods, network.loss, group.pairs)
    return Apart(methods, network.loss, group.pairs)


def evaluations(epochs: int) -> list[int]:
    """Epochs after which the whole training set is evaluated: about ten a decade, every 25th, and the last.

    >>> from momentumflow.training.group import evaluations
    >>> evaluations(8), len(evaluations(500))
    ([1, 2, 3, 4, 5, 6, 8], 40)
    """
    decades = {round(10 ** (k / 10)) for k in range(10 * len(str(epochs)))}
    return sorted(e for e in {*decades, *range(25, epochs, 25), epochs} if e <= epochs)


def train_group(
    group: Group,
    folder: str | os.PathLike[str] | None = None,
    data: str | os.PathLike[str] | None = None,
    every: int = 10,
    deadline: float = np.inf,
    progress: _progress.Progress = _progress.SILENT,
    command: str | None = None,
) -> list[Result] | None:
    """Trains a group from its last checkpoint on, its methods' constants in double precision.

    **Arguments:** `folder`: of results and checkpoints; the latter, in a folder of their own, are removed at the end;
    `None` keeps neither. `data`: where data sets are looked for. `every`: epochs between checkpoints. `deadline`: of
    `time.time()`. `command`: what asked for it, for the provenance; `None` is this process.

    **Returns:** the results in the order of the runs; `None` if the deadline came first.

    **Raises:** `ValueError` for data or checkpoints that cannot be used, or a group that another process trains;
    `CheckpointError` for a full disk.
    """
    if folder is None:
        return _train(group, None, data, deadline, progress, command)
    home = Path(folder)
    with _files.lock(home / f".{group.digest}.lock", f"{group.label} in {home}"):
        found = [find(run, [home]) for run in group.runs]
        if all(found):  # by another process, which has just left
            return [result for result in found if result]
        kept = Checkpoints(home / CHECKPOINTS / group.digest, _validate.count("every", every), group.digest)
        results = _train(group, kept, data, deadline, progress, command)
        if results is not None:
            for result in results:
                result.save(home)
            clear(home, group)
        return results


def clear(folder: Path, group: Group) -> None:
    """Removes the checkpoints of a group whose results are kept; out of sight first, so that no half is ever read."""
    done = folder / CHECKPOINTS / f".done-{group.digest}"
    with contextlib.suppress(OSError):
        (folder / CHECKPOINTS / group.digest).rename(done)
    shutil.rmtree(done, ignore_errors=True)


def _train(
    group: Group,
    kept: Checkpoints | None,
    data: str | os.PathLike[str] | None,
    deadline: float,
    progress: _progress.Progress,
    command: str | None,
) -> list[Result] | None:
    first, start, made_with = group.runs[0], time.perf_counter(), _provenance.provenance(command)
    # a method's constants are computed in double precision whatever the caller's, and then cast
    with jax.enable_x64(True):
        dataset, batches = batches_of(first, data)
        network = network_of(first, dataset.sizes)
        params = [initial_params(run, network) for run in group.runs]
        wanted = evaluations(first.epochs)
        known = (first.epochs, wanted, progress, kept, deadline)
        done = train_ensemble(ensemble_of(group, network), params, batches, *known)
    if not done.finished:
        return None
    of_this = {
        "seconds of the last part": f"{time.perf_counter() - start:.0f}",
        "layout": group.layout,
        "precision": first.dtype,
    }
    return _results(group, done, dataset.pixels, made_with | of_this)


def _results(group: Group, done: Training, pixels: int, provenance: dict[str, str]) -> list[Result]:
    history, epochs = done.history, done.epochs
    column = {i: p for p, (i, _) in enumerate(group.pairs)}
    evaluated = [e for e in range(len(history.errors)) if np.isfinite(history.errors[e]).any()]
    evaluated = sorted({*evaluated, group.runs[0].epochs})

    def curve(table: np.ndarray, place: int | None) -> tuple[float | None, ...]:
        return () if place is None else tuple(known(x) for x in table[:epochs, place])

    return [
        Result(
            run,
            pixels,
            int(history.diverged_at[i]),
            curve(history.losses, i),
            {
                e: finite(history.errors[e, i]) for e in evaluated
            },  # what is the same to the last bit is told by these
            curve(history.largest, column.get(i)),
            curve(history.distances, column.get(i)),
            provenance,
        )
        for i, run in enumerate(group.runs)
    ]


def faster_layout(runs: Sequence[Run], data: str | os.PathLike[str] | None = None) -> tuple[str, float]:
    """The layout that trains some of the runs faster on this machine, and the time of the other over its own.

    Six runs at most, three batches, the best of three; on a processor with few cores "apart" wins by its cache, on a
    GPU "together" by its width.
    """
    sample = [run for run in runs if _shared(run) == _shared(runs[0])][:_TRIED_RUNS]
    if len(sample) == 1:
        return LAYOUTS[0], 1.0
    with jax.enable_x64(True):
        dataset, batches = batches_of(sample[0], data)
        network, few = network_of(sample[0], dataset.sizes), jnp.asarray(batches[:_TRIED_BATCHES])
        params = [initial_params(run, network) for run in sample]
        seconds = {}
        for layout in LAYOUTS:
            ensemble = ensemble_of(Group(tuple(sample), layout), network)
            carry, times = begin(ensemble, params), []
            for _ in range(1 + _TRIALS):
                start = time.perf_counter()
                carry, _ = jax.block_until_ready(run_epoch((ensemble, few), carry))
                times.append(time.perf_counter() - start)
            seconds[layout] = min(times[1:])
    best, other = sorted(LAYOUTS, key=seconds.__getitem__)
    return best, seconds[other] / seconds[best]
