"""CIFAR-10's files whole and damaged, made by hand; where they are looked for; the JPEG copy where it is at hand."""

import hashlib
import io
import lzma
import tarfile
from pathlib import Path

import numpy as np
import pooch
import pytest
from PIL import Image

from momentumflow.training import cifar
from momentumflow.training.labelled import load_labelled

COPY = Path(__file__).parents[2] / "shared" / "data" / "cifar10"
needs_copy = pytest.mark.skipif(not COPY.is_dir(), reason=f"no JPEG copy of CIFAR-10 at {COPY}")

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 32, 32, 3), np.uint8)
LABELS = np.array([3, 1, 4, 1, 5, 9], np.uint8)


def records(images=PIXELS, labels=LABELS) -> bytes:
    """The layout on the data set's page: a label, 1024 red, 1024 green, 1024 blue, row by row."""
    rows = (
        bytes([label]) + b"".join(image[:, :, c].tobytes() for c in range(3))
        for image, label in zip(images, labels, strict=True)
    )
    return b"".join(rows)


def archive(members: dict[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as file:
        for name, content in members.items():
            entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))
    return raw.getvalue()


ALL = {name: records() for names in cifar.MEMBERS.values() for name in names}


def jpeg(image: np.ndarray) -> bytes:
    raw = io.BytesIO()
    Image.fromarray(image).save(raw, "JPEG", quality=95)
    return raw.getvalue()


SMOOTH = np.broadcast_to(np.linspace(0, 255, 32).astype(np.uint8)[:, None, None], (6, 32, 32, 3))
JPEGS = [jpeg(image) for image in SMOOTH]


def copy(**changes) -> bytes:
    offsets = np.cumsum([0, *map(len, JPEGS)])
    arrays = {
        f"{split}_{name}": array
        for split in ("train", "test")
        for name, array in (
            ("jpeg", np.frombuffer(b"".join(JPEGS), np.uint8)),
            ("offsets", offsets),
            ("labels", LABELS),
        )
    }
    raw = io.BytesIO()
    np.savez(raw, **{name: array for name, array in (arrays | changes).items() if array is not None})
    return lzma.compress(raw.getvalue())


COPIED = copy()


def written(path: Path, content: bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def test_records_are_read_back():
    found = cifar.read_binary(records(), "batch")
    np.testing.assert_array_equal(found.images, PIXELS)
    np.testing.assert_array_equal(found.labels, LABELS)


@pytest.mark.parametrize(
    "content", [b"", records()[:-1], records() + b"\0"], ids=["empty", "cut", "left over"]
)
def test_a_wrong_record_length_is_named(content):
    with pytest.raises(
        ValueError, match=r"batch\.bin has the wrong length: \d+ bytes .* of 3073.*; replace the file"
    ):
        cifar.read_binary(content, "batch.bin")


def test_a_label_that_is_no_class_is_named():
    with pytest.raises(ValueError, match=r"batch\.bin is damaged: a label must be 0 \.\.\. 9, got 200"):
        cifar.read_binary(bytes([200]) + bytes(3072), "batch.bin")


def test_the_archive_holds_five_batches_to_train_on_and_one_to_test_on(tmp_path):
    content = archive(ALL)
    path = written(tmp_path / cifar.BINARY, content)
    md5 = hashlib.md5(content).hexdigest()
    assert cifar.read_archive(path, "train", md5).images.shape == (30, 32, 32, 3)
    np.testing.assert_array_equal(cifar.read_archive(path, "test", md5).images, PIXELS)


WHOLE = archive(ALL)
DAMAGED_ARCHIVES = {
    "a web page": (b"<html>", None, "has the wrong magic number: it starts with 3c 68"),
    "empty": (b"", None, "has the wrong magic number: it starts with nothing"),
    "checksum": (WHOLE[:-1] + b"\1", hashlib.md5(WHOLE).hexdigest(), "has the wrong checksum: MD5 "),
    "truncated": (WHOLE[: len(WHOLE) // 2], None, "is damaged: "),
    "a member cut": (archive(ALL | {"data_batch_2.bin": b"1"}), None, ": data_batch_2.bin has the wrong length"),
    "a member missing": (archive({"test_batch.bin": records()}), None, "is damaged: it has no data_batch_1.bin"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "md5", "problem"), DAMAGED_ARCHIVES.values(), ids=DAMAGED_ARCHIVES)
def test_damage_of_the_archive_is_named(tmp_path, content, md5, problem):
    path = written(tmp_path / cifar.BINARY, content)
    with pytest.raises(ValueError, match="replace the file") as error:
        cifar.read_archive(path, "train", md5)
    assert str(error.value).startswith(f"{path}")
    assert problem in str(error.value)


def test_the_copy_is_read_back(tmp_path):
    path = written(tmp_path / cifar.JPEG, copy())
    found = cifar.read_jpeg_copy(path, "test", images=4)
    assert np.abs(found.images.astype(int) - SMOOTH[:4]).max() <= 3  # JPEG loses something
    np.testing.assert_array_equal(found.labels, LABELS[:4])
    with pytest.raises(ValueError, match="images must be at most 6"):
        cifar.read_jpeg_copy(path, "test", images=7)


OFFSETS = np.cumsum([0, *map(len, JPEGS)])
SWAPPED = OFFSETS[[0, 2, 1, 3, 4, 5, 6]]
NO_IMAGES = copy(train_labels=LABELS[:0], train_offsets=OFFSETS[:1], train_jpeg=np.zeros(0, np.uint8))
DAMAGED_COPIES = {
    "a web page": (b"<html>", "has the wrong magic number: it starts with 3c 68 74 6d 6c 3e"),
    "truncated": (copy()[:-40], "is truncated or damaged: "),
    "no archive": (lzma.compress(b"nothing"), "is damaged: it must hold train_jpeg, train_offsets, train_labels"),
    "an array missing": (copy(train_labels=None), "is damaged: it must hold train_jpeg"),
    "a pickle": (copy(train_labels=np.array([None] * 6)), "is damaged: it must hold train_jpeg"),
    "floats": (copy(train_offsets=OFFSETS * 1.0), "must be vectors of integers"),
    "offsets not increasing": (copy(train_offsets=SWAPPED), "its offsets must increase"),
    "too few offsets": (copy(train_offsets=OFFSETS[:-1]), "6 labels need 7 offsets, got 6"),
    "offsets past the end": (copy(train_offsets=OFFSETS + 5), "its offsets must go from 0 to its"),
    "no JPEG": (copy(train_jpeg=np.zeros(OFFSETS[-1], np.uint8)), "image 0 is no JPEG"),
    "no images": (NO_IMAGES, "it holds no images"),
    "a label": (copy(train_labels=LABELS + 5), "a label must be 0 ... 9, got 14"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "problem"), DAMAGED_COPIES.values(), ids=DAMAGED_COPIES)
def test_damage_of_the_copy_is_named(tmp_path, content, problem):
    path = written(tmp_path / cifar.JPEG, content)
    with pytest.raises(ValueError, match="replace the file") as error:
        cifar.read_jpeg_copy(path, "train")
    assert str(error.value).startswith(str(path))
    assert problem in str(error.value)


def test_the_checksum_of_the_copy_is_verified(tmp_path):
    with pytest.raises(ValueError, match=r"wrong checksum: MD5 \w+ uncompressed, expected 93b0"):
        cifar.read_jpeg_copy(written(tmp_path / cifar.JPEG, copy()), "train", md5=cifar.JPEG_MD5)


def test_a_size_that_is_not_cifars_is_named(tmp_path):
    small = jpeg(SMOOTH[0, :16, :16])
    content = copy(
        train_jpeg=np.frombuffer(small, np.uint8),
        train_offsets=np.array([0, len(small)]),
        train_labels=LABELS[:1],
    )
    with pytest.raises(ValueError, match=r"image 0 has \(16, 16\) pixels, not \(32, 32\)"):
        cifar.read_jpeg_copy(written(tmp_path / cifar.JPEG, content), "train")


def test_an_image_that_pillow_refuses_to_decode_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match=r"is damaged: image 0 is no JPEG .*decompression bomb"):
        cifar.read_jpeg_copy(written(tmp_path / cifar.JPEG, copy()), "train")


# A class each in every file, as many files as CIFAR-10 has: 5 images of a class to train on and 1 to test on.
BALANCED = {name: records(np.zeros((10, 32, 32, 3), np.uint8), np.arange(10, dtype=np.uint8)) for name in ALL}
DAMAGED_FOLDERS = {
    "cut at a record": ({"data_batch_3.bin": BALANCED["data_batch_3.bin"][: 8 * 3073]},
                        r"data_batch_3\.bin is damaged: it must have 10 images, got 8; unpack cifar-10-binary"),
    "zeros": ({"data_batch_2.bin": bytes(10 * 3073)},
              r"must have 5 images of each class, got \[14, 4, 4, 4, 4, 4, 4, 4, 4, 4\]; unpack"),
    "two records of zeros": (dict.fromkeys(ALL, bytes(2 * 3073)), r"data_batch_1\.bin .* 10 images, got 2"),
}  # fmt: skip


def unpacked(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        written(folder / name, content)
    return folder


@pytest.mark.parametrize(("changes", "problem"), DAMAGED_FOLDERS.values(), ids=DAMAGED_FOLDERS)
def test_damage_of_the_unpacked_files_is_named(places, monkeypatch, changes, problem):
    monkeypatch.setattr(cifar, "PER_CLASS", {"train": 5, "test": 1})
    unpacked(places / "data", BALANCED)
    assert len(load_labelled("cifar10", places / "data").train.labels) == 50
    unpacked(places / "data", changes)
    with pytest.raises(ValueError, match=problem):
        load_labelled("cifar10", places / "data")


@pytest.mark.parametrize("absent", ["data_batch_4.bin", "test_batch.bin"])
def test_a_file_that_is_missing_is_named_with_the_way_out(places, absent):
    unpacked(places / "data", {name: content for name, content in ALL.items() if name != absent})
    with pytest.raises(FileNotFoundError, match=rf"{absent} is missing: unpack the whole of cifar-10-binary"):
        load_labelled("cifar10", places / "data")


def test_the_whole_of_cifar_is_60000_images():
    # Krizhevsky's page of the data set: 10 classes, 6000 images each, exactly 1000 of them in the test batch
    assert cifar.PER_CLASS == {"train": 5000, "test": 1000}


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Folders data, variable and cache, all empty, checksums that fit the files made here, and no network."""
    for name in ("data", "variable", "cache"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache")
    monkeypatch.setenv("MOMENTUMFLOW_DATA", str(tmp_path / "variable"))
    monkeypatch.setattr(cifar, "BINARY_MD5", hashlib.md5(WHOLE).hexdigest())
    monkeypatch.setattr(cifar, "JPEG_MD5", hashlib.md5(lzma.decompress(COPIED)).hexdigest())
    monkeypatch.setattr(cifar, "PER_CLASS", {"train": None, "test": None})
    monkeypatch.setattr(pooch, "retrieve", _down)
    return tmp_path


def _down(url, known_hash, fname, path):
    raise OSError(f"no route to {url}")


@pytest.mark.parametrize("place", ["data", "variable", "cache"])
@pytest.mark.parametrize("form", ["archive", "folder", "files", "jpeg"])
def test_cifar_is_found_in_each_place_and_form(places, place, form):
    home = places / place
    if form == "archive":
        written(home / cifar.BINARY, WHOLE)
    elif form == "jpeg":
        written(home / cifar.JPEG, COPIED)
    else:
        for name, content in ALL.items():
            written((home / cifar.FOLDER if form == "folder" else home) / name, content)
    found = load_labelled("cifar10", places / "data", test_images=4)
    assert found.name == ("CIFAR-10 (JPEG copy)" if form == "jpeg" else "CIFAR-10")
    assert found.train.images.shape == ((6 if form == "jpeg" else 30), 32, 32, 3)
    assert found.train.images.dtype == np.float32
    assert found.train.images.max() <= 1
    np.testing.assert_array_equal(found.test.labels, LABELS[:4])
    if form != "jpeg":
        np.testing.assert_array_equal(found.test.images, PIXELS[:4] / np.float32(255))


def test_the_genuine_one_goes_before_the_copy(places):
    written(places / "data" / cifar.JPEG, copy())
    written(places / "data" / cifar.BINARY, WHOLE)
    assert load_labelled("cifar10", places / "data").name == "CIFAR-10"


def test_it_is_downloaded_with_the_published_checksum(places, monkeypatch):
    asked = []

    def retrieve(url, known_hash, fname, path):
        asked.append((url, known_hash))
        return str(written(Path(path) / fname, WHOLE))

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    assert load_labelled("cifar10").test.labels.tolist() == LABELS.tolist()
    assert asked == [("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", f"md5:{cifar.BINARY_MD5}")]


def test_the_checksum_is_the_published_one():
    # Krizhevsky's page of the data set, binary version
    assert cifar.BINARY_MD5 == "c32a1d4ab5d03f1284b67883e8d87530"


def test_without_a_network_the_error_says_all_places_and_the_way_out(places):
    with pytest.raises(FileNotFoundError) as error:
        load_labelled("cifar10", places / "data")
    for place in ("data", "variable", "cache"):
        assert str(places / place) in str(error.value)
    assert "no route to" in str(error.value)
    assert "the digits need no download" in str(error.value)


def test_bad_names_and_numbers_are_reported(tmp_path):
    with pytest.raises(ValueError, match="unknown labelled data set 'cifar': did you mean 'cifar10'"):
        load_labelled("cifar")
    with pytest.raises(ValueError, match="the data folder must exist"):
        load_labelled("digits", tmp_path / "absent")
    with pytest.raises(ValueError, match="at most 899, those of the test part of the digits, got 900"):
        load_labelled("digits", test_images=900)


@pytest.mark.parametrize("split", ["train_images", "test_images"])
@pytest.mark.parametrize("images", [0, -1, True])
@pytest.mark.parametrize("name", ["digits", "cifar10"])
def test_a_number_that_is_none_is_reported_before_a_file_is_opened(places, name, split, images):
    written(places / "data" / cifar.JPEG, b"no file of images")
    with pytest.raises(ValueError, match=f"{split} must be an integer >= 1, got {images}"):
        load_labelled(name, places / "data", **{split: images})


@needs_copy
def test_the_copy_at_hand_is_cifar():
    data = load_labelled("cifar10", COPY, train_images=200, test_images=20)
    assert data.name == "CIFAR-10 (JPEG copy)"
    assert data.train.images.shape == (200, 32, 32, 3)
    np.testing.assert_array_equal(data.train.labels[:20], np.tile(np.arange(10), 2))  # README beside it
    # of the whole training set, as torchvision's examples normalise it: 0.491, 0.482, 0.447; 0.247, 0.244, 0.262
    np.testing.assert_allclose(data.train.images.mean((0, 1, 2)), [0.491, 0.482, 0.447], atol=0.05)
    np.testing.assert_allclose(data.train.images.std((0, 1, 2)), [0.247, 0.244, 0.262], atol=0.03)
