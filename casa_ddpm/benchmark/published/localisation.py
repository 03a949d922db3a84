"""Sources in images of the sky: where they are, how bright, found in how many realisations.

Images are on pixels of 0.1 arcsec, in Jy/pixel; positions (y, x) in arcsec from the centre.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from photutils.aperture import CircularAperture
from photutils.centroids import centroid_quadratic
from photutils.detection import find_peaks
from photutils.utils.exceptions import NoDetectionsWarning
from scipy.cluster.hierarchy import fcluster, linkage

from casa_ddpm.pointing import CELL

#: A detection is that of a true source within this distance [arcsec].
RADIUS = 0.18
#: Faintest peak that is looked at: a quarter of the faintest that a source has [Jy/pixel].
LOWEST = 1.7e-7
#: Side of the box in which a pixel has to be the highest; the lattice's step is 10 [pixel].
_BOX = 9
#: Radius of the aperture that holds all of a source's flux [arcsec].
APERTURE = 1.0


@dataclass(frozen=True)
class Sources:
    """Sources in an image.

    Parameters
    ----------
    position : ndarray, shape (n, 2)
        (y, x) [arcsec].
    peak : ndarray, shape (n,)
        What a threshold is laid on [Jy/pixel].
    """

    position: np.ndarray
    peak: np.ndarray


def locate(image: np.ndarray, lowest: float = LOWEST) -> Sources:
    """Local maxima of an image (photutils), at the vertex of the paraboloid through them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoDetectionsWarning)
        found = find_peaks(image, lowest, box_size=_BOX)
    if found is None:
        return Sources(np.zeros((0, 2)), np.zeros(0))
    column = "x_peak" if "x_peak" in found.colnames else "x"
    x, y = np.array(found[column]), np.array(found[column.replace("x", "y")])
    places = np.array([_centroid(image, *place) for place in zip(x, y, strict=True)])
    centre = np.array(image.shape) // 2
    return Sources((places - centre) * CELL, np.array(found["peak_value"], float))


def _centroid(image: np.ndarray, x: int, y: int) -> tuple[float, float]:
    """The vertex (y, x) near a peak, or its pixel where there is none within a pixel."""
    with warnings.catch_warnings():
        # photutils warns where the peak is at the image's edge or the fit has no maximum
        warnings.simplefilter("ignore")
        found = centroid_quadratic(image, xpeak=x, ypeak=y, fit_boxsize=5)
    near = np.isfinite(found).all() and max(abs(found[0] - x), abs(found[1] - y)) <= 1
    return (float(found[1]), float(found[0])) if near else (float(y), float(x))


def majority(samples: list[Sources]) -> Sources:
    """Sources that more than half of the realisations hold.

    Detections of all realisations within RADIUS of each other are one source (single linkage),
    a realisation counting once with its highest peak. Its peak is the one that more than half
    of the realisations reach, so that above a threshold are the sources that a majority has
    above it.

    Parameters
    ----------
    samples : list of Sources
        Of each realisation.
    """
    least = len(samples) // 2 + 1
    position = np.concatenate([s.position for s in samples])
    peak = np.concatenate([s.peak for s in samples])
    run = np.repeat(np.arange(len(samples)), [len(s.peak) for s in samples])
    if len(peak) < 2:
        return Sources(position[: len(peak) // least], peak[: len(peak) // least])
    label = fcluster(linkage(position, "single"), RADIUS, "distance")
    places, levels = [], []
    for k in np.unique(label):
        mine = label == k
        highest = np.array([peak[mine & (run == r)].max() for r in np.unique(run[mine])])
        if len(highest) >= least:
            places.append(np.average(position[mine], axis=0, weights=peak[mine]))
            levels.append(np.sort(highest)[-least])
    return Sources(np.array(places).reshape(-1, 2), np.array(levels))


def aperture_flux(images: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Flux within APERTURE of places (n, 2) in images (m, ny, nx), shape (m, n) [Jy]."""
    if not len(position):
        return np.zeros((len(images), 0))
    centre = np.array(images.shape[-2:]) // 2
    pixel = position / CELL + centre
    apertures = CircularAperture(pixel[:, ::-1], APERTURE / CELL)
    return np.array([apertures.do_photometry(image)[0] for image in images])
