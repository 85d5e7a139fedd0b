"""Who trains the groups of a sweep: this process, or the workers of a dask.distributed scheduler."""

import contextlib
import importlib.util
import logging
import math
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from .. import _deterministic, _progress
from .group import Group, faster_layout
from .run import Result, Run

if TYPE_CHECKING:
    from distributed import Client

Data = str | os.PathLike[str] | None
Work = Callable[..., list[Result] | None]
Outcome = list[Result] | None | Exception
"""Results of a group, None if the deadline came first, or why there are none."""
_DEATHS = 20
"""How often a group may lose its worker: it goes on from its checkpoint each time."""
_PATIENCE = 60
"""Seconds in which a scheduler must have a worker."""


class Here:
    """This process, one group after the other; the first makes some progress whatever the deadline."""

    def size(self) -> int:
        return 1

    def faster_layout(self, runs: Sequence[Run], data: Data) -> str:
        return faster_layout(runs, data)[0]

    def train(
        self, work: Work, groups: Sequence[Group], deadline: float, progress: _progress.Progress
    ) -> Iterator[tuple[Group, Outcome]]:
        total, before = sum(map(_epochs, groups)), 0
        for i, group in enumerate(groups):
            part = _progress.Part(progress, before, total, group.label)
            yield group, work(group, progress=part) if i == 0 or time.time() < deadline else None
            before += _epochs(group)


class Cluster:
    """The workers of a scheduler, a group each; a group whose worker died is given to another."""

    def __init__(self, client: "Client", address: str) -> None:
        self._client, self._address = client, address

    def size(self) -> int:
        try:
            self._client.wait_for_workers(1, timeout=_PATIENCE)
        except TimeoutError:
            raise ValueError(
                f"the scheduler {self._address} must have a worker, got none in {_PATIENCE} s: start one with "
                f"`dask worker {self._address} --nthreads 1`"
            ) from None
        return len(self._client.scheduler_info()["workers"])

    def faster_layout(self, runs: Sequence[Run], data: Data) -> str:
        self.size()
        return self._client.submit(_faster_layout, runs, data, pure=False).result()

    def train(
        self, work: Work, groups: Sequence[Group], deadline: float, progress: _progress.Progress
    ) -> Iterator[tuple[Group, Outcome]]:
        from distributed import Event, as_completed

        total, reached = sum(map(_epochs, groups)), dict.fromkeys((group.digest for group in groups), 0)

        def hear(event: tuple[float, tuple[str, int, float, str]]) -> None:
            digest, epoch, loss, label = event[1]
            reached[digest] = epoch
            progress.update(sum(reached.values()), total, loss, label)

        topic = f"momentumflow-{uuid.uuid4().hex}"
        self._client.subscribe_topic(topic, hear)
        of = {
            self._client.submit(_on_worker, work, group, topic, deadline, pure=False): group
            for group in groups
        }
        try:
            for future in as_completed(of):
                error = future.exception()
                yield of[future], future.result() if error is None else error
        finally:  # a worker cannot be interrupted from outside: it looks for this after every epoch
            Event(topic, client=self._client).set()


def _epochs(group: Group) -> int:
    return group.runs[0].epochs


class _Telling:
    """Progress of a worker, told to the client; it ends the work when the client has left."""

    def __init__(self, group: Group, topic: str) -> None:
        self._group, self._topic = group, topic

    def update(self, done: int, total: int, loss: float = math.nan, label: str = "") -> None:
        from distributed import Event, get_worker

        get_worker().log_event(self._topic, (self._group.digest, done, loss, self._group.label))
        if Event(self._topic).is_set():
            raise InterruptedError(f"the sweep was left while it trained {self._group.label}")


def _on_worker(work: Work, group: Group, topic: str, deadline: float) -> list[Result] | None:
    _deterministic.prepare()  # of effect in a worker that has not computed yet
    return work(group, progress=_Telling(group, topic)) if time.time() < deadline else None


def _faster_layout(runs: Sequence[Run], data: Data) -> str:
    _deterministic.prepare()
    return faster_layout(runs, data)[0]


@contextlib.contextmanager
def pool(workers: int, scheduler: str | None) -> Iterator[Here | Cluster]:
    """This process for no workers and no scheduler; else a local cluster of workers, or the scheduler's."""
    if workers == 0 and scheduler is None:
        yield Here()
        return
    if importlib.util.find_spec("distributed") is None:
        raise ValueError(
            "workers need dask.distributed, which is not installed: pip install 'momentumflow[sweep]', "
            "or train in this process, --workers 0"
        )
    import dask
    from distributed import LocalCluster

    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set({"distributed.scheduler.allowed-failures": _DEATHS}))
        address = scheduler
        if address is None:
            stack.enter_context(
                _progress.quiet("distributed", logging.ERROR)
            )  # that a worker died is no error here
            local = LocalCluster(
                n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
            )
            address = stack.enter_context(local).scheduler_address
        yield Cluster(stack.enter_context(_client(address)), address)


def _client(address: str) -> "Client":
    from distributed import Client

    try:
        return Client(address)
    except (ValueError, OSError) as error:
        raise ValueError(
            f"the scheduler must be the address of a running one, for instance tcp://10.0.0.1:8786, got {address!r}: "
            f"{error}"
        ) from error
