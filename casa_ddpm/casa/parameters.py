"""tclean's parameters: their defaults, their rules, and how its imager takes them."""

from __future__ import annotations

import inspect
import os

import numpy as np
from casatasks import tclean
from casatasks.private.imagerhelpers.input_parameters import ImagerParameters
from casatools import quanta, table

from casa_ddpm.casa.images import is_image, log

#: What ImagerParameters calls tclean's parameters of another name.
RENAMED = {
    "vis": "msname",
    "timerange": "timestr",
    "uvrange": "uvdist",
    "observation": "obs",
    "intent": "state",
    "gain": "loopgain",
    "smallscalebias": "scalebias",
}
#: Spectral modes: one plane of all channels, Taylor terms of it by way of a cube, or a plane for
#: each channel.
CONTINUUM = ("mfs", "cont")
SPECMODES = (*CONTINUUM, "mvc", "cube", "cubedata", "cubesource")
#: Pixels of which images of the sky can be made [arcsec].
FINEST, WIDEST = 1e-9, 90 * 3600
#: CLEAN's minor cycle is not run; these make CASA set up nothing for it.
NO_CLEAN = {
    "deconvolver": "hogbom", "nterms": 1, "scales": [], "niter": 0, "nmajor": -1,
    "interactive": False,
}  # fmt: skip


def tclean_defaults() -> dict:
    """tclean's parameters and their default values."""
    signature = inspect.signature(tclean.__call__)
    return {name: parameter.default for name, parameter in signature.parameters.items()}


def normal(parameters: dict) -> dict:
    """tclean's parameters as CASA's tools take them; the task coerces them likewise."""
    changed = dict(parameters)
    vis = changed["vis"]
    if isinstance(vis, str):
        changed["vis"] = os.path.expanduser(vis)
    elif isinstance(vis, (list, tuple, np.ndarray)):
        changed["vis"] = [os.path.expanduser(str(path)) for path in vis]
    if isinstance(changed["datacolumn"], str):
        changed["datacolumn"] = changed["datacolumn"].lower()
    if isinstance(changed["uvtaper"], str):
        changed["uvtaper"] = [changed["uvtaper"]]
    if isinstance(changed["observation"], int):
        changed["observation"] = str(changed["observation"])
    if changed["parallel"] and not _mpi():
        log("parallel=True has no effect outside mpicasa", "WARN")
        changed["parallel"] = False
    return changed


def check_parameters(parameters: dict) -> None:
    """Check the rules that CASA's imager would not, or only after it has written something.

    Raises
    ------
    ValueError
        Naming the parameter, its value and the rule.
    """
    p = parameters
    if not isinstance(p["imagename"], str) or not os.path.basename(p["imagename"]):
        raise ValueError(f"imagename must be the prefix of a path, got {p['imagename']!r}")
    if p["specmode"] not in SPECMODES:
        raise ValueError(f"specmode must be one of {', '.join(SPECMODES)}, got {p['specmode']!r}")
    if p["stokes"] in ("IV", "QU", "IQ", "UV", "IQUV", "RRLL", "XXYY"):
        raise ValueError(f"stokes must be a single plane such as 'I', got {p['stokes']!r}")
    if p["savemodel"] not in ("none", "virtual", "modelcolumn"):
        raise ValueError(
            f"savemodel must be 'none', 'virtual' or 'modelcolumn', got {p['savemodel']!r}"
        )
    _check_imsize(p["imsize"])
    _check_cell(p["cell"])
    _check_startmodel(p["startmodel"])
    _check_vptable(p["vptable"])


def _check_imsize(imsize: object) -> None:
    sizes = np.asarray(imsize).ravel()
    if sizes.size not in (1, 2) or not all(size == int(size) and size > 0 for size in sizes):
        raise ValueError(f"imsize must be one or two positive integers, got {imsize!r}")


def _check_cell(cell: object) -> None:
    sides = list(cell) if isinstance(cell, (list, tuple, np.ndarray)) else [cell]
    if not sides or sides == [""]:
        raise ValueError(f"cell must be given, for example '0.1arcsec', got {cell!r}")
    tool = quanta()
    try:
        # As for CASA itself, a number without a unit is in arcsec.
        lengths = [side if isinstance(side, str) else f"{side}arcsec" for side in sides]
        values = [tool.convert(length, "arcsec")["value"] for length in lengths]
        angles = all(tool.compare(length, "arcsec") for length in lengths)
    except RuntimeError:
        angles = False
    finally:
        tool.done()
    if not angles or not FINEST <= values[0] < WIDEST or not np.isclose(values[0], values[-1]):
        raise ValueError(
            "cell must be a positive angle from 1e-9arcsec to 90deg and the pixels square, "
            f"got {cell!r}"
        )


def _check_startmodel(startmodel: str | list[str]) -> None:
    for path in startmodel if isinstance(startmodel, list) else [startmodel]:
        # CASA itself says so where there is none
        if path and os.path.exists(path) and not is_image(path):
            raise ValueError(f"startmodel must be a CASA image, got {path!r}")


def _check_vptable(path: str) -> None:
    if not path:
        return
    tool = table()
    try:
        tool.open(path)
        patterns = "pbdescription" in tool.colnames()
    except RuntimeError:
        patterns = False
    finally:
        tool.done()
    if not patterns:
        raise ValueError(
            f"vptable must be a table of voltage patterns, as vpmanager's saveastable writes it, "
            f"got {path!r}"
        )


def _mpi() -> bool:
    """Whether this is mpicasa."""
    try:
        from casampi.MPIEnvironment import MPIEnvironment
    except ImportError:
        return False
    return bool(MPIEnvironment.is_mpi_enabled)


def imager_settings(parameters: dict) -> dict:
    """The arguments of ImagerParameters with which tclean itself would call it.

    Parameters
    ----------
    parameters : dict
        All of tclean's parameters.
    """
    given = {RENAMED.get(name, name): value for name, value in parameters.items()}
    given["chanchunks"] = 1
    if parameters["specmode"] in CONTINUUM:
        given |= {"specmode": "mfs", "perchanweightdensity": False}
    given["mosweight"] = given["mosweight"] and given["gridder"] in ("mosaic", "awp2")
    known = inspect.signature(ImagerParameters.__init__).parameters
    return {name: value for name, value in given.items() if name in known}
