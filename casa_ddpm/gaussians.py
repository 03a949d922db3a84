"""Gaussian sources, as realisations of a field hold them and as its data see them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from casa_ddpm.dirty import FWHM
from casa_ddpm.likelihood import Likelihood
from casa_ddpm.population import LEAST_RATIO

#: Half the side of the PSF through which a source overlaps with itself [pixel].
_HALF = 48
#: Ellipticity of the least axis ratio.
MOST_ELLIPTICAL = (1 - LEAST_RATIO**2) / (1 + LEAST_RATIO**2)
#: Largest box of a source that may be a Gaussian [pixel].
_LARGEST = 120
#: Widest such source [beam], and the most that it may differ from a Gaussian at the beam's
#: resolution, as a share of its flux: others are structure, whose shape is the network's.
_WIDEST, _ODD = 5.5, 0.35
#: Least power of a source that is seen well, over that under a Gaussian PSF, and the most that
#: the far part of the PSF may change it.
_SEEN, _FAR = 0.5, 0.15


@dataclass(frozen=True)
class Shape:
    """The shape of an elliptical Gaussian, or of n of them where arrays (n,) are given.

    extent : mean square of the axes' FWHM [beam^2], 0 for a point; plus, cross : its
    ellipticity, (major^2 - minor^2) / (major^2 + minor^2) times cosine and sine of
    twice the angle of the major axis, from +y to +x.
    """

    extent: float | np.ndarray
    plus: float | np.ndarray
    cross: float | np.ndarray

    @property
    def ellipticity(self) -> np.ndarray:
        """(major^2 - minor^2) / (major^2 + minor^2)."""
        return np.hypot(self.plus, self.cross)

    @property
    def major(self) -> np.ndarray:
        """FWHM of the major axis [beam]."""
        return np.sqrt(self.extent * (1 + self.ellipticity))

    @property
    def minor(self) -> np.ndarray:
        """FWHM of the minor axis [beam]."""
        return np.sqrt(self.extent * (1 - self.ellipticity))

    def moments(self) -> np.ndarray:
        """Variance along y, covariance and variance along x, shape (n, 3) [beam^2]."""
        parts = np.broadcast_arrays(1 + np.atleast_1d(self.plus), self.cross, 1 - self.plus)
        return np.atleast_1d(self.extent)[:, None] / FWHM**2 * np.stack(parts, 1)

    @classmethod
    def of(cls, covariance: np.ndarray) -> Shape:
        """The shape nearest to a covariance (y, x) [beam^2], which noise may have made negative."""
        (yy, xy), (_, xx) = covariance
        extent = (yy + xx) / 2
        if extent <= 0:
            return cls(0.0, 0.0, 0.0)
        plus, cross = (yy - xx) / 2 / extent, xy / extent
        least = min(1.0, MOST_ELLIPTICAL / max(np.hypot(plus, cross), 1e-9))
        return cls(float(extent * FWHM**2), float(plus * least), float(cross * least))


class Gaussians:
    """Gaussian sources as realisations of a field hold them, and as its data see them.

    Parameters
    ----------
    likelihood : Likelihood
    beam, kernel : float
        FWHM of the clean beam, and of a point in a realisation [pixel].
    """

    def __init__(self, likelihood: Likelihood, beam: float, kernel: float) -> None:
        self.beam, self.point = beam, (kernel / FWHM) ** 2
        #: Deviation of the Gaussian that takes realisations to the beam [pixel].
        self.sigma = float(np.sqrt(beam**2 - kernel**2)) / FWHM
        psf = torch.fft.irfft2(likelihood.transfer, s=likelihood.shape)
        near = torch.roll(psf, (_HALF, _HALF), (0, 1))[: 2 * _HALF, : 2 * _HALF]
        self._near = _plane(torch.roll(near, (-_HALF, -_HALF), (0, 1)))
        #: FWHM of the widest source whose shape the data tell [beam].
        self.widest = self._widest(psf)

    def _widest(self, psf: torch.Tensor) -> float:
        """Up to which size an array without short baselines sees a source well enough.

        To that size its power is at least half of what a Gaussian PSF gives, and not what
        the PSF's far sidelobes make of it. The PSF peaks at pixel 0.
        """
        sizes = np.arange(0, _WIDEST + 0.1, 0.25)
        zero = np.zeros(len(sizes))
        round_ = Shape(sizes**2, zero, zero)
        power, exact = self.powers(round_), _round_powers((sizes * self.beam / FWHM) ** 2, psf)
        seen = power > _SEEN / (1 + 2 * sizes**2)
        lost = ~seen | (np.abs(power - exact) > _FAR * power)
        return float(sizes[np.argmax(lost) - 1] if lost[1:].any() else sizes[-1])

    def images(self, shape: Shape, centre: np.ndarray, size: tuple) -> np.ndarray:
        """Gaussians of unit flux at one or n centres (y, x) on stamps of (ny, nx): (n, ny, nx)."""
        yy, xy, xx = (shape.moments() * self.beam**2).T[..., None, None]
        yy, xx = yy + self.point, xx + self.point
        determinant = yy * xx - xy**2
        row, column = np.atleast_2d(centre).T[..., None, None]
        y, x = np.arange(size[0])[:, None] - row, np.arange(size[1]) - column
        distance = (xx * (y * y) - 2 * xy * (y * x) + yy * (x * x)) / determinant
        return np.exp(-0.5 * distance) / (2 * np.pi * np.sqrt(determinant))

    def powers(self, shape: Shape) -> np.ndarray:
        """Overlap of each Gaussian of unit flux with itself as the PSF shows it, shape (n,)."""
        return _powers(shape.moments() * self.beam**2, self._near)

    def measured(self, stamp: np.ndarray) -> tuple[float, np.ndarray, Shape]:
        """Flux, centre (y, x) and shape of the light on a stamp (ny, nx)."""
        flux, centre, covariance = moments(stamp)
        own = covariance - self.point * np.eye(2)
        return flux, centre, Shape.of(own / self.beam**2)

    def resemble(self, stamp: np.ndarray) -> bool:
        """Whether the light on a stamp (ny, nx) looks like a Gaussian to the clean beam."""
        if max(stamp.shape) > _LARGEST:
            return False
        flux, centre, shape = self.measured(stamp)
        (gaussian,) = self.images(shape, centre, stamp.shape)
        rest = ndimage.gaussian_filter(stamp - flux * gaussian, self.sigma, mode="constant")
        return bool(shape.major < self.widest and np.abs(rest).sum() < _ODD * flux)


def moments(stamp: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Flux, centroid (y, x) and covariance (y, x) of a stamp's light."""
    places = np.indices(stamp.shape).reshape(2, -1)
    light = stamp.ravel() / stamp.sum()
    centre = places @ light
    away = places - centre[:, None]
    return float(stamp.sum()), centre, (away * light) @ away.T


def _plane(psf: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Transfer function of a PSF that peaks at pixel 0.

    Returns
    -------
    weights, waves : ndarray, shape (n,) and (3, n)
        Its values, and squares and product of the wave numbers y, x.
    """
    transfer, ky, kx = _transfer(psf)
    ky = ky[:, None]
    waves = np.stack([w.ravel() for w in np.broadcast_arrays(ky**2, 2 * ky * kx, kx**2)])
    kept = np.abs(transfer.ravel()) > 1e-6 * np.abs(transfer).max()
    return transfer.ravel()[kept], waves[:, kept]


def _transfer(psf: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same on the half plane of rfft2, shape (ny, nx // 2 + 1), and its wave numbers y, x."""
    ny, nx = psf.shape
    transfer = torch.fft.rfft2(psf).real.numpy().astype(float) / (ny * nx)
    # rfft2 keeps one half of the plane; its inner columns stand for two.
    transfer[:, 1 : (nx + 1) // 2] *= 2
    return transfer, 2 * np.pi * np.fft.fftfreq(ny), 2 * np.pi * np.fft.rfftfreq(nx)


def _powers(moments: np.ndarray, plane: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Overlap with themselves of Gaussians of `moments` (n, 3) [pixel^2], shape (n,)."""
    transfer, waves = plane
    return np.exp(-moments @ waves) @ transfer


def _round_powers(variance: np.ndarray, psf: torch.Tensor) -> np.ndarray:
    """The same of round ones of a `variance` (n,) [pixel^2], which a large plane needs less for.

    The PSF peaks at pixel 0.
    """
    transfer, ky, kx = _transfer(psf)
    y, x = (np.exp(-np.outer(variance, k**2)) for k in (ky, kx))
    return ((y @ transfer) * x).sum(1)
