"""Many runs: what is known is kept, the rest is trained here or by workers on other machines."""

import contextlib
import dataclasses
import importlib.util
import json
import logging
import math
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import _deterministic, _files, _progress, _validate
from .datasets import load
from .group import CHECKPOINTS, LAYOUTS, Group, faster_layout, plan, train_group
from .run import Result, Run, find, number

if TYPE_CHECKING:
    from distributed import Client
    from rich.table import Table

Data = str | os.PathLike[str] | None
PLAN = "sweep.plan"
_DEATHS = 20
"""How often a group may lose its worker: it goes on from its checkpoint each time."""


class Sweep(NamedTuple):
    """Results in the order of the runs, as far as they are known, and the groups that are not finished."""

    results: dict[Run, Result]
    unfinished: list[Group]


def sweep(
    runs: Iterable[Run],
    folder: str | os.PathLike[str],
    data: Data = None,
    layout: str = "auto",
    lockstep: bool = True,
    most: int | None = None,
    every: int = 10,
    resume: bool = False,
    minutes: float = math.inf,
    workers: int = 0,
    scheduler: str | None = None,
    elsewhere: Sequence[Path] = (),
    progress: _progress.Progress = _progress.SILENT,
) -> Sweep:
    """Trains runs, group by group, and leaves a small file of each in a folder.

    **Arguments:**

    - `runs`: those wanted; one whose result is in `folder` or `elsewhere` is not trained again.
    - `folder`: of results and checkpoints, made when missing. With workers on other machines it must be a folder
      that they see under the same name.
    - `data`: where data sets are looked for.
    - `layout`: "apart", "together", or "auto", which measures both. Groups that have checkpoints go on in theirs.
    - `lockstep`: train a method beside its limit, so that their distance is known; costs the limit's runs.
    - `most`: runs in one program at most; `None` trusts the device's memory.
    - `every`: epochs between two checkpoints.
    - `resume`: go on from checkpoints in the folder; without it a folder that has some is refused.
    - `minutes`: stop at a checkpoint when they have passed.
    - `workers`: processes of a local cluster; 0 trains in this process. `scheduler`: address of a running
      dask.distributed scheduler instead, for instance "tcp://10.0.0.1:8786".
    - `progress`: told of epochs, or with workers of groups.

    **Raises:** `ValueError` or `CheckpointError` that names what is wrong, before work starts where it can be known.
    """
    home, runs, deadline = Path(folder), list(dict.fromkeys(runs)), time.time() + 60 * minutes
    if not runs:
        raise ValueError("a sweep must have at least one run, got none: name methods and learning rates")
    if layout not in ("auto", *LAYOUTS):
        raise _validate.unknown("layout", layout, ("auto", *LAYOUTS))
    _validate.count("every", every)
    _validate.count("workers", workers, minimum=0)
    known = {run: result for run in runs if (result := find(run, [home, *elsewhere]))}
    missing = [
        run for run in runs if run not in known or (lockstep and run.reference and not known[run].largest)
    ]
    _prepare(home, resume)
    unfinished: list[Group] = []
    if missing:
        load(missing[0].dataset, data)  # a missing or damaged file is reported here, not by a worker
        with _pool(workers, scheduler) as pool:
            groups = begun = [group for group in _begun(home) if not known.keys() >= set(group.runs)]
            new = [run for run in missing if not any(run in group.runs for group in begun)]
            if new:
                chosen = pool.faster_layout(new, data) if layout == "auto" else layout
                groups = begun + plan(new, chosen, lockstep, pool.size(), most)
            _files.write_text(home / PLAN, json.dumps([dataclasses.asdict(group) for group in groups]))
            train = partial(train_group, folder=home, data=data, every=every, deadline=deadline)
            for group, results in pool.train(train, groups, progress):
                unfinished += [group] if results is None else []
                known |= {result.run: result for result in results or ()}
        if not unfinished:
            (home / PLAN).unlink()
    return Sweep({run: known[run] for run in runs if run in known}, unfinished)


def _begun(home: Path) -> list[Group]:
    """The groups of an earlier call that have checkpoints: they go on as they were, whatever would be planned now."""
    try:
        groups = json.loads((home / PLAN).read_text(encoding="utf-8"))
        found = [Group(tuple(Run(**run) for run in g["runs"]), g["layout"]) for g in groups]
    except (OSError, ValueError, TypeError, KeyError):
        return []
    return [group for group in found if (home / CHECKPOINTS / group.digest).is_dir()]


def _prepare(home: Path, resume: bool) -> None:
    checkpoints = home / CHECKPOINTS
    if not resume and checkpoints.is_dir() and any(checkpoints.iterdir()):
        raise ValueError(
            f"{home} holds checkpoints of an unfinished sweep: give --resume to go on from them, or remove "
            f"{checkpoints}"
        )
    try:
        home.mkdir(parents=True, exist_ok=True)
        _files.write_text(home / ".writable", "")
        (home / ".writable").unlink()
    except OSError as error:
        raise ValueError(
            f"the folder of a sweep must be writable, got {home} ({error.strerror}): choose another --out"
        ) from error


Work = Callable[..., list[Result] | None]
Done = Iterator[tuple[Group, list[Result] | None]]


class _Here:
    """This process, one group after the other."""

    def size(self) -> int:
        return 1

    def faster_layout(self, runs: Sequence[Run], data: Data) -> str:
        return faster_layout(runs, data)[0]

    def train(self, work: Work, groups: Sequence[Group], progress: _progress.Progress) -> Done:
        total, before = sum(map(_epochs, groups)), 0
        for group in groups:
            yield group, work(group, progress=_progress.Part(progress, before, total, group.label))
            before += _epochs(group)


class _Cluster:
    """The workers of a dask.distributed scheduler, a group each; a group whose worker died is given to another."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def size(self) -> int:
        self._client.wait_for_workers(1)
        return len(self._client.scheduler_info()["workers"])

    def faster_layout(self, runs: Sequence[Run], data: Data) -> str:
        return self._client.submit(faster_layout, runs, data, pure=False).result()[0]

    def train(self, work: Work, groups: Sequence[Group], progress: _progress.Progress) -> Done:
        from distributed import as_completed

        total, reached = sum(map(_epochs, groups)), dict.fromkeys((group.digest for group in groups), 0)

        def hear(event: tuple[float, tuple[str, int, float, str]]) -> None:
            digest, epoch, loss, label = event[1]
            reached[digest] = epoch
            progress.update(sum(reached.values()), total, loss, label)

        topic = f"momentumflow-{uuid.uuid4().hex}"
        self._client.subscribe_topic(topic, hear)
        of = {self._client.submit(_on_worker, work, group, topic, pure=False): group for group in groups}
        for future in as_completed(of):
            yield of[future], future.result()


def _epochs(group: Group) -> int:
    return group.runs[0].epochs


class _Telling:
    """Progress of a worker, told to the client."""

    def __init__(self, group: Group, topic: str) -> None:
        self._group, self._topic = group, topic

    def update(self, done: int, total: int, loss: float = math.nan, label: str = "") -> None:
        from distributed import get_worker

        get_worker().log_event(self._topic, (self._group.digest, done, loss, self._group.label))


def _on_worker(work: Work, group: Group, topic: str) -> list[Result] | None:
    _deterministic.prepare()  # of effect in a worker that has not computed yet
    return work(group, progress=_Telling(group, topic))


@contextlib.contextmanager
def _pool(workers: int, scheduler: str | None) -> Iterator[_Here | _Cluster]:
    if workers == 0 and scheduler is None:
        yield _Here()
        return
    if importlib.util.find_spec("distributed") is None:
        raise ValueError(
            "workers need dask.distributed, which is not installed: pip install 'momentumflow[sweep]', "
            "or train in this process, --workers 0"
        )
    import dask
    from distributed import Client, LocalCluster

    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set({"distributed.scheduler.allowed-failures": _DEATHS}))
        if scheduler is None:
            logging.getLogger("distributed").setLevel(
                logging.ERROR
            )  # also that a worker died, which is no error here
            local = LocalCluster(
                n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
            )
            scheduler = stack.enter_context(local)
        yield _Cluster(stack.enter_context(Client(scheduler)))


def swept_to_dict(swept: Sweep) -> dict[str, Any]:
    """The results without their curves, and what is unfinished, ready for JSON."""
    cells = [
        dataclasses.asdict(result.run)
        | {
            "status": result.status,
            "initial_error_per_pixel": _known(result.initial_error),
            "final_error_per_pixel": _known(result.final_error),
            "final_error_summed_over_pixels": _known(result.pixels * result.final_error),
            "largest_distance_from_its_limit": result.largest[-1] if result.largest else None,
            "file": f"{result.run.digest}.json",
        }
        for result in swept.results.values()
    ]
    return {"runs": cells, "unfinished": [run.label for group in swept.unfinished for run in group.runs]}


def _known(x: float) -> float | None:
    return x if math.isfinite(x) else None


def table_of_sweep(swept: Sweep) -> "Table":
    """A run a row: status, final error of an image, largest distance from its limit."""
    from rich.table import Table

    shown = Table("run", "status", title="final error over the whole training set")
    for heading in ("per pixel", "sum of the pixels", "largest distance from its limit"):
        shown.add_column(heading, justify="right")
    for run, result in swept.results.items():
        error = result.final_error
        largest = number(result.largest[-1]) if result.largest else math.nan
        texts = (f"{x:.6g}" if math.isfinite(x) else "–" for x in (error, result.pixels * error, largest))
        shown.add_row(run.label, result.status, *texts)
    for group in swept.unfinished:
        shown.add_row(group.label, "unfinished: --resume goes on")
    return shown
