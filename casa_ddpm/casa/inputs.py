"""Images that a user brings, CASA's or FITS, read into one form and checked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from casatools import image

from casa_ddpm.casa.coordinates import equatorial_wcs, square_cell
from casa_ddpm.casa.images import opened, read_beams
from casa_ddpm.dirty import Beam

#: Distance up to which corners are at the same place [cell].
_SAME = 0.1


@dataclass(frozen=True)
class InputImage:
    """A plane as it was read.

    Attributes
    ----------
    label : str
        Parameter and path, for messages.
    data : ndarray, shape (ny, nx)
    good : ndarray of bool, shape (ny, nx)
        The image's pixel mask, False where blanked.
    record : dict
        Coordinate system with the axes right ascension, declination, Stokes,
        frequency; those that the image lacks are added.
    beam : Beam or None
    unit : str
    info : dict
        Miscellaneous keywords of the header.
    has_frequency : bool
        Whether the image itself has a frequency axis.
    """

    label: str
    data: np.ndarray
    good: np.ndarray
    record: dict
    beam: Beam | None
    unit: str
    info: dict
    has_frequency: bool


def read_input(name: str, path: str) -> InputImage:
    """Read the image that the parameter `name` gives.

    Raises
    ------
    FileNotFoundError
        If it does not exist.
    ValueError
        If it is not an image, or not a single plane in celestial coordinates.
    """
    label = f"{name}={path!r}"
    if not path or not os.path.exists(path):
        raise FileNotFoundError(f"{label} does not exist")
    try:
        with opened(path) as tool, _tclean_axes(tool, label) as arranged:
            return InputImage(
                label=label,
                data=arranged.getchunk()[:, :, 0, 0].T,
                good=arranged.getchunk(getmask=True)[:, :, 0, 0].T,
                record=arranged.coordsys().torecord(),
                beam=read_beams(tool)[0],
                unit=tool.brightnessunit(),
                info=tool.miscinfo(),
                has_frequency="Spectral" in tool.coordsys().axiscoordinatetypes(),
            )
    except RuntimeError as error:
        # the other lines say where in CASA's source
        reason = str(error).split("\n")[0].removeprefix("Exception: ")
        raise ValueError(f"{label} must be a CASA image or a FITS image: {reason}") from error


@contextmanager
def _tclean_axes(tool: image, label: str) -> Iterator[image]:
    """An open one-plane image with the axes right ascension, declination, Stokes, frequency."""
    kinds = tool.coordsys().axiscoordinatetypes()
    sky = [n for n, kind in enumerate(kinds) if kind == "Direction"]
    if len(sky) != 2 or tool.shape()[sky].prod() != tool.shape().prod():
        raise ValueError(
            f"{label} must be one plane in right ascension and declination, got the axes "
            f"{', '.join(f'{kind} ({n})' for kind, n in zip(kinds, tool.shape(), strict=True))}"
            f"{_one_plane(kinds, tool.shape())}"
        )
    kept = [n for n, kind in enumerate(kinds) if kind in ("Direction", "Stokes", "Spectral")]
    tools = [tool.subimage(dropdeg=True, keepaxes=kept)]
    try:
        if "Stokes" not in kinds or "Spectral" not in kinds:
            stokes = "" if "Stokes" in kinds else "I"
            spectral = "Spectral" not in kinds
            tools.append(tools[-1].adddegaxes(stokes=stokes, spectral=spectral, silent=True))
        kinds = tools[-1].coordsys().axiscoordinatetypes()
        order = sorted(range(4), key=lambda n: ("Direction", "Stokes", "Spectral").index(kinds[n]))
        if order != [0, 1, 2, 3]:
            tools.append(tools[-1].transpose(order="".join(map(str, order))))
        yield tools[-1]
    finally:
        for temporary in reversed(tools):
            temporary.done()


def _one_plane(kinds: list[str], shape: np.ndarray) -> str:
    """What to do with a cube."""
    options = {"Spectral": "chans='0'", "Stokes": "stokes='I'"}
    axes = dict(zip(kinds, shape, strict=True))
    chosen = [option for kind, option in options.items() if axes.get(kind, 1) > 1]
    if not chosen:
        return ""
    return (
        "; image one plane at a time, such as the one that imsubimage(..., "
        f"{', '.join(chosen)}) writes, with the same plane of psfimage and pbimage"
    )


def check_apart(imagename: str, name: str, path: str) -> None:
    """Check that no product of the prefix `imagename` replaces the input `path`."""
    if os.path.realpath(path).startswith(os.path.realpath(imagename) + "."):
        raise ValueError(
            f"imagename={imagename!r} must not be the prefix of {name}={path!r}: "
            "the products would replace it"
        )


def check_grid(other: InputImage, dirty: InputImage) -> None:
    """Check that an image has the shape and the cell of the dirty image."""
    if other.data.shape != dirty.data.shape:
        raise ValueError(
            f"{other.label} must have the shape (ny, nx) of {dirty.label}, {dirty.data.shape}, "
            f"got {other.data.shape}"
        )
    cells = square_cell(other.record), square_cell(dirty.record)
    if not np.isclose(*cells, rtol=1e-3):
        raise ValueError(
            f"{other.label} must have the cell of {dirty.label}, {cells[1]:.6g} arcsec, "
            f"got {cells[0]:.6g} arcsec"
        )


def check_place(other: InputImage, dirty: InputImage) -> None:
    """Check that the corners of an image are where those of the dirty image are on the sky."""
    away = _corners(other).separation(_corners(dirty)).max()
    cell = square_cell(dirty.record) * u.arcsec
    if away > _SAME * cell:
        raise ValueError(
            f"{other.label} must lie where {dirty.label} does, got corners that are up to "
            f"{away.to_value(u.arcsec) / cell.value:.3g} pixels from it"
        )


def _corners(one: InputImage) -> SkyCoord:
    ny, nx = one.data.shape
    return equatorial_wcs(one.record).pixel_to_world([0, nx - 1, 0, nx - 1], [0, 0, ny - 1, ny - 1])


def clean_beam(dirty: InputImage, psf: InputImage | None) -> Beam:
    """The PSF's beam, else the dirty image's."""
    beam = (psf and psf.beam) or dirty.beam
    if beam is None:
        raise ValueError(
            f"{dirty.label} or psfimage must have a restoring beam in its header; "
            "imhead(mode='put', hdkey='beammajor', ...) writes one"
        )
    return beam


def dirty_data(dirty: InputImage, field: np.ndarray | None) -> np.ndarray:
    """The dirty image, shape (ny, nx) [Jy/beam].

    Parameters
    ----------
    dirty : InputImage
    field : ndarray of bool, shape (ny, nx), optional
        True where there is an image; elsewhere pixels may be NaN and become 0.
    """
    try:
        # tclean writes no unit into its .residual.
        scale = u.Unit(dirty.unit or "Jy/beam").to("Jy/beam")
    except (ValueError, u.UnitConversionError) as error:
        raise ValueError(f"{dirty.label} must be in Jy/beam, got {dirty.unit!r}") from error
    bad = ~np.isfinite(dirty.data)
    inside = bad if field is None else bad & field
    if inside.any():
        raise ValueError(
            f"{dirty.label} must have no NaN pixels, got {int(inside.sum())}; "
            "those that its mask leaves out, or outside the primary beam of a pbimage, are allowed"
        )
    return np.where(bad, 0, dirty.data * scale)


def psf_data(psf: InputImage) -> np.ndarray:
    """The PSF, shape (ny, nx), once it is known to have its peak of 1 at the centre."""
    if not np.isfinite(psf.data).all():
        raise ValueError(f"{psf.label} must have no NaN pixels")
    centre = psf.data.shape[0] // 2, psf.data.shape[1] // 2
    peak = tuple(int(n) for n in np.unravel_index(psf.data.argmax(), psf.data.shape))
    if peak != centre or not np.isclose(psf.data[centre], 1, atol=0.02):
        raise ValueError(
            f"{psf.label} must have its peak of 1 at pixel {centre[::-1]}, "
            f"got {psf.data[peak]:.4g} at {peak[::-1]}"
        )
    return psf.data


def model_data(model: InputImage) -> np.ndarray:
    """A model to start from, shape (ny, nx) [Jy/pixel]."""
    if model.unit not in ("Jy/pixel", ""):
        raise ValueError(f"{model.label} must be in Jy/pixel, got {model.unit!r}")
    if not np.isfinite(model.data).all():
        raise ValueError(f"{model.label} must have no NaN pixels")
    return model.data
