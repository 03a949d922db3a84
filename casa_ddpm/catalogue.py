"""The catalogue: sources in sky coordinates, corrected for the primary beam, and its files.

The column `flags` adds up

====  =====================================================================
 bit  meaning
====  =====================================================================
   1  within one beam of the image's edge: part of the source may be missing
   2  primary beam below 0.2: the correction is large and uncertain
   4  blended: another source adds 5 % or more to what fits this one best
   8  held by fewer than 6 realisations: errors are the theoretical minimum
  16  outside the primary beam: no corrected flux (NaN)
====  =====================================================================
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import QTable, vstack
from astropy.wcs.utils import pixel_to_skycoord
from regions import EllipseSkyRegion, RegionMeta, Regions, RegionVisual

from casa_ddpm import primary_beam
from casa_ddpm.dirty import Beam, DirtyImage
from casa_ddpm.sources import FEW

EDGE, LOW_PB, BLENDED, FEW_REALISATIONS, NO_PB = 1, 2, 4, 8, 16
#: Primary beam below which a flux is flagged.
LOWEST_PB = 0.2

#: Of which there are columns where there are Taylor terms of the spectrum.
SPECTRAL = ("alpha", "alpha_err", "alpha_app")
#: Name: (unit, description), in the order of the table.
COLUMNS = {
    "name": (None, "IAU-style name"),
    "ra": (u.deg, "Right ascension"),
    "dec": (u.deg, "Declination"),
    "ra_err": (u.arcsec, "Standard error of the right ascension, on the sky"),
    "dec_err": (u.arcsec, "Standard error of the declination"),
    "flux": (u.Jy, "Flux density, corrected for the primary beam"),
    "flux_err": (u.Jy, "Half the 68 % interval of flux"),
    "flux_lo": (u.Jy, "Lower end of the 68 % interval of flux"),
    "flux_hi": (u.Jy, "Upper end of the 68 % interval of flux"),
    "flux_app": (u.Jy, "Apparent flux density"),
    "alpha": (None, "Spectral index, d log flux / d log freq"),
    "alpha_err": (None, "Standard error of alpha and alpha_app"),
    "alpha_app": (None, "Apparent spectral index, d log flux_app / d log freq"),
    "peak": (u.Jy / u.beam, "Peak at the clean beam's resolution, corrected"),
    "rms": (u.Jy / u.beam, "Noise of the image, corrected for the primary beam"),
    "snr": (None, "peak / rms"),
    "prob": (None, "Probability that there is the source, calibrated on held-out fields"),
    "major": (u.arcsec, "Major axis, deconvolved FWHM"),
    "minor": (u.arcsec, "Minor axis, deconvolved FWHM"),
    "pa": (u.deg, "Position angle of the major axis, east of north"),
    "major_err": (u.arcsec, "Half the 68 % interval of major"),
    "minor_err": (u.arcsec, "Half the 68 % interval of minor"),
    "pa_err": (u.deg, "Standard deviation of pa"),
    "resolved": (None, "Larger than a point source"),
    "freq": (u.Hz, "Frequency"),
    "x": (u.pix, "0-based pixel along right ascension"),
    "y": (u.pix, "0-based pixel along declination"),
    "flags": (None, "1 edge, 2 pb < 0.2, 4 blended, 8 few realisations, 16 no pb"),
}

Frame = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def build(
    sources: QTable,
    dirty: DirtyImage,
    noise: float,
    frame: Frame | None = None,
    meta: Mapping[str, Any] | None = None,
    narrowing: bool | None = True,
) -> QTable:
    """Make the catalogue of what `find_sources` measured.

    Parameters
    ----------
    sources : QTable
        As `casa_ddpm.sources.find_sources` returns it.
    dirty : DirtyImage
        The image; its primary beam, frequency and WCS are used where present.
    noise : float
        Of what is left of the data [Jy/beam].
    frame : callable, optional
        Takes x and y in the sources' pixels to those of `dirty`. Default: the same.
    meta : mapping, optional
        Numbers and strings to keep with the table, as network or seed.
    narrowing : bool or None
        Whether the primary beam narrows with frequency as that of one pointing does; None where
        that is not known, and so alpha is not.

    Returns
    -------
    QTable
        The columns of `COLUMNS`, in the order of `sources`, but for those of `SPECTRAL` where
        `sources` has none. Without a WCS, ra and dec
        are NaN and the name is made of the pixel; without a frequency, freq is NaN.
        The metadata hold the noise and, where it is known, the thermal noise [Jy/beam],
        the beam (BMAJ, BMIN, BPA [deg]), the cell [arcsec] and the coordinate system
        (RADESYS: 'ICRS' or 'FK5').

    Raises
    ------
    ValueError
        If `noise` is not positive.
    """
    if not noise > 0:
        raise ValueError(f"noise must be positive [Jy/beam], got {noise}")
    x, y = (np.asarray(sources[axis].value, float) for axis in ("x", "y"))
    if frame is not None:
        x, y = (np.asarray(axis, float) for axis in frame(x, y))
    pb = primary_beam.level(dirty, x, y)
    sky = _sky(dirty, x, y)
    columns: dict[str, Any] = {name: sources[name] for name in sources.colnames if name in COLUMNS}
    for name in ("flux", "flux_err", "flux_lo", "flux_hi", "peak"):
        columns[name] = sources[name] / pb
    columns |= {
        "name": _names(sky, x, y),
        "ra": (np.full(x.shape, np.nan) if sky is None else sky.ra.deg) * u.deg,
        "dec": (np.full(x.shape, np.nan) if sky is None else sky.dec.deg) * u.deg,
        "flux_app": sources["flux"],
        "rms": noise / pb * COLUMNS["rms"][0],
        "freq": np.full(x.shape, np.nan if dirty.freq is None else dirty.freq) * u.Hz,
        "x": x * u.pix,
        "y": y * u.pix,
        "flags": _flags(sources, dirty, x, y, pb),
    }
    if "alpha" in sources.colnames:
        columns |= _spectra(sources, narrowing, primary_beam.spectral_index(dirty, x, y))
    if dirty.wcs is not None:
        columns |= _upright(sources, north(dirty.wcs, x, y))
    return _table(columns, {**_header(dirty, noise, sky), **(meta or {})})


def join(channels: Mapping[int, QTable]) -> QTable:
    """One catalogue of a cube's channels.

    Parameters
    ----------
    channels : mapping
        Channel number to its catalogue, as `build` returns it.

    Returns
    -------
    QTable
        All rows; the name ends with the channel, freq is the channel's. The
        metadata are the first channel's, but noise is the median of all.

    Raises
    ------
    ValueError
        If there is no channel.
    """
    if not channels:
        raise ValueError("channels must hold a catalogue, got none")
    tables = []
    for number, table in channels.items():
        table = table.copy()
        table["name"] = np.array([f"{name} ch{number}" for name in table["name"]], dtype=str)
        tables.append(table)
    joined = vstack(tables, metadata_conflicts="silent")
    joined.meta = dict(tables[0].meta)
    joined.meta["noise"] = float(np.median([table.meta["noise"] for table in tables]))
    return joined


def write(
    catalogue: QTable, imagename: str | Path, overwrite: bool = False, minprob: float = 0.0
) -> list[str]:
    """Write the catalogue as tables and as regions.

    Parameters
    ----------
    catalogue : QTable
        As `build` returns it.
    imagename : str or path
        Start of the files' names: .cat.ecsv, .cat.fits, and where there is a WCS .crtf
        (CASA, CARTA) and .reg (DS9, CARTA). The regions are ellipses: the deconvolved
        FWHM of a resolved source, no axis below the beam's minor one; the beam of a
        point source.
    overwrite : bool
        Replace files that exist.
    minprob : float
        Regions of sources of a lower `prob` are dashed.

    Returns
    -------
    list of str
        Paths of the files.

    Raises
    ------
    FileExistsError
        If a file exists and `overwrite` is false; nothing is written then.
    """
    names = ["cat.ecsv", "cat.fits"]
    if "RADESYS" in catalogue.meta:
        names += ["crtf", "reg"]
    paths = {name: Path(f"{imagename}.{name}") for name in names}
    for path in paths.values():
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} exists; overwrite=True replaces it")
    catalogue.write(paths["cat.ecsv"], format="ascii.ecsv", overwrite=True)
    _fits(catalogue).write(paths["cat.fits"], format="fits", overwrite=True)
    if "crtf" in paths:
        # The packages' default of six decimals of a degree is 4 mas.
        system = catalogue.meta["RADESYS"].lower()
        _regions(catalogue, "label", minprob).write(
            paths["crtf"], format="crtf", coordsys=system, fmt=".12f", radunit="deg", overwrite=True
        )
        _regions(catalogue, "text", minprob).write(
            paths["reg"], format="ds9", precision=12, overwrite=True
        )
    return [str(path) for path in paths.values()]


def _spectra(sources: QTable, narrowing: bool | None, beam: np.ndarray) -> dict[str, Any]:
    """Spectral indices, given that of the primary beam of one pointing, shape (n,)."""
    apparent = np.asarray(sources["alpha"], float)
    own = {True: apparent - beam, False: apparent, None: np.full(len(apparent), np.nan)}
    return {"alpha": own[narrowing], "alpha_app": apparent}


def _sky(dirty: DirtyImage, x: np.ndarray, y: np.ndarray) -> SkyCoord | None:
    """Positions in the image's own equatorial system, ICRS where it is another one."""
    if dirty.wcs is None:
        return None
    sky = pixel_to_skycoord(x, y, dirty.wcs, origin=0)
    if sky.frame.name == "fk5" and sky.equinox.jyear == 2000:
        return sky
    return sky.icrs


def north(wcs, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Angle from +y towards -x at which north lies, at pixels (x, y) [rad]."""
    longitude, latitude = wcs.wcs_pix2world(x, y, 0)
    # Towards the other pole where a step would lead over this one.
    step = np.where(latitude < 89.99, 1e-3, -1e-3)
    there_x, there_y = wcs.wcs_world2pix(longitude, latitude + step, 0)
    return np.arctan2(-(there_x - x) * step, (there_y - y) * step)


def _from_north(pa: float, wcs) -> float:
    """A position angle from the image's own north, from that at the reference pixel [deg]."""
    tilt = 0.0 if wcs is None else round(float(np.degrees(north(wcs, *(wcs.wcs.crpix - 1)))), 6)
    return (pa - tilt + 90) % 180 - 90 if tilt else pa


def _upright(sources: QTable, angle: np.ndarray) -> dict[str, u.Quantity]:
    """Position angles, and errors along the axes, where north is at an angle from +y [rad]."""
    across, along = (np.square(sources[name]) for name in ("ra_err", "dec_err"))
    c, s = np.cos(angle) ** 2, np.sin(angle) ** 2
    return {
        "pa": (sources["pa"] - angle * u.rad).to(u.deg) % (180 * u.deg),
        "ra_err": np.sqrt(c * across + s * along),
        "dec_err": np.sqrt(s * across + c * along),
    }


def _names(sky: SkyCoord | None, x: np.ndarray, y: np.ndarray) -> list[str]:
    """IAU-style names: truncated coordinates; letters tell equal ones apart."""
    if sky is None:
        return [f"DDPM x{a:.2f}y{b:.2f}" for a, b in zip(x, y, strict=True)]
    # A little more, so that 34.2 stored as 34.1999999999 is not cut to 34.1.
    seconds = np.floor(sky.ra.deg % 360 * 240 * 100 + 1e-5).astype(int)
    arcsec = np.floor(np.abs(sky.dec.deg) * 3600 * 10 + 1e-5).astype(int)
    sign = np.where(sky.dec.deg < 0, "-", "+")
    names = [
        f"DDPM J{s // 360000:02d}{s // 6000 % 60:02d}{s % 6000 / 100:05.2f}"
        f"{d}{a // 36000:02d}{a // 600 % 60:02d}{a % 600 / 10:04.1f}"
        for s, d, a in zip(seconds, sign, arcsec, strict=True)
    ]
    total, seen = Counter(names), Counter[str]()
    for k, name in enumerate(names):
        if total[name] > 1:
            names[k] = name + _letters(seen[name])
            seen[name] += 1
    return names


def _letters(number: int) -> str:
    """0, 1, ... as a ... z, aa, ab, ..."""
    letters = ""
    while number >= 0:
        letters = chr(ord("a") + number % 26) + letters
        number = number // 26 - 1
    return letters


def _flags(
    sources: QTable, dirty: DirtyImage, x: np.ndarray, y: np.ndarray, pb: np.ndarray
) -> np.ndarray:
    """The bit mask of the module's docstring, shape (K,), int32."""
    ny, nx = dirty.data.shape
    beam = dirty.beam.fwhm / dirty.cell
    inside = (x >= beam) & (y >= beam) & (x <= nx - 1 - beam) & (y <= ny - 1 - beam)
    bits = {
        EDGE: ~inside,
        LOW_PB: pb < LOWEST_PB,
        BLENDED: sources["blended"],
        FEW_REALISATIONS: sources["count"] < FEW,
        NO_PB: np.isnan(pb),
    }
    return np.sum([bit * np.asarray(is_set, bool) for bit, is_set in bits.items()], axis=0).astype(
        np.int32
    )


def _header(dirty: DirtyImage, noise: float, sky: SkyCoord | None) -> dict[str, Any]:
    """Metadata under names that are FITS keywords."""
    beam = dirty.beam
    header = {
        "noise": float(noise),
        "cell": float(dirty.cell),
        "BMAJ": beam.major / 3600,
        "BMIN": beam.minor / 3600,
        "BPA": _from_north(float(beam.pa), dirty.wcs),
    }
    if dirty.thermal is not None:
        header["thermal"] = float(dirty.thermal)
    if sky is not None:
        header["RADESYS"] = sky.frame.name.upper()
    return header


def _table(columns: dict[str, Any], meta: dict[str, Any]) -> QTable:
    """The columns in order, with units and descriptions."""
    absent = set(SPECTRAL) - set(columns)
    there = {name: about for name, about in COLUMNS.items() if name not in absent}
    table = QTable({name: columns[name] for name in there}, meta=meta)
    table["name"] = table["name"].astype(str)
    for name, (unit, description) in there.items():
        if unit is not None:
            table[name] = table[name].to(unit)
        table[name].info.description = description
    return table


def _fits(catalogue: QTable) -> QTable:
    """A copy whose metadata fit into FITS keywords; longer names become comments."""
    table = catalogue.copy()
    long = [key for key in table.meta if len(key) > 8 or not isinstance(key, str)]
    comments = [f"{key} = {table.meta.pop(key)}" for key in long]
    if comments:
        table.meta["comments"] = comments
    return table


def _regions(catalogue: QTable, key: str, minprob: float) -> Regions:
    """An ellipse for every source, named under `key` of its metadata; dashed where improbable."""
    system = catalogue.meta["RADESYS"].lower()
    major, minor, pa = (float(catalogue.meta[name]) for name in ("BMAJ", "BMIN", "BPA"))
    beam = Beam(3600 * major, 3600 * minor, pa)
    ellipses = []
    for row in catalogue:
        major, minor, pa = beam.major, beam.minor, beam.pa
        if row["resolved"]:
            major, minor = (max(row[name].value, beam.minor) for name in ("major", "minor"))
            pa = row["pa"].value
        ellipses.append(
            EllipseSkyRegion(
                SkyCoord(row["ra"], row["dec"], frame=system),
                width=minor * u.arcsec,
                height=major * u.arcsec,
                angle=pa * u.deg,
                meta=RegionMeta({key: str(row["name"])}),
                visual=RegionVisual({"linestyle": "--"} if row["prob"] < minprob else {}),
            )
        )
    return Regions(ellipses)
