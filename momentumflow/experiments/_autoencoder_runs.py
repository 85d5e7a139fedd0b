"""Runs of the autoencoder that took hours: where their small files are, here and in this machine's cache."""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import pooch

from .._progress import Progress
from ..training import Result, Run, find, sweep
from ..training.group import CHECKPOINTS

STORED = Path(__file__).parent / "stored" / "autoencoder"
"""Results that come with the library, each with its provenance."""
_ANEW: ContextVar[set[str] | None] = ContextVar("anew", default=None)
"""Digests of the runs that have been made anew, None where kept results are believed."""


@contextmanager
def anew(wanted: bool) -> Iterator[None]:
    """Within it no result or checkpoint from before is believed; what is made within it is."""
    token = _ANEW.set(set() if wanted else None)
    try:
        yield
    finally:
        _ANEW.reset(token)


def cache() -> Path:
    """The folder of results and checkpoints of this machine."""
    return Path(pooch.os_cache("momentumflow")) / "runs"


def stored(runs: Iterable[Run]) -> dict[Run, Result]:
    """Those of the runs whose results come with the library."""
    found = {run: find(run, [STORED]) for run in runs}
    return {run: result for run, result in found.items() if result}


def trained(runs: Sequence[Run], progress: Progress) -> dict[Run, Result]:
    """The results of all runs: those that are kept, and the rest trained with checkpoints, so that it can go on."""
    folder, made = cache(), _ANEW.get()
    if made is None:
        return sweep(runs, folder, resume=True, elsewhere=[STORED], progress=progress).results
    for run in runs:
        if run.digest not in made:
            (folder / f"{run.digest}.json").unlink(missing_ok=True)
    if not made:
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    results = sweep(runs, folder, resume=True, progress=progress).results
    made |= {run.digest for run in results}
    return results
