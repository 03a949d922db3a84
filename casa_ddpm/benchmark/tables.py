"""The benchmark's three tables: truth, detections and images, and what their columns mean.

Positions are in pixels of the field's image, 0-based; fluxes in units of the field's noise
(Jy over rms in Jy/beam), apparent, that is not corrected for the primary beam.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from astropy.table import Column, Table, vstack


class Meaning(NamedTuple):
    """What a column holds: its type, a line of text, and whether every row must have a value."""

    kind: type
    text: str
    needed: bool = True


KEYS = {
    "protocol": Meaning(str, "named law of the fields"),
    "field": Meaning(int, "number of the field in its protocol"),
}
TRUTH = KEYS | {
    "x": Meaning(float, "[pixel]"),
    "y": Meaning(float, "[pixel]"),
    "flux": Meaning(float, "[noise] integrated"),
    "snr": Meaning(float, "peak as the beam shows it [noise]"),
    "major": Meaning(float, "[beam] true FWHM, 0 for a point"),
    "minor": Meaning(float, "[beam] true FWHM, 0 for a point"),
    "pa": Meaning(float, "[deg] east of north", needed=False),
    "beam": Meaning(float, "[pixel] geometric mean FWHM of the clean beam"),
    "compact": Meaning(bool, "a point or Gaussian, whose flux and position can be compared"),
}
DETECTIONS = KEYS | {
    "method": Meaning(str, "what found it"),
    "x": Meaning(float, "[pixel]"),
    "y": Meaning(float, "[pixel]"),
    "score": Meaning(float, "what a threshold is laid on; higher is surer"),
    "match": Meaning(int, "row among the truth of its field, one to one; -1: false detection"),
    "flux": Meaning(float, "[noise] integrated", needed=False),
    "flux_err": Meaning(float, "[noise] 1 sigma", needed=False),
    "flux_lo": Meaning(float, "[noise] lower end of the 68 % interval", needed=False),
    "flux_hi": Meaning(float, "[noise] upper end of the 68 % interval", needed=False),
    "x_err": Meaning(float, "[pixel] 1 sigma", needed=False),
    "y_err": Meaning(float, "[pixel] 1 sigma", needed=False),
    "major": Meaning(float, "[beam] deconvolved FWHM", needed=False),
    "minor": Meaning(float, "[beam] deconvolved FWHM", needed=False),
    "pa": Meaning(float, "[deg] east of north", needed=False),
    "prob": Meaning(float, "probability that it is a source", needed=False),
}
IMAGES = KEYS | {
    "method": Meaning(str, "what made the image"),
    "residual_rms": Meaning(float, "[noise]", needed=False),
    "residual_power": Meaning(
        float, "residual's power on scales above 3 beams, over the noise's", needed=False
    ),
    "ser": Meaning(float, "[dB] signal-to-error ratio of the restored model", needed=False),
    "seconds": Meaning(float, "[s] wall clock", needed=False),
}


def empty(columns: dict[str, Meaning]) -> Table:
    """A table of these columns without rows."""
    return Table({name: np.zeros(0, meaning.kind) for name, meaning in columns.items()})


COLUMNS = {"truth": TRUTH, "detections": DETECTIONS, "images": IMAGES}
#: Tables by their names; the benchmark's own are those of COLUMNS.
Tables = dict[str, Table]


#: Under what name the metadata of images tell which methods have failed: a list of `Failure`.
FAILED = "failed"


class Failure(NamedTuple):
    """A field in which a method has failed."""

    method: str
    where: str
    error: str


def failures(images: Table) -> list[Failure]:
    """Where methods have failed, in the order of the fields."""
    return [Failure(*words) for words in images.meta.get(FAILED, [])]


def joined(parts: Iterable[Tables]) -> Tables:
    """Truth, detections and images of all parts; columns beside those of COLUMNS are kept.

    The metadata, which tell of failures, are those of all parts.
    """
    parts = list(parts)
    result = {}
    for name, columns in COLUMNS.items():
        # A table without rows would mask the columns that it lacks.
        own = [part[name] for part in parts if len(part[name])]
        result[name] = vstack(own, metadata_conflicts="silent") if own else empty(columns)
    return result


def checked(table: Table, columns: dict[str, Meaning], name: str) -> Table:
    """A copy of a table that has all columns, described, and no masked value.

    Parameters
    ----------
    table : Table
        Columns beside those of `columns` are kept; a table without any column is an
        empty one.
    columns : dict
        `TRUTH`, `DETECTIONS` or `IMAGES`.
    name : str
        What errors call the table.

    Returns
    -------
    Table
        The columns in the order of `columns`, others after them. Numbers that are masked,
        or columns that may be absent and are, hold NaN.

    Raises
    ------
    ValueError
        If a needed column is absent, or has a value that is masked or not finite.
    """
    if not table.colnames:
        return empty(columns)
    result = Table(meta=dict(table.meta))
    for column, meaning in columns.items():
        if column in table.colnames:
            values = _values(table[column], meaning.kind)
        elif meaning.needed:
            raise ValueError(f"{name} must have the column {column!r}, it has {table.colnames}")
        else:
            values = np.full(len(table), np.nan)
        if meaning.needed and _holes(table[column], values):
            raise ValueError(f"{name} must have a finite {column!r} in every row")
        result[column] = Column(values, description=meaning.text)
    for column in table.colnames:
        if column not in columns:
            extra = table[column]
            kind = float if extra.dtype.kind in "biuf" else extra.dtype.type
            result[column] = Column(_values(extra, kind), description=extra.description)
    return result


def _values(column: Column, kind: type) -> np.ndarray:
    """Values without mask: NaN for numbers that are masked."""
    if kind is float:
        return np.ma.filled(np.ma.asarray(column).astype(float), np.nan)
    return np.asarray(np.ma.getdata(column)).astype(kind)


def _holes(column: Column, values: np.ndarray) -> bool:
    """Whether a value is masked, NaN or infinite."""
    masked = bool(np.any(np.ma.getmaskarray(column)))
    return masked or (values.dtype.kind == "f" and not np.isfinite(values).all())
