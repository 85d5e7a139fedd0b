"""The data sets that the networks are trained on, in file order."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pooch
from jaxtyping import Float, Integer

from .. import _validate
from ..problems.networks import DIGITS_SIZES, MNIST_SIZES
from .idx import read_idx

VARIABLE = "MOMENTUMFLOW_DATA"
MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
MNIST_MD5 = {  # of the uncompressed files: the mirrors' gzip wrappings differ
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
_MNIST_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


class Dataset(NamedTuple):
    """Images in [0, 1], one a row, in file order.

    **Fields:** `name`; `images` of shape (images, pixels), float32; `labels` of shape (images,); `sizes` of the
    autoencoder's encoder for them; `batch_size`, the default.
    """

    name: str
    images: Float[np.ndarray, "images pixels"]
    labels: Integer[np.ndarray, " images"]
    sizes: tuple[int, ...]
    batch_size: int

    @property
    def pixels(self) -> int:
        return self.images.shape[1]

    def batches(self, batch_size: int | None = None) -> Float[np.ndarray, "batches batch pixels"]:
        """The images in file order, never shuffled, in batches of equal size.

        Images after the last full batch are left out: none of MNIST's 60 000 at 200, the last 97 of the
        1797 digits at 100.

        **Arguments:** `batch_size`: from 1 to the number of images; `None` is the data set's own.

        **Raises:** `ValueError` for any other.

            >>> from momentumflow.training import load
            >>> load("digits").batches().shape
            (17, 100, 64)
        """
        size = _validate.count("batch_size", self.batch_size if batch_size is None else batch_size)
        number = len(self.images) // size
        if number == 0:
            raise ValueError(
                f"batch_size must be at most {len(self.images)}, the images of {self.name}, got {size}"
            )
        return self.images[: number * size].reshape(number, size, self.pixels)


def load(name: str, data: str | os.PathLike[str] | None = None, split: str = "train") -> Dataset:
    """A data set by name.

    MNIST is looked for in `data`, in the folder that the environment variable `MOMENTUMFLOW_DATA` names, in
    pooch's cache, and is then downloaded into that cache; its checksums are verified wherever it was found. The
    digits come with scikit-learn and need no download.

    **Arguments:** `name`: "mnist" or "digits". `data`: folder with the IDX files, plain or gzip. `split`: "train"
    or, for MNIST, "test".

    **Raises:** `ValueError` for an unknown name or split, a folder that does not exist, a damaged file;
    `FileNotFoundError` with all places looked at.

    LeCun, Cortes & Burges, "The MNIST database"; Alpaydin & Kaynak (1998), "Optical recognition of handwritten
    digits".

        >>> from momentumflow.training import load
        >>> digits = load("digits")
        >>> digits.images.shape, digits.sizes, float(digits.images.max())
        ((1797, 64), (64, 32, 16, 8), 1.0)
    """
    if name not in _LOADERS:
        raise _validate.unknown("data set", name, _LOADERS)
    if data is not None and not Path(data).is_dir():
        raise ValueError(f"the data folder must exist, got {data}: create it, or leave it out to download")
    return _LOADERS[name](data, split)


def _mnist(data: str | os.PathLike[str] | None, split: str) -> Dataset:
    if split not in _MNIST_FILES:
        raise _validate.unknown("split of mnist", split, _MNIST_FILES)
    images, labels = (_find(file, data) for file in _MNIST_FILES[split])
    scaled = images.reshape(len(images), -1).astype(np.float32) / np.float32(255)
    return Dataset("mnist", scaled, labels, MNIST_SIZES, batch_size=200)


def _digits(data: str | os.PathLike[str] | None, split: str) -> Dataset:
    if split != "train":
        raise _validate.unknown("split of digits", split, ["train"])
    from sklearn.datasets import load_digits

    digits = load_digits()
    return Dataset(
        "digits", (digits.data / 16).astype(np.float32), digits.target, DIGITS_SIZES, batch_size=100
    )


_LOADERS: dict[str, Callable[[str | os.PathLike[str] | None, str], Dataset]] = {
    "mnist": _mnist,
    "digits": _digits,
}


DATASETS = tuple(_LOADERS)


def places(data: str | os.PathLike[str] | None = None) -> list[Path]:
    """The folders where data sets are looked for, in this order; what none of them holds is downloaded."""
    return [Path(place) for place in (data, os.environ.get(VARIABLE), _cache()) if place]


def locate(file: str, data: str | os.PathLike[str] | None = None) -> Path | None:
    """Where one of MNIST's files is, plain or gzip; None if it is in no place."""
    paths = (folder / name for folder in places(data) for name in (file, f"{file}.gz"))
    return next((path for path in paths if path.is_file()), None)


def _find(file: str, data: str | os.PathLike[str] | None) -> np.ndarray:
    path = locate(file, data)
    return _download(file, places(data)) if path is None else read_idx(path, MNIST_MD5[file])


def _cache() -> Path:
    return Path(pooch.os_cache("momentumflow"))


def _download(file: str, looked_at: list[Path]) -> np.ndarray:
    failures = []
    for mirror in MNIST_MIRRORS:
        try:
            return _fetch(f"{mirror}{file}.gz", file)
        except (OSError, ValueError) as error:
            failures.append(f"{mirror}{file}.gz ({error})")
    raise FileNotFoundError(
        f"{file} was not found in any folder and could not be downloaded. Looked at: "
        f"{'; '.join(map(str, [*looked_at, *failures]))}. Give a folder that holds it with --data or {VARIABLE}; "
        "--dataset digits needs no download"
    )


def _fetch(url: str, file: str) -> np.ndarray:
    """Verified before it enters the cache, so that a broken download is never found there."""
    cache = _cache()
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        path = Path(folder) / f"{file}.gz"
        pooch.HTTPDownloader()(url, str(path), None)
        array = read_idx(path, MNIST_MD5[file])
        os.replace(path, cache / path.name)
    return array
