"""Simulated fields as files: dirty image and PSF in FITS, the truth in ECSV."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from astropy import units as u
from astropy.io import fits
from astropy.table import QTable
from astropy.wcs import WCS

from casa_ddpm import arguments, arrays, simulator
from casa_ddpm.dirty import Beam, DirtyImage
from casa_ddpm.fourier import convolve
from casa_ddpm.sky import Components

#: Where simulated fields lie on the sky [deg] and their frequency [Hz].
CENTRE, FREQUENCY = (150.119, 2.206), 230e9
#: What ends the names of a field's files: dirty image, PSF and truth.
SUFFIXES = ("dirty.fits", "psf.fits", "truth.ecsv")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``casa-ddpm simulate``."""
    parser.add_argument("--out", required=True, help="folder of the fields")
    parser.add_argument("--number", type=int, default=4, help="fields (default: 4)")
    parser.add_argument("--seed", type=int, default=0, help="of sky, observation and noise")
    parser.add_argument("--array", default="", help="array configuration (default: any)")
    parser.add_argument("--npix", type=int, default=192, help="image side (default: 192)")
    parser.add_argument("--beam", type=float, default=1.0, help="beam [arcsec] (default: 1)")
    parser.add_argument("--noise", type=float, default=5e-5, help="rms [Jy/beam] (default: 5e-5)")


def run(args: argparse.Namespace) -> int:
    """Simulate and write fields; returns 0.

    Raises
    ------
    ValueError
        If the array is unknown or a number is not positive, or the seed negative.
    FileExistsError
        If a field of that name exists, or the folder is a file.
    """
    arguments.at_least(args, {"seed": 0})
    for name in ("number", "npix", "beam", "noise"):
        if not getattr(args, name) > 0:
            raise ValueError(f"{name} must be positive, got {getattr(args, name)}")
    if args.array:
        arrays.load(args.array)
    folder = Path(args.out)
    names = [folder / f"field_{args.seed}_{i:04d}" for i in range(args.number)]
    _check_free(folder, names)
    settings = simulator.Settings(args.npix, (args.array,) if args.array else ())
    drawn = simulator.simulate(range(args.number), settings, args.seed, "test")
    folder.mkdir(parents=True, exist_ok=True)
    for i, optics in enumerate(drawn.optics):
        cell = args.beam / optics.scale
        image = as_dirty(drawn.dirty[i].numpy(), optics, cell, args.noise)
        sources = truth(drawn.components[i], image, args.beam, args.noise)
        write(names[i], image, sources)
    print(f"{args.number} fields in {folder}")
    return 0


def _check_free(folder: Path, names: list[Path]) -> None:
    """Refuse a file instead of a folder, and names of fields that exist in it."""
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"out must be a folder, got the file {str(folder)!r}")
    for start in names:
        for suffix in SUFFIXES:
            if (path := Path(f"{start}.{suffix}")).exists():
                raise FileExistsError(
                    f"out must be a folder without fields of this seed, got {str(folder)!r}: "
                    f"{path.name} already exists and is not overwritten"
                )


def as_dirty(data: np.ndarray, optics: simulator.Optics, cell: float, noise: float) -> DirtyImage:
    """A simulated field in physical units.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        Dirty image [noise/beam].
    optics : simulator.Optics
    cell : float
        Pixel side [arcsec].
    noise : float
        [Jy/beam].
    """
    ny, nx = data.shape
    y, x = (n // 2 for n in optics.psf.shape)
    psf = optics.psf[y - ny // 2 :, x - nx // 2 :][:ny, :nx].cpu().numpy()
    beam = Beam(optics.beam.major * cell, optics.beam.minor * cell, optics.beam.pa)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---SIN", "DEC--SIN"]
    wcs.wcs.crval = CENTRE
    wcs.wcs.crpix = [nx // 2 + 1, ny // 2 + 1]
    wcs.wcs.cdelt = [-cell / 3600, cell / 3600]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.radesys = "ICRS"
    # As the visibilities would tell it.
    return DirtyImage(
        data * noise, psf / psf.max(), beam, cell, freq=FREQUENCY, wcs=wcs, thermal=noise
    )


def observed(
    data: np.ndarray, optics: simulator.Optics, cell: float, noise: float
) -> tuple[DirtyImage, Callable[[np.ndarray], np.ndarray]]:
    """A simulated field as `as_dirty` makes it, and its major cycle, which knows the whole PSF."""
    dirty = as_dirty(data, optics, cell, noise)

    def major_cycle(model: np.ndarray) -> np.ndarray:
        return dirty.data - convolve(torch.from_numpy(model), optics.psf).numpy()

    return dirty, major_cycle


def truth(components: Components, image: DirtyImage, beam: float, noise: float) -> QTable:
    """The components of a field with their places and fluxes, shape as covariance."""
    centre = np.array([n // 2 for n in image.data.shape])
    y, x = (components.position * beam / image.cell + centre).T
    sky = image.wcs.pixel_to_world(x, y)
    columns = {
        "source": components.source,
        "ra": sky.ra,
        "dec": sky.dec,
        "flux": components.flux * noise * u.Jy,
        "x": x * u.pix,
        "y": y * u.pix,
    }
    for name, (i, j) in {"cov_yy": (0, 0), "cov_xy": (0, 1), "cov_xx": (1, 1)}.items():
        columns[name] = components.covariance[:, i, j] * beam**2 * u.arcsec**2
    return QTable(columns, meta={"noise": noise, "beam": beam})


def write(name: Path, image: DirtyImage, sources: QTable) -> None:
    """Write NAME.dirty.fits, NAME.psf.fits and NAME.truth.ecsv; nothing is overwritten."""
    header = image.wcs.to_header()
    header["BMAJ"], header["BMIN"] = image.beam.major / 3600, image.beam.minor / 3600
    header["BPA"], header["BUNIT"] = image.beam.pa, "Jy/beam"
    header["RESTFRQ"] = image.freq
    dirty, psf, known = (f"{name}.{suffix}" for suffix in SUFFIXES)
    for path, data in ((dirty, image.data), (psf, image.psf)):
        fits.PrimaryHDU(data.astype(np.float32), header).writeto(path)
    sources.write(known)
