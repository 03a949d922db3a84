"""Folders that commands write their reports to."""

from __future__ import annotations

from pathlib import Path


def new(out: str) -> Path:
    """The path of a folder that holds nothing yet; it is not made.

    Raises
    ------
    FileExistsError
        If it holds something or is a file.
    """
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"out {out!r} is not empty and is not overwritten")
    return folder
