"""What can be known of the points of a field: each is looked for where all others are known.

The truth is taken out of the dirty image, and one source after the other put back. In such an
image a point has no neighbours and no sidelobes but its own, and its highest pixel is the
matched filter of an isolated source; what stands out of the noise elsewhere is false. No method
that has to find all sources at once can do better, but for what it knows of how many there
are and how bright.
"""

from __future__ import annotations

import numpy as np
import torch
from astropy.table import Table

from casa_ddpm.benchmark.accuracy import POSITION
from casa_ddpm.benchmark.field import EXACT, Field
from casa_ddpm.benchmark.peaks import find_peaks
from casa_ddpm.fourier import convolve
from casa_ddpm.matching import RADIUS
from casa_ddpm.simulator import draw_sky
from casa_ddpm.sky import points

#: Lowest peak that is listed [noise].
LOWEST = 2.5


def knows(field: Field) -> bool:
    """Whether it can be told: all sources are points, and none needs more than pixels."""
    truth = field.truth()
    return not np.any(truth["major"]) and np.max(truth["flux"], initial=0) <= EXACT


def detections(field: Field, method: str) -> Table:
    """What is found of each source when all others are known, and what is false.

    Parameters
    ----------
    field : Field
        Of points of S/N up to 1000.
    method : str
        Name of the rows.

    Returns
    -------
    Table
        Columns of `tables.DETECTIONS`. Score and flux are the peak's S/N.

    Raises
    ------
    ValueError
        If a source is no point or brighter.
    """
    if not knows(field):
        raise ValueError(
            f"field must have points of S/N up to {EXACT:g} alone, "
            f"got {field.protocol} {field.index}"
        )
    truth, reach = field.truth(), RADIUS * field.scale
    noise = field.dirty.data / field.noise - _shown(field, slice(None))
    x, y, value = find_peaks(noise, LOWEST)
    away = np.hypot(x[:, None] - truth["x"], y[:, None] - truth["y"])
    false = ~(away < reach).any(1)
    rows = [np.stack([x, y, value])[:, false]]
    for k, (x0, y0) in enumerate(zip(truth["x"], truth["y"], strict=True)):
        found = np.stack(find_peaks(noise + _shown(field, slice(k, k + 1)), LOWEST))
        near = found[:, np.hypot(found[0] - x0, found[1] - y0) < reach]
        if near.size:
            rows.append(near[:, [near[2].argmax()]])
    x, y, value = np.hstack(rows)
    error = POSITION * field.scale / value
    return field.detections(
        method, x=x, y=y, score=value, flux=value, flux_err=np.ones(len(x)), x_err=error,
        y_err=error,
    )  # fmt: skip


def _shown(field: Field, which: slice) -> np.ndarray:
    """Dirty image of some of the sources [noise], shape (ny, nx)."""
    some = points(field.components.position[which], field.components.flux[which])
    _, sky = draw_sky(some, field.scale, len(field.dirty.data))
    psf = field.dirty.psf if field.psf is None else field.psf
    return convolve(sky, torch.from_numpy(psf)).numpy()
