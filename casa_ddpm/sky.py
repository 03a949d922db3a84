"""The prior of the sky: fields drawn as tables of Gaussian components.

Everything from a point to a radio galaxy is a list of Gaussian components, so
that one exact renderer serves all.  Lengths are in units of the clean beam's
geometric-mean FWHM, fluxes in units of the noise of a point source, so that a
field looks alike for every array, band and cell size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from casa_ddpm import population

#: Covariance of a Gaussian of unit FWHM.
_UNIT = 1 / (8 * math.log(2))


@dataclass(frozen=True)
class Components:
    """Gaussian components of a sky.

    Parameters
    ----------
    position : ndarray, shape (n, 2)
        Centres (y, x) from the field centre [beam].
    flux : ndarray, shape (n,)
        Integrated flux [noise of a point source].
    covariance : ndarray, shape (n, 2, 2)
        Shape (y, x) [beam^2]; zero for a point.
    source : ndarray of int, shape (n,)
        Which source each component belongs to.
    """

    position: np.ndarray
    flux: np.ndarray
    covariance: np.ndarray
    source: np.ndarray

    def __len__(self) -> int:
        return len(self.flux)

    @classmethod
    def join(cls, parts: list[Components]) -> Components:
        """All components of `parts`, their sources numbered through."""
        offsets = np.cumsum([0] + [p.source.max(initial=-1) + 1 for p in parts])
        return cls(
            np.concatenate([p.position for p in parts] or [np.zeros((0, 2))]),
            np.concatenate([p.flux for p in parts] or [np.zeros(0)]),
            np.concatenate([p.covariance for p in parts] or [np.zeros((0, 2, 2))]),
            np.concatenate(
                [p.source + o for p, o in zip(parts, offsets, strict=False)] or [np.zeros(0, int)]
            ).astype(int),
        )


def _components(position, flux, fwhm=0.0, source=None) -> Components:
    position = np.atleast_2d(position).astype(float)
    n = len(position)
    covariance = np.broadcast_to(np.asarray(fwhm, float) ** 2 * _UNIT, (n,))
    return Components(
        position,
        np.broadcast_to(np.asarray(flux, float), (n,)).copy(),
        covariance[:, None, None] * np.eye(2),
        np.zeros(n, int) if source is None else np.asarray(source),
    )


def points(position: np.ndarray, flux: np.ndarray) -> Components:
    """Point sources, one source each."""
    return _components(position, flux, source=np.arange(len(flux)))


def gaussians(position, flux, major, minor, pa) -> Components:
    """Elliptical Gaussians of FWHM `major`, `minor` [beam] at `pa` [rad, from +y to -x]."""
    shape = covariances(major, minor, pa)
    return Components(np.asarray(position), np.asarray(flux), shape, np.arange(len(flux)))


def covariances(major, minor, pa) -> np.ndarray:
    """Covariances (y, x) of Gaussians of FWHM `major`, `minor`, `pa` as above, (n, 2, 2)."""
    along = np.stack([np.cos(pa), -np.sin(pa)], -1)
    across = np.stack([np.sin(pa), np.cos(pa)], -1)
    shape = np.asarray(major)[:, None, None] ** 2 * along[:, :, None] * along[:, None]
    shape = shape + np.asarray(minor)[:, None, None] ** 2 * across[:, :, None] * across[:, None]
    return shape * _UNIT


def _turn(offsets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Incline and rotate offsets (n, 2) at random."""
    angle = rng.uniform(0, 2 * math.pi)
    squeezed = offsets * [1, rng.uniform(0.2, 1)]
    rotation = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    return squeezed @ np.array(rotation)


def ring(rng: np.random.Generator, flux: float) -> Components:
    """An inclined ring or arc of 1 to 5 beams radius, brightness varying along it."""
    radius = rng.uniform(0.7, 5)
    n = math.ceil(radius * 20)
    angle = np.linspace(0, rng.choice([2 * math.pi, rng.uniform(1, 6)]), n, endpoint=False)
    light = 1 + rng.uniform(0, 0.9) * np.cos(angle * rng.integers(1, 3) + rng.uniform(0, 6))
    offsets = _turn(radius * np.stack([np.cos(angle), np.sin(angle)], 1), rng)
    return _components(offsets, flux * light / light.sum(), rng.uniform(0.3, 1))


def disc(rng: np.random.Generator, flux: float) -> Components:
    """An inclined disc of 1 to 6 beams radius, with or without a gap and a steep profile."""
    radius = rng.uniform(1, 6)
    n = math.ceil(40 * radius**2)
    r = radius * np.sqrt((np.arange(n) + 0.5) / n)
    angle = np.arange(n) * math.pi * (3 - math.sqrt(5))
    light = np.exp(-r / radius * rng.uniform(0, 3))
    gap, width = rng.uniform(0.2, 0.9) * radius, rng.uniform(0.1, 0.25) * radius
    light[np.abs(r - gap) < width * rng.integers(0, 2)] *= rng.uniform(0, 0.3)
    offsets = _turn(np.stack([r * np.cos(angle), r * np.sin(angle)], 1), rng)
    return _components(offsets, flux * light / light.sum(), 0.4)


def galaxy(rng: np.random.Generator, flux: float) -> Components:
    """A core, two jets of knots and two lobes with hotspots."""
    length, bend = rng.uniform(2, 10), rng.uniform(-0.3, 0.3)
    shares = rng.dirichlet([1, 1, 2, 2])
    knots = rng.integers(4, 15)
    along = np.linspace(-1, 1, 2 * knots) * length
    jet_light = rng.uniform(0.2, 1, 2 * knots) * np.where(along > 0, 1, rng.uniform(0, 1))
    axis = np.stack([along, bend * along**2 / length], 1)
    blobs = rng.integers(5, 12)
    parts = [
        _components([[0, 0]], shares[0] * flux),
        _components(axis, shares[1] * flux * jet_light / jet_light.sum(), rng.uniform(0.1, 0.5)),
    ]
    for sign, share in zip((-1, 1), shares[2:], strict=True):
        centre = np.array([sign * length, bend * length])
        scatter = centre + rng.normal(size=(blobs, 2)) * length * rng.uniform(0.1, 0.25)
        light = rng.dirichlet(np.ones(blobs))
        parts.append(_components(scatter, share * flux * light, rng.uniform(0.3, 2, blobs)))
    whole = Components.join(parts)
    turned = _turn(whole.position, rng)
    return Components(turned, whole.flux, whole.covariance, np.zeros(len(whole), int))


def diffuse(rng: np.random.Generator, flux: float) -> Components:
    """A cloud of overlapping blobs, 3 to 20 beams wide."""
    size, blobs = rng.uniform(1.5, 8), rng.integers(5, 40)
    light = rng.dirichlet(np.ones(blobs))
    widths = rng.uniform(0.3, 1.2, blobs) * size
    return _components(rng.normal(size=(blobs, 2)) * size, flux * light, widths)


_SHAPES = (ring, disc, galaxy, diffuse)


def _spread(rng: np.random.Generator, n: int, side: float) -> np.ndarray:
    """Positions (n, 2) over the field and a little beyond its edge; some in clusters or pairs."""
    where = rng.uniform(-0.52 * side, 0.52 * side, (n, 2))
    style = rng.choice(3, p=[0.6, 0.25, 0.15])
    if style == 1:  # pairs of 0.6 to 3 beams
        half = n // 2
        angle = rng.uniform(0, 2 * math.pi, half)
        gap = rng.uniform(0.6, 3, half)[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
        where[half : 2 * half] = where[:half] + gap
    elif style == 2:  # clusters
        centre = where[rng.integers(0, max(1, n // 8), n)] if n else where
        where = centre + rng.normal(size=(n, 2)) * rng.uniform(1, 6)
    return where


def draw(rng: np.random.Generator, side: float) -> Components:
    """A random field of `side` beams.

    Empty, sparse, medium and crowded fields (up to a source per 10 beam areas)
    of points and Gaussians up to 5 beams, with S/N from 0.5 to 1000; a third of
    the fields hold rings, discs, radio galaxies or diffuse emission as well.
    """
    crowd = rng.choice(4, p=[0.06, 0.44, 0.3, 0.2])
    densest = side**2 / 1.133 / 10
    most = int([0, 10, densest / 5, densest][crowd])
    n = int(rng.integers(min(1, most), most + 1))
    position, flux = _spread(rng, n, side), population.draw_fluxes(rng, n)
    major, minor = population.draw_axes(rng, n)
    # Keep an extended source as easy to see as a point of its S/N, half of the time.
    flux = flux * np.where(rng.random(n) < 0.5, 1, np.sqrt(1 + major * minor))
    parts = [gaussians(position, flux, major, minor, rng.uniform(0, math.pi, n))]
    if crowd and rng.random() < 0.35:
        for _ in range(rng.integers(1, 4)):
            shape = _SHAPES[rng.integers(len(_SHAPES))]
            one = shape(rng, 10 ** rng.uniform(1.3, 3.7))
            centre = rng.uniform(-0.5 * side, 0.5 * side, 2)
            parts.append(Components(one.position + centre, one.flux, one.covariance, one.source))
    return Components.join(parts)


#: Half sides of the stamps on which components are drawn [pixel]; the last is the whole image.
_STAMPS = (8, 16, 32, 64)


def render(
    components: Components,
    kernel: float,
    scale: float,
    npix: int,
    device: torch.device | str = "cpu",
    flux: np.ndarray | None = None,
) -> torch.Tensor:
    """Flux per pixel of components convolved with a round Gaussian.

    Parameters
    ----------
    components : Components
    kernel : float
        FWHM of the Gaussian [beam]; at least 2 pixels, so that sampling is exact.
    scale : float
        Pixels per beam.
    npix : int
        Image side; the field centre is pixel npix//2.
    flux : ndarray, optional
        Stands in for the components' flux.

    Returns
    -------
    Tensor, shape (npix, npix)
    """
    image = torch.zeros(npix * npix, dtype=torch.float32, device=device)
    centre = components.position * scale + npix // 2
    covariance = (components.covariance + kernel**2 * _UNIT * np.eye(2)) * scale**2
    reach = 4.5 * np.sqrt(np.maximum(covariance[:, 0, 0], covariance[:, 1, 1]))
    size = np.digitize(reach, _STAMPS)
    near = (np.abs(centre - npix / 2) < npix / 2 + reach[:, None]).all(1)
    light = components.flux if flux is None else flux
    for group in np.unique(size):
        half = (*_STAMPS, npix // 2)[group]
        chosen = np.flatnonzero((size == group) & near & (light != 0))
        for part in np.array_split(chosen, max(1, len(chosen) * half**2 // 500_000)):
            _stamp(image, npix, half, centre[part], covariance[part], light[part])
    return image.view(npix, npix)


def _stamp(image, npix, half, centre, covariance, flux) -> None:
    """Add Gaussians to the flat `image` on squares of side 2 half + 1."""

    def tensor(array, dtype=torch.float32):
        return torch.as_tensor(array, dtype=dtype, device=image.device)

    wholly = half >= npix // 2
    corner = np.zeros_like(centre, int) if wholly else np.rint(centre).astype(int) - half
    side = torch.arange(npix if wholly else 2 * half + 1, device=image.device)
    # Offsets are formed before the cast to float32, so that they keep their precision.
    offset = side + tensor(corner - centre)[:, :, None]
    y, x = offset[:, 0, :, None], offset[:, 1, None, :]
    inverse = np.linalg.inv(covariance) if len(covariance) else covariance
    a, b, c = (
        tensor(v)[:, None, None] for v in (inverse[:, 0, 0], inverse[:, 0, 1], inverse[:, 1, 1])
    )
    norm = tensor(flux / (2 * math.pi * np.sqrt(np.linalg.det(covariance))))[:, None, None]
    values = norm * torch.exp(-0.5 * (a * y * y + 2 * b * x * y + c * x * x))
    row = tensor(corner[:, 0], torch.long)[:, None, None] + side[:, None]
    column = tensor(corner[:, 1], torch.long)[:, None, None] + side
    inside = (row >= 0) & (row < npix) & (column >= 0) & (column < npix)
    image.index_add_(0, (row * npix + column)[inside], values[inside])
