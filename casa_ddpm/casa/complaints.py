"""What CASA says when it fails, in one line and with the parameter that it is about."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from casa_ddpm.casa.parameters import tclean_defaults

#: What CASA says of a parameter that it refuses, where it does not name it as we do.
_ABOUT = {
    "Mask image": "mask",
    "existing image": "imagename",
    "FTMachine": "gridder",
    "ftmachine": "gridder",
    "telescope": "gridder",
    "Weighting": "weighting",
    "ephemeris": "phasecenter",
    "Convolution function": "wprojplanes",
    "calcChanFreqs": "width",
    "matrix is singular": "width",
    "start and width": "start",
    "cubesource": "specmode",
    "MDoppler": "veltype",
    "Image shape is invalid": "nchan",
    "createImStore": "startmodel",
    "projection code": "projection",
}
#: The head of a line in CASA's log: time, priority and, where it is given, the place in its source.
_LOG_LINE = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\s+[A-Z]+\d?\s+(\S*::\S+\s*(\(file [^)]*\))?)?"
)
#: Parameters that shape the image's grid, and what of the visibilities falls on it.
_SHAPING = (
    "imsize", "cell", "phasecenter", "stokes", "projection", "specmode", "reffreq", "nchan",
    "start", "width", "outframe", "veltype", "restfreq", "interpolation", "gridder",
    "psfphasecenter", "weighting", "robust", "noise", "npixels", "uvtaper",
)  # fmt: skip


@contextmanager
def readable(parameters: dict, otherwise: type[Exception]) -> Iterator[None]:
    """Say what CASA's imager says in a line and, where that is known, with the parameter.

    Parameters
    ----------
    parameters : dict
        All of tclean's parameters by name.
    otherwise : type of Exception
        Raised where it is not known which parameter is wrong.

    Raises
    ------
    ValueError
        If CASA refuses a parameter.
    """
    try:
        yield
    except RuntimeError as error:
        said = words(error)
        name = next((name for part, name in _ABOUT.items() if part in said), None)
        if name is None:
            raise otherwise(f"CASA's imager refuses {shaping(parameters)}: {said}") from error
        instead = "; use 'standard', 'wproject' or 'mosaic'" if name == "gridder" else ""
        value = parameters[name]
        raise ValueError(
            f"{name}={value!r} is refused by CASA's imager: {said}{instead}"
        ) from error


def shaping(parameters: dict) -> str:
    """The parameters that were set of those that shape an image."""
    # as CASA's tools take the default, which is how parameters are kept
    plain, p = tclean_defaults() | {"uvtaper": [""]}, parameters
    return ", ".join(f"{n}={p[n]!r}" for n in _SHAPING if p[n] not in (plain[n], []))


def words(error: Exception) -> str:
    """What CASA says, in one line, without the time and the place in its source."""
    said = str(error).split("... thrown by")[0]
    return " ".join(_LOG_LINE.sub(" ", said).split())
