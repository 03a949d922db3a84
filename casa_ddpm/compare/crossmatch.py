"""Two lists of sources, matched one to one, and what differs between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import QTable, Table

from casa_ddpm.compare.source_list import places
from casa_ddpm.matching import PART, RADIUS, match_reaches

#: What turns a median absolute deviation of Gaussian errors into their standard deviation.
_ROBUST = 1.4826


@dataclass(frozen=True)
class Crossmatch:
    """Sources of two lists.

    Attributes
    ----------
    a, b : QTable
        The lists, columns of `casa_ddpm.compare.source_list`.
    pairs : ndarray of int, shape (n, 2)
        Rows of `a` and `b` that are one source.
    """

    a: QTable
    b: QTable
    pairs: np.ndarray

    @property
    def only_a(self) -> np.ndarray:
        """Rows that only the first list has."""
        return np.setdiff1d(np.arange(len(self.a)), self.pairs[:, 0])

    @property
    def only_b(self) -> np.ndarray:
        """Rows that only the second list has."""
        return np.setdiff1d(np.arange(len(self.b)), self.pairs[:, 1])

    def matched(self) -> tuple[QTable, QTable]:
        """The sources that both have, row by row."""
        return self.a[self.pairs[:, 0]], self.b[self.pairs[:, 1]]

    def figures(self) -> dict[str, float]:
        """How fluxes and positions of the matched sources differ, NaN where none can tell.

        Returns
        -------
        dict of float
            ratio, ratio_scatter: median of flux b / a, and 1.4826 times the median distance
            from it; pull, pull_scatter: the same of (b - a) over both errors added in
            quadrature; east, north: median offset of b from a [arcsec], east_scatter,
            north_scatter likewise; separation: median [arcsec].
        """
        a, b = self.matched()
        fluxes = [part["flux"].to_value(u.Jy) for part in (a, b)]
        errors = np.hypot(*(part["flux_err"].to_value(u.Jy) for part in (a, b)))
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio, pull = fluxes[1] / fluxes[0], (fluxes[1] - fluxes[0]) / errors
        east, north = offsets(places(a), places(b))
        values = {"ratio": ratio, "pull": pull, "east": east, "north": north}
        result = {"separation": _median(np.hypot(east, north))}
        for name, value in values.items():
            result[name] = _median(value)
            result[f"{name}_scatter"] = _ROBUST * _median(np.abs(value - _median(value)))
        return result

    def table(self) -> Table:
        """A row for each source: those of both lists, then those of one; NaN where absent."""
        rows = [*map(tuple, self.pairs), *((i, -1) for i in self.only_a)]
        rows += [(-1, j) for j in self.only_b]
        place = [self.a[i] if i >= 0 else self.b[j] for i, j in rows]
        table = Table(
            {
                "ra": [row["ra"].to_value(u.deg) for row in place] * u.deg,
                "dec": [row["dec"].to_value(u.deg) for row in place] * u.deg,
                "in": ["both" if i >= 0 and j >= 0 else "A" if i >= 0 else "B" for i, j in rows],
            }
        )
        for k, (name, listed) in enumerate((("a", self.a), ("b", self.b))):
            for column in ("flux", "flux_err", "prob", "snr"):
                values = [listed[column][r[k]].value if r[k] >= 0 else np.nan for r in rows]
                table[f"{column}_{name}"] = np.array(values, float) * listed[column].unit
        table["ratio"] = np.asarray(table["flux_b"]) / np.asarray(table["flux_a"])
        separation = np.full(len(rows), np.nan)
        a, b = self.matched()
        separation[: len(self.pairs)] = np.hypot(*offsets(places(a), places(b)))
        table["separation"] = separation * u.arcsec
        return table


def crossmatch(a: QTable, b: QTable, beam: float) -> Crossmatch:
    """Match two lists one to one, within 0.6 beam and 0.3 of a source's width.

    Parameters
    ----------
    a, b : QTable
        Columns of `casa_ddpm.compare.source_list`.
    beam : float
        FWHM of the larger clean beam [arcsec].
    """
    if not len(a) or not len(b):
        return Crossmatch(a, b, np.zeros((0, 2), int))
    (xa, ya), (xb, yb) = (offsets(places(a)[0], places(listed)) for listed in (a, b))
    width = np.nan_to_num(a["major"].to_value(u.arcsec))
    partner = match_reaches(xb, yb, xa, ya, RADIUS * beam + PART * width)
    found = np.flatnonzero(partner >= 0)
    pairs = np.stack([partner[found], found], axis=1)
    return Crossmatch(a, b, pairs[np.argsort(pairs[:, 0], kind="stable")])


def offsets(origin: SkyCoord, place: SkyCoord) -> tuple[np.ndarray, np.ndarray]:
    """How far places are east and north of others [arcsec], along the sky."""
    distance, angle = origin.separation(place), origin.position_angle(place)
    return distance.arcsec * np.sin(angle.rad), distance.arcsec * np.cos(angle.rad)


def _median(values: np.ndarray) -> float:
    """Median of the finite values, NaN without any."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else float("nan")
