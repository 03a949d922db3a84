"""The imager on images: a dirty image on disk, where there are no visibilities."""

from __future__ import annotations

import dataclasses
import os
import shutil
from types import TracebackType

import numpy as np
from casatasks.private.imagerhelpers.imager_return_dict import ImagingDict
from scipy.signal import fftconvolve

from casa_ddpm.casa.coordinates import square_cell
from casa_ddpm.casa.images import (
    create,
    log,
    next_name,
    read_dirty,
    read_plane,
    read_planes,
    write_planes,
)
from casa_ddpm.casa.inputs import (
    InputImage,
    check_apart,
    check_grid,
    check_place,
    clean_beam,
    dirty_data,
    model_data,
    psf_data,
    read_input,
)
from casa_ddpm.casa.names import Names
from casa_ddpm.dirty import Beam, DirtyImage


class ImageImager:
    """A dirty image behind the products, with the methods of `VisibilityImager`.

    A major cycle subtracts the model convolved with the PSF from the dirty
    image. The PSF ends with the image, so sidelobes further from a source than
    half the image are not modelled.

    Parameters
    ----------
    imagename : str
        Prefix of the products.
    dirtyimage : str
        Dirty image [Jy/beam], CASA image or FITS, one plane. Where its pixels are masked there is
        no image.
    psfimage : str
        Its PSF, of the same shape and cell, peak 1 at pixel (nx//2, ny//2).
        Without one a Gaussian of the header's beam stands in.
    pbimage : str
        Its primary beam, of the same shape and cell.
    pblimit : float
        The images are masked where the primary beam is lower, as in tclean.
    restart : bool
        As in tclean: True continues from the .model of `imagename`, if there is
        one, and replaces its other images; False counts the name up.
    startmodel : str
        Model [Jy/pixel] to start from, of the same shape and cell.

    Attributes
    ----------
    imagename : str
        The prefix that is used.
    names : Names
        The products' names.

    Raises
    ------
    FileNotFoundError
        If an input does not exist.
    ValueError
        If an input breaks a rule. Nothing has been written by then.
    """

    def __init__(
        self,
        imagename: str,
        dirtyimage: str,
        psfimage: str = "",
        pbimage: str = "",
        pblimit: float = 0.2,
        restart: bool = True,
        startmodel: str = "",
    ) -> None:
        if not restart:
            imagename = next_name(imagename)
        self.imagename, self.names = imagename, Names(imagename)
        paths = {
            "dirtyimage": dirtyimage,
            "psfimage": psfimage,
            "pbimage": pbimage,
            "startmodel": startmodel,
        }
        given = {name: path for name, path in paths.items() if path or name == "dirtyimage"}
        for name, path in given.items():
            check_apart(imagename, name, path)
        inputs = {name: read_input(name, path) for name, path in given.items()}
        self._source = inputs["dirtyimage"]
        for name, other in inputs.items():
            check_grid(other, self._source)
            if name != "psfimage":  # which looks the same wherever it is
                check_place(other, self._source)
        psf, pb = inputs.get("psfimage"), inputs.get("pbimage")
        given_psf = None if psf is None else psf_data(psf)
        self._beam = clean_beam(self._source, psf)
        self._pb = None if pb is None else np.nan_to_num(pb.data)
        self._field = self._imaged(pb, pblimit)
        self._data = dirty_data(self._source, self._field)
        self._psf = self._gaussian() if given_psf is None else given_psf
        start = inputs.get("startmodel")
        self._start = None if start is None else model_data(start)
        if start is not None and os.path.isdir(imagename + ".model"):
            raise ValueError(
                f"{start.label} must not be given where {imagename + '.model'!r} exists, "
                "which the run goes on from"
            )
        if os.path.isdir(imagename + ".model"):
            earlier = read_input("imagename", imagename + ".model")
            check_grid(earlier, self._source)
            check_place(earlier, self._source)
        if given_psf is None:
            log(
                "No psfimage: a Gaussian of the header's beam stands in for the PSF. Its sidelobes "
                "are not known, so those of bright sources remain and can pass for sources.",
                "WARN",
            )

    def __enter__(self) -> ImageImager:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is held between the calls; there to be like `VisibilityImager`."""

    def dirty(self) -> list[DirtyImage | None]:
        """Write .psf, .residual and, if given, .pb with tclean's axes and headers.

        Returns
        -------
        list of DirtyImage
            One. Its data are the .residual: the dirty image, or what the .model
            that an earlier run has left leaves of it (see `model`).
        """
        if self._start is not None:
            self._write(".model", self._start, "Jy/pixel")
        model = self.model()
        self._write(".psf", self._psf, beam=self._beam)
        if self._pb is not None:
            self._write(".pb", self._pb, masked=True)
        elif os.path.isdir(stale := self.imagename + ".pb"):
            log(f"Removed, as there is no pbimage: {stale} of an earlier run")
            shutil.rmtree(stale)
        residual = self._data if model is None else self._subtract(model[0])
        self._write(".residual", residual, masked=True)
        planes = read_dirty(self.imagename)
        if self._source.has_frequency:
            return planes
        return [plane and dataclasses.replace(plane, freq=None) for plane in planes]

    def model(self) -> np.ndarray | None:
        """The .model on disk, shape (1, ny, nx) [Jy/pixel]; None where there is none."""
        path = self.imagename + ".model"
        return read_planes(path) if os.path.isdir(path) else None

    def residual(self, model: np.ndarray) -> np.ndarray:
        """Subtract a model, convolved with the PSF, from the dirty image.

        Parameters
        ----------
        model : ndarray, shape (1, ny, nx)
            Apparent sky [Jy/pixel]; becomes the .model.

        Returns
        -------
        ndarray, shape (1, ny, nx)
            The new .residual [Jy/beam].
        """
        if np.shape(model) != (1, *self._data.shape):
            raise ValueError(
                f"model must have the shape {(1, *self._data.shape)}, got {np.shape(model)}"
            )
        self._write(".model", model[0], "Jy/pixel")
        write_planes(self.imagename + ".residual", self._subtract(model[0])[None])
        return read_planes(self.imagename + ".residual")

    def restorable(self) -> bool:
        """Whether there is what `restore` makes an image of: always."""
        return True

    def restore(self, pbcor: bool = False) -> None:
        """Write .image, the model convolved with the clean beam plus the residual.

        Parameters
        ----------
        pbcor : bool
            Also write .image.pbcor, divided by the primary beam; without one
            that is logged and left out.
        """
        restored = read_plane(self.imagename + ".residual")
        model = self.model()
        if model is not None:
            restored = restored + convolve(model[0], self._gaussian())
        self._write(".image", restored, "Jy/beam", self._beam, masked=True)
        if not pbcor:
            return
        if self._pb is None or self._field is None:
            log("pbcor=True needs a pbimage: no .image.pbcor is written", "WARN")
            return
        corrected = np.where(self._field, restored, 0) / np.where(self._field, self._pb, 1)
        self._write(".image.pbcor", corrected, "Jy/beam", self._beam, masked=True)

    def mask(self) -> np.ndarray:
        """Write .mask, 1 where the primary beam reaches `pblimit`.

        Returns
        -------
        ndarray of bool, shape (1, ny, nx)
        """
        mask = np.ones(self._data.shape, bool) if self._field is None else self._field
        path = self.imagename + ".mask"
        if os.path.isdir(path):
            there = read_input("mask", path)
            check_grid(there, self._source)
            log(f"The model may change where {path} says so, which is there already")
            return (mask & (there.data > 0.5))[None]
        self._write(".mask", mask)
        return mask[None]

    def summary(self) -> dict:
        """tclean's dict with nothing done."""
        return ImagingDict().returndict

    def save_model(self) -> None:
        """There are no visibilities to predict; there to be like `VisibilityImager`."""

    def _imaged(self, pb: InputImage | None, pblimit: float) -> np.ndarray | None:
        """Where there is an image, bool of shape (ny, nx); None where that is everywhere."""
        good = self._source.good
        if pb is not None and self._pb is not None:
            return good & pb.good & (self._pb > pblimit)
        return None if good.all() else good

    def _subtract(self, model: np.ndarray) -> np.ndarray:
        return self._data - convolve(model, self._psf)

    def _gaussian(self) -> np.ndarray:
        """The clean beam, peak 1, on the image's pixels, shape (ny, nx)."""
        ny, nx = self._source.data.shape
        y, x = np.mgrid[:ny, :nx] - np.array([ny // 2, nx // 2])[:, None, None]
        (yy, yx), (_, xx) = np.linalg.inv(self._beam.covariance(square_cell(self._source.record)))
        return np.exp(-(yy * y**2 + 2 * yx * x * y + xx * x**2) / 2)

    def _write(
        self,
        suffix: str,
        data: np.ndarray,
        unit: str = "",
        beam: Beam | None = None,
        masked: bool = False,
    ) -> None:
        path = self.imagename + suffix
        shutil.rmtree(path, ignore_errors=True)
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        source, field = self._source, self._field
        mask = field.T[:, :, None, None] if masked and field is not None else None
        pixels = np.transpose(data)[:, :, None, None]
        create(path, source.record, pixels, unit, mask, beam, source.info)


def convolve(model: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Linear convolution of two images, the kernel's centre at pixel (ny//2, nx//2).

    Parameters
    ----------
    model, kernel : ndarray, shape (ny, nx)

    Returns
    -------
    ndarray, shape (ny, nx)
    """
    ny, nx = kernel.shape
    full = fftconvolve(np.asarray(model, float), np.asarray(kernel, float))
    return full[ny // 2 : ny // 2 + ny, nx // 2 : nx // 2 + nx]
