"""Makes results: what is current is kept, the rest is run, drawn, checked and stored."""

import math
import os
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from .._errors import unknown
from .._files import write_text
from .._progress import SILENT, Progress
from ..training.datasets import VARIABLE as DATA_VARIABLE
from . import page, record, registry
from ._autoencoder_runs import anew
from .record import Record
from .registry import Entry
from .store import Damaged, Store

ERROR = "error.txt"


@dataclass(frozen=True)
class Outcome:
    """What became of one experiment: its record or the error, and in `note` why it was made or kept."""

    entry: Entry
    record: Record | None
    reused: bool
    note: str

    @property
    def held(self) -> bool:
        """Whether the experiment was made and every check held."""
        return self.record is not None and self.record.held

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        made = None if self.record is None else self.record.to_dict()
        return {
            "id": self.entry.id,
            "held": self.held,
            "reused": self.reused,
            "note": self.note,
            "result": made,
        }


class _Within:
    """Progress of one experiment among several: its own parts, under its place and id."""

    def __init__(self, whole: Progress, place: str) -> None:
        self._whole, self._place = whole, place

    def update(self, done: int, total: int, loss: float = math.nan, label: str = "") -> None:
        self._whole.update(done, total, loss, f"{self._place} {label}".rstrip())


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during `reproduce`; `outcomes` are those that were finished and are kept."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        super().__init__("interrupted")
        self.outcomes = list(outcomes)


def reproduce(
    ids: Sequence[str] = (),
    preset: str = "quick",
    out: str | os.PathLike[str] = "results",
    data: str | os.PathLike[str] | None = None,
    force: bool = False,
    progress: Progress = SILENT,
) -> list[Outcome]:
    """Results of some experiments in a folder, and the page over all that it holds, in float64.

    A result that is whole, of these settings and of this code is kept; a full one serves for "quick" too.
    An experiment that fails is an outcome, and the others go on.

    **Arguments:** `ids`: of `momentumflow list`; none or "all" for every one. `preset`: "quick" or "full".
    `out`: folder, made when missing. `data`: folder where data sets are looked for. `force`: run all the same.

    **Raises:** `ValueError` before work starts; `Interrupted` on Ctrl-C, with what is kept.
    """
    chosen = registry.select(ids)
    if preset not in registry.PRESET_NAMES:
        raise unknown("preset", preset, registry.PRESET_NAMES)
    if data is not None and not Path(data).is_dir():
        raise ValueError(f"the data folder must exist, got {data}: create it or leave --data out")
    store = Store(out)
    store.prepare()
    outcomes: list[Outcome] = []
    try:
        with _float64(), _data_folder(data), anew(force):
            for i, entry in enumerate(chosen, start=1):
                within = _Within(progress, f"{entry.id} ({i} of {len(chosen)})")
                outcomes.append(_one(entry, preset, store, force, within))
    except KeyboardInterrupt:
        raise Interrupted(outcomes) from None
    finally:
        errors = {o.entry.id: f"Not made: {o.note}" for o in outcomes if o.record is None}
        page.write(store, errors)
    return outcomes


def report(ids: Sequence[str] = (), out: str | os.PathLike[str] = "results") -> list[Outcome]:
    """The page anew from what the folder holds: nothing is run, and no result is changed.

    **Arguments:** `ids`: the experiments whose results are returned; none or "all" for every stored one.
    `out`: folder of an earlier `reproduce`.

    **Raises:** `ValueError` that says what to run, where there is no result, or none of an id that was named.
    """
    chosen, store = registry.select(ids), Store(out)
    stored = {entry.id: _stored(entry, store) for entry in chosen}
    missing = [id for id, outcome in stored.items() if id in ids and outcome is None]
    if missing or not any(stored.values()):
        words = f" of {', '.join(missing)}" if missing else ""
        command = " ".join(["momentumflow reproduce", *(missing or ["all"]), "--out", str(out)])
        raise ValueError(f"a report needs whole results, found none{words} in {out}: run `{command}` first")
    store.prepare()
    page.write(store, {})
    return [outcome for outcome in stored.values() if outcome]


def _stored(entry: Entry, store: Store) -> Outcome | None:
    try:
        kept = store.record(entry.id)
    except (Damaged, OSError):
        return None
    return Outcome(entry, kept, True, f"stored ({kept.preset}, {kept.date[:10]})")


def _one(entry: Entry, preset: str, store: Store, force: bool, progress: Progress) -> Outcome:
    try:
        presets = registry.load(entry).PRESETS
        reason = store.reason_to_run(entry, presets[preset])
        if not force and (reason is None or store.up_to_date(entry, presets["full"])):
            kept = store.record(entry.id)
            progress.update(1, 1)
            return Outcome(entry, kept, True, f"up to date ({kept.preset}, {kept.date[:10]})")
        made = _make(entry, preset, store, progress)
    except Exception as error:
        return Outcome(entry, None, False, f"{type(error).__name__}: {error}{_trace(entry, store)}")
    (store.folder / entry.id / ERROR).unlink(missing_ok=True)
    return Outcome(entry, made, False, reason or "--force")


def _make(entry: Entry, preset: str, store: Store, progress: Progress) -> Record:
    experiment, code = registry.load(entry), record.code_digest(entry)
    config = experiment.PRESETS[preset]
    progress.update(0, 1)
    start = time.perf_counter()
    data = experiment.run(config, progress)
    checks = experiment.checks(data)
    figure = experiment.plot(data)
    made = record.describe(entry, preset, config, code, checks, time.perf_counter() - start)
    store.save(made, data, figure)
    progress.update(1, 1)
    return made


def _trace(entry: Entry, store: Store) -> str:
    """Keeps the traceback beside the results, and says where."""
    home = store.folder / entry.id
    try:
        home.mkdir(exist_ok=True)
        write_text(home / ERROR, traceback.format_exc())
    except OSError as error:
        return f" (its traceback could not be kept: {error.strerror})"
    return f" (traceback in {home / ERROR})"


@contextmanager
def _float64() -> Iterator[None]:
    before = jax.config.read("jax_enable_x64")
    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)


@contextmanager
def _data_folder(folder: str | os.PathLike[str] | None) -> Iterator[None]:
    """Makes `folder` the first place where data sets are looked for."""
    if folder is None:
        yield
        return
    before = os.environ.get(DATA_VARIABLE)
    os.environ[DATA_VARIABLE] = str(Path(folder).absolute())
    try:
        yield
    finally:
        if before is None:
            del os.environ[DATA_VARIABLE]
        else:
            os.environ[DATA_VARIABLE] = before
