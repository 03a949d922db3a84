"""Pairs of sources that all go with all, so many at a time that they fit into memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

#: Sources whose pairs with all others are held at a time.
_ROWS = 512


def greatest(n: int, value: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The greatest value of each source's pairs with the others, 0 where there are none, (n,).

    Parameters
    ----------
    n : int
        Sources.
    value : callable
        Gives the values, from 0, of the pairs of some sources, numbers of shape (m, 1), with
        all, shape (m, n); what it gives of a source and itself does not count.
    """
    found = np.zeros(n)
    for first in range(0, n, _ROWS):
        rows = np.arange(first, min(first + _ROWS, n))
        values = value(rows[:, None])
        values[np.arange(len(rows)), rows] = 0
        found[rows] = values.max(1)
    return found
