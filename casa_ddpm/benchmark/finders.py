"""Source finders: each takes a FITS file of a restored image and the observation.

It returns columns of COLUMNS, those that it has; none where it finds nothing.
"""

from __future__ import annotations

import json
import math
import sys
import warnings
from pathlib import Path

import numpy as np
from astropy.table import Table

from casa_ddpm.benchmark.imagers import Observation
from casa_ddpm.benchmark.plane import Plane
from casa_ddpm.benchmark.programs import execute

#: Columns of a finder's and a rival's table: x, y, x_err, y_err [pixel], flux, flux_err [Jy], the
#: deconvolved major, minor [arcsec] and pa [deg].
COLUMNS = "x y score flux flux_err x_err y_err major minor pa".split()
#: Where source finders start: least peak of a source, and of the pixels around it [noise].
SEED, FLOOR = 3.0, 2.5
#: Takes the image, the catalogue to write and options as JSON.
PYBDSF = """
import json, sys
import bdsf
image, catalogue, options = sys.argv[1:]
found = bdsf.process_image(image, **json.loads(options))
found.write_catalog(outfile=catalogue, catalog_type="srl", format="fits", clobber=True)
"""


def pybdsf(image: Path, observation: Observation) -> dict:
    """PyBDSF's source list, which is what its manual calls groups of Gaussians.

    Its rms is its own, a map where the image calls for one and else constant, as by default:
    with the known noise instead F1 is the same and the flux errors are too small more often.
    The mean is zero, as in any image without the zero spacing.
    """
    catalogue = image.with_suffix(".pybdsf.fits")
    catalogue.unlink(missing_ok=True)
    options = {"thresh_pix": SEED, "thresh_isl": FLOOR, "mean_map": "zero"}
    options |= {"ncores": 1, "quiet": True}
    arguments = [str(image), str(catalogue), json.dumps(options)]
    execute([sys.executable, "-c", PYBDSF, *arguments], image.parent)
    if not catalogue.exists():
        return {}
    plane, s = Plane.read(image), Table.read(catalogue)
    x, y = plane.wcs.all_world2pix(s["RA"], s["DEC"], 0)
    resolved = np.where(s["DC_Maj"] > 0, 1, np.nan)
    return {
        "x": x, "y": y, "score": s["Peak_flux"] / s["Isl_rms"],
        "flux": s["Total_flux"], "flux_err": s["E_Total_flux"],
        "x_err": s["E_RA"] * 3600 / plane.cell, "y_err": s["E_DEC"] * 3600 / plane.cell,
        "major": s["DC_Maj"] * 3600 * resolved, "minor": s["DC_Min"] * 3600 * resolved,
        "pa": s["DC_PA"] * resolved,
    }  # fmt: skip


#: Aegean 2.3.5 names an exception by a path that numpy 2 does not have.
AEGEAN = """
import numpy
numpy.linalg.linalg = numpy.linalg
from AegeanTools.CLI.aegean import main
main()
"""


def aegean(image: Path, observation: Observation) -> dict:
    """Aegean's components, with the known noise and the covariance of the noise (its default)."""
    # csv, as its FITS tables hold coordinates to a tenth of an arcsecond only
    catalogue = image.with_suffix(".csv")
    components = image.with_name(f"{catalogue.stem}_comp.csv")
    components.unlink(missing_ok=True)
    options = f"--cores 1 --forcebkg 0 --forcerms {observation.noise} --seedclip {SEED}"
    # Islands down to 3, not 2.5: the same F1, fluxes of faint sources 5 % closer to the truth
    options += f" --floodclip {SEED} --table"
    arguments = [str(image), *options.split(), str(catalogue)]
    execute([sys.executable, "-c", AEGEAN, *arguments], image.parent)
    if not components.exists():
        return {}
    plane, s = Plane.read(image), Table.read(components)
    x, y = plane.wcs.all_world2pix(s["ra"], s["dec"], 0)
    axes = np.array([plane.deconvolved(*row) for row in s["a", "b", "pa"].iterrows()]).T
    # Aegean writes errors of -1 where it did not fit.
    flux_err, x_err, y_err = (
        np.where(s[name] > 0, s[name], np.nan) for name in ("err_int_flux", "err_ra", "err_dec")
    )
    return {
        "x": x, "y": y, "score": s["peak_flux"] / s["local_rms"],
        "flux": s["int_flux"], "flux_err": flux_err,
        "x_err": x_err * 3600 / plane.cell, "y_err": y_err * 3600 / plane.cell,
        "major": axes[0], "minor": axes[1], "pa": axes[2],
    }  # fmt: skip


def segments(plane: Plane, noise: float):
    """photutils' catalogue of the deblended segments of an image, None where there are none."""
    from photutils.segmentation import SourceCatalog, SourceFinder
    from photutils.utils.exceptions import NoDetectionsWarning

    # As much of a point at SEED as lies above FLOOR
    least = max(1, round(plane.area * math.log(SEED / FLOOR)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoDetectionsWarning)
        found = SourceFinder(least, progress_bar=False)(plane.data, FLOOR * noise)
    if found is None:
        return None
    # It adds up pixels' errors as if they were independent; the noise of a beam is one.
    error = np.full(plane.data.shape, noise * math.sqrt(plane.area))
    return SourceCatalog(plane.data, found, error=error)


def photutils(image: Path, observation: Observation) -> dict:
    """Segments with Kron fluxes, at their peak or, in extended emission, their centroid."""
    return kron(Plane.read(image), observation.noise, observation.extended)


def kron(plane: Plane, noise: float, extended: bool = False) -> dict:
    """The same of an image that has been read; noise [Jy/beam]."""
    sources = segments(plane, noise)
    if sources is None:
        return {}
    x, y = (sources.centroid if extended else sources.centroid_quad).T
    return {
        "x": x, "y": y, "score": sources.max_value / noise,
        "flux": sources.kron_flux / plane.area, "flux_err": sources.kron_flux_err / plane.area,
    }  # fmt: skip
