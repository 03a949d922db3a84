"""Choices that tclean's XML leaves open."""

from __future__ import annotations

import re

from .values import Values

#: What images may be normalised to; tclean's XML does not say, nor for the next three.
NORMTYPES = ("flatnoise", "flatsky", "pbsquare")
FRAMES = ("LSRK", "LSRD", "BARY", "GEO", "TOPO", "GALACTO", "LGROUP", "CMB", "REST", "SOURCE")
VELOCITIES = ("radio", "optical", "z", "ratio", "beta", "gamma", "relativistic", "true", "")
DATACOLUMNS = ("corrected", "data", "observed")

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


def device_known(values: Values) -> None:
    """Know the kind of device."""
    if not _DEVICE.fullmatch(values["device"]):
        raise ValueError(
            f"device must be 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps', got {values['device']!r}"
        )


def normtype_known(values: Values) -> None:
    """Know the normalisation; CASA crashes on one that it does not know."""
    if values["normtype"] not in NORMTYPES:
        raise ValueError(
            f"normtype must be one of {', '.join(map(repr, NORMTYPES))}, got {values['normtype']!r}"
        )


def spectral_axis_known(values: Values) -> None:
    """Know the frame and the kind of velocity; CASA takes another kind for 'radio'."""
    if values["dirtyimage"]:
        return
    frame, kind = values["outframe"], values["veltype"]
    if frame and frame.upper() not in FRAMES:
        raise ValueError(f"outframe must be '' or one of {', '.join(FRAMES)}, got {frame!r}")
    if kind.lower() not in VELOCITIES:
        raise ValueError(f"veltype must be one of {', '.join(map(repr, VELOCITIES))}, got {kind!r}")


def datacolumn_known(values: Values) -> None:
    """Know the column of the data."""
    if not values["dirtyimage"] and values["datacolumn"].lower() not in DATACOLUMNS:
        raise ValueError(
            f"datacolumn must be one of {', '.join(map(repr, DATACOLUMNS))},"
            f" got {values['datacolumn']!r}"
        )


def bandwidth_taper_of_channels(values: Values) -> None:
    """Have the channels that a bandwidth taper is for, and no npixels, as tclean does."""
    if values["weighting"] != "briggsbwtaper" or values["dirtyimage"]:
        return
    if values["specmode"] in ("mfs", "cont"):
        raise ValueError(
            "weighting must not be 'briggsbwtaper' with specmode='mfs': use 'briggs', or"
            " specmode='cube'"
        )
    if values["npixels"] != 0:
        raise ValueError(
            f"npixels must be 0 with weighting='briggsbwtaper', got {values['npixels']}"
        )
