"""Files that are written at once or not at all, and their checksums."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows, which then has no locks
    fcntl = None  # type: ignore[assignment]


def write_text(path: Path, text: str) -> None:
    """Writes a file at once or not at all."""
    with tempfile.TemporaryDirectory(prefix=".staging-", dir=path.parent) as staging:
        stage = Path(staging) / path.name
        stage.write_text(text, encoding="utf-8")
        os.replace(stage, path)


def digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def lock(path: Path, what: str) -> Iterator[None]:
    """Holds a file that no other process may hold; it lets go of it when it ends, however it ends."""
    with path.open("w") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(
                    f"{what} is being trained by another process: wait for it, or stop it and try again"
                ) from None
        yield
        path.unlink(missing_ok=True)


def digest_all(paths: Iterable[Path]) -> str:
    """SHA-256 of several files by name and content, in their order."""
    found = hashlib.sha256()
    for path in paths:
        found.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()
