"""Coordinates of CASA images: celestial coordinates for astropy, cell and frequency."""

from __future__ import annotations

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from casatools import measures

#: FITS names of CASA's celestial reference systems: axes, RADESYS, equinox.
SYSTEMS = {
    "J2000": ("RA---", "DEC--", "FK5", 2000.0),
    "B1950": ("RA---", "DEC--", "FK4", 1950.0),
    "B1950_VLA": ("RA---", "DEC--", "FK4", 1950.0),
    "ICRS": ("RA---", "DEC--", "ICRS", None),
    "GALACTIC": ("GLON-", "GLAT-", None, None),
    "SUPERGAL": ("SLON-", "SLAT-", None, None),
    "ECLIPTIC": ("ELON-", "ELAT-", None, None),
}
#: Projections that are the same all around the reference point.
ZENITHAL = ("SIN", "TAN", "ARC", "STG", "ZEA", "NCP")
ARCSEC_PER_RAD = np.degrees(1) * 3600


def direction(record: dict) -> dict:
    """The celestial coordinate in the record of a coordinate system."""
    for key, value in record.items():
        if key.startswith("direction"):
            return value
    raise ValueError("the image must have celestial coordinates (right ascension, declination)")


def square_cell(record: dict) -> float:
    """Side of the square pixels [arcsec] of a coordinate system's record.

    Raises
    ------
    ValueError
        If the pixels are not square, or the axes are not those of every image of
        tclean: right ascension increasing to the left, declination upwards.
    """
    celestial = direction(record)
    scale = [_radian(unit) for unit in celestial["units"]]
    x, y = np.asarray(celestial["cdelt"]) * scale * ARCSEC_PER_RAD
    if not np.isclose(abs(x), abs(y), rtol=1e-4):
        raise ValueError(f"cell must be square, got {abs(x):.6g} by {abs(y):.6g} arcsec")
    if x > 0 or y < 0 or not np.allclose(celestial["pc"], np.eye(2), atol=1e-3):
        raise ValueError(
            "the image's right ascension must increase to the left and its declination upwards, "
            f"got increments {x:.6g}, {y:.6g} arcsec and rotation {np.ravel(celestial['pc'])}"
        )
    return float(y)


def frequency(record: dict, channel: int = 0) -> float | None:
    """Frequency of a channel [Hz] in a coordinate system's record; None without one."""
    for key, value in record.items():
        if key.startswith("spectral") and "wcs" in value:
            axis = value["wcs"]
            return float(axis["crval"] + (channel - axis["crpix"]) * axis["cdelt"] * axis["pc"])
        if key.startswith("spectral"):
            table = value.get("tabular")
            if table is None:
                return float(value["restfreq"])
            return float(np.interp(channel, table["pixelvalues"], table["worldvalues"]))
    return None


def celestial_wcs(record: dict) -> WCS:
    """Two-dimensional astropy WCS of a coordinate system's record; agrees with CASA's own.

    Raises
    ------
    ValueError
        If the reference system has no FITS name (a planet's, an azimuth).
    """
    celestial = direction(record)
    if celestial["system"] not in SYSTEMS:
        raise ValueError(
            f"the image's reference system must be one of {', '.join(SYSTEMS)}, "
            f"got {celestial['system']}"
        )
    x, y, radesys, equinox = SYSTEMS[celestial["system"]]
    scale = np.degrees([_radian(unit) for unit in celestial["units"]])
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = [x + "-"[: 8 - len(x) - 3] + celestial["projection"] for x in (x, y)]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.crpix = np.asarray(celestial["crpix"]) + 1
    wcs.wcs.crval = np.asarray(celestial["crval"]) * scale
    wcs.wcs.cdelt = np.asarray(celestial["cdelt"]) * scale
    # The tool hands the matrix over transposed.
    wcs.wcs.pc = np.transpose(celestial["pc"])
    wcs.wcs.lonpole, wcs.wcs.latpole = celestial["longpole"], celestial["latpole"]
    parameters = np.atleast_1d(celestial.get("projection_parameters", []))
    wcs.wcs.set_pv([(2, m, value) for m, value in enumerate(parameters, 1) if value])
    if radesys:
        wcs.wcs.radesys = radesys
    if equinox:
        wcs.wcs.equinox = equinox
    wcs.wcs.set()
    return wcs


def equatorial_wcs(record: dict) -> WCS:
    """WCS of a coordinate system's record in J2000 or ICRS, by CASA's own conversion.

    What is in neither is turned about its reference point, as the conversion is a rotation
    of the sphere.

    Raises
    ------
    ValueError
        If it is in neither, and in a projection that is not the same all around the point.
    """
    celestial = direction(record)
    wcs = celestial_wcs(record)
    if celestial["system"] in ("J2000", "ICRS"):
        return wcs
    if celestial["projection"] not in ZENITHAL:
        raise ValueError(
            f"an image in {celestial['system']} must be in one of the projections "
            f"{', '.join(ZENITHAL)}, got {celestial['projection']}: regrid it to J2000"
        )
    longitude, latitude = np.radians(wcs.wcs.crval)
    # Towards the other pole where a step would lead over this one.
    step = 1e-4 if latitude < np.pi / 2 - 2e-4 else -1e-4
    here, there = (
        _j2000(celestial["system"], longitude, angle, record["obsdate"])
        for angle in (latitude, latitude + step)
    )
    angle = here.position_angle(there).rad + (0 if step > 0 else np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turned = wcs.deepcopy()
    turned.wcs.ctype = [a + wcs.wcs.ctype[0][5:] for a in ("RA---", "DEC--")]
    turned.wcs.crval = [here.ra.deg, here.dec.deg]
    turned.wcs.pc = turn @ wcs.wcs.get_pc()
    turned.wcs.radesys, turned.wcs.equinox = "FK5", 2000.0
    turned.wcs.set()
    return turned


def _j2000(system: str, longitude: float, latitude: float, date: dict) -> SkyCoord:
    """A direction in J2000, of the time of the observation: B1950 turns against it."""
    tool = measures()
    if date["refer"] == "LAST":  # CASA's way of saying that it is not known
        date = tool.epoch("UTC", "1950/01/01" if system.startswith("B1950") else "2000/01/01")
    try:
        tool.doframe(date)
        given = tool.direction(system, f"{longitude:.17g}rad", f"{latitude:.17g}rad")
        found = tool.measure(given, "J2000")
    finally:
        tool.done()
    return SkyCoord(found["m0"]["value"], found["m1"]["value"], unit="rad", frame="fk5")


def _radian(unit: str) -> float:
    """An angular unit in radians."""
    units = {"rad": 1.0, "deg": np.radians(1), "'": np.radians(1 / 60), '"': 1 / ARCSEC_PER_RAD}
    return units[unit]
