"""A restored image as a source finder reads it."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning

from casa_ddpm.dirty import FWHM, Beam


@dataclass(frozen=True)
class Plane:
    """The only plane of a FITS image: data of shape (ny, nx), beam, pixel [arcsec] and WCS."""

    data: np.ndarray
    beam: Beam
    cell: float
    wcs: WCS

    @classmethod
    def read(cls, path: Path) -> Plane:
        """Read a restored image; pixels that are not numbers are 0."""
        with warnings.catch_warnings():
            # astropy completes the dates that CASA and WSClean write, and says so
            warnings.simplefilter("ignore", FITSFixedWarning)
            data, header = fits.getdata(path, header=True)
            wcs = WCS(header).celestial
        beam = Beam(3600 * header["BMAJ"], 3600 * header["BMIN"], header["BPA"] % 180)
        pixels = np.nan_to_num(np.asarray(data, float).reshape(data.shape[-2:]))
        return cls(pixels, beam, 3600 * abs(header["CDELT1"]), wcs)

    @property
    def area(self) -> float:
        """Beam area [pixel]."""
        return self.beam.area(self.cell)

    def deconvolved(self, major: float, minor: float, pa: float) -> tuple[float, float, float]:
        """Axes [arcsec] and angle [deg] of a Gaussian less the beam; NaN where unresolved."""
        shape = Beam(major, min(major, minor), pa).covariance(self.cell)
        values, vectors = np.linalg.eigh(shape - self.beam.covariance(self.cell))
        if values[1] <= 0:
            return math.nan, math.nan, math.nan
        low, high = FWHM * self.cell * np.sqrt(values.clip(0))
        y, x = vectors[:, 1]
        return float(high), float(low), math.degrees(math.atan2(-x, y)) % 180
