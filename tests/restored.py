"""Crafted restored images, and an observation that source finders are told of."""

from __future__ import annotations

import numpy as np
from astropy.io import fits

from casa_ddpm.benchmark.imagers import Observation
from casa_ddpm.dirty import Beam

#: A beam of 5 x 4 pixels of 0.2 arcsec.
BEAM, CELL = Beam(1.0, 0.8, 30.0), 0.2


def gaussian(shape, x, y, covariance):
    """An elliptical Gaussian of peak 1."""
    rows, columns = np.indices(shape)
    d = np.stack([rows - y, columns - x])
    return np.exp(-0.5 * np.einsum("iab,ij,jab->ab", d, np.linalg.inv(covariance), d))


def write_image(path, data):
    """A restored image as FITS, as tclean exports it."""
    header = fits.Header(
        {
            "CTYPE1": "RA---SIN", "CRVAL1": 150.0, "CDELT1": -CELL / 3600, "CUNIT1": "deg",
            "CTYPE2": "DEC--SIN", "CRVAL2": -30.0, "CDELT2": CELL / 3600, "CUNIT2": "deg",
            "CTYPE3": "STOKES", "CRVAL3": 1.0, "CDELT3": 1.0, "CRPIX3": 1.0,
            "CTYPE4": "FREQ", "CRVAL4": 230e9, "CDELT4": 2e9, "CRPIX4": 1.0, "CUNIT4": "Hz",
            "CRPIX1": data.shape[1] // 2 + 1.0, "CRPIX2": data.shape[0] // 2 + 1.0,
            "BMAJ": BEAM.major / 3600, "BMIN": BEAM.minor / 3600, "BPA": BEAM.pa,
            "BUNIT": "Jy/beam", "RADESYS": "FK5", "EQUINOX": 2000.0,
        }
    )  # fmt: skip
    fits.writeto(path, data[None, None].astype(np.float32), header)
    return path


def observation(folder):
    """An observation of which nothing but the noise and the folder is looked at."""
    (folder / "some.ms").mkdir()
    imaging = {"imsize": 64, "cell": "0.2arcsec"}
    return Observation(str(folder / "some.ms"), imaging, 1e-3, folder / "scratch")
