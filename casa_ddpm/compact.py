"""Compact sources that are far above the noise, among the peaks of a residual."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from casa_ddpm.offset import REACH
from casa_ddpm.scene import Scene

#: S/N from which on a compact source is bright.
BRIGHT = 100.0
#: The same in units of what sidelobes, and errors of the calibration, leave as noise.
_CLEAR = 20.0
#: Most that there is a beam away from a compact source, beyond the beam, of its peak.
_COMPACT = 0.2


def find_compact(scene: Scene, residual: np.ndarray) -> tuple[np.ndarray, float]:
    """Find bright compact sources.

    Parameters
    ----------
    scene : Scene
    residual : ndarray, shape (ny, nx)
        [Jy/beam]

    Returns
    -------
    peaks : ndarray of int, shape (n, 2)
        y, x of their pixels, brightest first.
    level : float
        Flux from which on a source is bright [Jy].
    """
    none = np.zeros((0, 2), int)
    thermal, peak = scene.dirty.thermal, np.abs(residual[scene.allowed]).max(initial=0)
    if thermal is not None and peak < BRIGHT * thermal:
        return none, BRIGHT * thermal
    peeled, rest, sigma = scene.peel(residual)
    # What sidelobes hide the noise of is bright as well; what is left of others is not.
    level = BRIGHT * (sigma if thermal is None else thermal)
    model = scene.restore(peeled)
    image = model + rest
    sidelobes = 1.2 * scene.dirty.sidelobe * image[scene.valid].max(initial=0)
    least = max(level, _CLEAR * sigma, sidelobes)
    size = 2 * round(scene.dirty.beam.fwhm / scene.dirty.cell) + 1
    highest = image == ndimage.maximum_filter(image, size=size)
    peaks = np.argwhere(highest & scene.allowed & (model > 0) & (image > least))
    peaks = peaks[np.argsort(-image[tuple(peaks.T)], kind="stable")]
    kept = [p for p in peaks if _is_compact(image, p, scene) and _is_free(p, scene)]
    return np.array(kept, int).reshape(-1, 2), level


def _is_free(place: np.ndarray, scene: Scene) -> bool:
    """Whether the model may change on all pixels that a point between pixels takes."""
    first = np.maximum(place - REACH, 0)
    y, x = (slice(a, p + REACH + 1) for a, p in zip(first, place, strict=True))
    return bool(scene.allowed[y, x].all())


def _is_compact(image: np.ndarray, place: np.ndarray, scene: Scene) -> bool:
    """Whether a peak of a restored image is away from its edge and falls off like the beam."""
    beam, cell = scene.dirty.beam, scene.dirty.cell
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    away = beam.fwhm / cell * np.stack([np.sin(angle), np.cos(angle)])
    ring, last = place[:, None] + away, np.array(image.shape)[:, None] - 1
    if ((ring < 0) | (ring > last)).any():
        return False
    falls = np.exp(
        -0.5 * np.einsum("ik,ij,jk->k", away, np.linalg.inv(beam.covariance(cell)), away)
    )
    around = ndimage.map_coordinates(image, ring, order=1) / image[tuple(place)]
    return bool((around - falls).max() < _COMPACT)
