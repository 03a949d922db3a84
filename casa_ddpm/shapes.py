"""Size and ellipticity of a source of a realisation, drawn from what the data say.

Where a compact source of a realisation is a Gaussian, its likelihood is known in closed
form for every shape, and one number of the shape after the other is drawn from
likelihood times prior with the flux integrated out (a collapsed Gibbs step, Liu 1994,
JASA 89, 958).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import CubicSpline

from casa_ddpm import sky
from casa_ddpm.gaussians import MOST_ELLIPTICAL, Gaussians, Shape

#: Where an integral over the flux is evaluated [standard deviations].
_GRID = np.linspace(-4.5, 4.5, 61)
#: On a line of shapes: at how many the likelihood is evaluated, then interpolated.
_NODES, _FINE = 13, 240
#: What a cubic spline through values at the nodes is in between, shape (_FINE, _NODES).
_SPLINE = CubicSpline(np.linspace(0, 1, _NODES), np.eye(_NODES))(np.linspace(0, 1, _FINE))
#: What is less likely than the best by this much [log] is left out.
_UNLIKELY = 12.5
#: Most often that a line is evaluated anew, closer about its peak.
_ZOOMS = 4
#: Ellipticity below which its density no longer rises, as it would to infinity.
_ROUND = 0.05
#: Farthest that a source is moved at a time along an axis [pixel].
_FARTHEST = 1.0
#: Width at which the scale of sizes turns from linear to logarithmic [beam^2].
_TURN = 0.3


class Fit:
    """How well the data suit a Gaussian source of any shape, and its flux.

    With a flux f the log likelihood is (f match - f^2 power / 2) / noise^2 beyond a constant.

    Parameters
    ----------
    gaussians : Gaussians
    noise : float
        Of the likelihood.
    least : float
        Least flux.
    prior : callable
        Density of a flux [noise] of a source of an area [beam^2].
    data : ndarray, shape (ny, nx)
        The likelihood's gradient where there is no source at all.
    widest : float
        Greatest FWHM of the source [beam].
    """

    def __init__(
        self,
        gaussians: Gaussians,
        noise: float,
        least: float,
        prior: Callable[[np.ndarray, np.ndarray], np.ndarray],
        data: np.ndarray,
        widest: float = sky.MAJOR[1],
    ) -> None:
        self.gaussians, self.noise, self.least, self.prior = gaussians, noise, least, prior
        self.data = data
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
        width = self.noise / np.sqrt(power)
        flux = (match / power)[:, None] + width[:, None] * _GRID
        density = np.exp(-(_GRID**2) / 2) * (flux > self.least)
        known = np.maximum(flux, self.least) / self.noise
        density *= self.prior(known, np.atleast_1d(area)[:, None])
        with np.errstate(divide="ignore"):  # where no flux is possible
            integral = np.log(density.sum(1))
        return flux, density, integral + np.log(width) + match**2 / (2 * power * self.noise**2)


@dataclass(frozen=True)
class Source:
    """A Gaussian source on its stamp: shape, centre (y, x) [pixel], flux and log evidence."""

    shape: Shape
    centre: np.ndarray
    flux: float
    evidence: float


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
    shape = _draw_size(shape, centre, fit, random)
    (fluxes,), (density,), (evidence,) = fit.fluxes(shape, centre)
    total = np.cumsum(density)
    flux = np.interp(random.random() * total[-1], total, fluxes)
    return Source(shape, centre, float(flux), float(evidence))


def _draw_shift(
    shape: Shape, centre: np.ndarray, axis: np.ndarray, fit: Fit, random: np.random.Generator
) -> float:
    """Draw a shift along an axis [pixel]."""
    shifts, found = _line(
        lambda shift: fit.evidence(shape, centre + shift[:, None] * axis), -_FARTHEST, _FARTHEST
    )
    return _draw(shifts, _masses(found), random)


def _draw_ellipticity(
    shape: Shape, name: str, other: float, centre: np.ndarray, fit: Fit, random
) -> Shape:
    """Draw one component of the ellipticity, given the other."""
    widest = np.sqrt(max(MOST_ELLIPTICAL**2 - other**2, 0))
    values, found = _line(
        lambda value: fit.evidence(replace(shape, **{name: value}), centre), -widest, widest
    )
    # The prior of an axis ratio and an angle that are uniform.
    e = np.hypot(np.hypot(values, other), _ROUND)
    prior = -1.5 * np.log1p(e) - 0.5 * np.log1p(-np.minimum(e, 0.99)) - np.log(e)
    return replace(shape, **{name: _draw(values, _masses(found + prior), random)})


def _draw_size(shape: Shape, centre: np.ndarray, fit: Fit, random: np.random.Generator) -> Shape:
    """Draw the size of what is a point or extended, with the prior of both."""
    longest = 1 + float(shape.ellipticity)
    scales, found = _line(
        lambda scale: fit.evidence(replace(shape, extent=_extent(scale)), centre),
        0,
        float(np.log1p(fit.widest**2 / longest / _TURN)),
    )
    major = np.sqrt(_extent(scales) * longest)
    extended = _masses(found) * sky.size_density((major[1:] + major[:-1]) / 2) * np.diff(major)
    point = 0.0 if scales[0] > 0 else sky.POINTS * np.exp(found[0] - found.max())
    if random.random() * (point + extended.sum()) < point:
        return replace(shape, extent=0.0)
    return replace(shape, extent=float(_extent(_draw(scales, extended, random))))


def _extent(scale: float | np.ndarray) -> np.ndarray:
    """Extent [beam^2] on a scale on which the likelihood is about equally wide everywhere."""
    return _TURN * np.expm1(np.maximum(scale, 0))


def _line(
    evidence: Callable[[np.ndarray], np.ndarray], low: float, high: float
) -> tuple[np.ndarray, np.ndarray]:
    """Values between bounds and the log evidence there, closer where it is narrow."""
    for _ in range(_ZOOMS):
        nodes = np.linspace(low, high, _NODES)
        found = evidence(nodes)
        likely = np.flatnonzero(found > found.max() - _UNLIKELY)
        if not likely.size:  # no flux is possible
            raise FloatingPointError("a source must have a shape that is possible")
        first, last = max(likely[0] - 1, 0), min(likely[-1] + 1, _NODES - 1)
        if last - first > _NODES // 2:
            break
        low, high = nodes[first], nodes[last]
    possible = np.isfinite(found)
    if possible.all():
        return np.linspace(nodes[0], nodes[-1], _FINE), _SPLINE @ found
    nodes, found = nodes[possible], found[possible]
    values = np.linspace(nodes[0], nodes[-1], _FINE)
    return values, np.interp(values, nodes, found)


def _draw(values: np.ndarray, mass: np.ndarray, random: np.random.Generator) -> float:
    """A value drawn from masses (n - 1,) between values (n,)."""
    total = np.concatenate([[0], np.cumsum(mass)])
    return float(np.interp(random.random() * total[-1], total, values))


def _masses(log_density: np.ndarray) -> np.ndarray:
    """Relative masses (n - 1,) between values of a regular grid; the first value has density 1."""
    density = np.exp(log_density - log_density.max())
    return (density[1:] + density[:-1]) / 2
