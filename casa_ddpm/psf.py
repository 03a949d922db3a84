"""Fitting and drawing the clean beam."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage

from casa_ddpm.dirty import Beam


def fit_beam(psf: np.ndarray, cell: float, cutoff: float = 0.35) -> Beam:
    """Fit an elliptical Gaussian to the main lobe of a PSF.

    Parameters
    ----------
    psf : ndarray, shape (ny, nx)
        Peak 1 at pixel (ny//2, nx//2).
    cell : float
        Pixel side [arcsec].
    cutoff : float
        Only the connected lobe above this level is fitted, as in tclean's psfcutoff.

    Returns
    -------
    Beam

    Raises
    ------
    ValueError
        If the lobe is not a peak, or runs into the image's edge.
    """
    y0, x0 = psf.shape[0] // 2, psf.shape[1] // 2
    labels, _ = ndimage.label(psf > cutoff * psf[y0, x0])
    y, x = np.nonzero(labels == labels[y0, x0])
    at_edge = min(y.min(), x.min()) == 0 or y.max() == psf.shape[0] - 1
    if at_edge or x.max() == psf.shape[1] - 1 or len(y) < 4:
        raise ValueError("psf must have a main lobe that is resolved and inside of the image")
    value = psf[y, x] / psf[y0, x0]
    dy, dx = y - y0, x - x0
    # log B = -(a dy^2 + 2 b dy dx + c dx^2) / 2, weighted as B is known, not log B.
    design = -0.5 * np.stack([dy**2, 2 * dy * dx, dx**2], 1)
    (a, b, c), *_ = np.linalg.lstsq(design * value[:, None], np.log(value) * value, rcond=None)
    if a <= 0 or a * c <= b * b:
        raise ValueError("psf must have a main lobe that falls off in every direction")
    return Beam.from_covariance(np.linalg.inv([[a, b], [b, c]]), cell)


def gaussian(covariance: np.ndarray, npix: int, device: torch.device | str = "cpu"):
    """A centred Gaussian of peak 1, shape (npix, npix); `covariance` (y, x) [pixel^2]."""
    axis = torch.arange(npix, dtype=torch.float32, device=device) - npix // 2
    (a, b), (_, c) = np.linalg.inv(covariance).tolist()
    y, x = axis[:, None], axis
    return torch.exp(-0.5 * (a * y * y + 2 * b * y * x + c * x * x))


def transfer(shape: Sequence[int], fwhm: float, device: torch.device | str = "cpu") -> torch.Tensor:
    """Fourier transform of a round Gaussian of unit sum at the frequencies of an rfft2.

    Parameters
    ----------
    shape : sequence of int
        (ny, nx) of the real image.
    fwhm : float
        [pixel]
    """
    v = torch.fft.fftfreq(shape[0], device=device)[:, None]
    u = torch.fft.rfftfreq(shape[1], device=device)
    return torch.exp(-((math.pi * fwhm) ** 2) / (4 * math.log(2)) * (u * u + v * v))


def smooth(image: torch.Tensor, fwhm: float) -> torch.Tensor:
    """Convolve images (..., ny, nx), periodic, with a round Gaussian of `fwhm` [pixel]."""
    shape = image.shape[-2:]
    spectrum = torch.fft.rfft2(image) * transfer(shape, fwhm, image.device)
    return torch.fft.irfft2(spectrum, s=shape)


def ellipse(beam: Beam) -> list[float]:
    """The beam's ellipticity as the network sees it: e cos 2pa and e sin 2pa."""
    e = (beam.major - beam.minor) / (beam.major + beam.minor)
    angle = 2 * np.radians(beam.pa)
    return [float(e * np.cos(angle)), float(e * np.sin(angle))]
