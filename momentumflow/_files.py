"""Files that are written at once or not at all, and their checksums."""

import hashlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path


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


def digest_all(paths: Iterable[Path]) -> str:
    """SHA-256 of several files by name and content, in their order."""
    found = hashlib.sha256()
    for path in paths:
        found.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()
