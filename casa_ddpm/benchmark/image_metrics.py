"""How close an image is to the true one.

The published protocol (Drozdova et al. 2024, A&A 683, A105) takes L2 of images in Jy/pixel,
and PSNR and SSIM of root-normalised images, clipped to [0, 1].
"""

from __future__ import annotations

import numpy as np
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

#: Brightness [Jy/pixel] that the published protocol normalises to 1.
SCALE = 2.960064e-5


def l2(image: np.ndarray, truth: np.ndarray) -> float:
    """Square root of the sum of squared differences, in the images' unit.

    Parameters
    ----------
    image, truth : ndarray, shape (ny, nx)
        In one unit.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    _same_shape(image, truth)
    return float(np.linalg.norm(np.subtract(image, truth, dtype=float)))


def normalised(image: np.ndarray, scale: float = SCALE, gamma: float = 2.0) -> np.ndarray:
    """Root normalisation y = 2 (abs(x) / scale)^(1 / gamma) - 1, clipped to [0, 1].

    The clip leaves nothing of what is fainter than scale / 2^gamma.

    Parameters
    ----------
    image : ndarray
        Sky brightness [Jy/pixel].
    scale : float
        Brightness that becomes 1 [Jy/pixel].
    gamma : float
        Power of the root.

    Raises
    ------
    ValueError
        If `scale` or `gamma` is not positive.
    """
    for name, value in (("scale", scale), ("gamma", gamma)):
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")
    root = (np.abs(np.asarray(image, float)) / scale) ** (1 / gamma)
    return np.clip(2 * root - 1, 0, 1)


def psnr(image: np.ndarray, truth: np.ndarray, scale: float = SCALE, gamma: float = 2.0) -> float:
    """Peak signal-to-noise ratio [dB] of normalised images.

    10 log10(1 / mean squared difference), by scikit-image with a data range of 1;
    infinite for equal images.

    Parameters
    ----------
    image, truth : ndarray, shape (ny, nx)
        Sky brightness [Jy/pixel].
    scale, gamma : float
        As in `normalised`.

    Raises
    ------
    ValueError
        If the shapes differ, or `scale` or `gamma` is not positive.
    """
    _same_shape(image, truth)
    a, b = (normalised(x, scale, gamma) for x in (truth, image))
    if np.array_equal(a, b):
        return np.inf
    return float(peak_signal_noise_ratio(a, b, data_range=1))


def ssim(image: np.ndarray, truth: np.ndarray, scale: float = SCALE, gamma: float = 2.0) -> float:
    """Structural similarity of normalised images (Wang et al. 2004, IEEE TIP 13, 600).

    By scikit-image with a data range of 1 and its uniform window of 7 pixels.

    Parameters
    ----------
    image, truth : ndarray, shape (ny, nx)
        Sky brightness [Jy/pixel], at least 7 pixels wide and high.
    scale, gamma : float
        As in `normalised`.

    Raises
    ------
    ValueError
        If the shapes differ or are too small, or `scale` or `gamma` is not positive.
    """
    _same_shape(image, truth)
    a, b = (normalised(x, scale, gamma) for x in (truth, image))
    return float(structural_similarity(a, b, data_range=1))


def signal_to_error(image: np.ndarray, truth: np.ndarray) -> float:
    """Signal-to-error ratio 20 log10(norm(truth) / norm(truth - image)) [dB].

    Parameters
    ----------
    image, truth : ndarray, shape (ny, nx)
        In one unit and at one resolution.

    Returns
    -------
    float
        Infinite for equal images, NaN where there is no signal.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    error = l2(image, truth)
    signal = float(np.linalg.norm(np.asarray(truth, float)))
    if not signal:
        return np.nan
    return 20 * np.log10(signal / error) if error else np.inf


def _same_shape(image: np.ndarray, truth: np.ndarray) -> None:
    if np.shape(image) != np.shape(truth):
        raise ValueError(
            f"image must have the shape of truth {np.shape(truth)}, got {np.shape(image)}"
        )
