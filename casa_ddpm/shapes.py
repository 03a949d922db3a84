"""Size and ellipticity of a source of a realisation, drawn from what the data say.

Where a compact source of a realisation is a Gaussian, its likelihood is known in closed
form for every shape, and one number of the shape after the other is drawn from
likelihood times prior with the flux integrated out (a collapsed Gibbs step, Liu 1994,
JASA 89, 958).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from casa_ddpm.gaussians import MOST_ELLIPTICAL, Gaussians, Shape
from casa_ddpm.lines import line, masses
from casa_ddpm.population import MAJOR, Population, draw_between, size_density

#: Where an integral over the flux is evaluated [standard deviations].
_GRID = np.linspace(-4.5, 4.5, 61)
#: Ellipticity below which its density no longer rises, as it would to infinity.
_ROUND = 0.05
#: Farthest that a source is moved at a time along an axis [pixel].
_FARTHEST = 1.0
#: Width at which the scale of sizes turns from linear to logarithmic [beam^2].
_TURN = 0.3
#: Evidence that counts as none.
_NEVER = 1e-30


class Fit:
    """How well the data suit a Gaussian source of any shape, and its flux.

    With a flux f the log likelihood is (f match - f^2 power / 2) / noise^2 beyond a constant.

    Parameters
    ----------
    gaussians : Gaussians
    population : Population
        That it is of.
    data : ndarray, shape (ny, nx)
        The likelihood's gradient where there is no source at all.
    widest : float
        Greatest FWHM of the source [beam].
    """

    def __init__(
        self,
        gaussians: Gaussians,
        population: Population,
        data: np.ndarray,
        widest: float = MAJOR[1],
    ) -> None:
        self.gaussians, self.population, self.data = gaussians, population, data
        self.widest = min(widest, gaussians.widest)

    def fluxes(self, shape: Shape, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Fluxes and their density, (n, len(_GRID)), and log evidence, (n,), of n sources.

        Raises
        ------
        FloatingPointError
            If a PSF that ends with the image makes a power negative.
        """
        images = self.gaussians.images(shape, centre, self.data.shape)
        match = images.reshape(len(images), -1) @ self.data.ravel()
        return self.given(match, self.gaussians.powers(shape), shape.major * shape.minor)

    def evidence(self, shape: Shape, centre: np.ndarray) -> np.ndarray:
        """Log evidence of n sources, (n,)."""
        return self.fluxes(shape, centre)[2]

    def given(self, match, power, area) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same of n sources of any light, by their match, power and area, each (n,)."""
        if not (power > 0).all():
            raise FloatingPointError("a source must not have a negative power")
        noise = self.population.noise
        width = noise / np.sqrt(power)
        flux = (match / power)[:, None] + width[:, None] * _GRID
        density = np.exp(-(_GRID**2) / 2)
        density = density * self.population.density(flux, np.atleast_1d(area)[:, None])
        with np.errstate(divide="ignore"):  # where no flux is possible
            integral = np.log(density.sum(1))
        return flux, density, integral + np.log(width) + match**2 / (2 * power * noise**2)


@dataclass(frozen=True)
class Source:
    """A Gaussian source on its stamp: shape, centre (y, x) [pixel], flux and log evidence.

    favour : log evidence that it is extended, over that it is a point.
    """

    shape: Shape
    centre: np.ndarray
    flux: float
    evidence: float
    favour: float


def redraw(shape: Shape, centre: np.ndarray, fit: Fit, random: np.random.Generator) -> Source:
    """Draw centre, ellipticity, size and at last the flux of a source.

    The ellipticity is drawn at a constant sum of variances, which the data know almost
    independently of it.

    Raises
    ------
    FloatingPointError
        See `Fit.fluxes`.
    """
    for axis in np.eye(2):
        centre = centre + axis * _draw_shift(shape, centre, axis, fit, random)
    shape = _draw_ellipticity(shape, "plus", float(shape.cross), centre, fit, random)
    shape = _draw_ellipticity(shape, "cross", float(shape.plus), centre, fit, random)
    shape, told = _draw_size(shape, centre, fit, random)
    flux, evidence = _draw_flux(shape, centre, fit, random)
    return Source(shape, centre, flux, evidence, told)


def redraw_point(centre: np.ndarray, fit: Fit, random: np.random.Generator) -> Source:
    """Draw centre and flux of what is known to be a point.

    Raises
    ------
    FloatingPointError
        See `Fit.fluxes`.
    """
    shape = Shape(0.0, 0.0, 0.0)
    for axis in np.eye(2):
        centre = centre + axis * _draw_shift(shape, centre, axis, fit, random)
    flux, evidence = _draw_flux(shape, centre, fit, random)
    return Source(shape, centre, flux, evidence, favour(shape, centre, fit))


def _draw_flux(
    shape: Shape, centre: np.ndarray, fit: Fit, random: np.random.Generator
) -> tuple[float, float]:
    """Draw the flux of a source; and its log evidence."""
    (fluxes,), (density,), (evidence,) = fit.fluxes(shape, centre)
    flux = draw_between(fluxes, (density[1:] + density[:-1]) / 2, random.random())
    return flux, float(evidence)


def _draw_shift(
    shape: Shape, centre: np.ndarray, axis: np.ndarray, fit: Fit, random: np.random.Generator
) -> float:
    """Draw a shift along an axis [pixel].

    A window that is always about the present place would be left less often than it is entered;
    one that may lie anywhere over it is an auxiliary variable.
    """
    low = -2 * _FARTHEST * random.random()
    shifts, found = line(
        lambda shift: fit.evidence(shape, centre + shift[:, None] * axis),
        low,
        low + 2 * _FARTHEST,
    )
    return draw_between(shifts, masses(found), random.random())


def _draw_ellipticity(
    shape: Shape, name: str, other: float, centre: np.ndarray, fit: Fit, random
) -> Shape:
    """Draw one component of the ellipticity, given the other."""
    widest = np.sqrt(max(MOST_ELLIPTICAL**2 - other**2, 0))
    values, found = line(
        lambda value: fit.evidence(replace(shape, **{name: value}), centre), -widest, widest
    )
    # The prior of an axis ratio and an angle that are uniform.
    e = np.hypot(np.hypot(values, other), _ROUND)
    prior = -1.5 * np.log1p(e) - 0.5 * np.log1p(-np.minimum(e, 0.99)) - np.log(e)
    return replace(shape, **{name: draw_between(values, masses(found + prior), random.random())})


def favour(shape: Shape, centre: np.ndarray, fit: Fit) -> float:
    """Log evidence that a source of that ellipticity is extended, over that it is a point.

    Raises
    ------
    FloatingPointError
        See `Fit.fluxes`.
    """
    _, extended, point = _sizes(shape, centre, fit)
    return _log_ratio(extended.sum(), point)


def _draw_size(
    shape: Shape, centre: np.ndarray, fit: Fit, random: np.random.Generator
) -> tuple[Shape, float]:
    """Draw the size of what is a point or extended, with the prior of both; and the favour."""
    scales, extended, point = _sizes(shape, centre, fit)
    share = fit.population.extended
    told = _log_ratio(extended.sum(), point)
    if random.random() * ((1 - share) * point + share * extended.sum()) < (1 - share) * point:
        return replace(shape, extent=0.0), told
    scale = draw_between(scales, extended, random.random())
    return replace(shape, extent=float(_extent(scale))), told


def _sizes(shape: Shape, centre: np.ndarray, fit: Fit) -> tuple[np.ndarray, np.ndarray, float]:
    """Scales of the extent (n,), evidence between them (n - 1,) if extended, and if a point."""
    longest = 1 + float(shape.ellipticity)
    scales, found = line(
        lambda scale: fit.evidence(replace(shape, extent=_extent(scale)), centre),
        0,
        float(np.log1p(fit.widest**2 / longest / _TURN)),
    )
    major = np.sqrt(_extent(scales) * longest)
    extended = masses(found) * size_density((major[1:] + major[:-1]) / 2) * np.diff(major)
    return scales, extended, 0.0 if scales[0] > 0 else float(np.exp(found[0] - found.max()))


def _log_ratio(one: float, other: float) -> float:
    """Logarithm of a ratio of masses, of which not both are 0."""
    return float(np.log(max(one, _NEVER)) - np.log(max(other, _NEVER)))


def _extent(scale: float | np.ndarray) -> np.ndarray:
    """Extent [beam^2] on a scale on which the likelihood is about equally wide everywhere."""
    return _TURN * np.expm1(np.maximum(scale, 0))
