"""Single sources of a field: how bright they are, how wide, and how many are extended.

Fields differ. Each has counts of its own, which are faint, wide or steep, and of its sources a
share of its own is extended; that is how skies are drawn, and what makes the other sources of
a field tell something of the next one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

#: How often the counts of a field are faint, wide or steep.
_KINDS = (0.45, 0.35, 0.2)
#: Decades that wide counts have, and slopes that steep ones have; any in between is as frequent.
_DECADES, _SLOPES = (1.0, 3.0), (0.8, 1.5)
#: So many of them stand for all: the middles of equal parts.
_WIDTHS, _STEEPNESSES = (
    low + (high - low) * (np.arange(n) + 0.5) / n
    for (low, high), n in ((_DECADES, 5), (_SLOPES, 4))
)
#: Probabilities of the counts that are told apart: faint ones, wide ones and steep ones.
COUNTS = (_KINDS[0], *[_KINDS[1] / 5] * 5, *[_KINDS[2] / 4] * 4)
#: Shares of a field's sources that are extended; each is as frequent as the others.
WIDE = (0, 0.4, 0.9)
#: Least and greatest FWHM of an extended source [beam], and its least axis ratio.
MAJOR, LEAST_RATIO = (0.2, 5.0), 0.3
#: Share of a field's sources that are thought to be of other counts than the field's.
_STRAY = 0.02
#: Where densities of fluxes are tabulated [noise].
_FLUX = np.geomspace(0.5, 999, 4000)
_LOG_FLUX = np.log(_FLUX)


def draw_fluxes(rng: np.random.Generator, n: int) -> np.ndarray:
    """Point-source S/N of a field's sources: faint, wide or steep counts."""
    kind = rng.choice(3, p=_KINDS)
    if kind == 0:
        return rng.uniform(0.5, 15, n)
    if kind == 1:
        return 10 ** rng.uniform(0, rng.uniform(*_DECADES), n)
    return np.minimum((1 - rng.random(n)) ** (-1 / rng.uniform(*_SLOPES)), 1000)


def draw_axes(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """FWHM of a field's sources along both axes [beam]; 0 for points."""
    wide = rng.random(n) < rng.choice(WIDE)
    major = np.where(wide, np.exp(rng.uniform(math.log(MAJOR[0]), math.log(MAJOR[1]), n)), 0)
    return major, major * rng.uniform(LEAST_RATIO, 1, n)


def draw_between(values: np.ndarray, masses: np.ndarray, uniform: float) -> float:
    """A value drawn from masses (n - 1,) between values (n,) by a number from 0 to 1."""
    total = np.concatenate([[0], np.cumsum(masses)])
    return float(np.interp(uniform * total[-1], total, values))


@dataclass(frozen=True)
class Population:
    """What is known of the single sources of a field before the data are asked.

    Parameters
    ----------
    noise : float
        Unit of the fluxes: the noise of a point source.
    least : float
        Least flux of a source.
    counts : tuple of floats
        Probabilities that the field's counts are like those of COUNTS.
    extended : float
        Share of the sources that are extended.
    """

    noise: float = 1.0
    least: float = 0.5
    counts: tuple[float, ...] = COUNTS
    extended: float = sum(WIDE) / len(WIDE)

    def density(self, flux: np.ndarray, area: np.ndarray | float = 0.0) -> np.ndarray:
        """Density of the flux of sources of an area, per unit of noise, 0 below the least.

        Its integral is 1 for points, and somewhat more for extended sources.

        Parameters
        ----------
        flux : ndarray
            Above 1000 sqrt(1 + area) times the noise the density goes on as it ends.
        area : ndarray or float
            Product of the axes' FWHM [beam^2].
        """
        # Half of the extended sources are brighter, to be as easy to see as points.
        gain = np.sqrt(1 + np.asarray(area, float))
        snr = np.maximum(flux, self.least) / self.noise
        own, brighter = (
            np.exp(np.interp(np.log(x), _LOG_FLUX, self._table)) for x in (snr, snr / gain)
        )
        return (own + brighter / gain) / 2 * (np.asarray(flux) > self.least)

    @cached_property
    def _table(self) -> np.ndarray:
        """Logarithm of the density of points at _FLUX."""
        # What is known of the counts is known of sources above the least flux.
        weights = np.array(self.counts) / count_shares(self.least / self.noise)
        return np.log(weights @ _tabulated())


def size_density(major: np.ndarray) -> np.ndarray:
    """Density of the FWHM of an extended source [beam].

    Its integral over the sizes that are drawn is 1. There are smaller sources on the sky,
    though, so that below them it goes on at a quarter of its height.
    """
    low, high = MAJOR
    height = 1 / math.log(high / low)
    size = np.asarray(major, float)
    return np.where(size < low, height / (4 * low), height / np.maximum(size, low)) * (size <= high)


def size_share(widest: float) -> float:
    """Integral of `size_density` up to a FWHM [beam]."""
    low, high = MAJOR
    return (min(widest, low) / (4 * low) + math.log(np.clip(widest, low, high) / low)) / math.log(
        high / low
    )


def count_densities(flux: np.ndarray, area: float = 0.0) -> np.ndarray:
    """Density of a flux [noise] of sources of an area, for each of COUNTS: (n, ...)."""
    gain = math.sqrt(1 + area)
    own, brighter = (
        np.stack([np.interp(np.log(x), _LOG_FLUX, table) for table in _tabulated()])
        for x in (flux, np.asarray(flux) / gain)
    )
    return (own + brighter / gain) / 2


def count_shares(least: float, area: float = 0.0) -> np.ndarray:
    """Share of the sources of an area above a flux [noise], for each of COUNTS: (n,)."""
    return (_above(least) + _above(least / math.sqrt(1 + area))) / 2


@lru_cache(maxsize=1)
def _tabulated() -> np.ndarray:
    """Densities of points at _FLUX for each of COUNTS, which have strays: (n, m)."""
    log_flux = np.log10(_FLUX)
    faint = (_FLUX < 15) / 14.5
    wide = [((log_flux >= 0) & (log_flux < n)) / (n * _FLUX * math.log(10)) for n in _WIDTHS]
    steep = [a * _FLUX ** (-a - 1) * (_FLUX >= 1) for a in _STEEPNESSES]
    return _with_strays(np.stack([faint, *wide, *steep]))


def _above(flux: float) -> np.ndarray:
    """Share of points above a flux [noise], for each of COUNTS: (n,)."""
    bright = max(flux, 1.0)
    faint = np.clip((15 - flux) / 14.5, 0, 1)
    wide = np.clip(1 - math.log10(bright) / _WIDTHS, 0, 1)
    return _with_strays(np.array([faint, *wide, *bright**-_STEEPNESSES]))


def _with_strays(kinds: np.ndarray) -> np.ndarray:
    """What is true of each of COUNTS (n, ...), of fields that have strays."""
    return (1 - _STRAY) * kinds + _STRAY * (np.array(COUNTS) @ kinds)
