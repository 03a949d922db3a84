"""A panel that shows a piece of sky, and its colour bar."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.colors import AsinhNorm, Normalize
from matplotlib.image import AxesImage
from matplotlib.ticker import FuncFormatter, MaxNLocator

from casa_ddpm import scales


def extent(shape: tuple[int, ...], cell: float) -> tuple[float, float, float, float]:
    """Left, right, bottom and top edge of an image, offsets from its centre.

    Parameters
    ----------
    shape : tuple of int
        (ny, nx); the centre is the pixel at (ny // 2, nx // 2).
    cell : float
        [arcsec]

    Returns
    -------
    tuple of float
        [arcsec]; east, which is left, is positive.
    """
    ny, nx = shape
    left, bottom = nx // 2 + 0.5, -(ny // 2) - 0.5
    return left * cell, (left - nx) * cell, bottom * cell, (bottom + ny) * cell


def show(
    panel: Axes,
    image: np.ndarray,
    norm: Normalize,
    cell: float,
    colours: str = "inferno",
    ticks: int = 6,
) -> AxesImage:
    """Draw an image in offsets from its centre, and nothing beside it; undefined pixels are grey.

    Parameters
    ----------
    panel : Axes
    image : ndarray, shape (ny, nx)
    norm : Normalize
    cell : float
        [arcsec]
    colours : str
        Name of the colour map.
    ticks : int
        Most of an axis.
    """
    edges = extent(image.shape, cell)
    shown = panel.imshow(
        np.ma.masked_invalid(image),
        origin="lower",
        extent=edges,
        norm=norm,
        cmap=colours,
        interpolation="nearest",
    )
    # Or the axes would grow to hold what is drawn over the edge.
    panel.set(xlim=edges[:2], ylim=edges[2:], facecolor="0.75")
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_locator(MaxNLocator(ticks))
    return shown


def bar(shown: AxesImage, per: str, pad: float = 0.015, aspect: float = 26) -> Colorbar:
    """Draw a colour bar as high as the panel, in the prefix of Jy that fits its upper end.

    Parameters
    ----------
    shown : AxesImage
        What `show` returned, of an image in Jy/beam or Jy/pixel.
    per : {'beam', 'pixel'}
    pad, aspect : float
        As matplotlib's colorbar takes them.
    """
    factor, unit = scales.prefix(shown.get_clim()[1])
    bar = shown.axes.figure.colorbar(shown, ax=shown.axes, pad=pad, fraction=0.046, aspect=aspect)
    bar.set_label(f"{unit}/{per}")
    if isinstance(shown.norm, AsinhNorm):
        bar.set_ticks(scales.ticks(shown.norm))
    bar.formatter = FuncFormatter(lambda value, _: f"{value / factor:.3g}")
    bar.minorticks_off()
    return bar
