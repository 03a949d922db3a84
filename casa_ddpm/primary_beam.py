"""The primary beam at sources: how high it is there, and how it goes with frequency."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from casa_ddpm.dirty import DirtyImage

#: Share of the highest value from which on pixels are about the middle.
_MIDDLE = 0.999
#: Step along the radius by which the slope is measured, as a share of it.
_STEP = 0.1


def level(dirty: DirtyImage, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The primary beam at each source, shape (n,); NaN where it is undefined, 1 without one.

    Parameters
    ----------
    dirty : DirtyImage
    x, y : ndarray, shape (n,)
        Pixels of the image.
    """
    if dirty.pb is None:
        return np.ones(x.shape)
    known = _known(dirty.pb)
    pb = ndimage.map_coordinates(known, [y, x], order=1, mode="nearest")
    # Between pixels of which one is undefined, the nearest decides.
    nearest = ndimage.map_coordinates(known, [y, x], order=0, mode="nearest")
    return np.where(np.isfinite(pb), pb, nearest)


def spectral_index(dirty: DirtyImage, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """d log pb / d log frequency at each source, of the primary beam of one pointing.

    Its width is in proportion to the wavelength, so that it changes with frequency as it
    changes with the distance from its middle. NaN where it is undefined, 0 without one.

    Parameters
    ----------
    dirty : DirtyImage
    x, y : ndarray, shape (n,)
        Pixels of the image.
    """
    if dirty.pb is None:
        return np.zeros(x.shape)
    known = _known(dirty.pb)
    rows, columns = np.nonzero(known >= _MIDDLE * np.nanmax(known, initial=0))
    middle = np.array([[rows.mean()], [columns.mean()]]) if len(rows) else np.full((2, 1), np.nan)
    away = np.array([y, x]) - middle
    # Inwards, where there is an image: exact for a Gaussian.
    inner, between, here = (
        ndimage.map_coordinates(np.log(known), middle + share * away, order=1, mode="nearest")
        for share in (1 - 2 * _STEP, 1 - _STEP, 1)
    )
    return (inner - 4 * between + 3 * here) / (2 * _STEP)


def _known(pb: np.ndarray) -> np.ndarray:
    """The primary beam where it is defined, NaN elsewhere."""
    return np.where(np.isfinite(pb) & (pb > 0), pb, np.nan)
