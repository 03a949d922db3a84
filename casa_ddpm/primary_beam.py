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
    return _at(_known(dirty.pb), np.array([y, x]))


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
    return _index(_known(dirty.pb), np.array([y, x]))


def at_frequency(pb: np.ndarray, ratio: float) -> np.ndarray:
    """The primary beam of one pointing at a frequency of so many times its own.

    Parameters
    ----------
    pb : ndarray, shape (ny, nx)
        NaN where there is no image, and then as well in what is returned.
    ratio : float
    """
    known, places = _known(pb), np.indices(pb.shape, float).reshape(2, -1)
    middle = _middle(known)
    there = ndimage.map_coordinates(
        known, middle + ratio * (places - middle), order=1, mode="constant", cval=np.nan
    ).reshape(pb.shape)
    # Where that is outside of the image, or of the beam: a Gaussian of this slope.
    steep = _index(known, places).reshape(pb.shape)
    gaussian = known * np.exp(steep * (ratio**2 - 1) / 2)
    found = np.where(np.isfinite(there), there, gaussian)
    return np.where(np.isfinite(known) & np.isfinite(found), found, pb).astype(np.float32)


def _index(known: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The spectral index at places (y, x), shape (2, n)."""
    middle = _middle(known)
    # Inwards, where there is an image: exact for a Gaussian.
    inner, between, here = (
        _at(np.log(known), middle + share * (places - middle))
        for share in (1 - 2 * _STEP, 1 - _STEP, 1)
    )
    return (inner - 4 * between + 3 * here) / (2 * _STEP)


def _at(image: np.ndarray, places: np.ndarray) -> np.ndarray:
    """An image (ny, nx) at places (y, x), shape (2, n)."""
    found = ndimage.map_coordinates(image, places, order=1, mode="nearest")
    # Between pixels of which one is undefined, the nearest decides.
    nearest = ndimage.map_coordinates(image, places, order=0, mode="nearest")
    return np.where(np.isfinite(found), found, nearest)


def _middle(known: np.ndarray) -> np.ndarray:
    """Where the primary beam is highest, y and x, shape (2, 1)."""
    rows, columns = np.nonzero(known >= _MIDDLE * np.nanmax(known, initial=0))
    return np.array([[rows.mean()], [columns.mean()]]) if len(rows) else np.full((2, 1), np.nan)


def _known(pb: np.ndarray) -> np.ndarray:
    """The primary beam where it is defined, NaN elsewhere."""
    return np.where(np.isfinite(pb) & (pb > 0), pb, np.nan)
