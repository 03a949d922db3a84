"""What a benchmark has measured so far, in a folder, so that one that was cut off can go on."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from astropy.table import Table

import casa_ddpm
from casa_ddpm.benchmark.tables import Tables

#: What is added to the report's name, the file that says what is measured, and the new report.
SUFFIX, _ACCOUNT, _REPORT = ".unfinished", "account.json", "report"

Result = TypeVar("Result")


def circumstances(device: str, workers: int) -> dict[str, Any]:
    """What a report does not say, and its last digits depend on as well."""
    return {"device": device, "threads": 1 if workers else torch.get_num_threads()}


@contextmanager
def folder(out: Path, account: dict[str, Any]) -> Iterator[Path]:
    """The folder of a report that is not finished, new or of a run of the same account.

    It is removed where it ends without anything in it.

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
        try:
            yield there
        finally:
            _remove_empty(there)


def _remove_empty(folder: Path) -> None:
    """Remove a folder in which nothing is kept, as of a benchmark that was refused."""
    if folder.is_dir() and [path.name for path in folder.iterdir()] == [_ACCOUNT]:
        shutil.rmtree(folder)


def _code() -> str:
    """What tells one state of the package's sources from another."""
    # The commands' arguments are there without the task.
    from casa_ddpm import tasks

    # It may lie elsewhere, where the package is installed to be edited.
    folders = (Path(package.__file__ or "").parent for package in (casa_ddpm, tasks))
    paths = {
        path for folder in folders for kind in ("py", "xml") for path in folder.rglob(f"*.{kind}")
    }
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def once(kept: Path | None, name: str, measure: Callable[[], Tables]) -> Tables:
    """What was measured under a name before, or what is measured now and then kept.

    Parameters
    ----------
    kept : Path, optional
        The `folder`; without one nothing is kept.
    name : str
        Of what is measured, such as protocol and number of a field; a file's name.
    measure : callable
        Returns tables by name, the same names every time.
    """
    if kept is None:
        return measure()
    place = kept / name
    if place.is_dir():
        return {path.stem: Table.read(path) for path in place.glob("*.ecsv")}
    found = measure()
    # All of it or nothing.
    with tempfile.TemporaryDirectory(dir=kept) as part:
        new = Path(part, "new")
        new.mkdir()
        for stem, table in found.items():
            table.write(new / f"{stem}.ecsv")
        os.rename(new, place)
    return found


def field(
    kept: Path | None, measure: Callable[[str, int], Tables], where: tuple[str, int]
) -> Tables:
    """What is measured of a field, given by its protocol and number, now or before; see `once`."""
    protocol, index = where
    return once(kept, f"{protocol} {index}", lambda: measure(protocol, index))


def finish(kept: Path, out: Path, write: Callable[[Path], Result]) -> Result:
    """Write a report, put it in its place whole, and remove what was kept for it.

    Parameters
    ----------
    kept : Path
        The `folder`.
    out : Path
        Where the report goes: nothing, or an empty folder.
    write : callable
        Writes into the folder that it is given; what it returns is returned.
    """
    new = kept / _REPORT
    shutil.rmtree(new, ignore_errors=True)  # of a run that was cut off while it wrote
    new.mkdir()
    result = write(new)
    os.rename(new, out.resolve())
    shutil.rmtree(kept)
    return result
