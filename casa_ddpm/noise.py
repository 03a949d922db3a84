"""The noise of an image that holds sources."""

from __future__ import annotations

from math import erf, sqrt

import numpy as np

#: Standard deviation of a Gaussian over its median absolute deviation.
_MAD = 1.482602218505602


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


def _loss(clip: float) -> float:
    """What clipping takes from the standard deviation of a Gaussian, as a factor to undo it."""
    density = np.exp(-0.5 * clip**2) / np.sqrt(2 * np.pi)
    return float(1 / np.sqrt(1 - 2 * clip * density / erf(clip / sqrt(2))))
