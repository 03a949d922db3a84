"""Two points that pass for one resolved source, and one that passes for two.

Two points closer than the beam look like one source to the data, nearly. What tells them
apart is their evidence: of the two points and of the Gaussian that have the same
flux, centre, greatest width and angle in common, with what they do not have in common
integrated out: the share of the flux that the first point has, and the axis ratio. Which of
the two a realisation holds is drawn from that: both have six parameters, so that densities of
one and of the other can be compared (Green 1995, Biometrika 82, 711, sect. 3.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from casa_ddpm.coupling import Coupling
from casa_ddpm.dirty import FWHM
from casa_ddpm.gaussians import Gaussians, Shape
from casa_ddpm.lines import line, masses
from casa_ddpm.population import LEAST_RATIO, Population, draw_between, size_density

#: FWHM of sources that may be two points [beam].
WIDTHS = (0.25, 1.75)
#: What two points of equal fluxes are as wide as, by their variance [beam], and the FWHM of the
#: Gaussian of their flux that is nearest to them to a Gaussian beam. Of unequal ones it is less,
#: but whatever width goes with which, a draw between the two is a draw.
_PAIR = (0.0, 0.2355, 0.4710, 0.7065, 0.9420, 1.1775, 1.4130)
_SOURCE = (0.0, 0.24, 0.51, 0.82, 1.15, 1.48, 1.82)
#: Extent that passes for a point's [beam^2].
_POINT = 1e-3
#: Least part of a point's light on the stamp.
_INSIDE = 0.9


@dataclass(frozen=True)
class Common:
    """What one source and two points have in common.

    flux; centre (y, x) [pixel]; major : FWHM along the longest axis [beam], and its angle
    from +y to +x [rad].
    """

    flux: float
    centre: np.ndarray
    major: float
    angle: float

    @classmethod
    def of(
        cls, lights: Sequence[np.ndarray], gaussians: Gaussians, widest: float = WIDTHS[1]
    ) -> Common | None:
        """Of the light of one source or of two points, on the same stamp.

        None where it cannot be the other: what is too narrow, too wide, or not two points.
        """
        if len(lights) == 1:
            flux, centre, shape = gaussians.measured(lights[0])
            found = cls(flux, centre, float(shape.major), _angle(shape))
        else:
            (one, here, first), (other, there, second) = map(gaussians.measured, lights)
            if max(first.extent, second.extent) > _POINT:
                return None
            flux = one + other
            share, away = one / flux, here - there
            width = np.hypot(*away) * np.sqrt(share * (1 - share)) * FWHM / gaussians.beam
            found = cls(
                flux, share * here + (1 - share) * there,
                float(np.interp(width, _PAIR, _SOURCE)), float(np.arctan2(away[1], away[0])),
            )  # fmt: skip
        widest = min(widest, gaussians.widest, WIDTHS[1])
        return found if WIDTHS[0] < found.major < widest else None


class Twins:
    """One source or two, of the same flux, centre, width and angle.

    Parameters
    ----------
    common : Common
    data : ndarray, shape (ny, nx)
        The likelihood's gradient where there is neither.
    gaussians : Gaussians
    coupling : Coupling
    population : Population
        That they are of.
    density : float
        Prior number of sources a pixel.

    Raises
    ------
    FloatingPointError
        If a PSF that ends with the image makes a power negative.
    """

    def __init__(
        self,
        common: Common,
        data: np.ndarray,
        gaussians: Gaussians,
        coupling: Coupling,
        population: Population,
        density: float,
    ) -> None:
        self.common, self.data, self.density = common, data, density
        self.gaussians, self.coupling, self.population = gaussians, coupling, population
        self._ratios, self._single = line(self._of_one, LEAST_RATIO, 1.0)
        # Beyond the edge one of the points would be no source.
        edge = population.least / common.flux * (1 + 1e-9)
        self._shares, self._pair = line(self._of_two, edge, 1 - edge)

    def log_odds(self) -> float:
        """Of two points against one source."""
        return _integral(self._shares, self._pair) - _integral(self._ratios, self._single)

    def draw_one(self, random: np.random.Generator) -> np.ndarray:
        """The light of one source, shape (ny, nx)."""
        ratio = draw_between(self._ratios, masses(self._single), random.random())
        return self.common.flux * self._ellipses(np.array([ratio]))[0]

    def draw_two(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The light of two points, the brighter one first."""
        share = draw_between(self._shares, masses(self._pair), random.random())
        first, second = (image[0] for image in self._points(np.array([share])))
        lights = self.common.flux * share * first, self.common.flux * (1 - share) * second
        return lights if share > 0.5 else lights[::-1]

    def _of_one(self, ratio: np.ndarray) -> np.ndarray:
        """Log of likelihood times prior of one source with an axis ratio, each (n,)."""
        common, known = self.common, self.population
        counts = known.density(np.full(len(ratio), common.flux), common.major**2 * ratio)
        size = size_density(np.array(common.major)) / (1 - LEAST_RATIO) / np.pi
        return self._fit(self._ellipses(ratio)) + _log(counts * known.extended * size)

    def _of_two(self, share: np.ndarray) -> np.ndarray:
        """The same of two points of which the first has a share of the flux."""
        common, known = self.common, self.population
        first, second = self._points(share)
        images = share[:, None, None] * first + (1 - share)[:, None, None] * second
        counts = known.density(share * common.flux) * known.density((1 - share) * common.flux)
        inside = np.minimum(first.sum((1, 2)), second.sum((1, 2))) > _INSIDE
        prior = self.density * counts * inside * (1 - known.extended) ** 2
        # Both fluxes by flux and share; both places by centre, width and angle.
        apart = self._distance(share)
        volume = common.flux / known.noise * apart * apart * self._stretch()
        return self._fit(images) + _log(prior * volume)

    def _fit(self, images: np.ndarray) -> np.ndarray:
        """Log likelihoods of images of unit flux, shape (n, ny, nx), against that of no light."""
        flux, noise = self.common.flux, self.population.noise
        match = np.einsum("nyx,yx->n", images, self.data)
        power = np.einsum("nyx,nyx->n", images, self.coupling.seen(images))
        if not (power > 0).all():
            raise FloatingPointError("a source must not have a negative power")
        return (flux * match - flux**2 * power / 2) / noise**2

    def _ellipses(self, ratio: np.ndarray) -> np.ndarray:
        """Sources of unit flux and an axis ratio each, (n, ny, nx)."""
        extent = self.common.major**2 * (1 + ratio**2) / 2
        ellipticity = (1 - ratio**2) / (1 + ratio**2)
        plus, cross = (f(2 * self.common.angle) * ellipticity for f in (np.cos, np.sin))
        return self.gaussians.images(Shape(extent, plus, cross), self.common.centre, self._size)

    def _points(self, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both points of unit flux, where the first has a share of it, each (n, ny, nx)."""
        along = np.array([np.cos(self.common.angle), np.sin(self.common.angle)])
        point = Shape(*np.zeros((3, 1)))
        away = self._distance(share)[:, None] * along
        places = (
            self.common.centre + (1 - share)[:, None] * away,
            self.common.centre - share[:, None] * away,
        )
        first, second = (self.gaussians.images(point, place, self._size) for place in places)
        return first, second

    def _distance(self, share: np.ndarray) -> np.ndarray:
        """How far apart two points are that pass for the source [pixel]."""
        width = np.interp(self.common.major, _SOURCE, _PAIR) * self.gaussians.beam / FWHM
        return width / np.sqrt(share * (1 - share))

    def _stretch(self) -> float:
        """What the distance gains where the source's width does, as a share of it [1/beam]."""
        major = self.common.major
        k = np.searchsorted(_SOURCE, major)
        (low, high), (near, far) = _SOURCE[k - 1 : k + 1], _PAIR[k - 1 : k + 1]
        return float((far - near) / (high - low) / np.interp(major, _SOURCE, _PAIR))

    @property
    def _size(self) -> tuple[int, int]:
        ny, nx = self.data.shape
        return ny, nx


def _angle(shape: Shape) -> float:
    """Of the major axis, from +y to +x [rad]."""
    return float(np.arctan2(shape.cross, shape.plus) / 2)


def _log(density: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):  # where it is 0
        return np.log(density)


def _integral(values: np.ndarray, log_density: np.ndarray) -> float:
    """Logarithm of an integral over a regular grid."""
    total = masses(log_density).sum() * (values[1] - values[0])
    return float(np.log(total) + log_density.max())
