"""The noise that an image has by its visibilities alone, whatever is on the sky."""

from __future__ import annotations

import os
from collections.abc import Callable
from tempfile import TemporaryDirectory

import numpy as np
from casatasks.private.imagerhelpers.imager_base import PySynthesisImager
from casatasks.private.imagerhelpers.input_parameters import ImagerParameters

from casa_ddpm.casa.complaints import words
from casa_ddpm.casa.images import log
from casa_ddpm.casa.parameters import CONTINUUM
from casa_ddpm.casa.thermal import scatter

#: Gridders whose image has one noise throughout.
PLAIN = ("standard", "gridft", "ft", "wproject", "wprojectft")


def thermal_noise(parameters: dict, records: Callable[..., ImagerParameters]) -> float | None:
    """Noise of an image as the scatter of its visibilities makes it.

    Parameters
    ----------
    parameters : dict
        All of tclean's parameters by name.
    records : callable
        What CASA's imager is set up with, given changes of it by keyword.

    Returns
    -------
    float or None
        [Jy/beam]; None for a cube, a mosaic or anything but Stokes I on one process, where no
        baseline has two integrations in a row, and where CASA cannot tell: no image fails
        for that.
    """
    p = parameters
    one = p["gridder"] in PLAIN or (p["gridder"] == "widefield" and p["facets"] == 1)
    plain = one and p["specmode"] in (*CONTINUUM, "mvc")
    if not plain or p["stokes"] != "I" or p["parallel"]:
        return None
    try:
        noise = scatter(p) * _sensitivity(records)
    except Exception as error:
        log(f"The thermal noise of the visibilities is not known: {words(error)}", "WARN")
        return None
    return noise if 0 < noise < np.inf else None


def _sensitivity(records: Callable[..., ImagerParameters]) -> float:
    """Noise of an image with these imaging weights where visibilities of weight 1 have 1 Jy."""
    # Under a name of its own: CASA takes the normalisation of a PSF back that is on disk.
    with TemporaryDirectory() as folder:
        name = os.path.join(folder, "image")
        # The first Taylor term's is that of the whole band.
        plain = {"startmodel": "", "mask": "", "deconvolver": "hogbom", "nterms": 1}
        plain |= {"specmode": "mfs"}
        imager = PySynthesisImager(params=records(imagename=name, **plain))
        try:
            imager.initializeImagers()
            imager.setWeighting()
            return float(imager.calcVisAppSens()["effSens"])
        finally:
            imager.deleteTools()
