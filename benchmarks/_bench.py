"""Fair timings on a busy machine: rivals alternate, and the figure is the median of the ratios of neighbours."""

import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
from rich.console import Console
from rich.table import Table

Work = Callable[[], object]


class Comparison(NamedTuple):
    """Seconds of ours and of a peer's in neighbouring runs, and by how much the peer's are to be multiplied."""

    peer: str
    ours: list[float]
    theirs: list[float]
    scale: float = 1.0

    @property
    def ratios(self) -> list[float]:
        """Peer over ours, pair by pair: above 1 we are faster."""
        return [self.scale * t / o for o, t in zip(self.ours, self.theirs, strict=True)]


class Counter:
    """Counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, *_: object) -> None:
        self.calls += 1


def seconds(work: Work) -> float:
    start = time.perf_counter()
    jax.block_until_ready(work())
    return time.perf_counter() - start


def compare(peer: str, ours: Work, theirs: Work, pairs: int = 9, scale: float = 1.0) -> Comparison:
    """Times both in turn after one run each to compile; which goes first alternates."""
    seconds(ours), seconds(theirs)
    times: dict[Work, list[float]] = {ours: [], theirs: []}
    for pair in range(pairs):
        for work in (ours, theirs)[:: 1 if pair % 2 else -1]:
            times[work].append(seconds(work))
    return Comparison(peer, times[ours], times[theirs], scale)


def environment() -> str:
    """The machine and the versions that a timing belongs to."""
    device = jax.devices()[0]
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"{platform.platform()}, Python {platform.python_version()}, JAX {jax.__version__}, "
        f"{device.platform} ({device.device_kind}), {os.cpu_count()} cores{load}"
    )


def report(title: str, comparisons: list[Comparison], aims: dict[str, str] | None = None) -> None:
    """Prints a table: median seconds, median ratio and its range, and the ratio that is aimed at."""
    table = Table(title=title, caption=environment())
    for column in ("against", "ours / s", "peer's / s", "ratio", "range", "aim"):
        table.add_column(column, justify="left" if column == "against" else "right")
    for comparison in comparisons:
        ratios = comparison.ratios
        table.add_row(
            comparison.peer,
            f"{statistics.median(comparison.ours):.4g}",
            f"{comparison.scale * statistics.median(comparison.theirs):.4g}",
            f"{statistics.median(ratios):.3g}",
            f"{min(ratios):.3g} - {max(ratios):.3g}",
            (aims or {}).get(comparison.peer, ""),
        )
    Console(width=110).print(table)
