"""CIFAR-10 from its files: the binary version, and a copy whose images are JPEGs. No pickle is ever loaded."""

import hashlib
import io
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from .. import _validate

BINARY, FOLDER, JPEG = "cifar-10-binary.tar.gz", "cifar-10-batches-bin", "cifar10-jpeg.npz.xz"
BINARY_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
JPEG_MD5 = "93b001d69115babd21ec5b99f7f29607"  # of the uncompressed archive
MEMBERS = {"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)}
SHAPE, CLASSES = (32, 32, 3), 10
PER_CLASS: dict[str, int | None] = {"train": 5000, "test": 1000}
"""Images of each class in the whole of CIFAR-10; the archive has a checksum, its unpacked files have these."""
_RECORD = 1 + 32 * 32 * 3
_REMEDY = "replace the file"

Pixels = UInt8[np.ndarray, "images 32 32 3"]


class Pictures(NamedTuple):
    """Images of shape (images, height, width, channels) with 256 values, and their labels from 0 on."""

    images: Pixels
    labels: UInt8[np.ndarray, " images"]


def read_binary(content: bytes, name: str | os.PathLike[str]) -> Pictures:
    """The images in one file of CIFAR-10's binary version: records of a label and 3072 values, plane by plane.

    **Arguments:** `content`: the bytes of the file; `name`: what it is called in errors.

    **Raises:** `ValueError` that names the file and what is wrong: its length or a label.

    Krizhevsky (2009), Learning multiple layers of features from tiny images.

        >>> from momentumflow.training.cifar import read_binary
        >>> pictures = read_binary(bytes([7]) + bytes(3072), "batch.bin")
        >>> pictures.images.shape, pictures.labels.tolist()
        ((1, 32, 32, 3), [7])
    """
    if not content or len(content) % _RECORD:
        raise ValueError(
            f"{name} has the wrong length: {len(content)} bytes are no whole number of records of {_RECORD}, "
            f"a label and 3 x 32 x 32 values; {_REMEDY}"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)
    planes = records[:, 1:].reshape(-1, 3, 32, 32)
    return Pictures(
        np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), _valid_labels(records[:, 0].copy(), name)
    )


def _valid_labels(
    labels: UInt8[np.ndarray, " images"], name: str | os.PathLike[str]
) -> UInt8[np.ndarray, " images"]:
    if labels.max(initial=0) >= CLASSES:
        raise ValueError(f"{name} is damaged: a label must be 0 ... 9, got {labels.max()}; {_REMEDY}")
    return labels


def read_archive(path: str | os.PathLike[str], split: str, md5: str | None = None) -> Pictures:
    """One split, "train" or "test", from `cifar-10-binary.tar.gz`; nothing is unpacked to disk.

    **Arguments:** `md5`: checksum that the file must have; `None` takes any.

    **Raises:** `ValueError` for a file that is damaged or lacks a member, with its name.
    """
    content = Path(path).read_bytes()
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if content[:2] != b"\x1f\x8b":
        raise ValueError(
            f"{path} has the wrong magic number: it starts with {content[:2].hex(' ') or 'nothing'}, "
            f"a gzip file with 1f 8b; {_REMEDY}"
        )
    if md5 is not None and found != md5:
        raise ValueError(
            f"{path} has the wrong checksum: MD5 {found}, expected {md5}, {len(content)} bytes; {_REMEDY}"
        )
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            parts = [read_binary(_member(archive, name, path), f"{path}: {name}") for name in MEMBERS[split]]
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is damaged: {error}; {_REMEDY}") from None
    return _joined(parts)


def _member(archive: tarfile.TarFile, name: str, path: str | os.PathLike[str]) -> bytes:
    for member in archive:
        file = archive.extractfile(member) if Path(member.name).name == name else None
        if file is not None:
            return file.read()
    raise ValueError(f"{path} is damaged: it has no {name}; {_REMEDY}")


def read_folder(folder: str | os.PathLike[str], split: str, per_class: int | None = None) -> Pictures:
    """One split, "train" or "test", from the unpacked files of the binary version.

    **Arguments:** `per_class`: images that each class must have, the files equally many; `None` takes any.

    **Raises:** `FileNotFoundError` for a file that is missing, `ValueError` for one that is damaged.
    """
    parts = [_batch(Path(folder) / name) for name in MEMBERS[split]]
    if per_class is not None:
        _require_whole(Path(folder), split, parts, per_class)
    return _joined(parts)


def _batch(path: Path) -> Pictures:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path} is missing: unpack the whole of {BINARY} beside the others, or give the folder that holds the "
            "archive itself"
        ) from None
    return read_binary(content, path)


def _require_whole(folder: Path, split: str, parts: list[Pictures], per_class: int) -> None:
    """Files that were cut at a record, or filled with zeros, have no wrong length and no wrong label."""
    remedy = f"unpack {BINARY} again"
    size = per_class * CLASSES // len(parts)
    for name, part in zip(MEMBERS[split], parts, strict=True):
        if len(part.labels) != size:
            raise ValueError(
                f"{folder / name} is damaged: it must have {size} images, got {len(part.labels)}; {remedy}"
            )
    counts = np.bincount(np.concatenate([part.labels for part in parts]), minlength=CLASSES)
    if np.any(counts != per_class):
        raise ValueError(
            f"{folder} is damaged: {', '.join(MEMBERS[split])} must have {per_class} images of each class, got "
            f"{counts.tolist()}; {remedy}"
        )


def _joined(parts: list[Pictures]) -> Pictures:
    images, labels = zip(*parts, strict=True)
    return Pictures(np.concatenate(images), np.concatenate(labels))


def read_jpeg_copy(
    path: str | os.PathLike[str], split: str, images: int | None = None, md5: str | None = None
) -> Pictures:
    """One split, "train" or "test", of the JPEG copy: a NumPy archive under lzma with the files end to end.

    The arrays are `{split}_jpeg` (uint8), `{split}_offsets` (one more than images) and `{split}_labels`. JPEG loses
    something: results from this copy are not those of CIFAR-10 itself.

    **Arguments:** `images`: how many are decoded, from the first on; `None` is all. `md5`: checksum that the
    uncompressed archive must have; `None` takes any.

    **Raises:** `ValueError` for a number that is no number of images; else it names the file and what is wrong.
    """
    if images is not None:
        _validate.count("images", images)
    content = _decompressed(Path(path))
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if md5 is not None and found != md5:
        raise ValueError(
            f"{path} has the wrong checksum: MD5 {found} uncompressed, expected {md5}; {_REMEDY}"
        )
    stream, offsets, labels = _arrays(path, content, split)
    if images is not None and images > len(labels):
        raise ValueError(f"images must be at most {len(labels)}, those of {path}, got {images}")
    stop = len(labels) if images is None else images
    decoded = [_decoded(path, i, stream[offsets[i] : offsets[i + 1]].tobytes()) for i in range(stop)]
    return Pictures(np.stack(decoded), _valid_labels(labels[:stop], path))


def _decompressed(path: Path) -> bytes:
    content = path.read_bytes()
    if content[:6] != b"\xfd7zXZ\x00":
        raise ValueError(
            f"{path} has the wrong magic number: it starts with {content[:6].hex(' ') or 'nothing'}, "
            f"an xz file with fd 37 7a 58 5a 00; {_REMEDY}"
        )
    try:
        return lzma.decompress(content, lzma.FORMAT_XZ)
    except (lzma.LZMAError, EOFError) as error:
        raise ValueError(f"{path} is truncated or damaged: {error}; {_REMEDY}") from None


def _arrays(
    path: str | os.PathLike[str], content: bytes, split: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    names = [f"{split}_{what}" for what in ("jpeg", "offsets", "labels")]
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            stream, offsets, labels = (archive[name] for name in names)
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged: it must hold {', '.join(names)} ({error}); {_REMEDY}") from None
    kinds = [(a.ndim, a.dtype.kind) for a in (stream, offsets, labels)]
    if kinds not in ([(1, "u"), (1, "i"), (1, "u")], [(1, "u"), (1, "u"), (1, "u")]):
        raise ValueError(f"{path} is damaged: {', '.join(names)} must be vectors of integers; {_REMEDY}")
    _require_offsets(path, offsets, len(labels), len(stream))
    return stream, offsets, labels


def _require_offsets(path: str | os.PathLike[str], offsets: np.ndarray, images: int, length: int) -> None:
    if images == 0:
        raise ValueError(f"{path} is damaged: it holds no images; {_REMEDY}")
    if len(offsets) != images + 1:
        raise ValueError(
            f"{path} is damaged: {images} labels need {images + 1} offsets, got {len(offsets)}; {_REMEDY}"
        )
    if not np.all(np.diff(offsets.astype(np.int64)) > 0):
        i = int(np.argmin(np.diff(offsets.astype(np.int64)) > 0))
        raise ValueError(
            f"{path} is damaged: its offsets must increase, got {offsets[i]} then {offsets[i + 1]} at image {i}; "
            f"{_REMEDY}"
        )
    if offsets[0] != 0 or offsets[-1] != length:
        raise ValueError(
            f"{path} is damaged: its offsets must go from 0 to its {length} bytes of JPEG, got {offsets[0]} to "
            f"{offsets[-1]}; {_REMEDY}"
        )


def _decoded(path: str | os.PathLike[str], number: int, content: bytes) -> UInt8[np.ndarray, "32 32 3"]:
    from PIL import Image  # comes with matplotlib, and only this copy needs it

    try:
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
            if image.size != SHAPE[:2]:  # before it is decoded: it may be huge
                raise ValueError(
                    f"{path} is damaged: image {number} has {image.size} pixels, not {SHAPE[:2]}; {_REMEDY}"
                )
            return np.asarray(image.convert("RGB"))
    except (OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} is damaged: image {number} is no JPEG ({error}); {_REMEDY}") from None


def candidates(folder: Path) -> Iterator[tuple[str, Path]]:
    """What of CIFAR-10 a folder holds, the genuine one first: ("archive" | "folder" | "jpeg", path)."""
    if (folder / BINARY).is_file():
        yield "archive", folder / BINARY
    for place in (folder / FOLDER, folder):
        if any((place / name).is_file() for names in MEMBERS.values() for name in names):
            yield "folder", place
    if (folder / JPEG).is_file():
        yield "jpeg", folder / JPEG
