"""Checkpoints of a training: whole or not believed, the last good one is used."""

import contextlib
import errno
import hashlib
import logging
import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import PyTree

from .._progress import quiet

if TYPE_CHECKING:
    from orbax.checkpoint.v1.training import Checkpointer

KEPT = 2
"""A damaged one leaves the one before."""
_OTHER = "it is of a training with other settings or another layout"


class CheckpointError(OSError):
    """A checkpoint that could not be written; the text says what to do and what is kept."""


class Checkpoints:
    """The last checkpoints of one training, in a folder.

    **Arguments:**

    - `folder`: made when missing.
    - `every`: epochs between two of them, at least 1.
    - `identity`: digest of all that the numbers depend on; a folder of another training is refused.

    **Raises:** `ValueError` for a folder that belongs to another training.
    """

    def __init__(self, folder: str | os.PathLike[str], every: int, identity: str) -> None:
        self.folder, self.every, self._identity = Path(folder).absolute(), every, identity

    def due(self, epoch: int) -> bool:
        """Whether a checkpoint is to be written after this epoch."""
        return epoch % self.every == 0

    def save(self, epoch: int, tree: PyTree) -> None:
        """Writes all leaves of a tree, with a checksum of them; the oldest of three is then removed.

        **Raises:** `CheckpointError` where it cannot be written; the ones before are as good as they were.
        """
        leaves = _as_dict(tree)
        about = {"identity": self._identity, "sha256": _checksum(leaves)}
        try:
            with _plain_words(), self._open() as checkpointer:
                written = checkpointer.save(epoch, leaves, custom_metadata=about, overwrite=True)
        except Exception as error:  # tensorstore raises ValueError for a full disk, orbax wraps some more
            remedy = "Free some room" if _is_full(error) else "See to the folder"
            raise CheckpointError(
                f"the checkpoint of epoch {epoch} could not be written to {self.folder}: {_short(error)}. "
                f"{remedy}, or choose another --out; the checkpoints before it are kept"
            ) from error
        if not written:
            raise CheckpointError(
                f"the checkpoint of epoch {epoch} was refused, as {self.folder} holds a later one: does another "
                "process train there? Stop it, or choose another --out"
            )

    def latest(self, like: PyTree) -> tuple[int, PyTree] | None:
        """Epoch and tree of the last good checkpoint, None where there is none.

        **Arguments:** `like`: a tree of the same structure, shapes, types and devices.

        **Raises:** `ValueError` if none is good: all are damaged, or belong to another training. Warns of a damaged
        one, and removes it where an older one is good.
        """
        if not self.folder.is_dir():
            return None
        bad: dict[int, str] = {}
        with self._open() as checkpointer:
            for epoch in sorted((found.step for found in checkpointer.checkpoints), reverse=True):
                tree = self._read(checkpointer, epoch, like)
                if not isinstance(tree, str):
                    self._set_aside(bad)
                    return epoch, tree
                bad[epoch] = tree
        if set(bad.values()) == {_OTHER}:
            raise ValueError(
                f"{self.folder} holds checkpoints of a training with other settings or another layout: choose another "
                "--out, or remove that folder"
            )
        if bad:
            told = "; ".join(f"epoch {epoch} ({why})" for epoch, why in bad.items())
            raise ValueError(
                f"no checkpoint in {self.folder} is whole: {told}. Remove the folder to start from the beginning"
            )
        return None

    def _set_aside(self, bad: dict[int, str]) -> None:
        """Out of the way of the checkpoints that will be written before that epoch is reached again."""
        for epoch, why in bad.items():
            warnings.warn(
                f"damaged checkpoint {self.folder / str(epoch)} ({why}): the one before is used", stacklevel=3
            )
            shutil.rmtree(self.folder / str(epoch), ignore_errors=True)

    def _read(self, checkpointer: "Checkpointer", epoch: int, like: PyTree) -> PyTree | str:
        """The tree, or why it cannot be believed."""
        try:
            with _plain_words():
                about = checkpointer.metadata(epoch).custom_metadata or {}
                if about["identity"] != self._identity:
                    return _OTHER
                leaves = checkpointer.load(epoch, _as_dict(like))
            whole = _checksum(leaves) == about["sha256"]
        except Exception as error:  # whatever a reader makes of damaged bytes
            return _short(error)
        if whole and not _fits(leaves, like):
            return _OTHER
        return _like(leaves, like) if whole else "its checksum is another"

    @contextlib.contextmanager
    def _open(self) -> Iterator["Checkpointer"]:
        from orbax.checkpoint import v1 as orbax

        self.folder.mkdir(parents=True, exist_ok=True)
        policy = orbax.training.preservation_policies.LatestN(KEPT)
        checkpointer = orbax.training.Checkpointer(
            self.folder, preservation_policy=policy, cleanup_tmp_directories=True
        )
        with contextlib.closing(checkpointer):
            yield checkpointer


@contextlib.contextmanager
def _plain_words() -> Iterator[None]:
    """Without the tracebacks that orbax's threads print: what went wrong is told in one sentence."""
    with quiet("asyncio", logging.CRITICAL), quiet("absl", logging.CRITICAL):
        yield


def _as_dict(tree: PyTree) -> dict[str, np.ndarray]:
    """The leaves by number, on the host: orbax's threads do not know of the precision that this one has enabled.

    Empty ones, which it refuses, are left out.
    """
    leaves = {f"{i:04d}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(tree))}
    return {key: leaf for key, leaf in leaves.items() if leaf.size}


def _fits(leaves: dict[str, np.ndarray], like: PyTree) -> bool:
    expected = _as_dict(like)
    return {key: x.shape for key, x in leaves.items()} == {key: x.shape for key, x in expected.items()}


def _like(leaves: dict[str, np.ndarray], like: PyTree) -> PyTree:
    """The tree again, every array where that of `like` is."""
    places, structure = jax.tree.flatten(like)
    found = [leaves.get(f"{i:04d}", place) for i, place in enumerate(places)]
    arrays = [
        jax.device_put(x, place.sharding) if isinstance(place, jax.Array) else x
        for x, place in zip(found, places, strict=True)
    ]
    return jax.tree.unflatten(structure, arrays)


def _checksum(leaves: dict[str, np.ndarray]) -> str:
    sums = hashlib.sha256()
    for key in sorted(leaves):
        sums.update(f"{key}{leaves[key].dtype}{leaves[key].shape}".encode())
        sums.update(np.ascontiguousarray(leaves[key]).view(np.uint8).data)
    return sums.hexdigest()


def _is_full(error: BaseException | None) -> bool:
    """Whether a full disk is somewhere behind an error."""
    if error is None:
        return False
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return "No space left" in str(error) or _is_full(error.__cause__)


def _short(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
