"""Fields as MeasurementSets."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from astropy.coordinates import SkyCoord

from casa_ddpm.benchmark.field import NOISE, Field, components
from casa_ddpm.benchmark.protocols import PROTOCOLS

#: Right ascension of the fields [deg]: COSMOS, that of the published protocol.
RIGHT_ASCENSION = 150.119
#: Pixels per beam of the images.
SCALE = 4.25


class Observatory:
    """MeasurementSets of arrays, each simulated once and filled with one field after the other.

    Parameters
    ----------
    folder : Path
        Scratch.
    npix : int
        Side of the images.
    scale : float
        Pixels per beam.
    """

    def __init__(self, folder: Path, npix: int, scale: float = SCALE) -> None:
        self.folder, self.npix, self.scale = folder, npix, scale
        self._blank: dict[tuple[str, float], tuple[Path, dict, float, np.ndarray]] = {}

    @contextmanager
    def field(self, protocol: str, index: int, seed: int) -> Iterator[tuple[Field, Path]]:
        """A field, and a scratch folder that is removed afterwards."""
        from casa_ddpm.casa import clean, simulation

        law = PROTOCOLS[protocol]
        vis, imaging, beam, psf = self._observation(
            law.array(index), law.declination(index), law.duration(index)
        )
        side = self.npix * float(imaging["cell"][0].removesuffix("arcsec")) / beam
        truth, noise_seed = components(protocol, index, seed, side)
        radian = np.radians(beam / 3600)
        # Image axes (y, x) are north and west.
        turn = np.diag([1, -1])
        simulation.fill(
            vis, truth.position @ turn * radian, truth.flux * NOISE,
            turn @ truth.covariance @ turn * radian**2, NOISE, noise_seed,
        )  # fmt: skip
        scratch = self.folder / f"{protocol}{index}"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        try:
            dirty = clean.dirty(str(vis), str(scratch / "field"), imaging)
            field = Field(
                protocol, index, dirty, truth, None, str(vis), imaging, extended=law.extended,
                psf=psf,
            )  # fmt: skip
            yield field, scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _observation(
        self, array: str, declination: float, seconds: float
    ) -> tuple[Path, dict, float, np.ndarray]:
        """MeasurementSet, imaging parameters, beam [arcsec] and wide PSF of an array."""
        from casa_ddpm.casa import clean, simulation

        if (array, seconds) in self._blank:
            return self._blank[array, seconds]
        folder = self.folder / f"{array}.{seconds:g}"
        folder.mkdir(parents=True)
        place = SkyCoord(RIGHT_ASCENSION, declination, unit="deg")
        centre = "J2000 " + place.to_string("hmsdms", precision=6)
        vis = simulation.blank(folder, array, centre, seconds)
        # A cell that is a part of the beam, which the cell itself changes a little.
        cell = 0.25 * simulation.resolution(vis)
        for _ in range(2):
            imaging = {
                "imsize": [self.npix, self.npix], "cell": [f"{cell:.6g}arcsec"],
                "weighting": "natural", "pblimit": -0.1,
            }  # fmt: skip
            shutil.rmtree(folder / "try", ignore_errors=True)
            (folder / "try").mkdir()
            beam = clean.dirty(str(vis), str(folder / "try" / "image"), imaging).beam.fwhm
            cell = beam / self.scale
        wide = imaging | {"imsize": [2 * self.npix, 2 * self.npix]}
        psf = clean.dirty(str(vis), str(folder / "wide"), wide).psf
        self._blank[array, seconds] = vis, imaging, beam, psf
        return self._blank[array, seconds]
