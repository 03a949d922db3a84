"""Local maxima of an image."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def find_peaks(data: np.ndarray, lowest: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Local maxima of an image, to a fraction of a pixel.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        Image; its outermost pixels are passed over, as their maxima may lie outside.
    lowest : float
        Only pixels above it, in the unit of `data`.

    Returns
    -------
    x, y, value : ndarray, shape (K,)
        Top of the paraboloid through the maximum and its eight neighbours: position
        [pixel] and value.
    """
    data = np.asarray(data, float)
    top = (data == ndimage.maximum_filter(data, 5)) & (data > lowest)
    top[[0, -1]] = top[:, [0, -1]] = False
    y, x = np.nonzero(top)
    v = {(i, j): data[y + i, x + j] for i in (-1, 0, 1) for j in (-1, 0, 1)}
    gy, gx = (v[1, 0] - v[-1, 0]) / 2, (v[0, 1] - v[0, -1]) / 2
    yy, xx = v[1, 0] + v[-1, 0] - 2 * v[0, 0], v[0, 1] + v[0, -1] - 2 * v[0, 0]
    xy = (v[1, 1] + v[-1, -1] - v[1, -1] - v[-1, 1]) / 4
    determinant = xx * yy - xy**2
    # Where the nine pixels have no top, as on a plateau, the maximum stays in its pixel.
    good = (determinant > 0) & (xx < 0)
    safe = np.where(good, determinant, 1)
    dx = np.where(good, (xy * gy - yy * gx) / safe, 0).clip(-0.5, 0.5)
    dy = np.where(good, (xy * gx - xx * gy) / safe, 0).clip(-0.5, 0.5)
    value = v[0, 0] + gx * dx + gy * dy + (xx * dx**2 + yy * dy**2) / 2 + xy * dx * dy
    return x + dx, y + dy, value
