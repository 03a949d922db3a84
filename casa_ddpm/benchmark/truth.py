"""A user's table of what is in the sky."""

from __future__ import annotations

import numpy as np
from astropy import units as u
from astropy.io.registry import IORegistryError
from astropy.table import Table

#: Columns of the truth and their units, where the table names none; sizes may be absent.
NEEDED = {"ra": u.deg, "dec": u.deg, "flux": u.Jy}
SIZES = {"major": u.arcsec, "minor": u.arcsec, "pa": u.deg}


def read(path: str) -> dict[str, np.ndarray]:
    """Read the true sources.

    Parameters
    ----------
    path : str
        Table that astropy reads (ECSV, FITS, CSV, ...): ra, dec [deg], flux [Jy], integrated;
        optional major, minor [arcsec], the true FWHM, and pa [deg], east of north. Columns
        with a unit are converted.

    Returns
    -------
    dict of ndarray
        The columns in the units of NEEDED and SIZES; sizes are 0 where there are none.

    Raises
    ------
    ValueError
        If there is no such table, or a column or value is missing or wrong.
    """
    found = table("truth", path)
    if missing := [name for name in NEEDED if name not in found.colnames]:
        raise ValueError(f"truth must have the columns {list(NEEDED)}, {path!r} has no {missing}")
    columns = {name: values("truth", found, name, unit) for name, unit in NEEDED.items()}
    for name, unit in SIZES.items():
        stand_in = columns["major"] if name == "minor" else np.zeros(len(found))
        given = values("truth", found, name, unit) if name in found.colnames else stand_in
        columns[name] = np.where(np.isnan(given), stand_in, given)
    _check(columns)
    return columns


def table(parameter: str, path: str) -> Table:
    """A table, whatever its format; `parameter` is what errors call it."""
    try:
        return Table.read(path)
    except FileNotFoundError as error:
        raise ValueError(f"{parameter} must be an existing file, got {path!r}") from error
    except (IORegistryError, OSError, ValueError) as error:
        raise ValueError(f"{parameter} must be a table that astropy reads, got {path!r}") from error


def values(parameter: str, table: Table, name: str, unit: u.Unit) -> np.ndarray:
    """A column in a unit, NaN where it is masked."""
    column = table[name]
    try:
        numbers = np.ma.filled(np.ma.asarray(column).astype(float), np.nan)
        return u.Quantity(numbers, column.unit or unit).to_value(unit)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{parameter} must have numbers [{unit}] as {name!r}: {error}") from error


def _check(columns: dict[str, np.ndarray]) -> None:
    """Refuse what is no source."""
    for name in NEEDED:
        if not np.isfinite(columns[name]).all():
            raise ValueError(f"truth must have a finite {name!r} in every row")
    if (columns["flux"] <= 0).any():
        raise ValueError(f"truth must have positive fluxes, got {columns['flux'].min():g} Jy")
    major, minor = columns["major"], columns["minor"]
    if not ((minor >= 0) & (minor <= major) & np.isfinite(major)).all():
        raise ValueError("truth must have sizes with 0 <= minor <= major")
