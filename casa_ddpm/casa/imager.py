"""The imager on visibilities: tclean's own gridding, weighting and restoration, without CLEAN."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cached_property
from types import TracebackType

import numpy as np
from casatasks.private.imagerhelpers.imager_base import PySynthesisImager
from casatasks.private.imagerhelpers.imager_mtmfs_via_cube import PyMtmfsViaCubeSynthesisImager
from casatasks.private.imagerhelpers.imager_parallel_continuum import (
    PyParallelContSynthesisImager,
)
from casatasks.private.imagerhelpers.imager_return_dict import ImagingDict
from casatasks.private.imagerhelpers.input_parameters import ImagerParameters
from casatools import synthesisutils, table

from casa_ddpm import primary_beam
from casa_ddpm.casa import outliers
from casa_ddpm.casa.automask import update_mask
from casa_ddpm.casa.complaints import readable, shaping, words
from casa_ddpm.casa.coordinates import square_cell
from casa_ddpm.casa.images import (
    log,
    next_name,
    opened,
    read_beams,
    read_dirty,
    read_planes,
    write_planes,
)
from casa_ddpm.casa.names import Names
from casa_ddpm.casa.parameters import (
    CONTINUUM,
    NO_CLEAN,
    check_parameters,
    imager_settings,
    normal,
    tclean_defaults,
)
from casa_ddpm.casa.quantities import check_quantities, quantity
from casa_ddpm.casa.regions import check_regions, why_empty
from casa_ddpm.casa.sensitivity import PLAIN, thermal_noise
from casa_ddpm.casa.visibilities import check_data, falls_back, most_fields
from casa_ddpm.dirty import DirtyImage
from casa_ddpm.frame import check_cell
from casa_ddpm.taylor import Taylor


class VisibilityImager:
    """A MeasurementSet behind the image: dirty image, major cycles and restoration.

    The data selection, weighting, gridding, normalisation and restoration are
    tclean's for the same parameters, and so are the products. The images are
    of one plane (specmode 'mfs') or of a plane for each channel ('cube', 'cubedata'). With
    deconvolver 'mtmfs' there are `nterms` images of one plane, Taylor terms of the spectrum.

    Parameters
    ----------
    parameters : dict
        tclean's parameters by name; those not given take tclean's defaults.
        CLEAN's own (niter, gain, deconvolver but for 'mtmfs', ...) are without effect. Keys
        that tclean does not know are passed over.

    Attributes
    ----------
    imagename : str
        Prefix of the products; with ``restart=False`` the one that tclean
        would count up to.
    names : Names
        The products' names.

    Raises
    ------
    FileNotFoundError
        If `vis` does not exist, or ``calcpsf=False`` or ``calcres=False`` has
        nothing on disk to start from.
    ValueError
        If a parameter breaks a rule or the selection holds no unflagged data.
        Nothing has been written by then.

    Notes
    -----
    The MeasurementSet is read only, except for `save_model`. As in tclean, a
    list of MeasurementSets of which only some have a WEIGHT_SPECTRUM column
    gets the column where it lacks, and CASA logs a warning.
    """

    def __init__(self, parameters: dict) -> None:
        defaults = tclean_defaults()
        known = {name: value for name, value in parameters.items() if name in defaults}
        self.parameters = normal(defaults | known)
        check_parameters(self.parameters)
        check_data(self.parameters)
        check_quantities(self.parameters, most_fields(self.parameters))
        check_regions(self.parameters)
        for path in falls_back(self.parameters):
            log(f"{path} has no CORRECTED_DATA: its DATA are imaged", "WARN")
        self.only_dirty = self.parameters["niter"] == 0
        self._imager: PySynthesisImager | None = None
        self._outliers: outliers.Outliers | None = None
        self._thermal: float | None = None
        terms = self.parameters["nterms"] if self.parameters["deconvolver"] == "mtmfs" else 0
        spectrum = {"deconvolver": "mtmfs", "nterms": terms} if terms else {}
        none = NO_CLEAN | spectrum | {"savemodel": "none"}
        self._settings = imager_settings(self.parameters | none)
        self.imagename: str = self.parameters["imagename"]
        if not self.parameters["restart"]:
            self.imagename = next_name(self.imagename)
        self.names = Names(self.imagename, terms)
        # CASA must not count the name up once more.
        self._settings |= {"imagename": self.imagename, "restart": True}
        with readable(self.parameters, ValueError):
            self._check_products()
            self._open()

    def __enter__(self) -> VisibilityImager:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release CASA's tools and their locks on the images and the data."""
        self._close_outliers()
        if self._imager is not None:
            imager, self._imager = self._imager, None
            imager.deleteTools()

    def dirty(self) -> list[DirtyImage | None]:
        """Make .psf, .pb, .sumwt and .residual as ``tclean(niter=0)`` does.

        Returns
        -------
        list of DirtyImage
            One for each channel, None where it has no data. Their data are the
            .residual: the dirty image, or, where `startmodel` or a .model on disk
            continues an earlier run, what that model leaves of it (see `model`). Of
            several Taylor terms the first one's, of the frequency that the band's mean is at.
        """
        with readable(self.parameters, RuntimeError):
            self._make_images(self._open())
        # Without a pass the PSF alone can be made, or nothing but a model predicted.
        if self.only_dirty and not self.restorable():
            return []
        self._check_numbers()
        planes, asked = self._read_planes(), shaping(self.parameters)
        if not any(planes):
            raise ValueError(
                f"{asked} must leave the visibilities some weight on the image's grid, "
                "got a PSF that is zero throughout"
            )
        if not self.only_dirty and not any(_varies(plane) for plane in planes if plane):
            raise ValueError(
                f"{asked} must make an image of the data that is larger than its beam, "
                "got pixels that are all but equal within the primary beam"
            )
        if self.only_dirty:
            return planes
        thermal = self._thermal = thermal_noise(self.parameters, self._records)
        planes = [plane and replace(plane, thermal=thermal) for plane in planes]
        if not self.names.terms:
            return planes
        return [plane and self._at_middle(plane) for plane in planes]

    def _at_middle(self, plane: DirtyImage) -> DirtyImage:
        """The first Taylor term's image as one of the frequency that is the band's mean."""
        ratio, given = 1 + self.taylor.centre, self.parameters["reffreq"]
        if not self._by_cube():
            pb = plane.pb
            if pb is not None and self.parameters["gridder"] in PLAIN:
                pb = primary_beam.at_frequency(pb, ratio)
            return replace(plane, freq=plane.freq and plane.freq * ratio, pb=pb)
        # CASA's terms of a cube are about `reffreq`, which their headers do not say.
        freq = quantity(given, "Hz") or plane.freq
        return replace(plane, freq=freq and freq * ratio)

    @cached_property
    def taylor(self) -> Taylor:
        """The Taylor terms of the band, as the images .psf.tt0, ... have them once made."""
        return Taylor(self.names.read(".psf"))

    def left(self) -> np.ndarray:
        """All of the .residual on disk, shape (n, ny, nx) [Jy/beam]."""
        return self.names.read(".residual")

    def model(self) -> np.ndarray | None:
        """The .model on disk, shape (n, ny, nx) [Jy/pixel]; None where there is none."""
        return self.names.read(".model") if self.names.there(".model") else None

    def residual(self, model: np.ndarray) -> np.ndarray:
        """Major cycle: subtract a model from the visibilities and image what is left.

        Parameters
        ----------
        model : ndarray, shape (n, ny, nx)
            Apparent sky [Jy/pixel] of every channel, or Taylor terms of it; becomes the .model.

        Returns
        -------
        ndarray, shape (n, ny, nx)
            The new .residual [Jy/beam].
        """
        imager = self._open()
        places = self._bright_places(model)
        if not self.names.there(".model"):
            for path in self.names.paths(".model"):
                self.names.begin(path, "Jy/pixel")
        self.names.write(".model", model)
        if self._by_cube():
            self._spread(imager)
        with readable(self.parameters, RuntimeError):
            if len(places):
                left = self._open_outliers(places).cycle(np.asarray(model[0], np.float32))
                write_planes(self.names.path(".residual"), left[None])
            else:
                imager.runMajorCycle()
        return self.left()

    def _bright_places(self, model: np.ndarray) -> np.ndarray:
        """Where a model is so bright that the gridder's errors would be above the noise."""
        known = np.zeros((0, 2), int)
        # It is known of a single plane that one gridding function makes.
        if self._thermal is None or self.parameters["facets"] != 1 or self.names.terms:
            return known
        if self._outliers is not None:
            known = self._outliers.places
        return outliers.find_places(model[0], outliers.BRIGHT * self._thermal, known)

    def _open_outliers(self, places: np.ndarray) -> outliers.Outliers:
        """CASA's imager with outlier fields at these places."""
        if self._outliers is not None and not np.array_equal(self._outliers.places, places):
            self._close_outliers()
        if self._outliers is None:
            self._outliers = outliers.Outliers(self._settings, places)
        return self._outliers

    def _close_outliers(self) -> None:
        if self._outliers is not None:
            fields, self._outliers = self._outliers, None
            fields.close()

    def restorable(self) -> bool:
        """Whether there is what `restore` makes an image of."""
        return self.names.there(".residual") and self.names.there(".psf")

    def restore(self, pbcor: bool = False) -> None:
        """Write .image, the model convolved with the clean beam plus the residual.

        Parameters
        ----------
        pbcor : bool
            Also write .image.pbcor, divided by the primary beam.
        """
        imager = self._open()
        imager.restoreImages()
        if pbcor:
            imager.pbcorImages()

    def mask(self) -> np.ndarray:
        """Write .mask as `usemask`, `mask` and `pbmask` ask, like tclean's first minor cycle.

        Returns
        -------
        ndarray of bool, shape (nplane, ny, nx)
            True where sources are looked for.
        """
        if self.parameters["usemask"] == "auto-multithresh":
            return update_mask(self.names, self._records)
        imager = self._open()
        deconvolver = (imager.mfsImager if self._by_cube() else imager).SDtools[0]
        try:
            deconvolver.initminorcycle()
            deconvolver.setupmask()
        except RuntimeError as error:
            mask = self.parameters["mask"]
            raise ValueError(f"mask={mask!r} is refused by CASA: {words(error)}") from error
        # From now on the mask is the one on disk: CASA does not take both.
        self._settings["mask"] = ""
        mask = read_planes(self.imagename + ".mask") > 0.5
        if self.parameters["usemask"] == "user" and not mask.any():
            given, level = self.parameters["mask"], self.parameters["pbmask"]
            raise ValueError(
                f"mask={given!r} must hold a pixel of the image above pbmask={level}: it "
                f"{why_empty(given)}"
            )
        return mask

    def summary(self) -> dict:
        """The dict that tclean returns for niter=0, with what the residual on disk holds."""
        return ImagingDict().construct_residual_dict(self._records())

    def save_model(self) -> None:
        """Predict the .model into the MeasurementSet, as `savemodel` asks; 'none' does nothing.

        Nor is there anything to predict where images are made and none of them is a model.
        """
        makes_images = self.parameters["calcpsf"] or self.parameters["calcres"]
        if self.parameters["savemodel"] == "none" or (makes_images and self.model() is None):
            return
        self.close()
        try:
            self._open(savemodel=self.parameters["savemodel"]).predictModel()
        finally:
            self.close()

    def _records(self, **changes) -> ImagerParameters:
        return ImagerParameters(**(self._settings | changes))

    def _open(self, **changes) -> PySynthesisImager:
        """CASA's imager, set up as tclean does."""
        if self._imager is None:
            self._imager = self._kind()(params=self._records(**changes))
            try:
                self._imager.initializeImagers()
                self._imager.initializeNormalizers()
                self._imager.setWeighting()
                self._imager.initializeDeconvolvers()
                self._imager.estimatememory()
            except BaseException:
                self.close()
                raise
            # From now on the model is the one on disk.
            self._settings["startmodel"] = ""
        return self._imager

    def _kind(self) -> type[PySynthesisImager]:
        """CASA's class of imager."""
        if self._by_cube():
            return PyMtmfsViaCubeSynthesisImager
        # CASA shares the channels of a cube among processes by itself.
        parallel = self.parameters["parallel"] and self.parameters["specmode"] in CONTINUUM
        return PyParallelContSynthesisImager if parallel else PySynthesisImager

    def _by_cube(self) -> bool:
        """Whether Taylor terms are made of a cube, each channel with its own primary beam."""
        return self.parameters["specmode"] == "mvc"

    def _spread(self, imager: PyMtmfsViaCubeSynthesisImager) -> None:
        """Make the cube's model of the Taylor terms', as after CASA's own minor cycle."""
        imager.tt2cube(0)
        limit = abs(self.parameters["pblimit"])
        name = self.imagename
        synthesisutils().apply_freq_dep_pb(cubename=name, mtname=name, pblimit=limit)

    def _make_images(self, imager: PySynthesisImager) -> None:
        if self.parameters["calcpsf"]:
            imager.makePSF()
            if self.parameters["psfphasecenter"] != "" and self._mosaic():
                imager = self._psf_elsewhere()
            imager.makePB()
            self._check_cell()
        if self.parameters["gridder"] in ("mosaic", "awproject"):
            imager.checkPB()
        if self.parameters["calcres"]:
            imager.runMajorCycle(isCleanCycle=False)

    def _check_numbers(self) -> None:
        """What CASA makes of data that are no numbers: an image without any."""
        if self.only_dirty:
            return
        with opened(self.names.path(".residual")) as tool:
            blank = np.isnan(tool.getchunk()).all((0, 1))
        if blank.any():
            raise ValueError(
                f"vis={self.parameters['vis']!r} must hold numbers where it is not flagged, got "
                "NaN or infinite ones: flagdata(mode='clip', clipminmax=[0, 1e9]) flags them"
            )

    def _check_cell(self) -> None:
        """What a reconstruction would refuse, before the data are imaged."""
        if self.only_dirty:
            return
        path = self.names.path(".psf")
        with opened(path) as tool:
            beams, cell = read_beams(tool), square_cell(tool.coordsys().torecord())
        for beam, psf in zip(beams, read_planes(path), strict=True):
            # What is blank is complained of as such, later.
            if beam is not None and psf.any():
                check_cell(beam, cell)

    def _read_planes(self) -> list[DirtyImage | None]:
        try:
            return read_dirty(self.imagename, self.names.end)
        except ValueError as error:
            if (facets := self.parameters["facets"]) == 1:
                raise
            size = self.parameters["imsize"]
            raise ValueError(
                f"facets={facets} must suit imsize={size}, use another number: {error}"
            ) from error

    def _mosaic(self) -> bool:
        return "mosaic" in self.parameters["gridder"]

    def _psf_elsewhere(self) -> PySynthesisImager:
        """Make the PSF again at `psfphasecenter`, keeping the header of the first."""
        self.close()
        psf = self.imagename + ".psf"
        tool = table()
        tool.open(psf)
        kept = {name: tool.getkeyword(name) for name in ("miscinfo", "imageinfo")}
        tool.done()
        centre = self.parameters["psfphasecenter"]
        imager = PySynthesisImager(params=self._records(phasecenter=centre))
        try:
            imager.initializeImagers()
            imager.setWeighting()
            imager.makeImage("psf", psf)
        finally:
            imager.deleteTools()
        tool.open(psf, nomodify=False)
        for name, value in kept.items():
            tool.putkeyword(name, value)
        tool.done()
        synthesisutils().fitPsfBeam(self.imagename, 1, self.parameters["psfcutoff"])
        return self._open()

    def _check_products(self) -> None:
        """What an earlier run has left must fit, since tclean (and so this) would go on with it."""
        self._check_needed()
        size = np.broadcast_to(self.parameters["imsize"], 2)
        kinds = (".psf", ".residual", ".model")
        for path in (path for suffix in kinds for path in self.names.paths(suffix)):
            if os.path.isdir(path):
                with opened(path) as tool:
                    shape = tool.shape()[:2]
                if tuple(shape) != tuple(size):
                    raise ValueError(
                        f"imsize={size.tolist()} must be that of {path!r} on disk, "
                        f"{shape.tolist()}; take another imagename, or restart=False"
                    )

    def _check_needed(self) -> None:
        """What is not made has to be there, where something else is made of it."""
        p = self.parameters
        nothing = self.only_dirty and not p["calcpsf"] and not p["calcres"]
        if nothing and p["savemodel"] != "none":
            path = self.names.path(".model")
            if not os.path.isdir(path) and p["startmodel"] in ("", [], [""]):
                raise FileNotFoundError(
                    f"savemodel={p['savemodel']!r} needs {path!r}, which does not exist, or a "
                    "startmodel"
                )
            return
        for switch, suffix in (("calcpsf", ".psf"), ("calcres", ".residual")):
            needed = not self.only_dirty or nothing or (switch == "calcpsf" and p["calcres"])
            for path in self.names.paths(suffix) if needed and not p[switch] else ():
                if not os.path.isdir(path):
                    raise FileNotFoundError(f"{switch}=False needs {path!r}, which does not exist")


def _varies(plane: DirtyImage) -> bool:
    """Whether pixels of the image differ, and it is larger than the beam."""
    pixels = plane.data[plane.valid]
    return pixels.size > 1 and bool(np.ptp(pixels) > 0) and float(plane.psf.min()) < 0.5
