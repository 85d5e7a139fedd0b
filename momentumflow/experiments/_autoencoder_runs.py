"""Runs of the autoencoder that took hours: where their small files are, here and in this machine's cache."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import pooch

from .._progress import Progress
from ..training import Result, Run, find, sweep

STORED = Path(__file__).parent / "stored" / "autoencoder"
"""Results that come with the library, each with its provenance."""
_ANEW: ContextVar[bool] = ContextVar("anew", default=False)


@contextmanager
def anew(wanted: bool) -> Iterator[None]:
    """Within it no kept result is believed."""
    token = _ANEW.set(wanted)
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
    folder = cache()
    if _ANEW.get():
        for run in runs:
            (folder / f"{run.digest}.json").unlink(missing_ok=True)
    elsewhere = [] if _ANEW.get() else [STORED]
    return sweep(runs, folder, resume=True, elsewhere=elsewhere, progress=progress).results
