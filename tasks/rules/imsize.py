"""The size of the images: pixels, and room for them."""

from __future__ import annotations

import os
import shutil

from .imagename import folder
from .values import Values, as_list

#: Images that a run writes at least: PSF, residual, model and image, with 4 bytes for a pixel.
IMAGES = 4
#: Pixels on a side that CASA's gridding function needs at least.
LEAST_SIZE = 10


def imsize_positive(values: Values) -> None:
    """Have one or two positive numbers of pixels."""
    sizes = as_list(values["imsize"])
    if len(sizes) not in (1, 2) or any(size < 1 for size in sizes):
        raise ValueError(
            f"imsize must be one or two positive numbers of pixels, got {values['imsize']!r}"
        )


def images_are_wide(values: Values) -> None:
    """Have more pixels on a side, and on a facet's, than CASA's gridding function has."""
    sizes = as_list(values["imsize"])
    if not values["dirtyimage"] and sizes and min(sizes) < LEAST_SIZE * values["facets"]:
        raise ValueError(
            f"imsize must be at least {LEAST_SIZE} pixels for each of the facets={values['facets']}"
            f" on a side, got {values['imsize']!r}"
        )


def images_fit(values: Values) -> None:
    """Have room for a plane's grid in memory and for the images on the disk, as CASA needs it."""
    sizes, place = as_list(values["imsize"]), folder(values["imagename"])
    if values["dirtyimage"] or not sizes or not place.is_dir():
        return
    grid = 8 * sizes[0] * sizes[-1] / 1e9
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    if grid > memory:
        raise ValueError(
            f"imsize must make planes that fit into memory, got {values['imsize']!r}: the grid of"
            f" one takes {grid:.3g} GB of {memory:.3g} GB"
        )
    needed = IMAGES * grid / 2 * max(1, values["nchan"])
    disk = shutil.disk_usage(place)
    free = disk.free / 1e9
    # some file systems do not say how large they are
    if disk.total and needed > free:
        raise ValueError(
            f"imsize and nchan must make images that fit on the disk, got {values['imsize']!r} and"
            f" {values['nchan']}: they take at least {needed:.3g} GB of {free:.3g} GB"
        )
