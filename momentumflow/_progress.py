"""Progress of long work, reported to an injected object: `SILENT`, or `bar()` with the remaining time."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichProgress


@runtime_checkable
class Progress(Protocol):
    """What long work reports to."""

    def update(self, done: int, total: int, loss: float = math.nan, label: str = "") -> None:
        """`done` of `total` parts are finished; the last loss, NaN where there is none; what it is about."""


class Silent:
    """Reports nothing."""

    def update(self, done: int, total: int, loss: float = math.nan, label: str = "") -> None:
        pass


class Bar:
    """One line of a terminal, from the first report on: label, bar, parts, loss, time left."""

    def __init__(self, display: "RichProgress") -> None:
        self._display = display
        self._task = display.add_task("", total=None, loss="")

    def update(self, done: int, total: int, loss: float = math.nan, label: str = "") -> None:
        text = "" if math.isnan(loss) else f"loss {loss:.4g}"
        self._display.update(self._task, description=label, completed=done, total=total, loss=text)
        self._display.start()  # does nothing when it has begun


class Part:
    """A share of a larger work: `done` counts on from `before`, out of `total`."""

    def __init__(self, whole: Progress, before: int, total: int, label: str) -> None:
        self._whole, self._before, self._total, self._label = whole, before, total, label

    def update(self, done: int, total: int, loss: float = math.nan, label: str = "") -> None:
        name = " ".join(filter(None, (self._label, label)))
        self._whole.update(self._before + done, self._total, loss, name)


SILENT = Silent()


@contextmanager
def bar(console: "Console | None" = None) -> Iterator[Progress]:
    """A `Bar` on stderr, or on the console given, for the time of the block."""
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[loss]}"),
        progress.TimeRemainingColumn(),
        progress.TextColumn("left"),
    )
    display = progress.Progress(*columns, console=console or Console(stderr=True))
    try:
        yield Bar(display)
    finally:
        if display.live.is_started:
            display.stop()


@contextmanager
def quiet(logger: str, level: int) -> Iterator[None]:
    """Within it a library says only what is of that level or above."""
    found = logging.getLogger(logger)
    before = found.level
    found.setLevel(level)
    try:
        yield
    finally:
        found.setLevel(before)
