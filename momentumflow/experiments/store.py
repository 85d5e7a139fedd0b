"""Results on disk: each is whole or is not believed."""

import errno
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import xarray
from matplotlib.figure import Figure

from .. import __version__, _plot
from .._files import digest
from .._provenance import config_digest
from .record import Record, code_digest
from .registry import Entry

DATA, PNG, SVG, RECORD = "data.nc", "figure.png", "figure.svg", "checks.json"
_DPI = 150
PROBE_MIB = 16
"""More than any one result takes; a disk without it is full before the work is done."""


class Damaged(Exception):
    """A result that cannot be believed; the text says why."""


class Store:
    """A folder of results, `ID/data.nc`, `figure.png`, `figure.svg` and `checks.json`.

    `checks.json` is written last and holds the checksums of the others: a result that an interruption
    or a bad disk left half-written does not match it, and is made anew.

    **Arguments:** `folder`: made when missing; the folder that holds it must exist.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(
                f"the output folder must be a folder, got the file {self.folder}: choose another --out"
            )

    def prepare(self) -> None:
        """Makes the folder, or raises `ValueError` if nothing can be written there."""
        parent = self.folder.absolute().parent
        if not parent.is_dir():
            raise ValueError(
                f"the output folder's parent must exist, got {parent}: create it or choose another --out"
            )
        try:
            self.folder.mkdir(exist_ok=True)
            _probe(self.folder)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise ValueError(
                    f"the output folder must have room for {PROBE_MIB} MiB, got {self.folder} "
                    f"({error.strerror}): free some or choose another --out"
                ) from error
            raise ValueError(
                f"the output folder must be writable, got {self.folder} ({error.strerror}): choose another --out"
            ) from error

    def save(self, record: Record, data: xarray.Dataset, figure: Figure) -> None:
        """Writes a result: all of it in a staging folder first, then file by file, `checks.json` last."""
        home = self.folder / record.id
        home.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".staging-", dir=self.folder) as staging:
            stage = Path(staging)
            data.to_netcdf(stage / DATA, engine="h5netcdf")
            _plot.rasterise_dense(figure)
            with _plot.style():
                figure.savefig(stage / PNG, dpi=_DPI)
                figure.savefig(stage / SVG, dpi=_DPI, metadata={"Date": None})
            sums = {name: digest(stage / name) for name in (DATA, PNG, SVG)}
            text = json.dumps(
                record.to_dict() | {"files": sums}, indent=1, allow_nan=False, ensure_ascii=False
            )
            (stage / RECORD).write_text(text + "\n", encoding="utf-8")
            for name in (DATA, PNG, SVG, RECORD):
                os.replace(stage / name, home / name)

    def record(self, id: str) -> Record:
        """The record of a whole result; raises `Damaged` for one that is not, `FileNotFoundError` for none."""
        path = self.folder / id / RECORD
        text = path.read_bytes()
        try:
            fields = json.loads(text)
            sums = dict(fields.pop("files"))
            record = Record.from_dict(fields)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Damaged(f"{RECORD} cannot be read") from error
        for name in (DATA, PNG, SVG):
            if not (path.parent / name).is_file() or digest(path.parent / name) != sums.get(name):
                raise Damaged(f"{name} is missing or is not what {RECORD} was written for")
        return record

    def data(self, id: str) -> xarray.Dataset:
        """The labelled arrays of a result, in memory."""
        return xarray.load_dataset(self.folder / id / DATA, engine="h5netcdf")

    def reason_to_run(self, entry: Entry, config: Any) -> str | None:
        """Why the result must be made, or None if the one on disk is whole, current and of this config."""
        try:
            record = self.record(entry.id)
        except FileNotFoundError:
            return "no result yet"
        except (Damaged, OSError) as error:
            return f"damaged: {error}"
        if record.version != __version__:
            return f"made by momentumflow {record.version}, this is {__version__}"
        if record.config_sha256 != config_digest(config):
            return f"made with other settings (preset {record.preset})"
        return None if record.code_sha256 == code_digest(entry) else "the code it stands on has changed"

    def up_to_date(self, entry: Entry, config: Any) -> bool:
        """Whether the result on disk is whole, of this version, and of this config."""
        return self.reason_to_run(entry, config) is None


def _probe(folder: Path) -> None:
    """Writes to the disk itself, with noise that no file system compresses away."""
    mebibyte = os.urandom(2**20)
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(PROBE_MIB):
            file.write(mebibyte)
        file.flush()
        os.fsync(file.fileno())
