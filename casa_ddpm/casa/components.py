"""CASA component lists from a catalogue."""

from __future__ import annotations

import os

import numpy as np
from astropy import units as u
from astropy.table import QTable, Row
from casatools import componentlist

from casa_ddpm.casa.quantities import quantity

#: CASA's names of the reference systems that FITS calls RADESYS.
FRAMES = {"ICRS": "ICRS", "FK5": "J2000", "FK4": "B1950", "GALACTIC": "GALACTIC"}


def write_components(path: str, catalogue: QTable, spectral: str = "LSRK") -> None:
    """Write the sources of a catalogue as a CASA component list.

    Parameters
    ----------
    path : str
        New component list (.cl); it must not exist.
    catalogue : QTable
        Columns name, ra, dec [deg], flux [Jy], major, minor [arcsec], pa [deg],
        resolved, freq [Hz], and alpha where spectra are known. A source that is not resolved
        becomes a point, the others a Gaussian. Positions are ICRS unless
        ``catalogue.meta["RADESYS"]`` says FK5 (J2000), FK4 (B1950) or GALACTIC.
    spectral : str
        CASA's name of the reference frame of freq.

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
            tool.addcomponent(**component(source, frame, spectral))
        tool.rename(path)
    finally:
        tool.done()


def read_components(path: str) -> QTable:
    """The components of a list.

    Returns
    -------
    QTable
        ra, dec [deg] in the frame that the metadata name as RADESYS, flux [Jy], the true FWHM
        major, minor [arcsec] and pa [deg], 0 for points.

    Raises
    ------
    ValueError
        If components are in several frames, or in one that FITS does not know.
    """
    tool = componentlist()
    try:
        tool.open(path, nomodify=True)
        found = [tool.getcomponent(k) for k in range(tool.length())]
    finally:
        tool.done()
    names = {casa: fits for fits, casa in FRAMES.items()}
    systems = {one["shape"]["direction"]["refer"] for one in found} or {"ICRS"}
    if len(systems) > 1 or not systems <= set(names):
        raise ValueError(f"{path} must be in one frame of {list(names)}, got {sorted(systems)}")
    rows = [_row(one) for one in found]
    units = {"ra": "deg", "dec": "deg", "flux": "Jy", "major": "arcsec", "minor": "arcsec"}
    units["pa"] = "deg"
    columns = {name: [row[name] for row in rows] * u.Unit(unit) for name, unit in units.items()}
    return QTable(columns, meta={"RADESYS": names[systems.pop()]})


def _row(one: dict) -> dict[str, float]:
    """Place, flux and shape of one component."""
    shape, direction = one["shape"], one["shape"]["direction"]
    flux = {"value": float(np.real(one["flux"]["value"][0])), "unit": one["flux"]["unit"]}
    row = {"flux": _number(flux, "Jy")}
    row["ra"] = _number(direction["m0"], "deg") % 360
    row["dec"] = _number(direction["m1"], "deg")
    axes = {"major": ("majoraxis", "arcsec"), "minor": ("minoraxis", "arcsec")}
    for name, (key, unit) in (axes | {"pa": ("positionangle", "deg")}).items():
        row[name] = _number(shape[key], unit) if key in shape else 0.0
    return row


def _number(value: dict, unit: str) -> float:
    """A quantity of a component list, in a unit that it can be in."""
    number = quantity(value, unit)
    if number is None:
        raise ValueError(f"component must have a quantity [{unit}], got {value}")
    return number


def component(source: Row, frame: str = "ICRS", spectral: str = "LSRK") -> dict:
    """The arguments of componentlist.addcomponent for a row of the catalogue.

    Parameters
    ----------
    source : Row
        Of the catalogue that `write_components` takes.
    frame, spectral : str
        CASA's names of the reference frames of ra and dec, and of freq.
    """
    arguments: dict[str, object] = {
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
        arguments["freq"] = f"{spectral} {source['freq'].to_value('Hz'):.6f}Hz"
    if "alpha" in source.colnames and np.isfinite(source["alpha"]):
        arguments |= {"spectrumtype": "spectral index", "index": float(source["alpha"])}
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
