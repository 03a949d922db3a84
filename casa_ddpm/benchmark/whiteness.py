"""Whether a residual is noise on large scales too, where emission that is missed stays.

The noise of a naturally weighted image is as correlated as its PSF is wide: its
autocorrelation is noise^2 PSF, its power spectrum noise^2 FT(PSF), the density of the
visibilities. A residual is white when it has that power everywhere. On scales of more than
three beams, the inner part of the uv plane, emission that the model lacks is in excess, and
what a model holds of the noise is missing; an rms over all scales shows neither.
"""

from __future__ import annotations

import numpy as np

#: Scales that are large [beam]: spatial frequencies below 1 / (LARGE FWHM).
LARGE = 3.0


def large_scale_power(
    residual: np.ndarray, psf: np.ndarray, beam: float, noise: float = 1.0
) -> float:
    """Power of a residual on large scales over that of noise alone.

    The expectation of noise is that of this very image, with its edges and undefined pixels:
    E abs(FT(w n))^2 = noise^2 FT(PSF A), A being the autocorrelation of the window w. Beyond
    the PSF's image its sidelobes are taken as 0 (a bias of 0.01 at most for ALMA, VLA, ACA and ATCA
    tracks); pixels are 1 or 0 in w.

    Parameters
    ----------
    residual : ndarray, shape (ny, nx)
        Residual of a naturally weighted image; pixels that are not finite are left out.
    psf : ndarray, shape (ny, nx)
        Peak 1 at pixel (ny//2, nx//2).
    beam : float
        FWHM of the clean beam, geometric mean [pixel].
    noise : float
        rms of the noise, in the unit of `residual`.

    Returns
    -------
    float
        1 for noise alone, with a scatter of about the root of 2 over the number of uv cells
        in the inner part; more where emission is left, less where noise has been fitted. NaN
        where noise would have no power there, as without any pixel.

    Raises
    ------
    ValueError
        If `beam` or `noise` is not positive, or the shapes differ.
    """
    for name, value in (("beam", beam), ("noise", noise)):
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")
    if np.shape(psf) != np.shape(residual):
        raise ValueError(
            f"psf must have the shape of residual {np.shape(residual)}, got {np.shape(psf)}"
        )
    # Zeros around it: no lag of the autocorrelation wraps onto another.
    shape = (2 * residual.shape[0], 2 * residual.shape[1])
    window = np.isfinite(residual)
    inner = _frequencies(shape) < 1 / (LARGE * beam)
    power = np.abs(np.fft.fft2(np.where(window, residual, 0), shape)) ** 2
    lags = np.fft.ifft2(np.abs(np.fft.fft2(window, shape)) ** 2).real
    expected = noise**2 * np.fft.fft2(lags * _centred(psf, shape)).real[inner].sum()
    return float(power[inner].sum() / expected) if expected > 0 else np.nan


def _frequencies(shape: tuple[int, int]) -> np.ndarray:
    """Spatial frequency of each element of an FFT [1/pixel]."""
    return np.hypot(*np.meshgrid(*map(np.fft.fftfreq, shape), indexing="ij"))


def _centred(psf: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A PSF by lag, 0 first as an FFT has it, shape `shape`."""
    whole = np.zeros(shape)
    whole[: psf.shape[0], : psf.shape[1]] = psf
    return np.roll(whole, [-(n // 2) for n in psf.shape], axis=(0, 1))
