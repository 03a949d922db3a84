"""CLEAN and Gaussian fits as CASA's own users make them: tclean, exportfits and imfit."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from casatasks import exportfits, imfit, tclean

from casa_ddpm.casa.images import read_dirty
from casa_ddpm.casa.quantities import quantity
from casa_ddpm.dirty import Beam, DirtyImage

#: Far more iterations than any field takes: nsigma ends the run.
MANY = 1_000_000


def dirty(vis: str, imagename: str, imaging: dict) -> DirtyImage:
    """Make the dirty image and the PSF of a single plane.

    Parameters
    ----------
    vis : str
        MeasurementSet.
    imagename : str
        Prefix of tclean's products.
    imaging : dict
        Parameters of tclean that define the image: imsize, cell, weighting, ...

    Returns
    -------
    DirtyImage

    Raises
    ------
    ValueError
        If the image has several planes or no data.
    """
    with _quiet():
        tclean(vis=vis, imagename=imagename, niter=0, restoration=False, **imaging)
    planes = read_dirty(imagename)
    if len(planes) != 1 or planes[0] is None:
        raise ValueError(f"imaging must give one plane with data, got {len(planes)} planes")
    return planes[0]


def clean(
    vis: str,
    imagename: str,
    imaging: dict,
    scales: Sequence[int] = (),
    nsigma: float = 3.0,
    **masking,
) -> None:
    """CLEAN the dirty image that `dirty` made, down to a multiple of the noise, and restore.

    Parameters
    ----------
    vis, imagename, imaging
        As `dirty` was given them.
    scales : sequence of int
        Scales of multi-scale CLEAN [pixel]; none for Hogbom's.
    nsigma : float
        Where CLEAN stops, in units of the residual's robust rms.
    **masking
        tclean's usemask and its sub-parameters; no mask where absent.
    """
    deconvolver = {"deconvolver": "multiscale", "scales": list(scales)} if scales else {}
    with _quiet():
        tclean(
            vis=vis, imagename=imagename, niter=MANY, nsigma=nsigma, calcres=False,
            calcpsf=False, **imaging, **deconvolver, **masking,
        )  # fmt: skip


def export(imagename: str, suffixes: Sequence[str] = ("image", "residual", "model")) -> None:
    """Write products of a prefix as FITS beside them, ``<imagename>.<suffix>.fits``."""
    for suffix in suffixes:
        product = f"{imagename}.{suffix}"
        with _quiet():
            exportfits(product, fitsimage=f"{product}.fits", overwrite=True)


def fit(
    image: str,
    box: tuple[int, int, int, int],
    estimates: Sequence[tuple[float, float, float, Beam]],
    noise: float,
) -> list[dict[str, float]]:
    """Fit Gaussians to a box of an image with imfit.

    Parameters
    ----------
    image : str
        CASA image with a restoring beam [Jy/beam].
    box : tuple of int
        First x, first y, last x and last y [pixel].
    estimates : sequence of (peak, x, y, shape)
        Where each Gaussian starts: peak [Jy/beam], position [pixel] and the shape that the
        image shows.
    noise : float
        rms of the image, for the errors [Jy/beam].

    Returns
    -------
    list of dict
        One for each estimate: x, y [pixel], flux, flux_err [Jy], x_err, y_err [arcsec], and
        the deconvolved major, minor [arcsec] and pa [deg], NaN where imfit finds a point.
        Empty where the fit does not converge.
    """
    path = Path(f"{image}.estimates")
    path.write_text(
        "".join(
            f"{peak}, {x}, {y}, {shape.major}arcsec, {shape.minor}arcsec, {shape.pa}deg\n"
            for peak, x, y, shape in estimates
        )
    )
    with _quiet():
        done = imfit(image, box=",".join(map(str, box)), estimates=str(path), rms=noise)
    path.unlink()
    if not done or not done["converged"].all():
        return []
    names = [f"component{k}" for k in range(done["results"]["nelements"])]
    return [_source(done["results"][name], done["deconvolved"][name]) for name in names]


def _source(fitted: dict, deconvolved: dict) -> dict[str, float]:
    """The figures of one fitted Gaussian."""
    x, y = fitted["pixelcoords"]
    flux, error = fitted["flux"], fitted["shape"]["direction"]["error"]
    source = {
        "x": float(x),
        "y": float(y),
        "flux": quantity({"value": flux["value"][0], "unit": flux["unit"]}, "Jy"),
        "flux_err": quantity({"value": flux["error"][0], "unit": flux["unit"]}, "Jy"),
        "x_err": quantity(error["longitude"], "arcsec"),
        "y_err": quantity(error["latitude"], "arcsec"),
    }
    for name, key, unit in (
        ("major", "majoraxis", "arcsec"),
        ("minor", "minoraxis", "arcsec"),
        ("pa", "positionangle", "deg"),
    ):
        resolved = not fitted["ispoint"]
        source[name] = quantity(deconvolved["shape"][key], unit) if resolved else math.nan
    return {name: math.nan if value is None else value for name, value in source.items()}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep CASA's warnings off the terminal; they are in its log all the same.

    They are written by its C++ code, which contextlib's redirections do not reach.
    """
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
