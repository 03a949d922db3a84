"""One field of the benchmark, its truth, and the rows that a method's detections become."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from astropy.table import Table

from casa_ddpm import arrays, fields, matching, simulator
from casa_ddpm.benchmark import tables
from casa_ddpm.benchmark.protocols import PROTOCOLS
from casa_ddpm.benchmark.whiteness import large_scale_power
from casa_ddpm.dirty import FWHM, DirtyImage
from casa_ddpm.fourier import convolve
from casa_ddpm.matching import PART, RADIUS
from casa_ddpm.sky import Components
from casa_ddpm.uv import Observation
from casa_ddpm.uv import dirty as dirty_image

#: Simulated noise [Jy/beam]; beam of fields that no MeasurementSet stands behind [arcsec].
NOISE, BEAM = 5e-5, 0.85
#: S/N from which on a sky on pixels, which ends with the field, is no truth any more: where the
#: sinc of a point ends is wrong by 1e-4 of it.
EXACT = 1000.0


@dataclass(frozen=True)
class Field:
    """One simulated field.

    Parameters
    ----------
    protocol, index : str, int
    dirty : DirtyImage
    components : Components
        The truth, lengths in beams from pixel (ny//2, nx//2), fluxes in `noise`.
    major_cycle : callable, optional
        Gives the residual of a model, where no MeasurementSet stands behind the field.
    vis : str
        MeasurementSet, '' where there is none.
    imaging : dict
        Parameters of tclean that image it.
    noise : float
        rms of the image [Jy/beam].
    extended : bool
        CLEAN is run at several scales.
    psf : ndarray, shape (2 ny, 2 nx), optional
        The PSF as far as a source can be from a pixel of the image, where it is known.
    """

    protocol: str
    index: int
    dirty: DirtyImage
    components: Components
    major_cycle: Callable[[np.ndarray], np.ndarray] | None = None
    vis: str = ""
    imaging: dict = field(default_factory=dict)
    noise: float = NOISE
    extended: bool = False
    psf: np.ndarray | None = None

    @property
    def scale(self) -> float:
        """Pixels per beam."""
        return self.dirty.beam.fwhm / self.dirty.cell

    def truth(self) -> Table:
        """Rows of the table of truth; structure is one row a component's source."""
        c, scale = self.components, self.scale
        single = len(c) == 0 or np.bincount(c.source).max() == 1
        if not single:
            return self._structure()
        centre = np.array([n // 2 for n in self.dirty.data.shape])
        y, x = (c.position * scale + centre).T
        values, vectors = np.linalg.eigh(c.covariance.reshape(-1, 2, 2))
        minor, major = FWHM * np.sqrt(values.clip(0)).T
        pa = np.degrees(np.arctan2(-vectors[:, 1, 1], vectors[:, 0, 1])) % 180
        beam = self.dirty.beam.covariance(self.dirty.cell) / scale**2
        area = np.linalg.det(c.covariance.reshape(-1, 2, 2) + beam) / np.linalg.det(beam)
        return self._rows(
            tables.TRUTH, len(c), x=x, y=y, flux=c.flux, snr=c.flux / np.sqrt(area),
            major=major, minor=minor, pa=pa, beam=np.full(len(c), scale),
            compact=np.ones(len(c), bool),
        )  # fmt: skip

    def _structure(self) -> Table:
        """One row for all of it."""
        c, scale = self.components, self.scale
        weight = c.flux / c.flux.sum()
        place = weight @ c.position
        away = c.position - place
        covariance = np.einsum("k,ki,kj->ij", weight, away, away)
        covariance = covariance + np.einsum("k,kij->ij", weight, c.covariance)
        minor, major = FWHM * np.sqrt(np.linalg.eigvalsh(covariance))
        y, x = place * scale + [n // 2 for n in self.dirty.data.shape]
        flux = c.flux.sum()
        return self._rows(
            tables.TRUTH, 1, x=[x], y=[y], flux=[flux], snr=[flux / (1 + major * minor)],
            major=[major], minor=[minor], pa=[np.nan], beam=[scale], compact=[False],
        )  # fmt: skip

    def detections(self, method: str, **columns) -> Table:
        """Rows of a method's detections, each matched with the truth.

        Parameters
        ----------
        method : str
        **columns
            Those of `tables.DETECTIONS`, NaN where absent.
        """
        x, y = (np.asarray(columns[name], float) for name in ("x", "y"))
        truth = self.truth()
        # A wide source's place is less certain: distances are in units of its own reach.
        reach = self.scale * (RADIUS + PART * np.asarray(truth["major"]))
        match = matching.match_reaches(x, y, truth["x"], truth["y"], reach)
        return self._rows(
            tables.DETECTIONS, len(x), method=[method] * len(x), match=match, **columns
        )

    def _rows(self, meanings: dict[str, tables.Meaning], n: int, **columns) -> Table:
        columns |= {"protocol": [self.protocol] * n, "field": np.full(n, self.index)}
        if not n:
            return tables.empty(meanings)
        return Table(
            {
                name: np.asarray(columns.get(name, np.full(n, np.nan)), meaning.kind)
                for name, meaning in meanings.items()
            }
        )

    def image_row(self, method: str, residual: np.ndarray, seconds: float, ser=np.nan) -> dict:
        """A row of the table of images."""
        good = np.isfinite(residual)
        power = large_scale_power(residual, self.dirty.psf, self.scale, self.noise)
        return {
            "protocol": self.protocol,
            "field": self.index,
            "method": method,
            "residual_rms": float(np.std(residual[good]) / self.noise) if good.any() else np.nan,
            "residual_power": power,
            "ser": float(ser),
            "seconds": float(seconds),
        }


@lru_cache(maxsize=8)
def _optics(
    array: str,
    declination: float,
    seconds: float,
    npix: int,
    scale: float = simulator.SCALE,
) -> simulator.Optics:
    """The PSF of a track about transit, naturally weighted; the same for all fields."""
    track = Observation(arrays.load(array), declination, 0.0, seconds, max(30.0, seconds / 60))
    optics = simulator.make_optics(torch.tensor(track.uv()), npix, scale=scale)
    if optics is None:
        raise ValueError(f"array must have a round beam within {seconds:g} s, got {array!r}")
    return optics


def noise_free(truth: Components, optics: simulator.Optics, npix: int) -> torch.Tensor:
    """Noise-free dirty image of Gaussian sources, from explicit visibilities, (npix, npix)."""
    uv, weights = optics.uv.double(), optics.imaging.double()
    # North and west, the axes of the image.
    vu = torch.stack([uv[:, 1], -uv[:, 0]], 1)
    values = torch.zeros(len(uv), dtype=torch.complex128)
    for place, flux, shape in zip(truth.position, truth.flux, truth.covariance, strict=True):
        phase = vu @ torch.tensor(place * optics.scale)
        width = ((vu @ torch.tensor(shape * optics.scale**2)) * vu).sum(1)
        values += flux * torch.exp(-2j * math.pi * phase - 2 * math.pi**2 * width)
    return (dirty_image(uv, values * weights, 1.0, npix) / weights.sum()).float()


def components(protocol: str, index: int, seed: int, side: float) -> tuple[Components, int]:
    """The truth of a field, and the seed of its noise."""
    number = list(PROTOCOLS).index(protocol)
    rng = simulator.generator(seed, "test", 1_000_000 * number + index)
    drawn = PROTOCOLS[protocol].draw(rng, side)
    return drawn, int(rng.integers(2**31))


def simulated(
    protocol: str, index: int, seed: int, npix: int, scale: float = simulator.SCALE
) -> Field:
    """A field made on arrays, without CASA, with so many pixels a beam."""
    law = PROTOCOLS[protocol]
    optics = _optics(law.array(index), law.declination(index), law.duration(index), npix, scale)
    truth, noise_seed = components(protocol, index, seed, npix / optics.scale)
    if truth.flux.max(initial=0) > EXACT:
        data = noise_free(truth, optics, npix)
    else:
        _, seen = simulator.draw_sky(truth, optics.scale, npix)
        data = convolve(seen, optics.psf)
    data = data + simulator.draw_noise(optics, npix, noise_seed)
    dirty, major_cycle = fields.observed(data.numpy(), optics, BEAM / optics.scale, NOISE)
    return Field(protocol, index, dirty, truth, major_cycle, psf=optics.psf.numpy())
