"""A user's own simulation: a MeasurementSet and a table of what is in it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u

from casa_ddpm import sky
from casa_ddpm.benchmark import truth
from casa_ddpm.dirty import DirtyImage

#: What the protocol of such a field is called.
USER = "user"


@dataclass(frozen=True)
class Simulation:
    """A MeasurementSet whose sources are known.

    Parameters
    ----------
    vis : str
        MeasurementSet.
    truth : str
        Table that astropy reads (ECSV, FITS, CSV, ...): ra, dec [deg] in the frame of the image
        and flux [Jy], integrated and apparent, that is as attenuated by the primary beam;
        optional major, minor [arcsec], the true FWHM, and pa [deg], east of north. Columns with
        a unit are converted. Without major, or where it is 0 or NaN, a source is a point.
    cell : str
        Pixel, such as '0.2arcsec'.
    npix : int
        Side of the image.

    Raises
    ------
    ValueError
        If a value or the table breaks these rules.
    """

    vis: str
    truth: str
    cell: str
    npix: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "vis", os.path.abspath(self.vis))
        if not os.path.isdir(self.vis):
            raise ValueError(f"vis must be a MeasurementSet, got {self.vis!r}")
        try:
            cell = u.Quantity(self.cell).to(u.arcsec)
        except (TypeError, ValueError) as error:
            message = f"cell must be an angle such as '0.2arcsec', got {self.cell!r}"
            raise ValueError(message) from error
        if not 0 < cell < np.inf * u.arcsec:
            raise ValueError(f"cell must be positive, got {self.cell!r}")
        _ = self.columns

    @property
    def imaging(self) -> dict:
        """Parameters of tclean that image it."""
        cell = f"{u.Quantity(self.cell).to_value(u.arcsec):.9g}arcsec"
        size = {"imsize": [self.npix, self.npix], "cell": [cell]}
        return {**size, "weighting": "natural", "pblimit": -0.1}

    @cached_property
    def columns(self) -> dict[str, np.ndarray]:
        """The truth, as `casa_ddpm.benchmark.truth.read` gives it."""
        return truth.read(self.truth)

    @property
    def content(self) -> dict[str, Any]:
        """What tells it from another of the same names: plain values."""
        digest = hashlib.sha256()
        for name in sorted(self.columns):
            digest.update(np.ascontiguousarray(self.columns[name]).tobytes())
        # Reading alone touches the lock; of data columns a digest would take too long.
        files = {path.name: path.stat() for path in Path(self.vis).glob("table.*")}
        files.pop("table.lock", None)
        vis = {name: [files[name].st_size, files[name].st_mtime_ns] for name in sorted(files)}
        return {"truth": digest.hexdigest()[:16], "vis": vis}

    def components(self, dirty: DirtyImage) -> sky.Components:
        """The truth in an image: lengths in its beam, fluxes in Jy.

        Raises
        ------
        ValueError
            If a source is outside of the image.
        """
        c, beam, cell = self.columns, dirty.beam.fwhm, dirty.cell
        x, y = dirty.wcs.world_to_pixel_values(c["ra"], c["dec"])
        ny, nx = dirty.data.shape
        # Directions that the projection does not hold are NaN.
        inside = (np.abs(x - (nx - 1) / 2) < nx / 2) & (np.abs(y - (ny - 1) / 2) < ny / 2)
        if not inside.all():
            row = int(np.argmin(inside))
            place = f"ra {c['ra'][row]:.6f}, dec {c['dec'][row]:.6f} deg"
            raise ValueError(
                f"truth must lie within the image of {nx} x {ny} pixels of {cell:g} arcsec, "
                f"got {np.sum(~inside)} outside, the first in row {row} at {place}"
            )
        position = np.stack([y - ny // 2, x - nx // 2], axis=1) * cell / beam
        major, minor = c["major"] / beam, c["minor"] / beam
        return sky.gaussians(position, c["flux"], major, minor, np.radians(c["pa"]))
