"""Checks of tclean's frequencies, beams and directions, which CASA's own tools read."""

from __future__ import annotations

import math
import os
from typing import Any

from casatools import measures, quanta

#: The kinds of a spectral width and of a direction on the sky, in a unit of each.
FREQUENCY, VELOCITY, ANGLE = "Hz", "m/s", "rad"


def check_quantities(parameters: dict, nfield: int) -> None:
    """Check what CASA's imager refuses in words of its own, or passes over.

    Parameters
    ----------
    parameters : dict
        All of tclean's parameters.
    nfield : int
        Fields of the MeasurementSet.

    Raises
    ------
    ValueError
        Naming the parameter, its value and the rule.
    """
    p = parameters
    _check_frequencies(p)
    if p["specmode"] not in ("mfs", "cont"):
        _check_channels(p["start"], p["width"])
    _check_taper(p["uvtaper"])
    _check_beam(p["restoringbeam"])
    _check_direction("phasecenter", p["phasecenter"], nfield)
    if "mosaic" in p["gridder"]:
        _check_direction("psfphasecenter", p["psfphasecenter"], nfield)


def quantity(value: Any, unit: str) -> float | None:
    """A quantity in a unit.

    Parameters
    ----------
    value : str or dict
        As CASA writes quantities and measures.
    unit : str
        What to convert it to.

    Returns
    -------
    float or None
        None where CASA cannot read the value or it is of another kind.
    """
    if isinstance(value, dict):
        value = value.get("m0", value)
    if not value or not isinstance(value, (str, dict)):
        return None
    tool = quanta()
    try:
        read = tool.quantity(value)
        return float(tool.convert(read, unit)["value"]) if tool.compare(read, unit) else None
    except RuntimeError:
        return None
    finally:
        tool.done()


def _check_frequencies(p: dict) -> None:
    if p["reffreq"] != "" and not _positive(p["reffreq"], FREQUENCY):
        raise ValueError(
            f"reffreq must be a frequency above 0 such as '230GHz', or '', got {p['reffreq']!r}"
        )
    given = p["restfreq"] if isinstance(p["restfreq"], list) else [p["restfreq"]]
    if not all(one == "" or _positive(one, FREQUENCY) for one in given):
        raise ValueError(
            "restfreq must be a frequency above 0 such as '230.538GHz', or a list of them, "
            f"got {p['restfreq']!r}"
        )


def _check_channels(start: Any, width: Any) -> None:
    if not (start == "" or (_whole(start) and start >= 0) or _spectral(start) is not None):
        raise ValueError(
            "start must be a channel number, a frequency such as '230.1GHz' or a velocity such "
            f"as '-5km/s', got {start!r}"
        )
    if not (width == "" or _whole(width) or _spectral(width)):
        raise ValueError(
            "width must be a number of channels, a frequency such as '0.1MHz' or a velocity such "
            f"as '10km/s', got {width!r}"
        )


def _check_taper(taper: list[str]) -> None:
    sizes, angles = taper[:2], taper[2:]
    if not any(taper):
        return
    if len(angles) > 1 or not all(map(_taper_size, sizes)) or not all(map(_angle, angles)):
        raise ValueError(
            "uvtaper must be one or two sizes such as '5klambda' or '10arcsec', and a position "
            f"angle such as '30deg', got {taper!r}"
        )


def _taper_size(text: str) -> bool:
    """Whether this is a uv distance, in wavelengths where it has no unit, or an angle."""
    tool = quanta()
    try:
        read = tool.quantity(text)
        known = "lambda" in read["unit"] or tool.compare(read, ANGLE) or not read["unit"]
        return bool(text and known and read["value"] >= 0)
    except RuntimeError:
        return False
    finally:
        tool.done()


def _check_beam(beam: str | list[str]) -> None:
    given = beam if isinstance(beam, list) else [beam]
    if not any(given) or given == ["common"]:
        return
    axes = [quantity(one, ANGLE) or 0.0 for one in given[:2]]
    right = min(axes) > 0 and axes[0] >= axes[-1]
    if len(given) > 3 or not right or not all(map(_angle, given[2:])):
        raise ValueError(
            "restoringbeam must be 'common', or a beam's major axis, minor axis and position "
            f"angle such as ['2arcsec', '1arcsec', '30deg'], got {beam!r}"
        )


def _check_direction(name: str, value: int | str, nfield: int) -> None:
    # CASA takes -1 for the first field
    if isinstance(value, int):
        known = -1 <= value < nfield
    else:
        known = value == "" or _direction(value)
    if not known:
        raise ValueError(
            f"{name} must be a field id below {nfield}, a direction such as "
            f"'J2000 10h00m28.6s -30d12m22s', a body of the solar system or an ephemeris table, "
            f"got {value!r}"
        )


def _direction(text: str) -> bool:
    """Whether CASA reads a direction, or a body that moves, from a text."""
    words = text.split()
    tool = measures()
    try:
        codes = tool.listcodes(tool.direction())
        if len(words) < 3:
            moving = (*codes["extra"], "TRACKFIELD")
            return os.path.exists(text) or text.upper() in moving
        # as CASA, which takes the start of a name for the name
        frame = any(code.startswith(words[0].upper()) for kind in codes.values() for code in kind)
        return frame and bool(tool.direction(*words[:3]))
    except RuntimeError:
        return False
    finally:
        tool.done()


def _positive(value: Any, unit: str) -> bool:
    number = quantity(value, unit)
    return number is not None and 0 < number < math.inf


def _spectral(value: Any) -> float | None:
    """A frequency or a velocity, each in its own unit; None where it is neither."""
    found = quantity(value, FREQUENCY)
    return quantity(value, VELOCITY) if found is None else found


def _angle(text: str) -> bool:
    return quantity(text, ANGLE) is not None


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
