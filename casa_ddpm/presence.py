"""Whether there is a source at a place of a realisation, drawn from what the data say.

A realisation of a network holds the sources that the network has seen. Given all the
others, the data know in closed form how probable a source at a place is: its prior
probability times its evidence, summed over places, sizes and fluxes, against that of
none (a spike-and-slab prior, Mitchell & Beauchamp 1988, JASA 83, 1023). For a single
point in white noise that is a monotonic function of the matched filter's signal-to-noise
ratio, which no other rule of detection beats.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from skimage.feature import peak_local_max
from skimage.segmentation import expand_labels

from casa_ddpm.dirty import FWHM
from casa_ddpm.gaussians import Gaussians, Shape
from casa_ddpm.population import Population, count_densities, count_shares, size_density

#: FWHM of the sources that are looked for [beam].
SIZES = (0.0, 0.5, 1.0, 1.5)
#: Widest source that the last of them stands for [beam].
WIDEST = 1.25 * SIZES[-1]
#: Residual peak from which on it may be a source that no realisation holds [noise].
LEAST_PEAK = 3.0
#: Radius within which a source belongs to its peak [beam].
RADIUS = 0.6
#: Brightest source of the prior [noise]; S/N between which the evidence is tabulated.
_BRIGHTEST, _SNR = 1e3, np.linspace(-5, 50, 221)
#: Sides of regions up to which what smooths them is kept [pixel].
_SMALL = 128


def find_sites(residual: np.ndarray, noise: float, beam: float) -> np.ndarray:
    """Places around the peaks of a residual, where a source may have been missed.

    Parameters
    ----------
    residual : ndarray, shape (ny, nx)
        Dirty image less what the mean of the realisations predicts [flux/beam].
    noise : float
        [flux/beam].
    beam : float
        FWHM of the clean beam [pixel].

    Returns
    -------
    ndarray of int, shape (ny, nx)
        0 where no site is, 1 ... K on the sites.
    """
    peaks = peak_local_max(
        residual,
        min_distance=max(1, round(RADIUS * beam)),
        threshold_abs=LEAST_PEAK * noise,
        exclude_border=False,
    )
    marked = np.zeros(residual.shape, int)
    marked[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return expand_labels(marked, RADIUS * beam)


@dataclass(frozen=True)
class Guess:
    """A source at a site: centre (y, x) [pixel] and size [beam]."""

    centre: np.ndarray
    size: float


class Presence:
    """How probable a source somewhere on a site is, whatever its size and flux.

    Parameters
    ----------
    gaussians : Gaussians
    noise : float
        Of the likelihood [flux/beam].
    least : float
        Least flux of a source.
    """

    def __init__(self, gaussians: Gaussians, noise: float, least: float) -> None:
        zero = np.zeros(len(SIZES))
        powers = gaussians.powers(Shape(np.square(SIZES), zero, zero))
        # What the array hardly sees could be of any flux.
        possible = np.array(SIZES) <= gaussians.widest
        self.sizes, powers = np.array(SIZES)[possible], powers[possible]
        #: Deviations of the sources' Gaussians [pixel].
        self.sigmas = np.sqrt(gaussians.point + (self.sizes * gaussians.beam / FWHM) ** 2)
        #: Standard error of a flux.
        self.widths = noise / np.sqrt(powers)
        self.noise = noise
        least /= noise
        flux = np.geomspace(least, _BRIGHTEST, 1000)
        #: Of a source of each size that is bright enough, by the counts: (sizes, counts, n).
        self._evidences = np.stack(
            [
                _log_evidence(flux, count_densities(flux, size**2), width / noise)
                - np.log(count_shares(least, size**2))[:, None]
                for size, width in zip(self.sizes, self.widths, strict=True)
            ]
        )

    def evidences(self, population: Population) -> np.ndarray:
        """Log evidence at S/N of `_SNR` of a source of each size against none, (sizes, n)."""
        with np.errstate(divide="ignore"):  # where none is extended, or of such counts
            counts = np.log(population.counts)
            sizes = np.log(size_shares(population)[: len(self.sizes)])
        return np.logaddexp.reduce(self._evidences + counts[:, None], axis=1) + sizes[:, None]

    def log_odds(
        self, data: np.ndarray, site: np.ndarray, density: float, population: Population
    ) -> np.ndarray:
        """Log odds of a source at each pixel of a site, of each size, against none.

        Parameters
        ----------
        data : ndarray, shape (ny, nx)
            The likelihood's gradient where there is no source at the site.
        site : ndarray of bool, shape (ny, nx)
        density : float
            Prior number of sources a pixel.
        population : Population
            That they are of.

        Returns
        -------
        ndarray, shape (n, sizes)
        """
        found = []
        evidences = self.evidences(population)
        for sigma, width, evidence in zip(self.sigmas, self.widths, evidences, strict=True):
            rows, columns = (_smoothing(n, sigma) for n in data.shape)
            snr = (rows @ data @ columns)[site] * width / self.noise**2
            found.append(np.interp(snr, _SNR, evidence))
        return np.stack(found, -1) + np.log(density)


def total(log_odds: np.ndarray) -> float:
    """Log odds that there is a source at all."""
    top = log_odds.max()
    return float(top + np.log(np.exp(log_odds - top).sum()))


def draw(log_odds: np.ndarray, site: np.ndarray, random: np.random.Generator) -> Guess:
    """One of the sources that there may be, drawn by their odds."""
    mass = np.cumsum(np.exp(log_odds - log_odds.max()))
    chosen = min(np.searchsorted(mass, random.random() * mass[-1]), mass.size - 1)
    place, size = np.unravel_index(chosen, log_odds.shape)
    return Guess(np.argwhere(site)[place].astype(float), SIZES[size])


def _smoothing(length: int, sigma: float) -> np.ndarray:
    """The matrix that convolves an axis with a Gaussian of unit sum, shape (length, length)."""
    # Large ones would fill the memory, and take no longer to make than to multiply with.
    return _kept(length, sigma) if length <= _SMALL else _gaussian(length, sigma)


def _gaussian(length: int, sigma: float) -> np.ndarray:
    away = np.subtract.outer(np.arange(length), np.arange(length))
    return np.exp(-(away**2) / (2 * sigma**2)) / (np.sqrt(2 * np.pi) * sigma)


_kept = lru_cache(maxsize=256)(_gaussian)


def _log_evidence(flux: np.ndarray, densities: np.ndarray, width: float) -> np.ndarray:
    """Log evidence at each of _SNR of a source against none, the flux integrated out.

    `flux` and its standard error `width` are in units of the noise; for each of k densities
    of fluxes, (k, n).
    """
    exponent = _SNR[:, None] * flux / width - flux**2 / (2 * width**2)
    top = exponent.max(1)
    likely = np.exp(exponent - top[:, None])
    return np.log([np.trapezoid(likely * one, flux, axis=1) for one in densities]) + top


def size_shares(population: Population) -> np.ndarray:
    """Prior shares of SIZES among the sources that are looked for."""
    sizes = np.array(SIZES)
    edges = np.concatenate([[0], (sizes[1:-1] + sizes[2:]) / 2, [WIDEST]])
    extended = np.array([_mass(a, b) for a, b in zip(edges, edges[1:], strict=False)])
    found = np.append(1 - population.extended, population.extended * extended)
    return found / found.sum()


@lru_cache(maxsize=len(SIZES))
def _mass(low: float, high: float) -> float:
    """Share of the extended sources between two sizes [beam]."""
    sizes = np.linspace(low, high, 200)
    return float(np.trapezoid(size_density(sizes), sizes))
