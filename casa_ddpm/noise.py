"""The noise of an image that holds sources."""

from __future__ import annotations

from math import erf, sqrt

import numpy as np

#: Standard deviation of a Gaussian over its median absolute deviation.
_MAD = 1.482602218505602
#: Rings of the uv plane in which noise is looked for.
_RINGS = 4
#: Times the noise of the rings without from which on a ring holds sky. Tapers, and what is
#: smoothed like a PSF, make the noise of rings differ as well, but by less.
_EXCESS = 2.0
#: Fewest independent Fourier modes of a plane that is cut into rings.
_MODES = 100


def rms(image: np.ndarray, valid: np.ndarray | None = None, clip: float = 3.5) -> float:
    """Standard deviation of the noise by iterated clipping about the median.

    Parameters
    ----------
    image : ndarray
    valid : ndarray of bool, optional
        Pixels to use; finite ones at most.
    clip : float
        Deviations beyond this many times the noise are left out.

    Returns
    -------
    float
        In units of the image; unbiased for Gaussian noise.

    Raises
    ------
    ValueError
        If no pixel is left or all are equal.
    """
    # Exact zeros are pixels that were blanked, not noise.
    good = np.isfinite(image) & (image != 0)
    values = image[good if valid is None else valid & good]
    if values.size == 0:
        raise ValueError("image must have noise, got no valid pixel other than 0")
    values = values - np.median(values)
    sigma = _MAD * np.median(np.abs(values))
    for _ in range(10):
        kept = np.abs(values) < clip * sigma
        before, sigma = sigma, float(np.std(values[kept])) * _loss(clip) if kept.any() else 0.0
        if abs(sigma - before) <= 1e-4 * before:
            break
    if not sigma > 0:
        raise ValueError("image must have noise, got pixels that are all equal")
    return float(sigma)


def highest(number: float) -> float:
    """About the highest of `number` independent values of Gaussian noise, two or more [rms]."""
    return float(np.sqrt(2 * np.log(max(2.0, number))))


def by_rings(
    residual: np.ndarray, psf: np.ndarray, valid: np.ndarray | None = None, least: float = 0.0
) -> float:
    """Standard deviation of the noise where sky that no model explains may fill the image.

    Clipping cannot tell such a sky from noise. But it is large, and on the long baselines
    there is little of it: the uv plane is cut into rings of equal weight, and from the
    outermost inwards rings are taken together as long as they agree.

    Parameters
    ----------
    residual : ndarray, shape (ny, nx)
    psf : ndarray, shape (ny, nx)
        Centred on pixel (ny//2, nx//2); says how much noise a ring has to have.
    valid : ndarray of bool, shape (ny, nx), optional
        As for `rms`, and so is the result where all rings agree or the image is too small.
    least : float
        Least that the noise can be, unless `rms` is less: very strong tapers look like sky.

    Raises
    ------
    ValueError
        As `rms`.
    """
    whole = rms(residual, valid)
    good = np.isfinite(residual) & (residual != 0)
    good = good if valid is None else good & valid
    spectrum = np.fft.rfft2(np.where(good, residual, 0))
    weight = _mirrored(np.fft.rfft2(np.fft.ifftshift(psf)).real, residual.shape[1])
    weight = weight / weight.sum()
    if good.mean() < _MODES * (weight**2).sum():
        return whole
    power, share = 0.0, 0.0
    for ring in _rings(weight, residual.shape)[::-1]:
        part = weight[ring].sum()
        if not part > 0:
            continue
        noise = rms(np.fft.irfft2(spectrum * ring, s=residual.shape), good) / np.sqrt(part)
        if share and noise > _EXCESS * np.sqrt(power / share):
            return min(whole, max(least, float(np.sqrt(power / share))))
        power, share = power + part * noise**2, share + part
    return whole


def _mirrored(half: np.ndarray, nx: int) -> np.ndarray:
    """What rfft2 keeps, counted as often as it stands for a part of the whole plane."""
    twice = half.copy()
    twice[:, 1 : (nx + 1) // 2] *= 2
    return twice


def _rings(weight: np.ndarray, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Masks of rings about the uv plane's centre that share the weight, from the inmost."""
    radius = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1]))
    order = np.argsort(radius, axis=None)
    # A PSF that ends with the image has a transform that ripples about its own.
    inside = np.maximum.accumulate(np.cumsum(weight.ravel()[order]))
    edges = [radius.ravel()[order][np.searchsorted(inside, k / _RINGS)] for k in range(1, _RINGS)]
    bounds = zip([0.0, *edges], [*edges, np.inf], strict=True)
    return [(radius >= low) & (radius < high) for low, high in bounds]


def _loss(clip: float) -> float:
    """What clipping takes from the standard deviation of a Gaussian, as a factor to undo it."""
    density = np.exp(-0.5 * clip**2) / np.sqrt(2 * np.pi)
    return float(1 / np.sqrt(1 - 2 * clip * density / erf(clip / sqrt(2))))
