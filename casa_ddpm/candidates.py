"""Candidate sources: the regions that a sky with several peaks is divided into.

Separating neighbours needs a rule that neither loses a faint source beside a
bright one nor shreds a ring into knots. photutils' `deblend_sources` asks for a
share of the whole island's flux and can do only one of the two: the contrast of 0.01
that tells S/N 5 from S/N 300 at 1.5 beams cuts a ring of 5 sigma per beam into 23
pieces, that of 0.1 still into 5, and has lost the faint source. Here the islands that
photutils finds are split by watershed at peaks that stand out relative to their own
height: a faint peak is separate where the brightness falls by 80 %
before it rises to a brighter one (knots of a few noise sigma are what noise makes
of any extended source), a bright one where it falls by 30 %, with a smooth change
between the two at about 3 sigma. A part that is no wider than a point is no knot: half of
these falls are enough for it.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
from photutils.segmentation import detect_sources
from photutils.utils.exceptions import NoDetectionsWarning
from scipy import ndimage
from skimage.morphology import local_maxima, reconstruction
from skimage.segmentation import expand_labels, watershed

from casa_ddpm.dirty import FWHM
from casa_ddpm.gaussians import moments

#: Smoothing of the mean before candidates are sought, FWHM [beam].
SMOOTHING = 0.15
#: A candidate's peak, and the lowest edge of its island, in units of what one
#: realisation with a source at the flux limit adds to the mean.
PEAK, EDGE = 0.5, 0.05
#: Falls from a peak to the saddle that separates it from a higher one, as a share of the peak,
#: for peaks far fainter and far brighter than TURN [noise]; and of those that are narrow.
FALLS, NARROW_FALLS, TURN = (0.8, 0.3), (0.5, 0.15), 3.0
#: Widest peak that is narrow, as a multiple of a point's FWHM in the smoothed mean.
NARROW = 1.15
#: Widest whole of which such parts count, FWHM [beam].
SMALL = 1.25
#: Brightness down to which light belongs to a peak, as a share of the peak's, and never more
#: than that [noise]: what is fainter comes and goes with other sources of few realisations.
SHARE, MOST = 0.05, 0.3
#: How far a region's rim is moved out, to hold the wings: [beam], and as a share of
#: the radius of the circle of the same area.
RIM, WINGS = 0.25, 0.4


def find_candidates(mean: np.ndarray, beam: float, kernel: float, limit: float) -> np.ndarray:
    """Divide the mean of the realisations between candidate sources.

    Parameters
    ----------
    mean : ndarray, shape (ny, nx)
        Mean of the realisations, in noise sigma per pixel.
    beam, kernel : float
        FWHM of the clean beam and of a point source in a realisation [pixel].
    limit : float
        Flux [noise] by which the faintest source of interest raises the mean: its
        own flux over the number of realisations if only one of them holds it.

    Returns
    -------
    ndarray of int, shape (ny, nx)
        0 where no candidate is, 1 ... K in the candidates' regions.
    """
    sigma = SMOOTHING * beam / FWHM
    image = ndimage.gaussian_filter(mean, sigma, mode="constant")
    # Scaled so that a point source's peak is its flux.
    image *= 2 * math.pi * (sigma**2 + (kernel / FWHM) ** 2)
    # A quarter of the sky is empty: what is there is the realisations' own floor.
    image -= max(float(np.percentile(image, 25)), 0)
    edge = _edge(image, limit)
    islands = _islands(image, edge)
    wholes, parts = (
        _peaks(image, islands, _contrast(np.maximum(image, edge), *falls), PEAK * limit)
        for falls in (FALLS, NARROW_FALLS)
    )
    regions, chosen = _divided(image, islands, wholes), _narrow(image, islands, parts, beam, kernel)
    # Knots of what is large are no sources. The top of each whole is that of one of its parts.
    small = _widths(regions, image) < SMALL * beam
    chosen &= small[_at_tops(regions, image, parts)]
    chosen[_at_tops(parts, image, wholes)[1:]] = True
    chosen[0] = False
    return _grow(_divided(image, islands, _labels(chosen)[parts]), RIM * beam)


def find_neighbours(regions: np.ndarray, gap: float) -> np.ndarray:
    """Pairs of regions with about that gap [pixel] or less, in both orders: ints, shape (M, 2)."""
    regions = expand_labels(regions, gap / 2)
    beside = [(regions[:, 1:], regions[:, :-1]), (regions[1:], regions[:-1])]
    pairs = np.concatenate([np.stack([a.ravel(), b.ravel()], axis=1) for a, b in beside])
    pairs = pairs[(pairs[:, 0] != pairs[:, 1]) & (pairs > 0).all(axis=1)]
    return np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0)


def _edge(image: np.ndarray, limit: float) -> float:
    """The islands' edge: clear of the realisations' own noise, but hiding no peak."""
    median = np.median(image)
    spread = 1.4826 * np.median(np.abs(image - median))
    return float(np.clip(median + 5 * spread, EDGE * limit, PEAK * limit))


def _islands(image: np.ndarray, edge: float) -> np.ndarray:
    """Where the image exceeds the edge: bool, shape of `image`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoDetectionsWarning)
        found = detect_sources(image, edge, 1)
    return np.zeros(image.shape, bool) if found is None else found.data > 0


def _divided(image: np.ndarray, islands: np.ndarray, markers: np.ndarray) -> np.ndarray:
    """The region of each marked peak, down to where light belongs to it."""
    return _cut(watershed(-image, markers, mask=islands), image)


def _narrow(
    image: np.ndarray, islands: np.ndarray, markers: np.ndarray, beam: float, kernel: float
) -> np.ndarray:
    """Whether the light of each marked peak is about as narrow as a point's: bool, (K + 1,)."""
    point = math.hypot(kernel, SMOOTHING * beam)
    return _widths(_divided(image, islands, markers), image) < NARROW * point


def _at_tops(values: np.ndarray, image: np.ndarray, markers: np.ndarray) -> np.ndarray:
    """The value of an image (ny, nx) at each marked peak's highest pixel, 0 for none: (K + 1,)."""
    found = np.zeros(markers.max(initial=0) + 1, values.dtype)
    for k, top in enumerate(ndimage.maximum_position(image, markers, np.arange(1, len(found))), 1):
        found[k] = values[top]
    return found


def _widths(regions: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Mean FWHM of the light of each region [pixel], infinite of what is none: (K + 1,)."""
    found = np.full(regions.max(initial=0) + 1, np.inf)
    for k, box in enumerate(ndimage.find_objects(regions), 1):
        if box is not None:
            light = np.where(regions[box] == k, np.maximum(image[box], 0), 0)
            _, _, covariance = moments(light)
            found[k] = FWHM * math.sqrt(np.trace(covariance) / 2)
    return found


def _peaks(
    image: np.ndarray, islands: np.ndarray, contrast: np.ndarray, lowest: float
) -> np.ndarray:
    """Labels of the peaks, at least `lowest` high, that are sources of their own.

    They are the h-maxima (Soille 2003, ch. 6.3) of the contrast, h = 1: those that
    are still peaks when each is cut by 1 and the image is reconstructed from below.
    """
    # Every island stands clear of the sea, so that its highest peak always counts.
    contrast = np.where(islands, contrast, contrast.min() - 2)
    tops = local_maxima(reconstruction(contrast - 1, contrast)) & islands
    labels, number = ndimage.label(tops, np.ones((3, 3)))
    heights = ndimage.maximum(image, labels, np.arange(1, number + 1))
    chosen = np.concatenate([[False], np.asarray(heights) > lowest])
    return _labels(chosen)[labels]


def _labels(chosen: np.ndarray) -> np.ndarray:
    """Labels 1, 2, ... of those that are chosen, and 0 of others: ints, shape of `chosen`."""
    return np.where(chosen, np.cumsum(chosen), 0)


def _cut(regions: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Regions down to the brightness at which light belongs to their peaks."""
    peaks = ndimage.maximum(image, regions, np.arange(regions.max(initial=0) + 1))
    return np.where(image >= np.minimum(SHARE * peaks, MOST)[regions], regions, 0)


def _grow(regions: np.ndarray, rim: float) -> np.ndarray:
    """Move the regions' rims out by `rim` [pixel] and WINGS; the nearest takes a pixel."""
    area = np.bincount(regions.ravel())
    reach = rim + WINGS * np.sqrt(area / math.pi)
    reach[0] = 0
    # The widest reach decides who is nearest; each region then keeps to its own.
    grown = expand_labels(regions, reach.max())
    distance = ndimage.distance_transform_edt(regions == 0)
    return np.where(distance <= reach[grown], grown, 0)


def _contrast(brightness: np.ndarray, faint: float, bright: float) -> np.ndarray:
    """A monotone function of brightness [noise] that falls by 1 from peak to saddle.

    A logarithm makes the fall a share of the peak; the sum of two changes the share
    from `faint` to `bright` around TURN.
    """
    faint, bright = -1 / math.log1p(-faint), -1 / math.log1p(-bright)
    return faint * np.log(brightness) + (bright - faint) * np.log1p(brightness / TURN)
