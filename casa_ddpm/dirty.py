"""The dirty image and its beam: what crosses from the imager to the reconstruction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np

#: FWHM of a Gaussian in units of its standard deviation.
FWHM = math.sqrt(8 * math.log(2))
#: Most that a PSF may lack at its centre of its highest value: what a Gaussian falls by within
#: 0.033 of its FWHM. An image smaller than its beam has a PSF of rounding, with a peak anywhere.
_LACKS = 0.003


def _is_finite(value) -> bool:
    return isinstance(value, Real) and math.isfinite(value)


def _check_positive(name: str, value, unit: str) -> None:
    if not (_is_finite(value) and value > 0):
        raise ValueError(f"{name} must be positive and finite [{unit}], got {value!r}")


@dataclass(frozen=True)
class Beam:
    """An elliptical Gaussian clean beam.

    Parameters
    ----------
    major, minor : float
        Full widths at half maximum [arcsec].
    pa : float
        Position angle of the major axis, east of north [deg].

    Raises
    ------
    ValueError
        If an axis is not positive, minor exceeds major or pa is not finite.
    """

    major: float
    minor: float
    pa: float

    def __post_init__(self) -> None:
        axes = _is_finite(self.major) and _is_finite(self.minor)
        if not (axes and 0 < self.minor <= self.major * (1 + 1e-6)):
            raise ValueError(
                "beam axes must satisfy 0 < minor <= major, got "
                f"major={self.major} minor={self.minor} arcsec"
            )
        if not _is_finite(self.pa):
            raise ValueError(f"beam pa must be finite [deg], got {self.pa!r}")

    @property
    def fwhm(self) -> float:
        """Geometric mean of the axes [arcsec]."""
        return math.sqrt(self.major * self.minor)

    def area(self, cell: float) -> float:
        """Beam area [pixel] for square pixels of `cell` arcsec."""
        return math.pi / (4 * math.log(2)) * self.major * self.minor / cell**2

    def covariance(self, cell: float) -> np.ndarray:
        """Covariance of the Gaussian in array axes (y, x), shape (2, 2) [pixel^2].

        North is +y and east is -x, as in an image whose right ascension
        increases to the left.
        """
        angle = math.radians(self.pa)
        # Unit vectors (y, x) along and across the major axis.
        along = np.array([math.cos(angle), -math.sin(angle)])
        across = np.array([math.sin(angle), math.cos(angle)])
        widths = np.array([self.major, self.minor]) / (FWHM * cell)
        return widths[0] ** 2 * np.outer(along, along) + widths[1] ** 2 * np.outer(across, across)

    @classmethod
    def from_covariance(cls, covariance: np.ndarray, cell: float) -> Beam:
        """The beam whose `covariance` (y, x) [pixel^2] this is; inverse of `covariance`."""
        values, vectors = np.linalg.eigh(covariance)
        y, x = vectors[:, 1]
        widths = FWHM * cell * np.sqrt(values)
        pa = math.degrees(math.atan2(-x, y)) % 180
        return cls(float(widths[1]), float(widths[0]), pa)


#: Sidelobe from which on sources are told apart only together, not one after the other.
_TANGLED = 0.35


@dataclass(frozen=True)
class DirtyImage:
    """A dirty image with its point spread function, flat-noise, one channel.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        Dirty image [Jy/beam], not corrected for the primary beam.
    psf : ndarray, shape (ny, nx)
        Point spread function, peak 1 at pixel (ny//2, nx//2).
    beam : Beam
        Clean beam fitted to the PSF.
    cell : float
        Side of the square pixels [arcsec].
    pb : ndarray, shape (ny, nx), optional
        Primary beam, peak 1; NaN where there is no image, 0 where the beam is not known.
    freq : float, optional
        Frequency [Hz].
    wcs : astropy.wcs.WCS, optional
        Two-dimensional celestial world coordinates.
    thermal : float, optional
        Noise that the visibilities alone make [Jy/beam], where they tell.

    Raises
    ------
    ValueError
        If a shape, a value or the cell size breaks these rules.
    """

    data: np.ndarray
    psf: np.ndarray
    beam: Beam
    cell: float
    pb: np.ndarray | None = None
    freq: float | None = None
    wcs: Any = None
    thermal: float | None = None

    def __post_init__(self) -> None:
        for name in ("data", "psf", "pb"):
            if getattr(self, name) is not None:
                # FITS files come in the other byte order, which torch does not take.
                array = np.ascontiguousarray(getattr(self, name), np.float32)
                object.__setattr__(self, name, array)
        if np.ndim(self.data) != 2:
            raise ValueError(f"data must have 2 axes (y, x), got shape {np.shape(self.data)}")
        for name in ("psf", "pb"):
            value = getattr(self, name)
            if value is not None and np.shape(value) != np.shape(self.data):
                raise ValueError(
                    f"{name} must have the shape of data {np.shape(self.data)}, "
                    f"got {np.shape(value)}"
                )
        for name in ("data", "psf"):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"{name} must be finite, got NaN or infinite pixels")
        if self.thermal is not None:
            _check_positive("thermal", self.thermal, "Jy/beam")
        _check_positive("cell", self.cell, "arcsec")
        if not math.isclose(float(np.max(self.psf)), 1, abs_tol=0.02):
            raise ValueError(f"psf must have peak 1, got {float(np.max(self.psf)):.4g}")
        centre = tuple(n // 2 for n in self.psf.shape)
        if self.psf[centre] < (1 - _LACKS) * np.max(self.psf):
            raise ValueError(
                f"psf must have its peak at pixel (ny//2, nx//2) = {centre}, "
                f"got a value of {float(self.psf[centre]):.4g} there"
            )

    @cached_property
    def sidelobe(self) -> float:
        """The PSF's highest sidelobe, beyond two beams."""
        (ny, nx), (y, x) = self.psf.shape, np.indices(self.psf.shape)
        beyond = np.hypot(y - ny // 2, x - nx // 2) > 2 * self.beam.fwhm / self.cell
        return float(np.abs(self.psf[beyond]).max(initial=0))

    @property
    def tangled(self) -> bool:
        """Whether sidelobes are so high that sources are told apart only together."""
        return self.sidelobe >= _TANGLED

    @property
    def valid(self) -> np.ndarray:
        """Where there is an image, bool of shape (ny, nx): masked and blanked pixels are none."""
        if self.pb is None:
            return np.ones(self.data.shape, bool)
        return np.isfinite(self.pb) & ((self.pb > 0) | (self.data != 0))

    @property
    def lit(self) -> float:
        """Share of the image that the primary beam reaches, where sources are to be expected."""
        return 1.0 if self.pb is None else float(np.mean(self.pb[self.valid] > 0))
