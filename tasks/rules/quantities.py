"""Numbers with a unit: angles and fluxes."""

from __future__ import annotations

import re
from typing import Any

from .values import Values, as_list

_QUANTITY = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(\S*)\s*")
_PREFIX = "[yzafpnumcdhkMGTPEZY]?"
_ANGLE = re.compile(rf"""{_PREFIX}(arcsec|as|rad)|arcmin|deg|["']|""")
_FLUX = re.compile(rf"{_PREFIX}Jy(/beam)?|")
_NOISE = re.compile(rf"{_PREFIX}Jy")


def cell_positive(values: Values) -> None:
    """Have one or two positive angles; as in tclean there is no default."""
    cells = [c for c in as_list(values["cell"]) if c != ""]
    if not cells and not values["dirtyimage"]:
        raise ValueError(
            f"cell must be given with vis, such as cell='0.1arcsec', got {values['cell']!r}"
        )
    if len(cells) > 2 or any(not _positive_angle(cell) for cell in cells):
        raise ValueError(
            "cell must be one or two positive angles such as '0.1arcsec', or numbers in arcsec,"
            f" got {values['cell']!r}"
        )


def threshold_is_flux(values: Values) -> None:
    """Have a flux density that is not negative."""
    threshold = values["threshold"]
    if threshold == "":
        return
    flux = _flux(threshold)
    if flux is None or flux < 0:
        raise ValueError(
            "threshold must be a number in Jy/beam or a quantity such as '0.1mJy', not negative,"
            f" got {threshold!r}"
        )


def thermalnoise_is_flux(values: Values) -> None:
    """Have a flux density above 0, or none."""
    thermal = values["thermalnoise"]
    if thermal == "":
        return
    flux = _flux(thermal)
    if flux is None or flux <= 0:
        raise ValueError(
            "thermalnoise must be a number in Jy/beam or a quantity such as '0.1mJy', above 0, or"
            f" '', got {thermal!r}"
        )


def noise_is_flux(values: Values) -> None:
    """Have a noise above 0 for the weighting that takes it."""
    number, unit = _quantity(values["noise"])
    right = number is not None and number > 0 and _NOISE.fullmatch(unit)
    if values["weighting"] == "briggsabs" and not right and not values["dirtyimage"]:
        raise ValueError(
            "noise must be a flux density above 0 such as '1.0mJy' with weighting='briggsabs',"
            f" got {values['noise']!r}"
        )


def _quantity(value: Any) -> tuple[float | None, str]:
    """Number and unit of '0.1arcsec' or 0.1; no number where it cannot be read."""
    match = _QUANTITY.fullmatch(str(value)) if not isinstance(value, bool) else None
    return (float(match[1]), match[2]) if match else (None, "")


def _flux(value: Any) -> float | None:
    """Number of a flux density in whatever unit of one, None where it is none."""
    number, unit = _quantity(value)
    return number if _FLUX.fullmatch(unit) else None


def _positive_angle(value: Any) -> bool:
    number, unit = _quantity(value)
    # CASA takes a number for arcsec, and text without a unit for nothing at all
    known = _ANGLE.fullmatch(unit) and (unit or not isinstance(value, str))
    return number is not None and number > 0 and bool(known)
