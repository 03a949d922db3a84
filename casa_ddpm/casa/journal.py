"""What the products of a name were before a run, to go back to if the run does not end well.

CASA rewrites images in place, so a run that is killed leaves some that are half written, which
CASA then crashes on, or goes on from. While a run lasts there is therefore a folder
``<imagename>.unfinished``, which says what existed before and keeps what the run may change. It
comes and goes by a rename, so that it is whole or absent at every moment; under the name
``.unfinished.part`` it counts for nothing.

It guards against the end of a process, at any moment, not against a power cut.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from casa_ddpm.casa.images import SUFFIXES, log
from casa_ddpm.suffixes import each_term

#: Suffix of the journal's folder.
FOLDER = ".unfinished"
#: The file in it that says what there was before.
RECORD = "before.json"
#: Products that CASA opens where they exist, and writes in place: the run has to find them, so
#: copies are kept. All others are written anew, or not at all.
IN_PLACE = (*each_term(".psf", ".pb", ".weight", ".sumwt", ".residual", ".model"), ".mask")
#: What CASA leaves beside the products when it is stopped.
SCRATCH = (
    ".work.temp", ".prev.mask", ".gridwt", ".workdirectory", ".cf", ".outliers", ".automask",
)  # fmt: skip


@contextmanager
def unfinished(imagename: str) -> Iterator[Journal]:
    """Have all products of a run, or those that were there before it.

    On entry the products of a run that was killed are taken back to what they
    were before that run. An exception inside, an interrupt included, takes back
    those of this one. Both can themselves be killed and are then made good by
    the next call.

    Parameters
    ----------
    imagename : str
        Prefix of the products. The last of its folders is made if need be.

    Yields
    ------
    Journal

    Raises
    ------
    RuntimeError
        If another process is at work on the same `imagename`.
    ValueError
        If there is a folder of the journal's name that is none.
    """
    # The process may change its folder while it runs.
    imagename = os.path.abspath(imagename)
    folder = os.path.dirname(imagename)
    made = not os.path.isdir(folder)
    os.makedirs(folder, exist_ok=True)
    try:
        with _alone(imagename):
            taken_back(imagename)
            journal = Journal(imagename)
            try:
                yield journal
            except BaseException:
                taken_back(imagename)
                raise
            journal.close()
    except BaseException:
        if made:
            with suppress(OSError):
                os.rmdir(folder)
        raise


class Journal:
    """The folder that is there while a run lasts.

    Parameters
    ----------
    imagename : str
        Prefix of the products; there is no journal of it.
    """

    def __init__(self, imagename: str) -> None:
        self._name = os.path.abspath(imagename)
        self._folder = self._name + FOLDER
        self._before = _there(self._name)
        self._begin()

    def replace(self, *suffixes: str) -> None:
        """Move products out of the way that the run writes anew, and say so in the log.

        Parameters
        ----------
        *suffixes : str
            Of products, some of which may not exist.
        """
        there = [suffix for suffix in suffixes if os.path.lexists(self._name + suffix)]
        kept = {suffix: _kept(self._folder, suffix) for suffix in there if suffix in self._before}
        first = [suffix for suffix, path in kept.items() if not os.path.lexists(path)]
        if first:
            log(f"Replaced, of an earlier run: {_listed(self._name, first)}")
        for suffix in there:
            if suffix in first:
                os.rename(self._name + suffix, kept[suffix])
            else:
                _remove(self._name + suffix)

    def close(self) -> None:
        """Forget what there was before; the run's products are final."""
        _discard(self._folder)

    def settle(self) -> None:
        """Take what there is now for what there was before; from now on that is gone back to."""
        self.close()
        self._before = _there(self._name)
        self._begin()

    def _begin(self) -> None:
        part = self._folder + ".part"
        if os.path.lexists(part):
            _remove(part)
        os.mkdir(part)
        try:
            for suffix in set(self._before) & set(IN_PLACE):
                _copy(self._name + suffix, _kept(part, suffix))
            record = {
                "what": "Kept by a run of ddpmclean that has not finished. If it was killed, the "
                "next run of the same imagename puts everything back; do not delete this.",
                "process": _process(),
                "started": time.strftime("%Y-%m-%d %H:%M:%S"),
                "before": self._before,
            }
            Path(part, RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
            os.rename(part, self._folder)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise


def taken_back(imagename: str) -> bool:
    """Take the products back to what they were before the run that left a journal.

    Parameters
    ----------
    imagename : str
        Prefix of the products.

    Returns
    -------
    bool
        Whether there was a journal.
    """
    name = os.path.abspath(imagename)
    folder = name + FOLDER
    if not os.path.lexists(folder):
        return False
    record = _record(folder)
    back = [suffix for suffix in _known() if os.path.lexists(_kept(folder, suffix))]
    new = [
        suffix
        for suffix in _known()
        if suffix not in record["before"] and os.path.lexists(name + suffix)
    ]
    if new or back:
        log(
            f"The run of {record['process']}, begun {record['started']}, did not finish: the "
            f"products of {imagename} are taken back to what they were before it. Removed: "
            f"{_listed(name, new)}. Put back: {_listed(name, back)}.",
            "WARN",
        )
    for suffix in new:
        _remove(name + suffix)
    for suffix in back:
        if os.path.lexists(name + suffix):
            _remove(name + suffix)
        os.rename(_kept(folder, suffix), name + suffix)
    _discard(folder)
    return True


def _there(name: str) -> list[str]:
    """Suffixes of the products that exist."""
    return [suffix for suffix in _known() if os.path.lexists(name + suffix)]


def _known() -> tuple[str, ...]:
    return (*SUFFIXES, *SCRATCH)


def _kept(folder: str, suffix: str) -> str:
    """Where the journal keeps a product."""
    return os.path.join(folder, suffix[1:])


def _listed(name: str, suffixes: list[str]) -> str:
    return ", ".join(os.path.basename(name) + suffix for suffix in suffixes) or "nothing"


def _record(folder: str) -> dict:
    try:
        return json.loads(Path(folder, RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{folder!r} must be the journal of a run of ddpmclean, which its name is kept for; "
            f"move it away ({error})"
        ) from error


def _discard(folder: str) -> None:
    part = folder + ".part"
    os.rename(folder, part)
    shutil.rmtree(part, ignore_errors=True)


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def _copy(source: str, target: str) -> None:
    if os.path.isdir(source):
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copy2(source, target)


@contextmanager
def _alone(imagename: str) -> Iterator[None]:
    """Hold the name's lock, which ends with the process, however that ends."""
    path = imagename + FOLDER + ".lock"
    with _locked(path, imagename) as file:
        file.truncate(0)
        file.write(_process())
        file.flush()
        try:
            yield
        finally:
            os.unlink(path)


def _locked(path: str, imagename: str) -> IO[str]:
    """The lock file, open and locked."""
    while True:
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with file:
                file.seek(0)
                owner = file.read() or "another process"
            raise RuntimeError(
                f"imagename={imagename!r} is being written by {owner}: wait for it to end, or "
                "give another imagename"
            ) from None
        except OSError as error:
            log(f"{path} cannot be locked ({error}): nothing else may write {imagename}", "WARN")
            return file
        # The one that held it before may have removed it in between.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        file.close()


def _process() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"
