"""The products of a run as they are compared: image, residual and sources, whoever made them."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.table import QTable
from astropy.wcs import WCS, FITSFixedWarning
from astropy.wcs.utils import pixel_to_skycoord, proj_plane_pixel_scales

from casa_ddpm import noise
from casa_ddpm.compare import source_list
from casa_ddpm.dirty import Beam

#: What ends the name of a restored image, and of what lies beside it.
IMAGES = (".image", ".image.fits", "-image.fits", ".image.tt0", ".image.tt0.fits")
CATALOGUES = (".cat.ecsv", ".cat.fits", ".cl")


class SeveralPlanes(ValueError):
    """An image that is none of a single plane."""


@dataclass(frozen=True)
class Image:
    """A single plane.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        NaN where undefined; [Jy/beam] of a restored image.
    wcs : astropy.wcs.WCS
        Celestial.
    beam : Beam, optional
        Restoring beam.
    """

    data: np.ndarray
    wcs: WCS
    beam: Beam | None = None

    @property
    def cell(self) -> float:
        """Side of a pixel, the geometric mean [arcsec]."""
        return 3600 * float(np.sqrt(np.prod(proj_plane_pixel_scales(self.wcs))))


@dataclass(frozen=True)
class Product:
    """What is known of a run.

    Parameters
    ----------
    name : str
        As it was given.
    sources : QTable
        Columns of `casa_ddpm.compare.source_list`.
    image, residual : Image, optional
        Restored image and residual.
    found : bool
        The sources are no catalogue's but were looked for in the image.
    left_out : str
        Its image, where that has several planes and the sources alone are known.
    """

    name: str
    sources: QTable
    image: Image | None = None
    residual: Image | None = None
    found: bool = False
    left_out: str = ""

    @property
    def beam(self) -> Beam | None:
        """The clean beam, of the image or of the catalogue."""
        if self.image is not None:
            return self.image.beam
        axes = [self.sources.meta.get(key) for key in ("BMAJ", "BMIN", "BPA")]
        if None in axes:
            return None
        return Beam(3600 * axes[0], 3600 * axes[1], axes[2])

    @property
    def noise(self) -> float | None:
        """rms [Jy/beam]: of the residual, of the catalogue or of the restored image."""
        if self.residual is not None:
            return noise.rms(self.residual.data)
        if "NOISE" in self.sources.meta:
            return float(self.sources.meta["NOISE"])
        return None if self.image is None else noise.rms(self.image.data)


def read(name: str, apparent: bool = False, parameter: str = "A") -> Product:
    """Find and read the products of a name.

    Parameters
    ----------
    name : str
        Image name (prefix) of ddpmclean or tclean, an image, or a list of sources.
    apparent : bool
        Fluxes as seen through the primary beam, not corrected for it.
    parameter : str
        What errors call it.

    Raises
    ------
    ValueError
        If there is nothing of that name, or it cannot be read, or is a cube without a catalogue.
    """
    image = _image_path(name, parameter)
    if image is None:
        return Product(name, source_list.read(name, apparent, parameter))
    prefix, ending = _split(image)
    beside = {kind: prefix + ending.replace("image", kind) for kind in ("residual", "pb")}
    beyond = [prefix + suffix for suffix in CATALOGUES if ending]
    catalogues = [path for path in beyond if os.path.exists(path)]
    try:
        restored = read_image(image, parameter)
    except SeveralPlanes:
        if not catalogues:
            raise
        listed = source_list.read(catalogues[0], apparent, parameter)
        return Product(name, listed, left_out=image)
    residual = beside["residual"] if os.path.exists(beside["residual"]) else None
    left = read_image(residual, parameter) if residual and ending else None
    if catalogues:
        listed = source_list.read(catalogues[0], apparent, parameter)
        return Product(name, listed, restored, left)
    pb = None
    if not apparent and ending and os.path.exists(beside["pb"]):
        pb = read_image(beside["pb"], parameter)
    found = look_for(Product(name, QTable(), restored, left), pb, parameter)
    return Product(name, found, restored, left, found=True)


def _image_path(name: str, parameter: str) -> str | None:
    """The restored image of a name, None where the name is a list of sources."""
    if os.path.isdir(name) and (Path(name) / "table.info").is_file():
        return None if source_list.is_components(name) else name
    if os.path.isfile(name):
        return name if _is_fits_image(name) else None
    for ending in IMAGES:
        if os.path.exists(name + ending):
            return name + ending
    for suffix in CATALOGUES:
        if os.path.exists(name + suffix):
            raise ValueError(
                f"{parameter} must be the image name of a restored image, an image or a list of "
                f"sources; {name!r} has no image, give {name + suffix!r}"
            )
    raise ValueError(
        f"{parameter} must be an image name, image or list of sources that exists, got {name!r}"
    )


def _split(image: str) -> tuple[str, str]:
    """An image's name before what makes it one, and that; '' where it has another name."""
    for ending in sorted(IMAGES, key=len, reverse=True):
        if image.rstrip("/").endswith(ending):
            return image.rstrip("/")[: -len(ending)], ending
    return image, ""


def _is_fits_image(path: str) -> bool:
    """Whether a file is FITS whose first unit is an image."""
    try:
        return fits.getheader(path)["NAXIS"] >= 2
    except (OSError, KeyError):
        return False


def read_image(path: str, parameter: str = "A") -> Image:
    """A CASA or FITS image of a single plane.

    CASA images are read by spectral-cube, which needs no CASA.

    Raises
    ------
    ValueError
        If it cannot be read; SeveralPlanes if it has more than one.
    """
    with warnings.catch_warnings():
        # astropy completes dates, spectral-cube tells of Stokes axes and of beams
        warnings.simplefilter("ignore")
        warnings.simplefilter("ignore", FITSFixedWarning)
        try:
            data, wcs, beam = _casa(path) if os.path.isdir(path) else _fits(path)
        except (OSError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{parameter} must be a CASA or FITS image, got {path!r}") from error
    if data.size != np.prod(data.shape[-2:]):
        raise SeveralPlanes(f"{parameter} must have a single plane, {path!r} has {data.shape}")
    return Image(data.reshape(data.shape[-2:]).astype(float), wcs, beam)


def _fits(path: str) -> tuple[np.ndarray, WCS, Beam | None]:
    data, header = fits.getdata(path, header=True)
    beam = None
    if "BMAJ" in header and header["BMAJ"] > 0:
        beam = Beam(3600 * header["BMAJ"], 3600 * header["BMIN"], header.get("BPA", 0.0) % 180)
    return data, WCS(header).celestial, beam


def _casa(path: str) -> tuple[np.ndarray, WCS, Beam | None]:
    from spectral_cube import SpectralCube
    from spectral_cube.utils import NoBeamError

    cube = SpectralCube.read(path, format="casa_image")
    data = np.asarray(cube.filled_data[:].value)
    try:
        # Where every plane has a beam, that of the first, which is to be the only one.
        found = cube.beams[0] if hasattr(cube, "beams") else cube.beam
    except NoBeamError:
        return data, cube.wcs.celestial, None
    major, minor = (getattr(found, axis).to_value(u.arcsec) for axis in ("major", "minor"))
    return data, cube.wcs.celestial, Beam(major, minor, found.pa.to_value(u.deg) % 180)


def look_for(product: Product, pb: Image | None, parameter: str) -> QTable:
    """Sources that photutils finds in a restored image, with fluxes by Kron's aperture."""
    from casa_ddpm.benchmark.finders import kron
    from casa_ddpm.benchmark.plane import Plane

    image, level = product.image, product.noise
    if image is None or image.beam is None or level is None:
        raise ValueError(
            f"{parameter} must have a beam where it has no catalogue, got {product.name!r}"
        )
    plane = Plane(np.nan_to_num(image.data), image.beam, image.cell, image.wcs)
    found = kron(plane, level)
    if not found:
        return source_list.source_list({"ra": []})
    x, y = found["x"], found["y"]
    seen = 1.0 if pb is None else _at(pb.data, x, y)
    sky = pixel_to_skycoord(x, y, image.wcs).icrs
    columns = {"ra": sky.ra.deg, "dec": sky.dec.deg, "snr": found["score"]}
    columns |= {name: np.asarray(found[name]) / seen for name in ("flux", "flux_err")}
    listed = source_list.source_list(columns)
    return listed[np.isfinite(listed["flux"])]


def _at(data: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Values of the nearest pixels, NaN where they are not positive."""
    rows, columns = (
        np.clip(np.rint(v).astype(int), 0, n - 1) for v, n in zip((y, x), data.shape, strict=True)
    )
    near = data[rows, columns]
    return np.where(near > 0, near, np.nan)
