"""The IDX format of MNIST: four bytes of magic, big-endian sizes, the numbers."""

import gzip
import hashlib
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np

_KINDS = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_REMEDY = "replace the file"


def read_idx(path: str | os.PathLike[str], md5: str | None = None) -> np.ndarray:
    """The array in an IDX file, plain or gzip (told apart by content).

    **Arguments:** `path`: the file; `md5`: checksum that the *uncompressed* bytes must have, 32 hex digits.

    **Returns:** an array of the sizes and the type that the file states.

    **Raises:** `FileNotFoundError` if it is missing; `ValueError` that names the file and what is wrong: its
    compression, its magic number, its length or its checksum.

    LeCun, Cortes & Burges, "The MNIST database": file formats.

        >>> import pathlib, tempfile
        >>> from momentumflow.training import read_idx
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "labels"
        >>> _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 0, 4]))
        >>> read_idx(file)
        array([5, 0, 4], dtype=uint8)
    """
    content = _uncompressed(Path(path))
    kind, shape, start = _header(path, content)
    expected = start + math.prod(shape) * kind.itemsize
    if len(content) != expected:
        problem = "is truncated" if len(content) < expected else "has bytes left over"
        raise ValueError(f"{path} {problem}: {len(content)} bytes, its header says {expected}; {_REMEDY}")
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if md5 is not None and found != md5:
        raise ValueError(
            f"{path} has the wrong checksum: MD5 {found} uncompressed, expected {md5}; {_REMEDY}"
        )
    return np.frombuffer(content, kind, offset=start).reshape(shape)


def _uncompressed(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing: give the folder that holds it") from None
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except EOFError:
        raise ValueError(f"{path} is truncated: its gzip stream ends early; {_REMEDY}") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged: {error}; {_REMEDY}") from None


def _header(path: str | os.PathLike[str], content: bytes) -> tuple[np.dtype, tuple[int, ...], int]:
    zeros, kind, rank = struct.unpack(">HBB", content[:4].ljust(4, b"\xff"))
    if zeros or kind not in _KINDS:
        raise ValueError(
            f"{path} has the wrong magic number: it starts with {content[:4].hex(' ') or 'nothing'}, "
            f"an IDX file with 00 00 and a type; {_REMEDY}"
        )
    start = 4 + 4 * rank
    if len(content) < start:
        raise ValueError(f"{path} is truncated: {len(content)} bytes, its header takes {start}; {_REMEDY}")
    return np.dtype(_KINDS[kind]), struct.unpack(f">{rank}I", content[4:start]), start
