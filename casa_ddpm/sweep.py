"""Flux, shape and place of each source of a realisation, drawn anew from what the data say.

A network knows better what there is on a sky than how bright, how wide and where
exactly: those of its realisations scatter more than the noise makes them, and it draws
marginally resolved sources too compact. But given which sources a realisation holds,
they have a posterior in closed form: a Gaussian likelihood times a prior of fluxes and
sizes. A Gibbs sweep (Geman & Geman 1984) over the sources replaces the network's by
draws from it. A realisation that already was a draw from the posterior stays one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy import ndimage, signal, special

from casa_ddpm import shapes
from casa_ddpm.likelihood import Likelihood

#: Whole-image residuals are taken anew so often, for the far sidelobes of changed sources.
ROUNDS = 3
#: How far around a source its change is followed within a round [pixel].
_NEAR = 12
#: Rim of the stamp of a region, which a shift moves light into [pixel].
_RIM = 4
#: A source is moved by no more than this at a time [pixel].
_FARTHEST = 1.0
#: Sources in larger boxes [pixel] are structure, whose place is not a single number.
_LARGEST = 40
#: Widest source whose shape is drawn [beam], and the most that it may differ from a
#: Gaussian at the beam's resolution, as a share of its flux: others are structure, whose
#: shape is the network's.
_WIDEST, _ODD = 3.5, 0.25
#: Prior probability that what looks like a Gaussian is one.
GAUSSIAN = 0.95
#: Where the posterior of a flux is evaluated [standard deviations].
_GRID = np.linspace(-4.5, 4.5, 91)

Box = tuple[slice, slice]


class Sweep:
    """The sources of a field's realisations, and the data that they have to explain.

    Parameters
    ----------
    regions : ndarray of int, shape (ny, nx)
        0 where no source is, 1 ... K in the sources' regions.
    data : Tensor, shape (ny, nx)
        Dirty image [flux/beam].
    likelihood : Likelihood
        Of skies of that shape.
    least : float
        Flux below which a realisation does not hold a source.
    prior : callable
        Density of fluxes in units of the likelihood's noise, and of areas [beam^2];
        need not be normalised.
    beam, kernel : float
        FWHM of the clean beam, and of a point in a realisation [pixel].
    """

    def __init__(
        self,
        regions: np.ndarray,
        data: torch.Tensor,
        likelihood: Likelihood,
        least: float,
        prior: Callable[[np.ndarray, np.ndarray | float], np.ndarray],
        beam: float,
        kernel: float,
    ) -> None:
        self.data, self.likelihood = data, likelihood
        self.least, self.prior = least, prior
        self.gaussians = shapes.Gaussians(likelihood, beam, kernel)
        both = likelihood.transfer * likelihood.sharpen**2
        #: What the light of one pixel adds to the gradient at another, by their offset.
        self.coupling = torch.fft.irfft2(both, s=likelihood.shape).numpy().astype(float)
        self.boxes = [_grown(box, _RIM, regions.shape) for box in ndimage.find_objects(regions)]
        labels = np.arange(1, len(self.boxes) + 1)
        self.places = np.rint(ndimage.center_of_mass(regions > 0, regions, labels)).astype(int)
        self.masks = [regions[box] == k + 1 for k, box in enumerate(self.boxes)]

    def redraw(self, sky: np.ndarray, white: np.ndarray) -> np.ndarray:
        """A realisation whose sources have fluxes, shapes and positions drawn from the data.

        Parameters
        ----------
        sky : ndarray, shape (ny, nx)
            [flux/pixel].
        white : ndarray of float32, shape (ROUNDS, ny, nx)
            White noise. What it is where a source is makes the source's random
            numbers, so that they do not depend on what else there is.

        Returns
        -------
        ndarray, shape (ny, nx)
        """
        sky = sky.astype(float, copy=True)
        light = [sky[box] * mask for box, mask in zip(self.boxes, self.masks, strict=True)]
        held = [k for k, stamp in enumerate(light) if stamp.sum() > self.least]
        drawn = {k: light[k] for k in held if self._is_gaussian(light[k])}
        for turn, noise in enumerate(white if held else ()):
            left = self.data - self.likelihood.predict(torch.from_numpy(sky).to(self.data))
            gradient = self.likelihood.sharpened(left).numpy().astype(float)
            for k in held:
                random = np.random.default_rng(noise[tuple(self.places[k])].view(np.uint32))
                stamp, slope = light[k], gradient[self.boxes[k]]
                if k in drawn:
                    # Only next to neighbours that are right already can the data tell
                    # whether they would rather have what the network drew.
                    other = drawn[k] if turn == ROUNDS - 1 else None
                    stamp, slope = self._reshaped(stamp, slope, other, random)
                changed = self._redrawn(stamp, slope, random)
                self._move(sky, gradient, k, changed - light[k])
                light[k] = changed
        return sky

    def _move(self, sky, gradient, k: int, change: np.ndarray) -> None:
        """Add a change to source k, and follow what it does to the gradient nearby."""
        box = self.boxes[k]
        sky[box] += change
        near = _grown(box, _NEAR, sky.shape)
        gradient[near] -= self._seen(change, box, near)

    def _seen(self, stamps: np.ndarray, box: Box, near: Box) -> np.ndarray:
        """The gradient that light on stamps (..., y, x) of `box` makes on pixels of `near`."""
        rows, columns = (
            np.arange(n.start - b.stop + 1, n.stop - b.start)
            for b, n in zip(box, near, strict=True)
        )
        kernel = self.coupling[rows[:, None], columns]
        kernel = kernel.reshape((1,) * (stamps.ndim - 2) + kernel.shape)
        return signal.fftconvolve(kernel, stamps, mode="valid", axes=(-2, -1))

    def _redrawn(
        self, stamp: np.ndarray, gradient: np.ndarray, random: np.random.Generator
    ) -> np.ndarray:
        """The light of one source with another flux, at another place."""
        whole = _whole(stamp)
        compact = max(stamp.shape) <= _LARGEST
        templates = np.stack([stamp, *_slopes(stamp)]) if compact else stamp[None]
        seen = self._seen(templates, whole, whole)
        matrix = np.einsum("iyx,jyx->ij", templates, seen)
        if not matrix[0, 0] > 0:  # a PSF that ends with the image can make it so
            return stamp
        slope = np.einsum("iyx,yx->i", templates, gradient)
        factor = self._factor(stamp.sum(), slope[0], matrix[0, 0], random.normal())
        if not compact:
            return factor * stamp
        # What the change of flux has explained is not there any more to be explained by a move.
        slope = slope[1:] - (factor - 1) * matrix[1:, 0]
        # A spline of lower order, or a Fourier shift, blurs or rings at two pixels a FWHM.
        return factor * ndimage.shift(
            stamp, self._shift(slope / factor, matrix[1:, 1:], random.normal(size=2)), order=5
        )

    def _is_gaussian(self, stamp: np.ndarray) -> bool:
        """Whether a source looks like a Gaussian to the clean beam."""
        if max(stamp.shape) > _LARGEST:
            return False
        flux, centre, shape = self._measured(stamp)
        (gaussian,) = self.gaussians.images(shape, centre, stamp.shape)
        rest = ndimage.gaussian_filter(
            stamp - flux * gaussian, self.gaussians.sigma, mode="constant"
        )
        return bool(shape.major < _WIDEST and np.abs(rest).sum() < _ODD * flux)

    def _measured(self, stamp: np.ndarray) -> tuple[float, np.ndarray, shapes.Shape]:
        """Flux, centre (y, x) and shape of a source."""
        flux, centre, covariance = _moments(stamp)
        own = covariance - self.gaussians.point * np.eye(2)
        return flux, centre, shapes.Shape.of(own / self.gaussians.beam**2)

    def _reshaped(
        self,
        stamp: np.ndarray,
        gradient: np.ndarray,
        other: np.ndarray | None,
        random: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        """A source drawn as a Gaussian, or another light of it if the data prefer that.

        Returns
        -------
        stamp, gradient : ndarray, shape (ny, nx)
        """
        whole = _whole(stamp)
        (seen,) = self._seen(stamp[None], whole, whole)
        empty = gradient + seen
        _, centre, shape = self._measured(stamp)
        fit = shapes.Fit(self.gaussians, self.likelihood.noise, self.least, self.prior, empty)
        try:
            drawn = shapes.redraw(shape, centre, fit, random)
            chosen = self.gaussians.images(drawn.shape, drawn.centre, stamp.shape) * drawn.flux
            if other is not None:
                odds = drawn.evidence - self._evidence(other, fit) + special.logit(GAUSSIAN)
                chosen = chosen if random.random() < special.expit(odds) else other[None]
        except FloatingPointError:
            return stamp, gradient
        return chosen[0], empty - self._seen(chosen, whole, whole)[0]

    def _evidence(self, stamp: np.ndarray, fit: shapes.Fit) -> float:
        """Log evidence of a source of any light."""
        flux, _, shape = self._measured(stamp)
        light = stamp[None] / flux
        (seen,) = self._seen(light, _whole(stamp), _whole(stamp))
        match, power = (np.array([(light[0] * image).sum()]) for image in (fit.data, seen))
        return float(fit.given(match, power, shape.major * shape.minor)[2][0])

    def _factor(self, flux: float, slope: float, curvature: float, random: float) -> float:
        """By how much the flux changes."""
        noise = self.likelihood.noise
        factor = 1 + slope / curvature + noise / np.sqrt(curvature) * _GRID
        possible = factor * flux > self.least
        fluxes = np.maximum(factor * flux, self.least) / noise
        total = np.cumsum(np.exp(-(_GRID**2) / 2) * self.prior(fluxes, 0.0) * possible)
        if not total[-1] > 0:
            return 1.0
        return float(np.interp(special.ndtr(random) * total[-1], total, factor))

    def _shift(self, slope: np.ndarray, curvature: np.ndarray, random: np.ndarray):
        """By how much (y, x) the source moves [pixel]; not at all where that is too far."""
        try:
            root = np.linalg.cholesky(curvature)
        except np.linalg.LinAlgError:  # as above
            return np.zeros(2)
        drawn = np.linalg.solve(root.T, self.likelihood.noise * random)
        shift = np.linalg.solve(curvature, slope) + drawn
        return shift if np.hypot(*shift) < _FARTHEST else np.zeros(2)


def _grown(box: Box, rim: int, shape: tuple[int, ...]) -> Box:
    """A box with a rim, within an image of a shape."""
    y, x = (
        slice(max(0, s.start - rim), min(n, s.stop + rim)) for s, n in zip(box, shape, strict=True)
    )
    return y, x


def _whole(stamp: np.ndarray) -> Box:
    """All of a stamp."""
    return slice(0, stamp.shape[0]), slice(0, stamp.shape[1])


def _slopes(stamp: np.ndarray) -> np.ndarray:
    """What a stamp gains where it moves by a pixel along y, and along x; shape (2, ny, nx)."""
    spectrum = np.fft.rfft2(stamp)
    ky = np.fft.fftfreq(stamp.shape[0])[:, None]
    kx = np.fft.rfftfreq(stamp.shape[1])
    return np.stack([np.fft.irfft2(-2j * np.pi * k * spectrum, s=stamp.shape) for k in (ky, kx)])


def _moments(stamp: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Flux, centroid (y, x) and covariance (y, x) of a stamp's light."""
    places = np.indices(stamp.shape).reshape(2, -1)
    light = stamp.ravel() / stamp.sum()
    centre = places @ light
    away = places - centre[:, None]
    return float(stamp.sum()), centre, (away * light) @ away.T
