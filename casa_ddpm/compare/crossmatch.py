"""Two lists of sources, matched one to one, and what differs between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import QTable, Table
from scipy.spatial import KDTree

from casa_ddpm.compare.source_list import channels, places
from casa_ddpm.matching import PART, RADIUS, assign

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
        freq = np.array([row["freq"].value for row in place]) * u.Hz
        if np.isfinite(freq).any():
            table["freq"] = freq
        table["ratio"] = np.asarray(table["flux_b"]) / np.asarray(table["flux_a"])
        separation = np.full(len(rows), np.nan)
        a, b = self.matched()
        separation[: len(self.pairs)] = np.hypot(*offsets(places(a), places(b)))
        table["separation"] = separation * u.arcsec
        return table


def crossmatch(a: QTable, b: QTable, beam: float) -> Crossmatch:
    """Match two lists one to one, within 0.6 beam and 0.3 of the wider source's width.

    Where both have several channels, sources of one channel alone are matched. Which list is
    the first makes no difference. Pairs of the shortest reach come first; among those of one,
    the summed squared distances are least, as in `casa_ddpm.matching.match`.

    Parameters
    ----------
    a, b : QTable
        Columns of `casa_ddpm.compare.source_list`.
    beam : float
        FWHM of the larger clean beam [arcsec].
    """
    if not len(a) or not len(b):
        return Crossmatch(a, b, np.zeros((0, 2), int))
    near = _near(a, b, beam)
    partner, taken = np.full(len(a), -1), np.zeros(len(b), bool)
    for reach in np.unique(near["reach"]):
        free = (near["reach"] == reach) & (partner[near["a"]] < 0) & ~taken[near["b"]]
        rows, columns = _assigned(near[free], reach)
        partner[rows], taken[columns] = columns, True
    found = np.flatnonzero(partner >= 0)
    return Crossmatch(a, b, np.stack([found, partner[found]], axis=1))


def _near(a: QTable, b: QTable, beam: float) -> Table:
    """Rows of `a` and `b` that are within the reach of either, distance and reach [arcsec]."""
    trees = (KDTree(places(listed).cartesian.xyz.value.T) for listed in (a, b))
    widths = [np.nan_to_num(listed["major"].to_value(u.arcsec)) for listed in (a, b)]
    most = RADIUS * beam + PART * max(width.max() for width in widths)
    one, other = trees
    # Chords of the unit sphere, which are shorter than their arcs.
    found = one.sparse_distance_matrix(other, np.radians(most / 3600), output_type="ndarray")
    away = 3600 * np.degrees(2 * np.arcsin(found["v"] / 2))
    reach = RADIUS * beam + PART * np.maximum(widths[0][found["i"]], widths[1][found["j"]])
    near = Table({"a": found["i"], "b": found["j"], "away": away, "reach": reach})
    return near[(away <= reach) & _one_channel(a, b, near)]


def _one_channel(a: QTable, b: QTable, near: Table) -> np.ndarray:
    """Which rows that are near are of one channel; all, unless both lists have several."""
    steps = [np.diff(channels(listed)) for listed in (a, b)]
    if not all(len(step) for step in steps):
        return np.ones(len(near), bool)
    apart = np.abs(a["freq"].value[near["a"]] - b["freq"].value[near["b"]])
    return apart < min(step.min() for step in steps) / 2


def _assigned(near: Table, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows of both lists that are pairs, of those that are near."""
    rows, row = np.unique(near["a"], return_inverse=True)
    columns, column = np.unique(near["b"], return_inverse=True)
    squares = np.full((len(rows), len(columns)), 2 * reach**2)
    squares[row, column] = near["away"] ** 2
    i, j = assign(squares, reach)
    return rows[i], columns[j]


def offsets(origin: SkyCoord, place: SkyCoord) -> tuple[np.ndarray, np.ndarray]:
    """How far places are east and north of others [arcsec], along the sky."""
    distance, angle = origin.separation(place), origin.position_angle(place)
    return distance.arcsec * np.sin(angle.rad), distance.arcsec * np.cos(angle.rad)


def _median(values: np.ndarray) -> float:
    """Median of the finite values, NaN without any."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else float("nan")
