"""CASA's imfit on the islands of an image, as one more source finder."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from casa_ddpm.benchmark.finders import COLUMNS, FLOOR, segments
from casa_ddpm.benchmark.imagers import Observation
from casa_ddpm.benchmark.plane import Plane
from casa_ddpm.dirty import Beam

Box = tuple[int, int, int, int]
Start = tuple[float, float, float, Beam]


def imfit(image: Path, observation: Observation) -> dict:
    """Gaussians fitted by CASA's imfit, those of an island together.

    They start from photutils' segments: at local maxima instead, noise on extended emission
    becomes many sources. The box is the island's own: fits in larger ones run off to noise.
    """
    plane = Plane.read(image)
    rows: list[dict] = []
    for box, starts in islands(plane, observation.noise):
        # The CASA image lies beside the FITS file.
        fitted = _fit(str(image.with_suffix("")), box, starts, plane.cell, observation.noise)
        for row, start in zip(fitted, starts, strict=True):
            rows.append(row | {"score": start[0] / observation.noise})
    found = {name: np.array([row[name] for row in rows]) for name in COLUMNS if rows}
    for name in ("x_err", "y_err"):
        if rows:
            found[name] /= plane.cell
    return found


def islands(plane: Plane, noise: float) -> Iterator[tuple[Box, list[Start]]]:
    """Islands above FLOOR: their boxes (first x, y, last x, y), and where Gaussians start."""
    sources = segments(plane, noise)
    if sources is None:
        return
    label, _ = ndimage.label(plane.data > FLOOR * noise, np.ones((3, 3)))
    at = sources.max_value_index
    members = label[at[:, 0], at[:, 1]]
    starts = []
    for source in sources:
        # Moments above a threshold are too small, for a faint source smaller than the beam.
        moments = np.asarray(source.covariance.value)[::-1, ::-1]
        shape = plane.beam
        if np.linalg.det(moments) > np.linalg.det(shape.covariance(plane.cell)):
            shape = Beam.from_covariance(moments, plane.cell)
        x, y = source.centroid
        starts.append((float(source.max_value), float(x), float(y), shape))
    boxes = ndimage.find_objects(label)
    for island in np.unique(members):
        rows, columns = boxes[island - 1]
        box = columns.start, rows.start, columns.stop - 1, rows.stop - 1
        yield box, [start for start, own in zip(starts, members, strict=True) if own == island]


def _fit(image: str, box: Box, starts: Sequence[Start], cell: float, noise: float) -> list[dict]:
    """Fit an island; a Gaussian that leaves its box is tried alone, then only its place stays."""
    from casa_ddpm.casa import clean

    rows = clean.fit(image, box, starts, noise) or [{}] * len(starts)
    for k, start in enumerate(starts):
        if not _inside(rows[k], box):
            own = _around(start, box, cell)
            alone = clean.fit(image, own, [start], noise)
            nothing = dict.fromkeys(COLUMNS, math.nan) | {"x": start[1], "y": start[2]}
            rows[k] = alone[0] if alone and _inside(alone[0], own) else nothing
    return rows


def _inside(row: dict, box: Box) -> bool:
    return bool(row) and box[0] <= row["x"] <= box[2] and box[1] <= row["y"] <= box[3]


def _around(start: Start, box: Box, cell: float) -> Box:
    """The part of a box within one FWHM of where a Gaussian starts."""
    _, x, y, shape = start
    reach = shape.major / cell
    left, low = max(box[0], round(x - reach)), max(box[1], round(y - reach))
    right, high = min(box[2], round(x + reach)), min(box[3], round(y + reach))
    return left, low, right, high
