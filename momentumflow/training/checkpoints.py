"""Checkpoints of a training: whole or not believed, the last good one is used."""

import contextlib
import hashlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import PyTree

if TYPE_CHECKING:
    from orbax.checkpoint.v1.training import Checkpointer

KEPT = 2
"""A damaged one leaves the one before."""


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
            with self._open() as checkpointer:
                checkpointer.save(epoch, leaves, custom_metadata=about, overwrite=True)
        except Exception as error:  # tensorstore raises ValueError for a full disk, orbax wraps some more
            raise CheckpointError(
                f"the checkpoint of epoch {epoch} could not be written to {self.folder}: {_short(error)}. "
                "Free some room, or choose another --out; the checkpoints before it are kept"
            ) from error

    def latest(self, like: PyTree) -> tuple[int, PyTree] | None:
        """Epoch and tree of the last good checkpoint, None where there is none.

        **Arguments:** `like`: a tree of the same structure, shapes, types and devices.

        **Raises:** `ValueError` if all are damaged, or belong to another training. Warns of a damaged one.
        """
        if not self.folder.is_dir():
            return None
        damaged = []
        with self._open() as checkpointer:
            for epoch in sorted((found.step for found in checkpointer.checkpoints), reverse=True):
                tree = self._read(checkpointer, epoch, like)
                if not isinstance(tree, str):
                    return epoch, tree
                damaged.append(f"{self.folder / str(epoch)} ({tree})")
                warnings.warn(f"damaged checkpoint {damaged[-1]}: the one before is used", stacklevel=2)
        if damaged:
            raise ValueError(
                f"no checkpoint is whole: {'; '.join(damaged)}. Remove {self.folder} to start from the beginning"
            )
        return None

    def _read(self, checkpointer: "Checkpointer", epoch: int, like: PyTree) -> PyTree | str:
        """The tree, or why it cannot be believed."""
        try:
            about = checkpointer.metadata(epoch).custom_metadata or {}
            ours = about["identity"] == self._identity
            leaves = checkpointer.load(epoch, _as_dict(like)) if ours else {}
            whole = _checksum(leaves) == about["sha256"]
        except Exception as error:  # whatever a reader makes of damaged bytes
            return _short(error)
        if not ours or (whole and not _fits(leaves, like)):
            raise ValueError(
                f"{self.folder} holds checkpoints of a training with other settings or another layout: choose "
                "another --out, or remove that folder"
            )
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


def _short(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
