"""CASA component lists from a catalogue."""

from __future__ import annotations

import os

import numpy as np
from astropy.table import QTable, Row
from casatools import componentlist

#: CASA's names of the reference systems that FITS calls RADESYS.
FRAMES = {"ICRS": "ICRS", "FK5": "J2000", "FK4": "B1950", "GALACTIC": "GALACTIC"}


def write_components(path: str, catalogue: QTable) -> None:
    """Write the sources of a catalogue as a CASA component list.

    Parameters
    ----------
    path : str
        New component list (.cl); it must not exist.
    catalogue : QTable
        Columns name, ra, dec [deg], flux [Jy], major, minor [arcsec], pa [deg],
        resolved, freq [Hz]. A source that is not resolved becomes a point, the
        others a Gaussian. Positions are ICRS unless ``catalogue.meta["RADESYS"]``
        says FK5 (J2000), FK4 (B1950) or GALACTIC.

    Raises
    ------
    FileExistsError
        If `path` exists.
    """
    if os.path.exists(path):
        raise FileExistsError(f"{path!r} exists and is not overwritten")
    frame = FRAMES[catalogue.meta.get("RADESYS", "ICRS").upper()]
    tool = componentlist()
    try:
        for source in catalogue:
            tool.addcomponent(**component(source, frame))
        tool.rename(path)
    finally:
        tool.done()


def component(source: Row, frame: str = "ICRS") -> dict:
    """The arguments of componentlist.addcomponent for a row of the catalogue.

    Parameters
    ----------
    source : Row
        Of the catalogue that `write_components` takes.
    frame : str
        CASA's name of the reference frame of ra and dec.
    """
    arguments = {
        "flux": [float(source["flux"].to_value("Jy")), 0.0, 0.0, 0.0],
        "fluxunit": "Jy",
        "polarization": "Stokes",
        "dir": [
            frame,
            f"{source['ra'].to_value('deg'):.10f}deg",
            f"{source['dec'].to_value('deg'):.10f}deg",
        ],
        "shape": "point",
        "label": str(source["name"]),
    }
    if np.isfinite(source["freq"]):
        arguments["freq"] = f"LSRK {source['freq'].to_value('Hz'):.6f}Hz"
    if source["resolved"]:
        # CASA takes no Gaussian of zero width, which is what a source resolved along one axis has.
        minor = max(source["minor"].to_value("arcsec"), 0.01 * source["major"].to_value("arcsec"))
        arguments |= {
            "shape": "gaussian",
            "majoraxis": f"{source['major'].to_value('arcsec'):.6f}arcsec",
            "minoraxis": f"{minor:.6f}arcsec",
            "positionangle": f"{source['pa'].to_value('deg'):.6f}deg",
        }
    return arguments
