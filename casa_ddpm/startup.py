"""CASA's startup file: ``casa-ddpm register`` makes ddpmclean a task of every session."""

from __future__ import annotations

import argparse
import os
import re
import shutil
from pathlib import Path

from casa_ddpm import measures

#: Where CASA looks unless it is configured otherwise.
DEFAULT = "~/.casa/startup.py"

_BEGIN, _END = b"# >>> casa_ddpm >>>", b"# <<< casa_ddpm <<<"
_LINES = b"""\
%b written by casa-ddpm register, taken away by casa-ddpm register --remove
try:
    from casa_ddpm import ddpmclean
except ImportError as _casa_ddpm_error:
    print("The task ddpmclean is not there:", _casa_ddpm_error)
%b
""" % (_BEGIN, _END)
# The line end before the lines is ours too, so that nothing of it stays behind. A begin
# that has lost its end is not ours to take away, nor what follows it.
_OURS = re.compile(
    rb"(?:\r?\n)?^%b(?:(?!^%b).)*?^%b[^\n]*\n?" % (_BEGIN, _BEGIN, _END), re.DOTALL | re.MULTILINE
)


def path() -> Path:
    """The file that CASA runs when a session starts.

    Returns
    -------
    Path
        What the user's or the site's configuration of CASA says; there need be no file.

    Raises
    ------
    ValueError
        Where the configuration says that there is none.
    """
    config = measures.casa_config()
    place = DEFAULT if config is None else getattr(config, "startupfile", DEFAULT)
    if not place:
        raise ValueError("startupfile must be a path in CASA's config.py, got none")
    return Path(place).expanduser()


def register(file: Path) -> bool:
    """Add the lines that import the task; once, however often it is called.

    Parameters
    ----------
    file : Path
        The startup file; it and its folder are made where missing.

    Returns
    -------
    bool
        Whether the file has changed.
    """
    before = file.read_bytes() if file.exists() else b""
    if _LINES in before and len(_OURS.findall(before)) == 1:
        return False
    rest = _without(before)
    _replace(file, rest + (b"\n" if rest else b"") + _LINES)
    return True


def remove(file: Path) -> bool:
    """Take the lines away again, and the file where it holds nothing else.

    Parameters
    ----------
    file : Path
        The startup file.

    Returns
    -------
    bool
        Whether the file has changed.
    """
    before = file.read_bytes() if file.exists() else b""
    rest = _without(before)
    if rest == before:
        return False
    if rest or file.is_symlink():
        _replace(file, rest)
    else:
        file.unlink()
    return True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``casa-ddpm register``."""
    parser.add_argument("--remove", action="store_true", help="take the lines away again")
    parser.add_argument("--startupfile", default="", help="the file (default: CASA's own)")


def run(args: argparse.Namespace) -> None:
    """Register the task, or undo it, and say what has been done."""
    file = Path(args.startupfile).expanduser() if args.startupfile else path()
    changed = remove(file) if args.remove else register(file)
    if args.remove:
        print(f"ddpmclean is {'taken out of' if changed else 'not in'} {file}")
    else:
        print(f"ddpmclean is {'added to' if changed else 'in'} {file}")


def _without(content: bytes) -> bytes:
    """The content without our lines, and with all of the rest's own line ends."""

    def line_end(match: re.Match[bytes]) -> bytes:
        start, end = match.span()
        inside = start > 0 and end < len(content)
        return b"\n" if inside and content[start - 1 : start] != b"\n" else b""

    return _OURS.sub(line_end, content)


def _replace(file: Path, content: bytes) -> None:
    """Write the whole file or nothing; a link stays a link, permissions stay."""
    target = Path(os.path.realpath(file))
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(target.name + ".new")
    new.write_bytes(content)
    if target.exists():
        shutil.copymode(target, new)
    new.replace(target)
