"""Colours, markers and axes that the benchmark's pictures share."""

from __future__ import annotations

from typing import Any

from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, NullFormatter

#: Colours of Okabe & Ito and of Tol, distinct for colour-blind readers; a marker and dash each.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#332288", "#7F7F7F")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (3, 2)), ":", (0, (1, 2)))


def style(position: int) -> dict[str, Any]:
    """Colour, marker and dash of the method at a position."""
    lists = (("color", COLOURS), ("marker", MARKERS), ("linestyle", DASHES))
    return {name: values[position % len(values)] for name, values in lists}


def plain_numbers(axis: Axis) -> None:
    """Numbers of a logarithmic axis without powers of ten."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
