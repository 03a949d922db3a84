"""What a benchmark has measured so far, in a folder, so that one that was cut off can go on."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from astropy.table import Table, vstack

import casa_ddpm
from casa_ddpm.benchmark import tables
from casa_ddpm.benchmark.outcome import Rows

#: What is added to the report's name, and the file that says what is measured.
SUFFIX, _ACCOUNT = ".unfinished", "account.json"
_COLUMNS = {"truth": tables.TRUTH, "detections": tables.DETECTIONS, "images": tables.IMAGES}


@contextmanager
def folder(out: Path, account: dict[str, Any]) -> Iterator[Path]:
    """The folder of a report that is not finished, new or of a run of the same account.

    Parameters
    ----------
    out : Path
        Folder of the report.
    account : dict
        What the fields' results depend on: plain values.

    Raises
    ------
    FileExistsError
        If it is there and is of another benchmark, or of other code.
    RuntimeError
        If another process is at work in it.
    """
    out = out.resolve()
    there = out.with_name(out.name + SUFFIX)
    text = json.dumps(account | {"code": _code()}, indent=1, sort_keys=True)
    told = there / _ACCOUNT
    if there.exists() and not (told.is_file() and told.read_text(encoding="utf-8") == text):
        raise FileExistsError(
            f"out {str(out)!r} must not be one that a benchmark of other settings or code has "
            f"begun: remove {str(there)!r}, or take another"
        )
    if not there.exists():
        there.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=there.parent) as part:
            new = Path(part, "new")
            new.mkdir()
            (new / _ACCOUNT).write_text(text, encoding="utf-8")
            os.rename(new, there)
    with told.open(encoding="utf-8") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(
                f"out {str(out)!r} must be one that no other benchmark is at work on"
            ) from None
        yield there


def _code() -> str:
    """What tells one state of the package's sources from another."""
    digest = hashlib.sha256()
    for path in sorted(Path(casa_ddpm.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def read(kept: Path, where: tuple[str, int]) -> Rows | None:
    """What was measured of a field, None where it was not; see `write`."""
    place = _place(kept, where)
    if not place.is_dir():
        return None
    truth, found, images = (Table.read(place / f"{name}.ecsv") for name in _COLUMNS)
    return truth, [found], [dict(zip(images.colnames, row, strict=True)) for row in images]


def write(kept: Path, where: tuple[str, int], rows: Rows) -> None:
    """Keep what was measured of a field, all of it or nothing."""
    truth, found, images = rows
    parts = {"truth": [truth], "detections": found, "images": [Table(images)]}
    with tempfile.TemporaryDirectory(dir=kept) as part:
        new = Path(part, "new")
        new.mkdir()
        for name, columns in _COLUMNS.items():
            vstack([tables.empty(columns), *parts[name]]).write(new / f"{name}.ecsv")
        os.rename(new, _place(kept, where))


def _place(kept: Path, where: tuple[str, int]) -> Path:
    protocol, index = where
    return kept / f"{protocol} {index}"
