"""IDX files whole and damaged, and where MNIST is looked for."""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pooch
import pytest

from momentumflow.training import datasets, load, read_idx

MNIST = Path(__file__).parents[2] / "shared" / "data" / "mnist"
needs_mnist = pytest.mark.skipif(not MNIST.is_dir(), reason=f"no MNIST at {MNIST}")

IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


def idx(array: np.ndarray, kind: int = 0x08) -> bytes:
    header = struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape)
    return header + array.tobytes()


def written(folder: Path, content: bytes, name: str = "images-idx3-ubyte") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_reads_back_what_was_written(tmp_path, pack):
    array = read_idx(written(tmp_path, pack(idx(IMAGES))), hashlib.md5(idx(IMAGES)).hexdigest())
    np.testing.assert_array_equal(array, IMAGES)
    assert array.dtype == np.uint8


@pytest.mark.parametrize(
    ("kind", "dtype"), [(0x09, "i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")]
)
def test_types_are_big_endian(tmp_path, kind, dtype):
    values = np.array([-2, 0, 100]).astype(dtype)
    np.testing.assert_array_equal(read_idx(written(tmp_path, idx(values, kind))), values)


DAMAGED = {
    "empty": (b"", "has the wrong magic number: it starts with nothing"),
    "a web page": (b"<html>", "has the wrong magic number: it starts with 3c 68 74 6d"),
    "unknown type": (idx(IMAGES, 0x07), "has the wrong magic number: it starts with 00 00 07 03"),
    "header cut": (idx(IMAGES)[:10], "is truncated: 10 bytes, its header takes 16"),
    "numbers cut": (idx(IMAGES)[:-5], "is truncated: 35 bytes, its header says 40"),
    "bytes left over": (idx(IMAGES) + b"\0", "has bytes left over: 41 bytes, its header says 40"),
    "gzip cut": (gzip.compress(idx(IMAGES))[:-9], "is truncated: its gzip stream ends early"),
    "gzip with a wrong byte": (gzip.compress(idx(IMAGES))[:-8] + bytes(8), "is damaged: CRC check failed"),
    "gzip with a wrong block": (gzip.compress(idx(IMAGES))[:10] + b"\xff" * 20, "is damaged: Error -3"),
    "one number changed": (idx(IMAGES)[:-1] + b"\xff", "has the wrong checksum: MD5 "),
}


@pytest.mark.parametrize(("content", "problem"), DAMAGED.values(), ids=DAMAGED)
def test_damage_is_named_with_the_file(tmp_path, content, problem):
    path = written(tmp_path, content)
    with pytest.raises(ValueError, match="replace the file") as error:
        read_idx(path, hashlib.md5(idx(IMAGES)).hexdigest())
    assert str(error.value).startswith(f"{path} {problem}")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere is missing: give the folder"):
        read_idx(tmp_path / "nowhere")


# A stand-in for MNIST with the checksums of its own files, so that the search needs no data and no network.
FAKE = {
    "train-images-idx3-ubyte": idx(np.full((4, 28, 28), 255, np.uint8)),
    "train-labels-idx1-ubyte": idx(np.array([3, 1, 2, 0], np.uint8)),
}


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Folders data, variable and cache, all empty, checksums of FAKE, and a network that is down."""
    for name in ("data", "variable", "cache"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache")
    monkeypatch.setenv("MOMENTUMFLOW_DATA", str(tmp_path / "variable"))
    monkeypatch.setattr(
        datasets, "MNIST_MD5", {name: hashlib.md5(raw).hexdigest() for name, raw in FAKE.items()}
    )
    monkeypatch.setattr(pooch, "HTTPDownloader", lambda: downloader({}))
    return tmp_path


def downloader(served: dict[str, bytes]):
    def download(url: str, output_file: str, pooch_object: None) -> None:
        if url not in served:
            raise OSError("no route to host")
        Path(output_file).write_bytes(served[url])

    return download


def fill(folder: Path) -> None:
    for name, raw in FAKE.items():
        written(folder, gzip.compress(raw), f"{name}.gz")


@pytest.mark.parametrize("place", ["data", "variable", "cache"])
def test_mnist_is_found_in_each_place(places, place):
    fill(places / place)
    found = load("mnist", places / "data")
    assert found.images.shape == (4, 784)
    assert found.images.dtype == np.float32
    assert (found.images == 1).all()
    np.testing.assert_array_equal(found.labels, [3, 1, 2, 0])


def test_the_first_place_wins_and_damage_there_is_not_passed_over(places):
    fill(places / "cache")
    written(places / "data", b"\0\0\x08\x01", "train-images-idx3-ubyte")
    with pytest.raises(ValueError, match="train-images-idx3-ubyte is truncated") as error:
        load("mnist", places / "data")
    assert str(places / "data") in str(error.value)


def test_download_goes_on_to_the_next_mirror_and_fills_the_cache(places, monkeypatch):
    first, second = datasets.MNIST_MIRRORS
    served = {f"{second}{name}.gz": gzip.compress(raw) for name, raw in FAKE.items()}
    served[f"{first}train-images-idx3-ubyte.gz"] = b"<html>please log in</html>"
    monkeypatch.setattr(pooch, "HTTPDownloader", lambda: downloader(served))
    assert load("mnist").images.shape == (4, 784)
    assert sorted(path.name for path in (places / "cache").iterdir()) == sorted(f"{name}.gz" for name in FAKE)
    monkeypatch.setattr(pooch, "HTTPDownloader", lambda: downloader({}))
    assert load("mnist").images.shape == (4, 784)


def test_without_a_network_the_error_says_all_places_and_the_way_out(places):
    with pytest.raises(FileNotFoundError) as error:
        load("mnist", places / "data")
    message = str(error.value)
    for place in ("data", "variable", "cache"):
        assert str(places / place) in message
    for mirror in datasets.MNIST_MIRRORS:
        assert f"{mirror}train-images-idx3-ubyte.gz (no route to host)" in message
    assert "--dataset digits needs no download" in message
    assert list((places / "cache").iterdir()) == []


def test_bad_names_and_folders_are_reported(tmp_path):
    with pytest.raises(ValueError, match="unknown data set 'mnits': did you mean 'mnist'"):
        load("mnits")
    with pytest.raises(ValueError, match="unknown split of digits 'test'"):
        load("digits", split="test")
    with pytest.raises(ValueError, match="the data folder must exist"):
        load("mnist", tmp_path / "absent")


def test_digits_are_scikit_learns():
    digits = load("digits")
    # 1797 images of 8 by 8 with 17 grey values: scikit-learn's description of the data set
    assert digits.images.shape == (1797, 64)
    np.testing.assert_array_equal(np.unique(digits.images), np.arange(17) / 16)
    np.testing.assert_array_equal(digits.batches(200), digits.images[:1600].reshape(8, 200, 64))
    with pytest.raises(ValueError, match="batch_size must be at most 1797"):
        digits.batches(1798)


@needs_mnist
@pytest.mark.parametrize(("split", "images"), [("train", 60_000), ("test", 10_000)])
def test_mnist_is_the_original(split, images):
    mnist = load("mnist", MNIST, split)
    assert mnist.images.shape == (images, 784)
    assert mnist.images.min() == 0
    assert mnist.images.max() == 1
    assert mnist.batches().shape == (images // 200, 200, 784)
    if split == "train":
        # the training set opens with 5, 0, 4, 1, 9 (LeCun's page); mean 0.1307 is torchvision's normalisation
        assert mnist.labels[:5].tolist() == [5, 0, 4, 1, 9]
        assert round(float(mnist.images.mean(dtype=float)), 4) == 0.1307
