"""Labelled images in two parts, to train on and to test on: the digits of scikit-learn, CIFAR-10."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pooch
from jaxtyping import Float, Int32

from .. import _validate
from . import cifar, datasets

CIFAR_URL = "https://www.cs.toronto.edu/~kriz/"

Place = str | os.PathLike[str] | None


class Part(NamedTuple):
    """Images in [0, 1] of shape (images, height, width, channels), float32, and their labels from 0 on."""

    images: Float[np.ndarray, "images height width channels"]
    labels: Int32[np.ndarray, " images"]


class Labelled(NamedTuple):
    """A data set to classify, in file order.

    **Fields:** `name`, which says so where it is a JPEG copy; `train` and `test`, each of `images` and `labels`;
    `classes`.
    """

    name: str
    train: Part
    test: Part
    classes: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        _, height, width, channels = self.train.images.shape
        return height, width, channels

    def standardised(self) -> "Labelled":
        """Every channel with mean 0 and variance 1 over the training images.

        >>> from momentumflow.training.labelled import load_labelled
        >>> images = load_labelled("digits").standardised().train.images
        >>> bool(abs(images.mean()) < 1e-6), bool(abs(images.std() - 1) < 1e-6)
        (True, True)
        """
        axes = (0, 1, 2)
        mean, spread = (
            f(self.train.images, axis=axes, dtype=np.float64).astype(np.float32) for f in (np.mean, np.std)
        )
        train, test = (Part((part.images - mean) / spread, part.labels) for part in (self.train, self.test))
        return Labelled(self.name, train, test, self.classes)


def load_labelled(
    name: str, data: Place = None, train_images: int | None = None, test_images: int | None = None
) -> Labelled:
    """A data set by name, with a part to test on.

    The digits come with scikit-learn; the first half is to train on and the second, by other writers, to test on, as
    in scikit-learn's own example. CIFAR-10 is looked for in `data`, in the folder that `MOMENTUMFLOW_DATA` names and in
    pooch's cache, in each first as `cifar-10-binary.tar.gz`, then unpacked, then as the JPEG copy
    `cifar10-jpeg.npz.xz`; where none is found the binary version is downloaded.

    **Arguments:** `name`: "digits" or "cifar10". `data`: folder. `train_images`, `test_images`: how many, from the
    first on; `None` is all.

    **Raises:** `ValueError` for an unknown name, a folder that does not exist, numbers that the data set does not have,
    a damaged file; `FileNotFoundError` with all places looked at, or for one of the unpacked files that is missing.

    Alpaydin & Kaynak (1998), "Optical recognition of handwritten digits"; Krizhevsky (2009), "Learning multiple layers
    of features from tiny images".

        >>> from momentumflow.training.labelled import load_labelled
        >>> digits = load_labelled("digits")
        >>> digits.train.images.shape, digits.test.images.shape
        ((898, 8, 8, 1), (899, 8, 8, 1))
    """
    if name not in _LOADERS:
        raise _validate.unknown("labelled data set", name, _LOADERS)
    if data is not None and not Path(data).is_dir():
        raise ValueError(f"the data folder must exist, got {data}: create it, or leave it out to download")
    for split, images in (("train_images", train_images), ("test_images", test_images)):
        if images is not None:
            _validate.count(split, images)
    return _LOADERS[name](data, {"train": train_images, "test": test_images})


def _digits(data: Place, wanted: dict[str, int | None]) -> Labelled:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = digits.images[..., None] / 16
    half = len(images) // 2
    cuts = {"train": slice(half), "test": slice(half, None)}
    train, test = (
        _part(images[cut], digits.target[cut], wanted[split], f"the {split} part of the digits")
        for split, cut in cuts.items()
    )
    return Labelled("digits", train, test, classes=10)


def _cifar10(data: Place, wanted: dict[str, int | None]) -> Labelled:
    kind, path = _find(data)
    parts = {}
    for split, count in wanted.items():
        if kind == "jpeg":
            pictures = cifar.read_jpeg_copy(path, split, count, cifar.JPEG_MD5)
        elif kind == "archive":
            pictures = cifar.read_archive(path, split, cifar.BINARY_MD5)
        else:
            pictures = cifar.read_folder(path, split, cifar.PER_CLASS[split])
        images, labels = _part(*pictures, count, f"the {split} part of {path}")
        parts[split] = Part(images / np.float32(255), labels)
    name = "CIFAR-10 (JPEG copy)" if kind == "jpeg" else "CIFAR-10"
    return Labelled(name, parts["train"], parts["test"], classes=cifar.CLASSES)


_LOADERS: dict[str, Callable[[Place, dict[str, int | None]], Labelled]] = {
    "digits": _digits,
    "cifar10": _cifar10,
}


def _part(images: np.ndarray, labels: np.ndarray, count: int | None, where: str) -> Part:
    """The first `count` of some images; cut before they become floats."""
    if count is not None and count > len(labels):
        raise ValueError(f"the number of images must be at most {len(labels)}, those of {where}, got {count}")
    return Part(images[:count].astype(np.float32), labels[:count].astype(np.int32))


def _find(data: Place) -> tuple[str, Path]:
    places = datasets.places(data)
    for folder in places:
        if found := next(cifar.candidates(folder), None):
            return found
    return "archive", _download(places)


def _download(looked_at: list[Path]) -> Path:
    """pooch verifies the checksum before the file enters its cache."""
    cache = looked_at[-1]
    try:
        path = pooch.retrieve(
            CIFAR_URL + cifar.BINARY, f"md5:{cifar.BINARY_MD5}", fname=cifar.BINARY, path=cache
        )
    except (OSError, ValueError) as error:
        places = "; ".join(map(str, [*looked_at, f"{CIFAR_URL}{cifar.BINARY} ({error})"]))
        raise FileNotFoundError(
            f"{cifar.BINARY} was not found in any folder and could not be downloaded. Looked at: {places}. "
            f"Give a folder that holds it with --data or {datasets.VARIABLE}; the digits need no download"
        ) from None
    return Path(path)
