"""Automatic clean masks, which CASA's deconvolver makes, plane by plane.

Asked for the mask of a whole cube's residual, CASA lets those of its channels grow each time until
they flood the image. Here it is shown copies of one plane at a time, as tclean does.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import numpy as np
from casatasks.private.imagerhelpers.input_parameters import ImagerParameters
from casatools import regionmanager, synthesisdeconvolver

from casa_ddpm.casa.images import opened, read_plane, read_planes, write_planes
from casa_ddpm.casa.names import Names

#: Suffix of the folder of the copies, which is there meanwhile.
SCRATCH = ".automask"


def update_mask(names: Names, records: Callable[..., ImagerParameters]) -> np.ndarray:
    """Make the .mask for the residual on disk, or add to the one that is there.

    Parameters
    ----------
    names : Names
        Of the images.
    records : callable
        What CASA's imager is set up with, given changes of it by keyword.

    Returns
    -------
    ndarray of bool, shape (nplane, ny, nx)
    """
    path = names.imagename + ".mask"
    if not os.path.isdir(path):
        names.begin(path, "")
    masks = read_planes(path)
    # Beside the images, where there is room for them.
    folder = names.imagename + SCRATCH
    name = os.path.join(folder, "plane")
    plain = {"deconvolver": "hogbom", "nterms": 1, "startmodel": "", "imagename": name}
    for number in range(len(masks)):
        shutil.rmtree(folder, ignore_errors=True)
        os.mkdir(folder)
        for suffix in (".residual", ".psf", ".pb"):
            if os.path.isdir(names.path(suffix)):
                _copy(names.path(suffix), name + suffix, number)
        if masks[number].any():
            _copy(path, name + ".mask", number)
        masks[number] = _plane(name, records(**plain))
    shutil.rmtree(folder)
    write_planes(path, masks)
    return masks > 0.5


def _copy(path: str, to: str, number: int) -> None:
    """Copy one plane of an image; what has a pixel mask in tclean has one."""
    with opened(path) as tool:
        nx, ny = (int(n) for n in tool.shape()[:2])
        box = regionmanager().box([0, 0, 0, number], [nx - 1, ny - 1, 0, number])
        plane = tool.subimage(to, region=box, list=False)
        if not path.endswith((".psf", ".mask")) and not plane.maskhandler("default")[0]:
            plane.calcmask("T", name="mask0")
        plane.done()


def _plane(name: str, parameters: ImagerParameters) -> np.ndarray:
    """The mask of one plane, shape (ny, nx)."""
    deconvolver = synthesisdeconvolver()
    try:
        deconvolver.setupdeconvolution(decpars=parameters.getDecPars()["0"])
        deconvolver.initminorcycle()
        deconvolver.setupmask()
    finally:
        deconvolver.done()
    return read_plane(name + ".mask")
