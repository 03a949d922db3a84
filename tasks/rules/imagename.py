"""The name of the products, and the folder that it lies in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .values import Values

#: Bytes of a product's name without its suffix, for which file systems leave 255 in all.
LONGEST = 230


def imagename_given(values: Values) -> None:
    """Have one name for the products."""
    name = values["imagename"]
    if not isinstance(name, str):
        raise ValueError(f"imagename must be one string, got {name!r}")
    base = os.path.basename(name.strip())
    if base in ("", ".", ".."):
        raise ValueError(f"imagename must be a name, not empty nor only a folder, got {name!r}")
    if "\0" in name or len(os.fsencode(base)) > LONGEST:
        raise ValueError(
            f"imagename must be a name of at most {LONGEST} bytes that a file can have,"
            f" got {name!r}"
        )


def folder_writable(values: Values) -> None:
    """Be able to write into the folder of the products; as in tclean the last one is made."""
    place = folder(values["imagename"])
    if not place.is_dir():
        why = f"{place} is not a folder" if place.exists() else f"there is no folder {place}"
    elif not os.access(place, os.W_OK | os.X_OK):
        why = f"{place} is not writable"
    else:
        return
    raise ValueError(
        f"imagename must lie in a folder that can be written, got {values['imagename']!r}: {why}"
    )


def folder(imagename: Any) -> Path:
    """Where the products go: their folder, or the one that it is made in."""
    place = Path(imagename if isinstance(imagename, str) else "").absolute().parent
    return place if place.exists() else place.parent
