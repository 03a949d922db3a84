"""Programs that run beside this process, and whether they are there."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from casa_ddpm import measures


def missing(*packages: str, programs: Sequence[str] = ()) -> str:
    """Which packages and programs are not installed, '' where all are."""
    lacking = [name for name in packages if not measures.installed(name)]
    lacking += [name for name in programs if shutil.which(name) is None]
    return f"{' and '.join(lacking)} not installed" if lacking else ""


def execute(command: Sequence[str], folder: Path) -> None:
    """Run a program in a folder, its chatter kept off the terminal.

    Source finders run in a process of their own because they set up logging and numpy for
    all, open matplotlib's windows, and fork, which a process that has imported CASA must not.

    Raises
    ------
    RuntimeError
        If it fails, with the end of what it said.
    """
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"MPLBACKEND": "Agg"}, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if done.returncode:
        said = done.stdout.strip()[-2000:]
        raise RuntimeError(f"{Path(command[0]).name} failed in {folder}:\n{said}")
