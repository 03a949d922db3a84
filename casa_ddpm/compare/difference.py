"""The difference of two restored images at a common beam."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy import units as u
from radio_beam import Beam as RadioBeam
from radio_beam import Beams

from casa_ddpm import noise
from casa_ddpm.compare.products import Image, Product
from casa_ddpm.dirty import Beam

#: How far two grids may be apart [pixel].
ALIGNED = 0.1
#: Relative difference of axes below which two beams are one.
SAME = 1e-3


@dataclass(frozen=True)
class Difference:
    """Two images at one beam, and what remains of one less the other.

    Attributes
    ----------
    a, b : ndarray, shape (ny, nx)
        The images at the common beam [Jy/beam].
    beam : Beam
        The common beam.
    """

    a: np.ndarray
    b: np.ndarray
    beam: Beam

    @property
    def image(self) -> np.ndarray:
        """b minus a [Jy/beam]."""
        return self.b - self.a

    def figures(self, cell: float) -> dict[str, float]:
        """Statistics of the difference.

        Parameters
        ----------
        cell : float
            Pixel [arcsec].

        Returns
        -------
        dict of float
            rms and robust rms of the difference, of a and of b, the extremes of the
            difference [Jy/beam], the summed flux of b minus a [Jy] and the correlation of the
            pixels of a and b.
        """
        good = np.isfinite(self.a) & np.isfinite(self.b)
        a, b = self.a[good], self.b[good]
        left = b - a
        return {
            "rms": float(np.std(left)),
            "robust_rms": float(1.4826 * np.median(np.abs(left - np.median(left)))),
            "rms_a": float(np.std(a)),
            "rms_b": float(np.std(b)),
            "highest": float(left.max()),
            "lowest": float(left.min()),
            "flux": float(left.sum() / self.beam.area(cell)),
            "correlation": float(np.corrcoef(a, b)[0, 1]) if a.std() and b.std() else np.nan,
        }


def difference(a: Product, b: Product) -> Difference | None:
    """The images of two products at their common beam; None where either has no image.

    Raises
    ------
    ValueError
        If an image has no beam, or the grids differ.
    """
    if a.image is None or b.image is None:
        return None
    for name, product in (("A", a), ("B", b)):
        if product.image is not None and product.image.beam is None:
            raise ValueError(f"{name} must have a restoring beam, {product.name!r} has none")
    check_grids(a.image, b.image)
    beam = common_beam(a.image.beam, b.image.beam)  # type: ignore[arg-type]
    return Difference(convolved(a.image, beam), convolved(b.image, beam), beam)


def check_grids(a: Image, b: Image) -> None:
    """Refuse images whose pixels are not at the same places.

    Raises
    ------
    ValueError
        If shapes differ, or a corner of B is more than a tenth of a pixel off.
    """
    if a.data.shape != b.data.shape:
        raise ValueError(f"B must have the shape of A {a.data.shape}, got {b.data.shape}")
    ny, nx = a.data.shape
    x, y = np.array([0.0, nx - 1, 0, nx - 1]), np.array([0.0, 0, ny - 1, ny - 1])
    there = np.stack(a.wcs.world_to_pixel(b.wcs.pixel_to_world(x, y)))
    away = float(np.max(np.hypot(*(there - np.stack([x, y])))))
    if not away <= ALIGNED:
        raise ValueError(
            f"B must have the pixels of A within {ALIGNED} pixel at the corners, "
            f"they are {away:.3g} pixels apart: image both with one phase centre and cell"
        )


def common_beam(a: Beam, b: Beam) -> Beam:
    """The smallest beam that both can be convolved to: one of the two where that does."""
    if _same(a, b):
        return a
    both = [_radio(beam) for beam in (a, b)]
    columns = {
        name: u.Quantity([getattr(beam, name) for beam in both])
        for name in ("major", "minor", "pa")
    }
    found = Beams(**columns).common_beam()
    major, minor = (getattr(found, axis).to_value(u.arcsec) for axis in ("major", "minor"))
    return Beam(float(major), float(minor), found.pa.to_value(u.deg) % 180)


def convolved(image: Image, beam: Beam) -> np.ndarray:
    """An image at another beam [Jy/beam]; what is undefined stays so, and counts as 0.

    The Gaussian between the two beams is as narrow as a line where their outlines touch, which
    no pixels can hold: it is applied in the uv plane, where it is exact.

    Raises
    ------
    ValueError
        If the beam does not hold the image's.
    """
    assert image.beam is not None
    if _same(image.beam, beam):
        return image.data
    between = beam.covariance(image.cell) - image.beam.covariance(image.cell)
    if np.linalg.eigvalsh(between)[0] < -SAME * np.trace(between):
        raise ValueError(f"beam must hold the image's own {image.beam}, got {beam}")
    good = np.isfinite(image.data)
    ny, nx = image.data.shape
    shape = (2 * ny, 2 * nx)
    north, west = np.meshgrid(np.fft.fftfreq(shape[0]), np.fft.rfftfreq(shape[1]), indexing="ij")
    exponent = between[0, 0] * north**2 + between[1, 1] * west**2
    exponent += 2 * between[0, 1] * north * west
    spectrum = np.fft.rfft2(np.where(good, image.data, 0), shape) * np.exp(-2 * np.pi**2 * exponent)
    seen = np.fft.irfft2(spectrum, shape)[:ny, :nx]
    # A point keeps its flux; what is extended is brighter in a larger beam.
    scale = beam.area(image.cell) / image.beam.area(image.cell)
    return np.where(good, seen * scale, np.nan)


def residual_rms(product: Product) -> dict[str, float] | None:
    """rms, robust rms and peak of a product's residual [Jy/beam]; None where there is none."""
    if product.residual is None:
        return None
    data = product.residual.data
    good = data[np.isfinite(data) & (data != 0)]
    return {
        "rms": float(np.std(good)),
        "robust_rms": noise.rms(data),
        "peak": float(np.max(np.abs(good))),
    }


def _radio(beam: Beam) -> RadioBeam:
    return RadioBeam(beam.major * u.arcsec, beam.minor * u.arcsec, beam.pa * u.deg)


def _same(a: Beam, b: Beam) -> bool:
    """Whether two beams differ by less than SAME in their covariance."""
    one, other = a.covariance(1.0), b.covariance(1.0)
    return bool(np.abs(one - other).max() <= SAME * np.trace(one))
