"""Pairs of sources that all go with all, so many at a time that they fit into memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

#: Sources whose pairs with all others are held at a time.
_ROWS = 512


def blocks(n: int) -> Iterator[np.ndarray]:
    """The numbers from 0 to n - 1, in order, an array (m,) of consecutive ones at a time."""
    for first in range(0, n, _ROWS):
        yield np.arange(first, min(first + _ROWS, n))
