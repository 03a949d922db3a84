"""Any list of sources, in one set of columns: catalogues, component lists, plain tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import QTable, Table

from casa_ddpm import measures

#: Columns and their units, where the table names none. ra, dec and flux are needed.
COLUMNS = {
    "ra": u.deg, "dec": u.deg, "flux": u.Jy, "flux_err": u.Jy, "flux_lo": u.Jy, "flux_hi": u.Jy,
    "ra_err": u.arcsec, "dec_err": u.arcsec, "major": u.arcsec, "minor": u.arcsec, "pa": u.deg,
    "prob": u.dimensionless_unscaled, "snr": u.dimensionless_unscaled, "freq": u.Hz,
}  # fmt: skip
NEEDED = ("ra", "dec", "flux")
FLUXES = ("flux", "flux_err", "flux_lo", "flux_hi")


def source_list(columns: dict[str, Any], meta: dict[str, Any] | None = None) -> QTable:
    """A table of `COLUMNS`, NaN where there is none.

    Parameters
    ----------
    columns : dict of array_like
        In the units of `COLUMNS`.
    meta : dict, optional
        Such as NOISE [Jy/beam], BMAJ, BMIN, BPA [deg].
    """
    nothing = np.full(len(columns["ra"]), np.nan)
    return QTable(
        {
            name: np.asarray(columns.get(name, nothing), float) * unit
            for name, unit in COLUMNS.items()
        },
        meta=meta or {},
    )


def read(path: str, apparent: bool = False, parameter: str = "A") -> QTable:
    """Read a list of sources.

    Parameters
    ----------
    path : str
        Catalogue (.cat.ecsv, .cat.fits), CASA component list (.cl) or any table that astropy
        reads with columns ra, dec and flux. Positions are ICRS, unless the table's metadata
        say otherwise as RADESYS.
    apparent : bool
        Fluxes as seen through the primary beam: those of flux_app, where the table has them.
    parameter : str
        What errors call the list.

    Returns
    -------
    QTable
        `COLUMNS`, positions in ICRS.

    Raises
    ------
    ValueError
        If it is no such list, or a place or flux is no number.
    """
    from casa_ddpm.benchmark import truth

    found = components(path, parameter) if is_components(path) else truth.table(parameter, path)
    if missing := [name for name in NEEDED if name not in found.colnames]:
        raise ValueError(
            f"{parameter} must have the columns {list(NEEDED)}, {path!r} has no {missing}"
        )
    columns = {
        name: truth.values(parameter, found, name, unit)
        for name, unit in COLUMNS.items()
        # A frequency without a unit may be anything, such as the name of a band.
        if name in found.colnames and (name != "freq" or found[name].unit is not None)
    }
    for name in NEEDED:
        # A source outside of the primary beam has an apparent flux alone.
        if name != "flux" and not np.isfinite(columns[name]).all():
            raise ValueError(f"{parameter} must have a finite {name!r} in every row of {path!r}")
    if apparent and "flux_app" in found.colnames:
        seen = truth.values(parameter, found, "flux_app", u.Jy)
        with np.errstate(invalid="ignore", divide="ignore"):
            factor = seen / columns["flux"]
        columns |= {name: columns[name] * factor for name in FLUXES[1:] if name in columns}
        columns["flux"] = seen
    # FITS keeps capital letters alone.
    listed = source_list(columns, {str(key).upper(): v for key, v in found.meta.items()})
    return _icrs(listed[np.isfinite(listed["flux"])], parameter)


def is_components(path: str) -> bool:
    """Whether a path is a CASA component list."""
    info = Path(path) / "table.info"
    return info.is_file() and "Component List" in info.read_text(errors="replace")


def components(path: str, parameter: str) -> Table:
    """A CASA component list as a table."""
    if not measures.installed("casatools"):
        raise ValueError(
            f"{parameter} must be a table where casatools is not installed, got {path!r}"
        )
    from casa_ddpm import casa

    return casa.read_components(path)


def channels(listed: QTable) -> np.ndarray:
    """The frequencies that a list has, ascending [Hz]: of a cube several."""
    return np.unique(listed["freq"].value[np.isfinite(listed["freq"])])


def places(listed: QTable) -> SkyCoord:
    """Where the sources are, ICRS."""
    return SkyCoord(listed["ra"], listed["dec"], frame="icrs")


def _icrs(listed: QTable, parameter: str) -> QTable:
    """The same with positions in ICRS."""
    frame = str(listed.meta.get("RADESYS", "ICRS")).lower()
    try:
        sky = SkyCoord(listed["ra"], listed["dec"], frame=frame).icrs
    except ValueError as error:
        message = f"{parameter} must have a RADESYS that astropy knows, got {frame!r}"
        raise ValueError(message) from error
    listed["ra"], listed["dec"] = sky.ra.to(u.deg), sky.dec.to(u.deg)
    return listed
