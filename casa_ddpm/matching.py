"""One-to-one matching of two lists of positions."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment
from scipy.spatial import KDTree

#: How far a detection may be from the truth [beam]; for extended sources a part of their width.
RADIUS, PART = 0.6, 0.3


def match(
    x: ArrayLike, y: ArrayLike, x_true: ArrayLike, y_true: ArrayLike, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """Match detections to true sources, at most one to one.

    Parameters
    ----------
    x, y : array_like, shape (K,)
        Detected positions.
    x_true, y_true : array_like, shape (M,)
        True positions, in the same unit.
    radius : float
        Greatest distance of a match, in that unit.

    Returns
    -------
    index, index_true : ndarray of int, shape (n,)
        The pairs, in the order of `index`: those whose summed squared distances are
        least, an unmatched pair counting radius squared.

    Raises
    ------
    ValueError
        If coordinates differ in length or are not finite, or `radius` is not positive.
    """
    found, true = _positions(x, y, ""), _positions(x_true, y_true, "_true")
    if not radius > 0:
        raise ValueError(f"radius must be positive, got {radius}")
    if not len(found) or not len(true):
        return np.zeros(0, int), np.zeros(0, int)
    # Only positions with a partner in reach enter the assignment, which is dense.
    near = np.flatnonzero(KDTree(true).query(found)[0] <= radius)
    near_true = np.flatnonzero(KDTree(found).query(true)[0] <= radius)
    squares = ((found[near, None] - true[None, near_true]) ** 2).sum(axis=-1)
    rows, columns = assign(squares, radius)
    return near[rows], near_true[columns]


def assign(squares: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs within a radius, by a table of squared distances (K, M): rows and columns, (n,) each.

    Their sum is least, an unmatched pair counting radius squared.
    """
    rows, columns = linear_sum_assignment(np.minimum(squares, radius**2))
    close = squares[rows, columns] <= radius**2
    return rows[close], columns[close]


def match_reaches(
    x: ArrayLike, y: ArrayLike, x_true: ArrayLike, y_true: ArrayLike, reach: ArrayLike
) -> np.ndarray:
    """Match where each true source has a greatest distance of its own, the smallest first.

    Parameters
    ----------
    x, y, x_true, y_true
        As for `match`.
    reach : array_like, shape (M,)
        Greatest distance of a match with each true source.

    Returns
    -------
    ndarray of int, shape (K,)
        The true source of each detection, -1: none.
    """
    x, y, x_true, y_true, reach = (
        np.atleast_1d(np.asarray(a, float)) for a in (x, y, x_true, y_true, reach)
    )
    partner = np.full(len(x), -1)
    for width in np.unique(reach):
        free, rows = np.flatnonzero(partner < 0), np.flatnonzero(reach == width)
        found, true = match(x[free], y[free], x_true[rows], y_true[rows], width)
        partner[free[found]] = rows[true]
    return partner


def _positions(x: ArrayLike, y: ArrayLike, suffix: str) -> np.ndarray:
    """Positions of shape (K, 2), checked."""
    x, y = (np.atleast_1d(np.asarray(axis, float)) for axis in (x, y))
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(
            f"x{suffix} and y{suffix} must be lists of one length, got {x.shape} and {y.shape}"
        )
    positions = np.stack([x, y], axis=1)
    if not np.isfinite(positions).all():
        raise ValueError(f"x{suffix} and y{suffix} must be finite")
    return positions
