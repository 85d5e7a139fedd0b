"""Many runs: what is known is kept, the rest is trained here or by workers on other machines."""

import dataclasses
import json
import math
import os
import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import _files, _progress, _provenance, _validate
from .datasets import load
from .group import CHECKPOINTS, LAYOUTS, Group, clear, plan, train_group
from .run import Result, Run, find, finite, number
from .workers import Data, Outcome, pool

if TYPE_CHECKING:
    from rich.table import Table

PLAN = "sweep.plan"


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
    home, wanted, deadline = Path(folder), list(dict.fromkeys(runs)), time.time() + 60 * minutes
    if not wanted:
        raise ValueError("a sweep must have at least one run, got none: name methods and learning rates")
    if layout not in ("auto", *LAYOUTS):
        raise _validate.unknown("layout", layout, ("auto", *LAYOUTS))
    _validate.count("every", every)
    _validate.count("workers", workers, minimum=0)
    _validate.count("most", 1 if most is None else most)
    if not minutes > 0:
        raise ValueError(f"minutes must be > 0, got {minutes}: leave it out to train to the end")
    _prepare(home)
    begun = _unfinished(home)
    if not resume and any((home / CHECKPOINTS / group.digest).is_dir() for group in begun):
        raise ValueError(
            f"{home} holds checkpoints of an unfinished sweep: give --resume to go on from them, or remove "
            f"{home / CHECKPOINTS}"
        )
    known = {run: result for run in wanted if (result := find(run, [home, *elsewhere]))}
    missing = [run for run in wanted if not _complete(run, known.get(run), lockstep)]
    left: list[Group] = []
    if missing:
        load(missing[0].dataset, data)  # a missing or damaged file is reported here, not by a worker
        with pool(workers, scheduler) as trainers:
            groups = [group for group in begun if any(_serves(group, run, lockstep) for run in missing)]
            new = [run for run in missing if not any(_serves(group, run, lockstep) for group in groups)]
            if new:
                chosen = trainers.faster_layout(new, data) if layout == "auto" else layout
                groups = groups + plan(new, chosen, lockstep, trainers.size(), most)
            _write_plan(home, [*groups, *(group for group in begun if group not in groups)])
            command = _provenance.command()
            train = partial(
                train_group, folder=home, data=data, every=every, deadline=deadline, command=command
            )
            left = _collect(trainers.train(train, groups, deadline, progress), known)
        _write_plan(home, _unfinished(home))
    return Sweep({run: known[run] for run in wanted if run in known}, left)


def _complete(run: Run, result: Result | None, lockstep: bool) -> bool:
    """Whether a result has what is wanted of it."""
    return result is not None and (not lockstep or run.reference is None or bool(result.largest))


def _serves(group: Group, run: Run, lockstep: bool) -> bool:
    """Whether a group will give such a result."""
    return run in group.runs and (not lockstep or run.reference is None or run.reference in group.runs)


def _collect(outcomes: Iterable[tuple[Group, Outcome]], known: dict[Run, Result]) -> list[Group]:
    """Takes down results as they come; the groups that the deadline stopped. What failed is told at the end."""
    left, failed = [], []
    for group, outcome in outcomes:
        if isinstance(outcome, Exception):
            failed.append(f"{group.label} ({type(outcome).__name__}: {outcome})")
        elif outcome is None:
            left.append(group)
        else:
            known |= {result.run: result for result in outcome}
    if failed:
        raise ValueError(
            f"{len(failed)} group(s) could not be trained: {'; '.join(failed)}. The others are kept; --resume goes on"
        )
    return left


def _unfinished(home: Path) -> list[Group]:
    """The groups that were planned and lack results; what finished ones left behind is removed.

    They go on as they were planned, in their layout, whatever would be planned now: to the same bits.
    """
    try:
        planned = json.loads((home / PLAN).read_text(encoding="utf-8"))
        groups = [Group(tuple(Run(**run) for run in g["runs"]), g["layout"]) for g in planned]
    except (OSError, ValueError, TypeError, KeyError):
        return []
    finished = [group for group in groups if all(find(run, [home]) for run in group.runs)]
    for group in finished:
        clear(home, group)
    return [group for group in groups if group not in finished]


def _write_plan(home: Path, groups: list[Group]) -> None:
    if groups:
        _files.write_text(home / PLAN, json.dumps([dataclasses.asdict(group) for group in groups]))
    else:
        (home / PLAN).unlink(missing_ok=True)


def _prepare(home: Path) -> None:
    try:
        home.mkdir(parents=True, exist_ok=True)
        _files.write_text(home / ".writable", "")
        (home / ".writable").unlink()
    except OSError as error:
        raise ValueError(
            f"the folder of a sweep must be writable, got {home} ({error.strerror}): choose another --out"
        ) from error


def as_csv(swept: Sweep) -> str:
    """Final errors, summed over the pixels of an image, with the columns of the paper's table; "n/a" likewise."""
    rows = [
        f"{run.method},{math.log2(run.learning_rate):g},"
        + (f"{result.pixels * result.final_error:.4f}" if result.succeeded else "n/a")
        for run, result in swept.results.items()
    ]
    return "\n".join(["method,log2_learning_rate,final_training_error", *rows]) + "\n"


def swept_to_dict(swept: Sweep) -> dict[str, Any]:
    """The results without their curves, and what is unfinished, ready for JSON."""
    cells = [
        dataclasses.asdict(result.run)
        | {
            "status": result.status,
            "initial_error_per_pixel": finite(result.initial_error),
            "final_error_per_pixel": finite(result.final_error),
            "final_error_summed_over_pixels": finite(result.pixels * result.final_error),
            "largest_distance_from_its_limit": result.largest[-1] if result.largest else None,
            "file": f"{result.run.digest}.json",
        }
        for result in swept.results.values()
    ]
    return {"runs": cells, "unfinished": [run.label for group in swept.unfinished for run in group.runs]}


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
