"""Units and ticks of the pictures' colour scales."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import AsinhNorm

PREFIXES = ((1, "Jy"), (1e-3, "mJy"), (1e-6, "µJy"), (1e-9, "nJy"))
#: Least distance of two ticks, as a share of the scale.
_APART = 0.11


def prefix(value: float) -> tuple[float, str]:
    """The prefix that leaves 1 to 1000 before the decimal point: factor and name."""
    for scale, unit in PREFIXES:
        if abs(value) >= scale:
            return scale, unit
    return PREFIXES[-1]


def top(image: np.ndarray) -> float:
    """The highest finite value, or 1e-9 where nothing is positive."""
    positive = image[np.isfinite(image) & (image > 0)]
    return float(positive.max(initial=0)) or 1e-9


def ticks(norm: AsinhNorm) -> list[float]:
    """Round numbers, evenly spread over an asinh scale."""
    low, high = float(norm.vmin or 0), float(norm.vmax or 0)

    def place(value) -> np.ndarray:
        return np.arcsinh(np.asarray(value) / norm.linear_width)

    apart = _APART * float(place(high) - place(low))
    chosen = [0.0]
    decades = range(int(np.floor(np.log10(high))), int(np.log10(high)) - 7, -1)
    candidates = [step * 10.0**power for power in decades for step in (5, 2, 1)]
    for tick in [*candidates, *(-value for value in candidates)]:
        if low <= tick <= high and np.abs(place(chosen) - place(tick)).min() > apart:
            chosen.append(tick)
    return sorted(chosen)
