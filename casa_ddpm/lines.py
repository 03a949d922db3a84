"""A density along a line: where it is evaluated, and what lies in between."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.interpolate import CubicSpline

#: At how many values the density is evaluated, and how many it is interpolated to.
_NODES, _FINE = 13, 240
#: What a cubic spline through values at the nodes is in between, shape (_FINE, _NODES).
_SPLINE = CubicSpline(np.linspace(0, 1, _NODES), np.eye(_NODES))(np.linspace(0, 1, _FINE))
#: What is less likely than the best by this much [log] is left out.
_UNLIKELY = 12.5
#: Most often that a line is evaluated anew, closer about its peak.
_ZOOMS = 4


def line(
    evidence: Callable[[np.ndarray], np.ndarray], low: float, high: float
) -> tuple[np.ndarray, np.ndarray]:
    """Values between bounds and the log evidence there, closer where it is narrow."""
    for _ in range(_ZOOMS):
        nodes = np.linspace(low, high, _NODES)
        found = evidence(nodes)
        likely = np.flatnonzero(found > found.max() - _UNLIKELY)
        if not likely.size:  # no flux is possible
            raise FloatingPointError("a source must have a shape that is possible")
        first, last = max(likely[0] - 1, 0), min(likely[-1] + 1, _NODES - 1)
        if last - first > _NODES // 2:
            break
        low, high = nodes[first], nodes[last]
    possible = np.isfinite(found)
    if possible.all():
        return np.linspace(nodes[0], nodes[-1], _FINE), _SPLINE @ found
    nodes, found = nodes[possible], found[possible]
    values = np.linspace(nodes[0], nodes[-1], _FINE)
    return values, np.interp(values, nodes, found)


def masses(log_density: np.ndarray) -> np.ndarray:
    """Relative masses (n - 1,) between values of a regular grid; the first value has density 1."""
    density = np.exp(log_density - log_density.max())
    return (density[1:] + density[:-1]) / 2
