"""Bright sources, set aside before the network sees a field.

The network, and the pixels that it draws on, are right to a few parts in a thousand. A compact
source that is far brighter than the noise is explained through the visibilities instead: as
a point between pixels, as a Gaussian where that leaves something, and on the pixels about
it where that does as well. What the passes see is the rest.
"""

from __future__ import annotations

from collections.abc import Generator
from copy import deepcopy
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from casa_ddpm import noise
from casa_ddpm.offset import Stamp
from casa_ddpm.scene import Scene

#: S/N from which on a compact source is set aside.
BRIGHT = 500.0
#: The same in units of what sidelobes, and errors of the calibration, leave as noise.
_CLEAR = 20.0
#: Most that there is a beam away from a compact source, beyond the beam, of its peak.
_COMPACT = 0.2
#: Most sources that are set aside.
_MOST = 20
#: What is left at a source's place from which on it is more than a point, or a Gaussian [noise].
_LEFT = 6.0
#: Share of a source's flux that may be left at its place once its pixels are fitted.
_POOR = 0.01
#: Times that sources are looked for, major cycles of each kind of fit, and steps in between.
_LOOKS, _CYCLES, _STEPS = 8, 6, 6
#: Share of the residual's rms that another major cycle has to take away.
_GAIN = 0.02
#: Radius of the pixels that a source is fitted on [beam], and the noise of one of these, of its flux.
_RADIUS, _LOOSE = 2.0, 1e-5
#: Most of these pixels, and the furthest that a source moves in a step [pixel].
_PIXELS, _FAR = 1500, 0.5
#: Least variance [pixel^2], which noise may make negative, and largest width [beam] of a Gaussian.
_NARROWEST, _WIDEST = -0.05, 0.7
#: What is fitted of a point (flux, place), and of a Gaussian (its covariance as well).
POINT, GAUSSIAN = 3, 6


@dataclass(eq=False)
class Source:
    """A bright source.

    Parameters
    ----------
    place : ndarray, shape (2,)
        y, x [pixel].
    flux : float
        [Jy]
    shape : ndarray, shape (3,)
        Covariance yy, yx, xx [pixel^2].
    free : int
        How many of flux, place and shape are fitted: POINT or GAUSSIAN.
    pixels : bool
        Whether the pixels about it are as well.
    """

    place: np.ndarray
    flux: float = 0.0
    shape: np.ndarray = field(default_factory=lambda: np.zeros(3))
    free: int = POINT
    pixels: bool = False

    def step(self, change: np.ndarray, widest: float) -> None:
        """Change it by weights of its templates [Jy], not far; no wider than a variance."""
        self.flux += change[0]
        scale = max(self.flux, abs(change[0]))
        self.place = self.place + np.clip(change[1:POINT] / scale, -_FAR, _FAR)
        if self.free == GAUSSIAN:
            yy, yx, xx = self.shape + np.clip(change[POINT:] / scale, -widest / 4, widest / 4)
            values, vectors = np.linalg.eigh([[yy, yx], [yx, xx]])
            bounded = (vectors * np.clip(values, _NARROWEST, widest)) @ vectors.T
            self.shape = bounded[[0, 0, 1], [0, 1, 1]]


class Bright:
    """The bright sources of a field and their model.

    Parameters
    ----------
    scene : Scene

    Attributes
    ----------
    sources : list of Source
    extra : ndarray, shape (ny, nx)
        What is fitted on pixels [Jy/pixel].
    level : float
        Flux from which on a source is bright [Jy].
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.psf = scene.dirty.psf.astype(float)
        self.beam = scene.dirty.beam.fwhm / scene.dirty.cell
        self.sources: list[Source] = []
        self.extra = np.zeros(scene.dirty.data.shape)
        self.level = 0.0
        self.refused: list[np.ndarray] = []

    def stamps(self) -> list[Stamp]:
        """The sources' templates."""
        return [Stamp.at(s.place, s.shape, self.psf.shape) for s in self.sources]

    def model(self) -> np.ndarray:
        """The bright sources, shape (ny, nx) [Jy/pixel]."""
        model = self.extra.copy()
        for source, stamp in zip(self.sources, self.stamps(), strict=True):
            stamp.add(model, np.array([source.flux]))
        return model.astype(np.float32)

    def look(self, residual: np.ndarray) -> bool:
        """Look for bright compact sources in a residual; returns whether there are new ones."""
        scene = self.scene
        thermal, peak = scene.dirty.thermal, np.abs(residual[scene.allowed]).max(initial=0)
        if thermal is not None and peak < BRIGHT * thermal:
            return False
        peeled, rest, sigma = scene.peel(residual)
        # What sidelobes hide the noise of is bright as well; what is left of others is not.
        self.level = BRIGHT * (sigma if thermal is None else thermal)
        model = scene.restore(peeled)
        image = model + rest
        sidelobes = 1.2 * scene.dirty.sidelobe * image[scene.valid].max(initial=0)
        level = max(self.level, _CLEAR * sigma, sidelobes)
        highest = ndimage.maximum_filter(image, size=2 * round(self.beam) + 1)
        peaks = np.argwhere((image == highest) & scene.allowed & (model > 0) & (image > level))
        peaks = peaks[np.argsort(-image[tuple(peaks.T)])]
        new = [Source(p.astype(float)) for p in peaks if self._is_new(p) and self._compact(image, p)]
        self.sources += new[: _MOST - len(self.sources)]
        return bool(new)

    def prune(self, residual: np.ndarray) -> bool:
        """Drop sidelobes of others and what no fit explains; returns whether there was any."""
        before = list(self.sources)
        for source in before:
            left = np.abs(residual[self._disc(source, 1)]).max(initial=0)
            if source.flux > self.level / 2 and (not source.pixels or left < _POOR * source.flux):
                continue
            self.sources.remove(source)
            self.refused.append(source.place)
            if source.pixels:
                self.extra[self._disc(source, _RADIUS)] = 0
        return len(self.sources) < len(before)

    def _is_new(self, place: np.ndarray) -> bool:
        known = [source.place for source in self.sources] + self.refused
        return all(np.hypot(*(place - other)) > _RADIUS * self.beam for other in known)

    def _compact(self, image: np.ndarray, place: np.ndarray) -> bool:
        """Whether a peak of a restored image is away from its edge and falls off like the beam."""
        angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        away = self.beam * np.stack([np.sin(angle), np.cos(angle)])
        ring = place[:, None] + away
        if (ring < 0).any() or (ring.T > np.array(image.shape) - 1).any():
            return False
        shape = np.linalg.inv(self.scene.dirty.beam.covariance(self.scene.dirty.cell))
        falls = np.exp(-0.5 * np.einsum("ik,ij,jk->k", away, shape, away))
        around = ndimage.map_coordinates(image, ring, order=1) / image[tuple(place)]
        return bool((around - falls).max() < _COMPACT)

    def refine(self, residual: np.ndarray) -> bool:
        """Free the shape of sources that leave something; returns whether there are any."""
        sigma, changed = noise.rms(residual, self.scene.valid), False
        for source in self.sources:
            if np.abs(residual[self._disc(source, 1)]).max(initial=0) < _LEFT * sigma:
                continue
            if source.free == POINT:
                source.free, changed = GAUSSIAN, True
            elif not source.pixels:
                source.pixels = changed = True
        return changed

    def fit(self, residual: np.ndarray) -> None:
        """Fit places, fluxes and shapes to what the model leaves [Jy/beam]: Gauss-Newton steps.

        With a noise of covariance B, the normal equations of templates t are
        (t B t) c = t r: the residual is needed at the sources alone.
        """
        stamps = self.stamps()
        data = [s.cut(residual) + shown for s, shown in zip(stamps, self._shown(stamps), strict=True)]
        for _ in range(_STEPS):
            stamps = [t.moved(s.place, s.shape) for t, s in zip(stamps, self.sources, strict=True)]
            left = [d - shown for d, shown in zip(data, self._shown(stamps), strict=True)]
            right = [
                np.tensordot(t.templates[: s.free], rest, 2)
                for t, s, rest in zip(stamps, self.sources, left, strict=True)
            ]
            change = np.linalg.solve(self.normal(stamps), np.concatenate(right))
            for source, part in zip(self.sources, self.parts(change), strict=True):
                source.step(part, (_WIDEST * self.beam) ** 2)

    def _shown(self, stamps: list[Stamp]) -> list[np.ndarray]:
        """The sources as the PSF shows them on each stamp [Jy/beam]."""
        return [
            sum(
                source.flux * one.seen(other, self.psf, 1)[0]
                for source, other in zip(self.sources, stamps, strict=True)
            )
            for one in stamps
        ]

    def normal(self, stamps: list[Stamp]) -> np.ndarray:
        """Normal matrix of all free coefficients, of a noise of 1 Jy/beam."""
        free = [source.free for source in self.sources]
        return np.block(
            [
                [
                    np.tensordot(one.templates[:n], one.seen(other, self.psf, m), ([1, 2], [1, 2]))
                    for m, other in zip(free, stamps, strict=True)
                ]
                for n, one in zip(free, stamps, strict=True)
            ]
        )

    def fit_pixels(self, residual: np.ndarray) -> None:
        """Fit the pixels about sources that are no Gaussians to what is left."""
        where = np.zeros(residual.shape, bool)
        for source in self.sources:
            disc = self._disc(source, _RADIUS)
            if source.pixels and (where | disc).sum() <= _PIXELS:
                where |= disc
        y, x = np.nonzero(where & self.scene.allowed)
        if not len(y):
            return
        dy, dx = (np.subtract.outer(a, a) + n // 2 for a, n in zip((y, x), self.psf.shape, strict=True))
        inside = (dy >= 0) & (dx >= 0) & (dy < self.psf.shape[0]) & (dx < self.psf.shape[1])
        normal = np.where(inside, self.psf[dy * inside, dx * inside], 0)
        normal = (normal + normal.T) / 2 + _LOOSE * np.eye(len(y))
        self.extra[y, x] += np.linalg.solve(normal, residual[y, x].astype(float))

    def parts(self, values: np.ndarray) -> list[np.ndarray]:
        """What is each source's of values (..., m) of all that is fitted."""
        ends = np.cumsum([source.free for source in self.sources])[:-1]
        return np.split(values, ends, axis=-1)

    def moments(self, source: Source) -> tuple[float, np.ndarray, np.ndarray]:
        """Flux [Jy], middle and shape of a source, what is fitted on its pixels included."""
        disc = self._disc(source, _RADIUS) & source.pixels
        offset = np.argwhere(disc) - source.place
        weight, (yy, yx, xx) = self.extra[disc], source.shape
        flux = source.flux + weight.sum()
        away = weight @ offset / flux
        second = np.array([[yy, yx], [yx, xx]]) * source.flux + (weight * offset.T) @ offset
        shape = second / flux - np.outer(away, away)
        return flux, source.place + away, shape

    def _disc(self, source: Source, radius: float) -> np.ndarray:
        """Pixels about a source, `radius` in beams."""
        y, x = np.ogrid[: self.psf.shape[0], : self.psf.shape[1]]
        return np.hypot(y - source.place[0], x - source.place[1]) <= radius * self.beam


def set_aside(scene: Scene) -> Generator[np.ndarray, np.ndarray, tuple[Bright, np.ndarray]]:
    """Explain bright compact sources through the visibilities.

    Parameters
    ----------
    scene : Scene

    Yields
    ------
    ndarray, shape (ny, nx)
        A model [Jy/pixel]; to be sent its residual [Jy/beam].

    Returns
    -------
    bright : Bright
    residual : ndarray, shape (ny, nx)
        What they leave [Jy/beam].
    """
    bright, residual = Bright(scene), scene.dirty.data
    for _ in range(_LOOKS):
        if not bright.look(residual):
            break
        residual = yield from _settle(bright, residual)
        while bright.sources and bright.refine(residual):
            residual = yield from _settle(bright, residual)
        if bright.prune(residual):
            residual = yield from _settle(bright, (yield scene.start + bright.model()))
    return bright, residual


def _settle(bright: Bright, residual: np.ndarray):
    """Fit, and see what the visibilities say, until that changes little; returns the residual."""
    scene = bright.scene
    for _ in range(_CYCLES if bright.sources else 0):
        kept = deepcopy(bright.sources), bright.extra.copy()
        before = residual[scene.valid].std()
        bright.fit(residual)
        bright.fit_pixels(residual)
        left = yield scene.start + bright.model()
        after = left[scene.valid].std()
        if after > (1 + _GAIN / 10) * before:
            bright.sources, bright.extra = kept
            # The imager's model is the last one it was given.
            return (yield scene.start + bright.model())
        residual = left
        if after > (1 - _GAIN) * before:
            break
    return residual
