"""Light that keeps its shape: another flux and place of it, drawn from what the data say."""

from __future__ import annotations

import numpy as np
from scipy import ndimage, special

from casa_ddpm.coupling import Coupling
from casa_ddpm.population import Population, draw_between

#: A source is moved by no more than this at a time [pixel].
_FARTHEST = 1.0
#: Structure in larger boxes [pixel] has a place that is no single number.
_LARGEST = 40
#: Where the posterior of a flux is evaluated [standard deviations].
_GRID = np.linspace(-4.5, 4.5, 91)


def redraw(
    stamp: np.ndarray,
    gradient: np.ndarray,
    coupling: Coupling,
    population: Population,
    random: np.random.Generator,
) -> np.ndarray:
    """The light of one source with another flux, at another place.

    Parameters
    ----------
    stamp, gradient : ndarray, shape (ny, nx)
        The light, and the likelihood's gradient there.
    coupling : Coupling
    population : Population
        That it is of.
    random : Generator

    Returns
    -------
    ndarray, shape (ny, nx)
    """
    compact = max(stamp.shape) <= _LARGEST
    templates = np.stack([stamp, *_slopes(stamp)]) if compact else stamp[None]
    seen = coupling.seen(templates)
    matrix = np.einsum("iyx,jyx->ij", templates, seen)
    if not matrix[0, 0] > 0:  # a PSF that ends with the image can make it so
        return stamp
    slope = np.einsum("iyx,yx->i", templates, gradient)
    width = population.noise / np.sqrt(matrix[0, 0])
    factor = _factor(stamp.sum(), slope[0] / matrix[0, 0], width, population, random.normal())
    if not compact:
        return factor * stamp
    # What the change of flux has explained is not there any more to be explained by a move.
    slope = slope[1:] - (factor - 1) * matrix[1:, 0]
    # A spline of lower order, or a Fourier shift, blurs or rings at two pixels a FWHM.
    white = population.noise * random.normal(size=2)
    return factor * ndimage.shift(stamp, _shift(slope / factor, matrix[1:, 1:], white), order=5)


def _factor(
    flux: float, change: float, width: float, population: Population, random: float
) -> float:
    """By how much the flux changes: the data say by `change`, give or take `width`."""
    factor = 1 + change + width * _GRID
    density = np.exp(-(_GRID**2) / 2) * population.density(factor * flux)
    if not density.any():
        return 1.0
    return draw_between(factor, (density[1:] + density[:-1]) / 2, float(special.ndtr(random)))


def _shift(slope: np.ndarray, curvature: np.ndarray, white: np.ndarray) -> np.ndarray:
    """By how much (y, x) the source moves [pixel]; not at all where that is too far."""
    try:
        root = np.linalg.cholesky(curvature)
    except np.linalg.LinAlgError:  # as above
        return np.zeros(2)
    shift = np.linalg.solve(curvature, slope) + np.linalg.solve(root.T, white)
    return shift if np.hypot(*shift) < _FARTHEST else np.zeros(2)


def _slopes(stamp: np.ndarray) -> np.ndarray:
    """What a stamp gains where it moves by a pixel along y, and along x; shape (2, ny, nx)."""
    spectrum = np.fft.rfft2(stamp)
    ky = np.fft.fftfreq(stamp.shape[0])[:, None]
    kx = np.fft.rfftfreq(stamp.shape[1])
    return np.stack([np.fft.irfft2(-2j * np.pi * k * spectrum, s=stamp.shape) for k in (ky, kx)])
