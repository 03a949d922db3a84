"""Points and Gaussians between pixels, as patterns of pixels with their visibilities.

A pixel's delta function stands at its centre. That of a point beside it is a pattern of
pixels, a sinc with a Kaiser window, whose Fourier transform is the point's to 1e-6 within
four fifths of the pixels' band, where the uv coverage of an image of four pixels per
beam ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import fftconvolve

from casa_ddpm.fourier import good_size

#: Half width [pixel] and shape of the window.
HALF, _SHAPE = 20, 4 * np.pi
#: Half side of a stamp: a point may move within it.
REACH = HALF + 4
#: Step of numerical derivatives [pixel]: the error is its square.
_STEP = 1e-3
#: Order of each template's derivatives in y and x, and its factor.
_ORDERS = ((0, 0, 1.0), (1, 0, 1.0), (0, 1, 1.0), (2, 0, 0.5), (1, 1, 1.0), (0, 2, 0.5))


@dataclass(frozen=True)
class Stamp:
    """Templates of a point, on the square of pixels about it.

    Parameters
    ----------
    corner : ndarray of int, shape (2,)
        Its first row and column, which may be outside of the image.
    templates : ndarray, shape (6, n, n)
        A Gaussian of unit flux and covariance C at (y, x), and its derivatives by y, x, Cyy, Cyx
        and Cxx; 0 beyond the image.
    image : tuple of int
        Shape of the image.
    """

    corner: np.ndarray
    templates: np.ndarray
    image: tuple[int, ...]

    @classmethod
    def at(cls, place: np.ndarray, shape: np.ndarray, image: tuple[int, ...]) -> Stamp:
        """Of a Gaussian at 0-based pixel coordinates (y, x), shape (Cyy, Cyx, Cxx) [pixel^2]."""
        corner = np.rint(place).astype(int) - REACH
        return cls(corner, np.zeros((0, 0, 0)), image).moved(place, shape)

    def moved(self, place: np.ndarray, shape: np.ndarray) -> Stamp:
        """The same square of pixels for another Gaussian, a little off."""
        # A Gaussian's transform is cut at the band of the pixels, and rings: on half of them first.
        step = 2 if np.any(shape) else 1
        side = np.arange(2 * REACH * step + 1) / step
        y, x = (_line(side + c - p) for c, p in zip(self.corner, place, strict=True))
        points = np.array([f * np.outer(y[i], x[j]) for i, j, f in _ORDERS])
        if step > 1:
            points = _smooth(points, shape, step)[:, ::step, ::step]
        inside = _window(np.ones(self.image), self.corner, points.shape[1])
        return Stamp(self.corner, points * inside, self.image)

    def cut(self, image: np.ndarray) -> np.ndarray:
        """The stamp's part of an image, 0 beyond its edge."""
        return _window(image, self.corner, self.templates.shape[1])

    def add(self, image: np.ndarray, weights: np.ndarray) -> None:
        """Add a sum of the first templates to an image."""
        here, there = _overlap(self.corner, self.templates.shape[1], image.shape)
        image[there] += np.tensordot(weights, self.templates[: len(weights)], 1)[here]

    def seen(self, other: Stamp, psf: np.ndarray, count: int = 6) -> np.ndarray:
        """The first templates of another stamp as the PSF shows them here, (count, n, n)."""
        n = self.templates.shape[1]
        first = self.corner - other.corner - (n - 1) + np.array(psf.shape) // 2
        patch = _window(psf, first, 2 * n - 1)
        return fftconvolve(patch[None], other.templates[:count], mode="valid", axes=(1, 2))

    def overlap(self, other: Stamp, psf: np.ndarray, own: int, theirs: int) -> np.ndarray:
        """Overlaps of the first templates with another's as the PSF shows them, (own, theirs)."""
        seen = self.seen(other, psf, theirs)
        return np.tensordot(self.templates[:own], seen, ([1, 2], [1, 2]))


def _line(distance: np.ndarray) -> np.ndarray:
    """A point and its first two derivatives by its place, in one dimension, shape (3, n)."""
    before, here, after = (_kernel(distance - step) for step in (-_STEP, 0, _STEP))
    return np.array([here, (after - before) / (2 * _STEP), (after - 2 * here + before) / _STEP**2])


def _kernel(distance: np.ndarray) -> np.ndarray:
    """Sinc with a Kaiser window."""
    inside = np.clip(1 - (distance / (HALF + 1)) ** 2, 0, None)
    return np.sinc(distance) * np.i0(_SHAPE * np.sqrt(inside)) / np.i0(_SHAPE) * (inside > 0)


def _smooth(images: np.ndarray, shape: np.ndarray, step: int) -> np.ndarray:
    """Convolve images (n, ny, nx) with a Gaussian of covariance (yy, yx, xx) [(step pixels)^2]."""
    size = good_size(2 * images.shape[1])
    v, u = np.fft.fftfreq(size, 1 / step)[:, None], np.fft.rfftfreq(size, 1 / step)
    yy, yx, xx = shape
    transfer = np.exp(-2 * np.pi**2 * (yy * v * v + 2 * yx * v * u + xx * u * u))
    spectra = np.fft.rfft2(images, s=(size, size)) * transfer
    n = images.shape[1]
    return np.fft.irfft2(spectra, s=(size, size))[:, :n, :n]


def _window(image: np.ndarray, first: np.ndarray, size: int) -> np.ndarray:
    """A square of an image from row and column `first` on, 0 beyond its edge."""
    window = np.zeros((size, size))
    here, there = _overlap(first, size, image.shape)
    window[here] = image[there]
    return window


def _overlap(first: np.ndarray, size: int, shape: tuple[int, ...]):
    """Slices of a square, and of the image that it lies on, that are the same pixels."""
    low = np.clip(first, 0, shape)
    high = np.clip(first + size, 0, shape)
    here = tuple(slice(a - f, b - f) for a, b, f in zip(low, high, first, strict=True))
    there = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    return here, there
