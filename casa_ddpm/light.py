"""The light of many regions in many realisations: moments and peaks.

Everything here works on all regions of an image at once, by sums over pixels that are
sorted by region; Python loops run over realisations, or over extended sources, alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, signal

from casa_ddpm.dirty import FWHM, Beam

#: Size from which a source's peak may lie off its centroid, FWHM [beam].
EXTENDED = 0.5


@dataclass(frozen=True)
class Pixels:
    """The pixels of K regions, region by region.

    index (P,): place in the flattened image; label (P,): region, 0-based; start (K,):
    where each region begins; y, x (P,): pixel coordinates.
    """

    index: np.ndarray
    label: np.ndarray
    start: np.ndarray
    y: np.ndarray
    x: np.ndarray

    @classmethod
    def of(cls, regions: np.ndarray) -> Pixels:
        """The pixels of a label image (ny, nx), 0 outside of regions."""
        flat = regions.ravel()
        index = np.argsort(flat, kind="stable")[np.sum(flat == 0) :]
        label = flat[index] - 1
        start = np.searchsorted(label, np.arange(flat.max()))
        return cls(index, label, start, *np.divmod(index, regions.shape[1]))

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sums over each region of values of shape (..., P): shape (..., K)."""
        if not self.start.size:
            return np.zeros((*values.shape[:-1], 0))
        return np.add.reduceat(values, self.start, axis=-1)


@dataclass(frozen=True)
class Light:
    """The light of K regions in N realisations, each array of shape (N, K).

    flux [Jy]; x, y: centroid [pixel]; xx, xy, yy: second moments about the centroid
    less those of a point source [pixel^2].
    """

    flux: np.ndarray
    x: np.ndarray
    y: np.ndarray
    xx: np.ndarray
    xy: np.ndarray
    yy: np.ndarray

    def typical_size(self) -> np.ndarray:
        """Mean variance along an axis, weighted by flux, shape (K,) [pixel^2]."""
        weight = np.maximum(self.flux, 0)
        size = (self.xx + self.yy) / 2
        total = np.maximum(weight.sum(axis=0), np.finfo(float).tiny)
        return np.maximum((weight * size).sum(axis=0) / total, 0)


def measure_light(samples: np.ndarray, pixels: Pixels, sigma: float) -> Light:
    """Measure every region in every realisation; a point's deviation is `sigma` [pixel]."""
    # Moments about the regions' centres, to lose no digits.
    area = pixels.sums(np.ones_like(pixels.x, float))
    centre_y, centre_x = pixels.sums(pixels.y) / area, pixels.sums(pixels.x) / area
    dy, dx = pixels.y - centre_y[pixels.label], pixels.x - centre_x[pixels.label]
    basis = np.stack([np.ones_like(dx), dx, dy, dx * dx, dx * dy, dy * dy])
    moments = np.stack(
        [pixels.sums(basis * image.ravel()[pixels.index]) for image in samples], axis=1
    )
    flux = moments[0]
    # Regions without light in a realisation are never used there; they only must not
    # divide by zero.
    x, y, xx, xy, yy = moments[1:] / np.where(flux > 0, flux, np.inf)
    point = sigma**2
    return Light(
        flux, x + centre_x, y + centre_y, xx - x * x - point, xy - x * y, yy - y * y - point
    )


def percentiles(values: np.ndarray, held: np.ndarray, percent: tuple) -> np.ndarray:
    """Percentiles over the realisations that hold the source: (N, K) -> (len, K)."""
    result = np.zeros((len(percent), values.shape[1]))
    for k in np.flatnonzero(held.any(axis=0)):
        result[:, k] = np.percentile(values[held[:, k], k], percent, method="weibull")
    return result


def _to_beam(beam: Beam, kernel: float, cell: float) -> tuple[np.ndarray, float]:
    """The Gaussian that takes a realisation to the beam: covariance (y, x) and scale.

    The scale is [Jy/beam] per [Jy] under the Gaussian of peak 1.
    """
    point = (kernel / (FWHM * cell)) ** 2 * np.eye(2)
    values, vectors = np.linalg.eigh(beam.covariance(cell) - point)
    # Narrower than half a pixel, a Gaussian is no longer sampled properly.
    covariance = (vectors * np.maximum(values, 0.25)) @ vectors.T
    ratio = np.linalg.det(covariance + point) / np.linalg.det(covariance)
    return covariance, float(np.sqrt(ratio))


def measure_peaks(
    samples: np.ndarray,
    regions: np.ndarray,
    pixels: Pixels,
    light: Light,
    held: np.ndarray,
    beam: Beam,
    kernel: float,
    cell: float,
) -> np.ndarray:
    """Peak of each region's own light at the beam's resolution, shape (K,) [Jy/beam].

    At the centroid of each realisation, exact for points between pixels; for an
    extended source, which may be a ring, the highest pixel where that is higher.
    """
    covariance, scale = _to_beam(beam, kernel, cell)
    inverse = np.linalg.inv(covariance)
    centred = np.zeros_like(light.flux)
    for image, x, y, peak in zip(samples, light.x, light.y, centred, strict=True):
        dx, dy = pixels.x - x[pixels.label], pixels.y - y[pixels.label]
        distance = inverse[0, 0] * dy**2 + 2 * inverse[0, 1] * dx * dy + inverse[1, 1] * dx**2
        peak[:] = pixels.sums(image.ravel()[pixels.index] * np.exp(-distance / 2)) * scale
    peaks = percentiles(centred, held, (50,))[0]
    beam_size = np.sqrt(np.linalg.det(covariance))
    extended = held.any(axis=0) & (light.typical_size() > EXTENDED**2 * beam_size)
    boxes = ndimage.find_objects(regions)
    for k in np.flatnonzero(extended):
        own = samples[(slice(None), *boxes[k])][held[:, k]].mean(axis=0)
        own = own * (regions[boxes[k]] == k + 1)
        peaks[k] = max(peaks[k], _convolve(own, covariance).max() * scale)
    return peaks


def _convolve(image: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Convolve with the Gaussian of peak 1 and this covariance (y, x) [pixel^2]."""
    half = int(np.ceil(4 * np.sqrt(np.diag(covariance).max())))
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    offsets = np.stack([y, x], axis=-1)
    distance = np.einsum("...i,ij,...j", offsets, np.linalg.inv(covariance), offsets)
    return signal.fftconvolve(image, np.exp(-distance / 2), mode="same")
