"""What is installed, what is wrong with it and how to mend it: ``casa-ddpm doctor``."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from casa_ddpm import __version__, measures

#: Seconds that CASA may take to import: it tries to update its measures data first.
PATIENCE = 120
#: Packages by what needs them, and how to install them.
CORE = ("torch", "numpy", "scipy", "safetensors")
ANALYSIS = (
    "astropy", "photutils", "scikit-image", "regions", "radio-beam", "spectral-cube",
    "matplotlib", "tqdm", "loky",
)  # fmt: skip
CASA = ("casatools", "casatasks", "casaconfig", "six")


def report() -> list[tuple[str, str, str]]:
    """Examine the installation.

    Returns
    -------
    list of (name, state, mend)
        What was looked at, what was found, and what to do about it; mend is ''
        where nothing is wrong.
    """
    rows = [("casa_ddpm", __version__, ""), _python()]
    rows += [_package(name, "pip install casa-ddpm") for name in CORE + ANALYSIS]
    rows += [_package(name, "pip install 'casa-ddpm[casa]'") for name in CASA]
    rows += [_device(), _network(), _measures()]
    if measures.installed("casatasks"):
        rows += [_casa_imports(), _casa_alone()]
    return rows


def main() -> int:
    """Print the report.

    Returns
    -------
    int
        0, or 1 where something is wrong.
    """
    rows = report()
    width = max(len(name) for name, _, _ in rows)
    for name, state, mend in rows:
        print(f"{'ok ' if not mend else '-> '} {name:{width}}  {state}")
        if mend:
            print(f"    {'':{width}}  mend: {mend}")
    wrong = sum(bool(mend) for _, _, mend in rows)
    print("All is well." if not wrong else f"{wrong} of {len(rows)} need mending.")
    return int(bool(wrong))


def _python() -> tuple[str, str, str]:
    old = sys.version_info < (3, 10)
    state = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return "python", state, "install Python 3.10 or newer" if old else ""


def _package(name: str, mend: str) -> tuple[str, str, str]:
    try:
        return name, metadata.version(name), ""
    except metadata.PackageNotFoundError:
        return name, "not installed", mend


def _device() -> tuple[str, str, str]:
    """The device that device='auto' takes."""
    try:
        import torch
    except ImportError as error:
        return "device", f"torch does not import: {error}", "pip install casa-ddpm"
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        names = ", ".join(torch.cuda.get_device_name(n) for n in range(count))
        return "device", f"cuda: {names}", ""
    if torch.backends.mps.is_available():
        return "device", "mps: Apple GPU", ""
    state = f"cpu: {torch.get_num_threads()} threads, no GPU"
    if Path("/proc/driver/nvidia").exists():
        return "device", state, "install a torch built for this CUDA driver, see pytorch.org"
    return "device", state, ""


def _network() -> tuple[str, str, str]:
    """The networks that ship."""
    files = sorted((Path(__file__).parent / "networks").glob("*.safetensors"))
    if not files:
        return "networks", "none", "pip install --force-reinstall casa-ddpm"
    return "networks", ", ".join(file.stem for file in files), ""


def _measures() -> tuple[str, str, str]:
    """The measures data that CASA takes."""
    if not measures.installed("casaconfig"):
        return "measures data", "not needed without CASA", ""
    folder = measures.configure()
    if measures.has_measures(folder):
        source = "casadata's" if folder == measures.casadata_path() else "the user's"
        return "measures data", f"{source}, {folder}", ""
    state = f"{folder or 'measurespath'} holds no {measures.ESSENTIAL}"
    if measures.user_configured():
        return "measures data", state, "mend measurespath in ~/.casa/config.py or the site's file"
    return "measures data", state, "pip install casadata, or run python -m casaconfig --pull-data"


def _casa_imports() -> tuple[str, str, str]:
    """Whether CASA imports."""
    done = _run("import casa_ddpm.casa, casatasks; print(casatasks.version_string())")
    if done is None:
        return "CASA", f"does not import within {PATIENCE} s", "look at measures data above"
    if done.returncode == 0:
        return "CASA", f"{done.stdout.split()[-1]} imports", ""
    reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return "CASA", f"does not import: {reason}", "mend what is missing above"


def _casa_alone() -> tuple[str, str, str]:
    """Whether it does where nothing of ours has told it where its measures data are."""
    done = _run("import casatasks")
    if done is not None and done.returncode == 0:
        return "CASA by itself", "imports", ""
    data = measures.casadata_path()
    hint = (
        f": in ~/.casa/config.py say measurespath = {data!r}, " if data else ": see its message, "
    )
    return (
        "CASA by itself",
        "does not import without casa_ddpm, so that casashell and scripts that import casatasks "
        f"first do not work{hint}measures_auto_update = data_auto_update = False",
        "",
    )


def _run(code: str) -> subprocess.CompletedProcess | None:
    """Run Python elsewhere, as CASA writes a log file where it is; None where it takes too long."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])
    with tempfile.TemporaryDirectory() as folder:
        try:
            return subprocess.run(
                [sys.executable, "-c", code],
                cwd=folder,
                env=os.environ | {"PYTHONPATH": path},
                capture_output=True,
                text=True,
                timeout=PATIENCE,
            )
        except subprocess.TimeoutExpired:
            return None
