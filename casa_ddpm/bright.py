"""The bright sources of a field, fitted to what their model leaves of the visibilities.

Each is a point between pixels, a Gaussian where that leaves something, and where that does as
well, what the pixels about it make of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from casa_ddpm import noise
from casa_ddpm.compact import find_compact
from casa_ddpm.offset import Stamp
from casa_ddpm.scene import Scene

#: Most sources that are set aside.
_MOST = 20
#: By how much chi^2 has to fall for a point to be a Gaussian. It has three numbers more, and of
#: the sizes that there are few are near the least one that could be told.
_TELLING = 12.0
#: What is left at a source's place from which on it is more than a Gaussian [noise], and how much
#: brighter than bright it has to be to be fitted on pixels, which takes up noise as well.
_LEFT, _WORTH = 6.0, 5.0
#: Share of a source's flux that may be left at its place once its pixels are fitted.
_POOR = 0.01
#: Gauss-Newton steps between two major cycles.
_STEPS = 6
#: Radius of the pixels that a source is fitted on [beam], and what is added to their normal
#: matrix: pixels are finer than the data can tell.
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
    disturbance : float
        Rms of what the last fit was made in, 0 if that is what all models leave [Jy/beam].
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.psf = scene.dirty.psf.astype(float)
        self.beam = scene.dirty.beam.fwhm / scene.dirty.cell
        self.sources: list[Source] = []
        self.extra = np.zeros(scene.dirty.data.shape)
        self.level = self.disturbance = 0.0
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
        peaks, self.level = find_compact(self.scene, residual)
        known = [source.place for source in self.sources] + self.refused
        new = [
            Source(peak.astype(float))
            for peak in peaks
            if all(np.hypot(*(peak - other)) > _RADIUS * self.beam for other in known)
        ]
        new = new[: _MOST - len(self.sources)]
        self.sources += new
        return bool(new)

    def prune(self, residual: np.ndarray) -> bool:
        """Drop sidelobes of others and what no fit explains; returns whether there was any."""
        before = list(self.sources)
        sigma = noise.rms(residual, self.scene.valid)
        for source in before:
            most = _POOR * source.flux if source.pixels else _LEFT * sigma
            if source.flux > self.level / 2 and self._left(source, residual) < most:
                continue
            self.extra[self.own(source)] = 0
            self.sources.remove(source)
            self.refused.append(source.place)
        return len(self.sources) < len(before)

    def refine(self, residual: np.ndarray) -> bool:
        """Free the shape of sources that leave something; returns whether there are any."""
        sigma, changed = noise.rms(residual, self.scene.valid), False
        for source, stamp in zip(self.sources, self.stamps(), strict=True):
            if source.free == POINT:
                if self._gain(stamp, residual) > _TELLING * sigma**2:
                    source.free, changed = GAUSSIAN, True
            elif not source.pixels and source.flux > _WORTH * self.level:
                source.pixels = self._left(source, residual) >= _LEFT * sigma
                changed |= source.pixels
        return changed

    def _gain(self, stamp: Stamp, residual: np.ndarray) -> float:
        """By how much chi^2 falls if a point has a shape, of a noise of 1 Jy/beam."""
        normal = stamp.overlap(stamp, self.psf, GAUSSIAN, GAUSSIAN)
        right = np.tensordot(stamp.templates, stamp.cut(residual), 2)
        gaussian, point = (
            right[:n] @ np.linalg.solve(normal[:n, :n], right[:n]) for n in (GAUSSIAN, POINT)
        )
        return float(gaussian - point)

    def _left(self, source: Source, residual: np.ndarray) -> float:
        """The highest peak that is left at a source [Jy/beam]."""
        return float(np.abs(residual[self.disc(source, 1)]).max(initial=0))

    def fit(self, residual: np.ndarray) -> None:
        """Fit places, fluxes and shapes to what the model leaves [Jy/beam]: Gauss-Newton steps.

        With a noise of covariance B, the normal equations of templates t are
        (t B t) c = t r: the residual is needed at the sources alone.
        """
        stamps = self.stamps()
        data = [
            s.cut(residual) + shown for s, shown in zip(stamps, self._shown(stamps), strict=True)
        ]
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
                [one.overlap(other, self.psf, n, m) for m, other in zip(free, stamps, strict=True)]
                for n, one in zip(free, stamps, strict=True)
            ]
        )

    def covariance(self, sigma: float) -> np.ndarray:
        """Covariance [Jy^2] of all free coefficients under a noise [Jy/beam], shape (m, m)."""
        normal = self.normal(self.stamps())
        values, vectors = np.linalg.eigh((normal + normal.T) / 2)
        # Many sources in each other's sidelobes under a PSF that ends can make it indefinite.
        values = np.maximum(values, _LOOSE * values.max())
        return sigma**2 * (vectors / values) @ vectors.T

    def fit_pixels(self, residual: np.ndarray) -> None:
        """Fit the pixels about sources that are no Gaussians to what is left."""
        where = np.zeros(residual.shape, bool)
        for source in self.sources:
            disc = self.disc(source, _RADIUS)
            if source.pixels and (where | disc).sum() <= _PIXELS:
                where |= disc
        y, x = np.nonzero(where & self.scene.allowed)
        if not len(y):
            return
        dy, dx = (
            np.subtract.outer(a, a) + n // 2 for a, n in zip((y, x), self.psf.shape, strict=True)
        )
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
        own = self.own(source)
        offset = np.argwhere(own) - source.place
        weight, (yy, yx, xx) = self.extra[own], source.shape
        flux = source.flux + weight.sum()
        away = weight @ offset / flux
        second = np.array([[yy, yx], [yx, xx]]) * source.flux + (weight * offset.T) @ offset
        shape = second / flux - np.outer(away, away)
        return flux, source.place + away, shape

    def own(self, source: Source) -> np.ndarray:
        """Pixels that are fitted for a source: one between two is the nearer one's."""
        fitted = [other for other in self.sources if other.pixels]
        if source not in fitted:
            return np.zeros(self.extra.shape, bool)
        nearest = np.argmin([self._away(other) for other in fitted], axis=0)
        return self.disc(source, _RADIUS) & (nearest == fitted.index(source))

    def disc(self, source: Source, radius: float) -> np.ndarray:
        """Pixels about a source, `radius` in beams."""
        return self._away(source) <= radius * self.beam

    def _away(self, source: Source) -> np.ndarray:
        """Distances of all pixels from a source [pixel]."""
        y, x = np.ogrid[: self.psf.shape[0], : self.psf.shape[1]]
        return np.hypot(y - source.place[0], x - source.place[1])
