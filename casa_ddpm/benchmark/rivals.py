"""What astronomers use today, run on the same MeasurementSet and called as its users call it.

A rival is an imager and a source finder. Each returns a table of sources; its threshold is
low, because the benchmark lays its own on the column score. Fluxes are apparent, which is to
say not corrected for the primary beam.

The settings of `imagers` and `finders` were chosen on 25 simulated fields of 160 x 160 pixels
(ALMA cycle 5.3; 253 sources: 14 fields of points, 5 with one point at S/N 300, 6 with Gaussians
of 1.5 to 4 arcsec), with a view to the best F1 and, where that is the same, the best fluxes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from astropy.table import Table

from casa_ddpm.benchmark.finders import COLUMNS, aegean, photutils, pybdsf
from casa_ddpm.benchmark.imagers import Observation, dirty, read_dirty, tclean, wsclean
from casa_ddpm.benchmark.imfit import imfit
from casa_ddpm.benchmark.peaks import find_peaks
from casa_ddpm.benchmark.programs import missing
from casa_ddpm.dirty import DirtyImage


@dataclass(frozen=True)
class Rival:
    """A method to compare with.

    Parameters
    ----------
    name : str
        As tables show it.
    missing : callable
        Why it cannot run here, '' where it can.
    run : callable
        Takes an Observation and returns the table of its sources, highest score first: the
        columns of COLUMNS, NaN where the method gives none. Its meta have seconds (stages
        that were made for another rival included) and, where the method makes images, the
        paths of the FITS files image, residual [Jy/beam] and model [Jy/pixel]. It raises
        RuntimeError where a program fails, and WSClean's ValueError where `imaging` has a
        parameter that it does not know.
    """

    name: str
    missing: Callable[[], str]
    run: Callable[[Observation], Table]


def source_table(**columns) -> Table:
    """Columns in their order, NaN where there is none, highest score first."""
    n = len(columns.get("x", ()))
    found = Table({name: np.asarray(columns.get(name, [math.nan] * n), float) for name in COLUMNS})
    return found[np.argsort(-found["score"], kind="stable")]


def of_peaks(plane: DirtyImage, noise: float) -> Table:
    """Local maxima of a dirty image, as a rival's table."""
    x, y, value = find_peaks(plane.data, 2.5 * noise)
    score = value / noise
    # Condon (1997): the position of a point source in the noise of its beam
    error = 0.425 * plane.beam.fwhm / plane.cell / score
    errors = {"flux_err": np.full(len(x), noise), "x_err": error, "y_err": error}
    return source_table(x=x, y=y, score=score, flux=value, **errors)


def peaks(observation: Observation) -> Table:
    """Local maxima of the dirty image: for isolated points of natural weighting, the best."""
    prefix, before = dirty(observation)
    start = time.perf_counter()
    found = of_peaks(read_dirty(prefix), observation.noise)
    found.meta["seconds"] = before + time.perf_counter() - start
    return found


def find(
    imager: Callable[[Observation], tuple[Path, float]],
    finder: Callable[[Path, Observation], dict],
    observation: Observation,
) -> Table:
    """The sources that a finder sees in an imager's restored image."""
    image, before = imager(observation)
    start = time.perf_counter()
    found = source_table(**finder(image, observation))
    found.meta["seconds"] = before + time.perf_counter() - start
    for kind in ("image", "residual", "model"):
        found.meta[kind] = str(image.with_name(image.name.replace("image", kind)))
    return found


#: All rivals, the plainest first.
RIVALS = (
    Rival("peaks", partial(missing, "casatasks"), peaks),
    Rival("tclean+imfit", partial(missing, "casatasks"), partial(find, tclean, imfit)),
    Rival("tclean+photutils", partial(missing, "casatasks"), partial(find, tclean, photutils)),
    Rival("tclean+PyBDSF", partial(missing, "casatasks", "bdsf"), partial(find, tclean, pybdsf)),
    Rival(
        "tclean+Aegean", partial(missing, "casatasks", "AegeanTools"),
        partial(find, tclean, aegean),
    ),
    Rival(
        "WSClean+PyBDSF", partial(missing, "casatasks", "bdsf", programs=["wsclean"]),
        partial(find, wsclean, pybdsf),
    ),
)  # fmt: skip
