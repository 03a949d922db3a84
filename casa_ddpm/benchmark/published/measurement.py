"""Fields of the published protocol, reconstructed and compared with their truth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from astropy.table import Table, vstack
from torch.nn import functional

from casa_ddpm import aggregation, checkpoint, published
from casa_ddpm.benchmark import image_metrics, unfinished
from casa_ddpm.benchmark.image_metrics import SCALE
from casa_ddpm.benchmark.published.localisation import Sources, aperture_flux, locate, majority
from casa_ddpm.device import arithmetic
from casa_ddpm.pointing import ARCSEC, BLOCK, CELL, NOISE, NPIX, WINDOW, block_mean
from casa_ddpm.posterior import Posterior, Sampling
from casa_ddpm.uv import dirty

#: Images of a field, and what is found by a majority of its realisations.
METHODS = ("one run", "mean", "median", "medoid", "detections")
#: The true sky, and what pixels of 0.4 arcsec leave of it.
TRUTH, RESAMPLED = "true sky", "true sky, resampled"
#: Corrections of an enlarged image, and the brightness that none is made to [Jy/pixel].
_ROUNDS, _NOTHING = 5, 1e-10
#: Half width of the window of the SSIM; scikit-image leaves out as much at an image's edge [pixel].
_REACH = 3
#: Margin around the network's window in the published image [pixel].
_MARGIN = (NPIX - BLOCK * WINDOW) // 2

TRUE = {"stream": str, "field": int, "y": float, "x": float, "flux": float}
KEYS = {"conditioning": str, "noise": str, "stream": str, "field": int, "method": str}
#: How close an image is to the true sky.
FIGURES = ("l2", "psnr", "ssim", "psnr_cut", "ssim_cut")
IMAGES = KEYS | dict.fromkeys(FIGURES, float)
DETECTIONS = KEYS | dict.fromkeys(("y", "x", "peak", "flux", "flux_err"), float)


@dataclass(frozen=True)
class Plan:
    """What reconstructs, and how: networks by conditioning, sampling, seed of the fields."""

    networks: dict[str, str]
    sampling: Sampling
    seed: int


@dataclass(frozen=True)
class Measured:
    """Tables of truth, images and detections; the columns of TRUE, IMAGES and DETECTIONS.

    y, x [arcsec] from the centre; flux, flux_err [Jy]; peak, l2 [Jy per pixel of 0.1 arcsec];
    psnr, psnr_cut [dB].
    """

    truth: Table
    images: Table
    detections: Table


def join(parts: list[Measured]) -> Measured:
    """All rows; those of the true sky, which every conditioning meets, once."""
    truth, images, detections = (
        vstack([getattr(part, name) for part in parts], metadata_conflicts="silent")
        for name in ("truth", "images", "detections")
    )
    return Measured(truth, images, detections)


def once(plan: Plan, kept: Path, item: tuple[str, str, str, int]) -> Measured:
    """What `measure` has found of a field, now or before; it is kept in a folder."""
    name = " ".join(map(str, item))
    return Measured(**unfinished.once(kept, name, lambda: vars(measure(plan, item))))


def measure(plan: Plan, item: tuple[str, str, str, int]) -> Measured:
    """Reconstruct a field and compare.

    Parameters
    ----------
    plan : Plan
    item : tuple
        Conditioning, noise ('shared' or 'independent'), stream and number of the field.
    """
    conditioning, noise, stream, index = item
    kind = published.Settings(conditioning, independent=noise == "independent")
    field = published.simulate([index], kind, plan.seed, stream)
    components = field.components[0]
    samples = enlarged(_draw(plan, conditioning, field, [plan.seed, index]))
    sky = published.image(components)
    inner = sky[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    first = (conditioning, noise) == (next(iter(plan.networks)), "shared")
    reference = {TRUTH: inner, RESAMPLED: enlarged(field.target.numpy())[0]} if first else {}
    images: list[tuple] = []
    detections: list[tuple] = []
    runs = torch.from_numpy(samples)
    made = {"one run": samples[0]}
    for name, function in aggregation.AGGREGATES.items():
        made[name] = function(runs).numpy()
    for method, image in (made | reference).items():
        key = (*item[:3], index, method)
        images.append((*key, *compare(image, sky)))
        detections += _rows(key, locate(image), image[None], samples)
    each = majority([locate(image) for image in samples])
    detections += _rows((*item[:3], index, "detections"), each, made["mean"][None], samples)
    places = zip(components.position, components.flux, strict=True)
    truth: list[tuple] = [(stream, index, y, x, flux) for (y, x), flux in places if first]
    return Measured(_table(truth, TRUE), _table(images, IMAGES), _table(detections, DETECTIONS))


def _table(rows: list[tuple], columns: dict[str, type]) -> Table:
    """A table that has its columns and their types without rows, too."""
    values: list = list(zip(*rows, strict=True)) if rows else [[] for _ in columns]
    kinds = ["U24" if kind is str else kind for kind in columns.values()]
    return Table(values, names=list(columns), dtype=kinds)


@lru_cache(maxsize=2)
def _network(path: str):
    return checkpoint.load(path)


class _Together(Posterior):
    """All realisations at a time, on a CPU as well: small images are drawn twice as fast."""

    @torch.inference_mode()
    def denoise(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        """Expected clean skies of states x, shape (batch, 1, ny, nx)."""
        with arithmetic(self.device, self.dtype):
            return self._tiled(x, sigma)


def _draw(plan: Plan, conditioning: str, field: published.Fields, seed: list[int]) -> np.ndarray:
    """Realisations on the network's pixels, shape (n, WINDOW, WINDOW) [Jy per pixel of CELL]."""
    denoiser, settings = _network(plan.networks[conditioning])
    posterior = _Together(denoiser, settings, field.condition[0], (0, 0), plan.sampling, seed)
    return posterior.draw().numpy()


def enlarged(images: np.ndarray) -> np.ndarray:
    """Skies on pixels of 0.1 arcsec whose means over 4 x 4 the images are.

    The root of a Gaussian is wider and sampled well: it is interpolated (Fourier), squared, and
    multiplied until the means are right (Richardson 1972, Lucy 1974). Of the true sky 0.04
    are lost (L2); with cubic interpolation it would be 0.24.

    Parameters
    ----------
    images : ndarray, shape (..., ny, nx)
        Not negative.

    Returns
    -------
    ndarray, shape (n, BLOCK ny, BLOCK nx)
    """
    low = torch.as_tensor(images, dtype=torch.float64).reshape(-1, *images.shape[-2:])
    high = _interpolated(low.sqrt()).square()
    for _ in range(_ROUNDS):
        mean = block_mean(high)
        ratio = torch.where(mean > _NOTHING, low / mean.clamp(min=_NOTHING), 1.0)
        smooth = functional.interpolate(ratio[:, None], scale_factor=BLOCK, mode="bilinear")
        high = high * smooth[:, 0]
    return high.numpy()


def _interpolated(images: torch.Tensor) -> torch.Tensor:
    """Fourier interpolation to BLOCK times as many pixels, whose blocks' centres are the pixels."""
    side = images.shape[-1]
    frequency = torch.fft.fftfreq(side, dtype=torch.float64)
    shift = torch.exp(-2j * math.pi * frequency * (BLOCK - 1) / 2 / BLOCK)
    place = (frequency * side).round().long() % (BLOCK * side)
    plane = torch.zeros(len(images), BLOCK * side, BLOCK * side, dtype=torch.complex128)
    plane[:, place[:, None], place] = torch.fft.fft2(images) * (shift[:, None] * shift)
    return torch.fft.ifft2(plane).real * BLOCK**2


def compare(image: np.ndarray, sky: np.ndarray) -> list[float]:
    """Values of FIGURES of a window's image, beside the whole sky of 512 x 512 [Jy/pixel]."""
    whole = np.pad(image, _MARGIN)
    # Twice the root less 1, cut at 0, hides faint sky; (1 + root) / 2 makes it the root alone.
    one, other = ((1 + (np.abs(x) / SCALE).clip(max=1) ** 0.5) / 2 for x in (whole, sky))
    return [
        image_metrics.l2(whole, sky),
        image_metrics.psnr(one, other, scale=1, gamma=1),
        similarity(one, other, scale=1, gamma=1),
        image_metrics.psnr(whole, sky),
        similarity(whole, sky),
    ]


def similarity(image: np.ndarray, sky: np.ndarray, **options: float) -> float:
    """`image_metrics.ssim` of whole images that are equal beyond the window, where it is 1.

    The tail of a source at the edge reaches beyond it by less than one part in a thousand.
    """
    edge = _MARGIN - 2 * _REACH
    inner = slice(edge, NPIX - edge)
    value = image_metrics.ssim(image[inner, inner], sky[inner, inner], **options)
    share = (NPIX - 2 * edge - 2 * _REACH) / (NPIX - 2 * _REACH)
    return 1 - (1 - value) * share**2


def _rows(key: tuple, found: Sources, image: np.ndarray, samples: np.ndarray) -> list[tuple]:
    """Detections of an image with their fluxes in it and the spread of the realisations' ones."""
    flux = aperture_flux(image, found.position)[0]
    error = aperture_flux(samples, found.position).std(0, ddof=1)
    columns = zip(found.position, found.peak, flux, error, strict=True)
    return [(*key, *place, *values) for place, *values in columns]


def correlations(plan: Plan, number: int, most: int = 40) -> dict[str, float]:
    """Least, median and greatest correlation of two test fields' 512 x 512 noise images."""
    images = []
    for index in range(min(number, most)):
        where = published.pointing(plan.seed, "test", index)
        white = where.white(NOISE) / len(where.uv)
        image = dirty(where.uv, white, CELL * ARCSEC, NPIX)
        images.append(image.flatten().numpy())
    pairs = np.corrcoef(images)[np.triu_indices(len(images), 1)] if len(images) > 1 else [1.0]
    values = (np.min(pairs), np.median(pairs), np.max(pairs))
    return {
        name: round(float(v), 3)
        for name, v in zip(("least", "median", "most"), values, strict=True)
    }
