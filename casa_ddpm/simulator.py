"""Simulated fields in the canonical frame: truth, dirty image and what the network is shown.

D = B (*) a + n: the apparent sky a [noise of a point source per pixel], the PSF
B of a random observation and Gaussian noise n of unit rms whose power spectrum
follows the gridded weights.  Each field owns its seed, so that no two share
their noise, and the streams of training, validation and test never meet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch

from casa_ddpm import arrays, sky
from casa_ddpm.dirty import Beam
from casa_ddpm.fourier import convolve
from casa_ddpm.normalisation import compress
from casa_ddpm.peel import hogbom, restore
from casa_ddpm.psf import ellipse, fit_beam, gaussian, smooth, transfer
from casa_ddpm.uv import Observation, dirty, weights

#: Pixels per beam of the canonical frame.
SCALE = 4.0
#: FWHM [beam] of the Gaussian at which the network draws the sky.
KERNEL = 0.5
#: Brightness [noise/beam] above which emission is kept out of the conditioning.
CAP = 300.0
#: Ratio of a beam's axes beyond which no field is drawn.
MOST_ELONGATED = 4
#: Independent random streams.
STREAMS = {"train": 0, "validation": 1, "test": 2, "demo": 3, "calibration": 4, "memory": 5}
#: Arrays that no training field uses.
VALIDATION_ARRAYS = ("alma.cycle8.4", "aca.cycle7", "vla.b", "atca_6c", "atca_h214", "meerkat")
#: Consecutive fields that share one observation, each with its own sky and noise.
SHARED = 4
#: Margin around a field in which sources beyond its edge live [pixel].
_MARGIN = 24


@dataclass(frozen=True)
class Settings:
    """What fields are drawn from.

    Parameters
    ----------
    npix : int
        Side of a field [canonical pixel].
    arrays : tuple of str
        Array configurations to choose from.
    most_visibilities : int
        Random subset of a longer track that is used.
    peel : bool
        Condition on peeled, restored images; False: on the dirty image.

    Raises
    ------
    ValueError
        If npix is odd or too small.
    """

    npix: int = 192
    arrays: tuple[str, ...] = ()
    most_visibilities: int = 20_000
    peel: bool = True

    #: A field turned by a right angle or flipped is one as likely.
    turned: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.npix < 16 or self.npix % 2:
            raise ValueError(f"npix must be even and at least 16, got {self.npix}")


#: Configurations that contain a validation array, and what is no connected array.
_NOT_TRAINED = ("alma.all", "aca.all", "aca.ns", "aca.tp", "atca_all", "vlba")


@lru_cache
def training_arrays() -> tuple[str, ...]:
    """Connected arrays outside of the validation set, one name of each configuration.

    casadata ships many configurations under several names, of one observing cycle
    after the other; a twin of a validation array is left out as well.
    """
    far = ("lba", "gb-vlba", "ngvla-revC")
    kept: list[tuple[str, np.ndarray]] = [(name, _lengths(name)) for name in VALIDATION_ARRAYS]
    for name in arrays.names():
        if name in (*VALIDATION_ARRAYS, *_NOT_TRAINED) or any(word in name for word in far):
            continue
        lengths = _lengths(name)
        if not any(_alike(lengths, other) for _, other in kept):
            kept.append((name, lengths))
    return tuple(name for name, _ in kept[len(VALIDATION_ARRAYS) :])


def _lengths(name: str) -> np.ndarray:
    return np.sort(np.linalg.norm(arrays.load(name).baselines, axis=1))


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    return len(one) == len(other) and np.allclose(one, other, rtol=0.01, atol=1)


@dataclass(frozen=True)
class Optics:
    """A PSF in the canonical frame.

    Parameters
    ----------
    psf : Tensor, shape (2 npix, 2 npix)
        PSF, peak about 1.
    beam : Beam
        Clean beam, in units of the canonical pixel.
    scale : float
        Pixels per beam.
    uv : Tensor, shape (nvisibility, 2)
        Coverage [cycles/pixel].
    imaging : Tensor, shape (nvisibility,)
        Imaging weights of visibilities of equal noise.
    """

    psf: torch.Tensor
    beam: Beam
    scale: float
    uv: torch.Tensor = field(repr=False)
    imaging: torch.Tensor = field(repr=False)

    @property
    def noise_psf(self) -> torch.Tensor:
        """Autocorrelation of the noise, peak 1, shape of `psf`."""
        npix = len(self.psf)
        image = dirty(self.uv, self.imaging**2, 1.0, npix)
        return image / image[npix // 2, npix // 2]


@dataclass(frozen=True)
class Fields:
    """A batch of simulated fields, all tensors (batch, npix, npix) unless said otherwise.

    Parameters
    ----------
    dirty : Tensor
        Dirty image [noise/beam].
    condition : Tensor, shape (batch, 2, npix, npix)
        Compressed restored image and residual.
    target : Tensor
        The sky at KERNEL resolution less what CAP keeps back [noise of a point/pixel].
    shape : Tensor, shape (batch, 2)
        The beam's ellipticity.
    optics : list of Optics
    components : list of Components
        The truth.
    """

    dirty: torch.Tensor
    condition: torch.Tensor
    target: torch.Tensor
    shape: torch.Tensor
    optics: list[Optics] = field(repr=False)
    components: list[sky.Components] = field(repr=False)


def generator(seed: int, stream: str, index: int) -> np.random.Generator:
    """The random generator of one field; differs in every (seed, stream, index)."""
    return np.random.default_rng([seed, STREAMS[stream], 0, index])


def draw_observation(rng: np.random.Generator, name: str) -> Observation:
    """A random track of array `name`: declination, hour angle, duration, band."""
    array = arrays.load(name)
    side = math.copysign(1, array.latitude)
    declination = float(np.clip(array.latitude - side * rng.uniform(-25, 60), -88, 88))
    duration = math.exp(rng.uniform(math.log(120), math.log(8 * 3600)))
    centre = rng.uniform(-1, 1) * max(0.0, 4 - duration / 7200)
    channels = 1 + np.linspace(-0.5, 0.5, rng.integers(1, 7)) * rng.choice([0.01, 0.1, 0.3])
    # Longer integrations than real ones, but never so long that a baseline moves by a cell.
    integration = max(20.0, duration / 60)
    return Observation(array, declination, centre, duration, integration, tuple(230e9 * channels))


def draw_optics(rng: np.random.Generator, settings: Settings, device="cpu") -> Optics:
    """The PSF of a random observation, weighting and flagging."""
    while True:
        name = str(rng.choice(settings.arrays or training_arrays()))
        uv = draw_observation(rng, name).uv()
        flagged = rng.choice([0, 0.1, 0.4])
        count = min(int(len(uv) * (1 - flagged)), settings.most_visibilities)
        weighting = str(rng.choice(["natural", "briggs", "uniform"], p=[0.45, 0.45, 0.1]))
        robust = float(rng.uniform(-1, 2))
        uv = uv[rng.choice(len(uv), count, replace=False, shuffle=False)] if len(uv) else uv
        if len(uv) > 3:
            optics = make_optics(
                torch.tensor(uv),
                settings.npix,
                weighting,
                robust,
                SCALE * math.exp(rng.uniform(-0.06, 0.06)),
                device,
            )
            if optics is not None:
                return optics


def make_optics(uv, npix: int, weighting="natural", robust=0.5, scale=SCALE, device="cpu"):
    """PSF and noise autocorrelation of a coverage; None where the beam is beyond use.

    Parameters
    ----------
    uv : Tensor, shape (nvisibility, 2)
        Coverage [wavelength].
    npix : int
        Field side [pixel].
    weighting, robust
        See `uv.weights`.
    scale : float
        Pixels per beam.

    Returns
    -------
    Optics or None
        None where no clean beam fits or its axes differ by more than MOST_ELONGATED.
    """
    uv = uv.to(device, torch.float32)
    fov = 1 / (2 * float(uv.square().sum(1).mean().sqrt()))
    imaging = weights(uv, fov / 4, 8 * npix, weighting, robust)
    cell = 1 / (12 * float(((imaging[:, None] * uv**2).sum() / imaging.sum()).sqrt()))
    try:
        for _ in range(2):
            stamp = dirty(uv, imaging, cell, 64)
            beam = fit_beam((stamp / stamp[32, 32]).cpu().numpy(), cell)
            cell = beam.fwhm / scale
    except ValueError:
        return None
    if beam.major > MOST_ELONGATED * beam.minor:
        return None
    psf = dirty(uv, imaging, cell, 2 * npix)
    return Optics(
        psf / imaging.sum(),
        Beam(beam.major / cell, beam.minor / cell, beam.pa),
        scale,
        uv * cell,
        imaging,
    )


def draw_noise(optics: Optics, npix: int, seed: int) -> torch.Tensor:
    """Noise of unit rms, from that of every visibility, shape (npix, npix)."""
    random = torch.Generator(optics.uv.device).manual_seed(seed)
    white = torch.randn(len(optics.uv), 2, generator=random, device=optics.uv.device)
    values = optics.imaging * torch.view_as_complex(white)
    inside = (optics.uv.abs() < 0.5).all(1)
    return dirty(optics.uv, values, 1.0, npix) / optics.imaging[inside].square().sum().sqrt()


def _halve(spectrum: torch.Tensor, npix: int) -> torch.Tensor:
    """Band of a real image of side npix out of the rfft2 of one of twice the resolution."""
    half = npix // 2
    rows = torch.cat([spectrum[:half, : half + 1], spectrum[-half:, : half + 1]])
    return rows


def draw_sky(components: sky.Components, scale: float, npix: int, device="cpu", flux=None):
    """The sky as the network draws it, and band-limited, exact, as the instrument sees it.

    Returns
    -------
    drawn, seen : Tensor, shape (npix, npix)
        Flux per pixel at KERNEL resolution, and at the pixels' full band.
    """
    # Twice the resolution: a Gaussian of 2 fine pixels is sampled without aliasing.
    sharp = KERNEL / 2
    fine = sky.render(components, sharp, 2 * scale, 2 * npix, device, flux)
    drawn = smooth(fine, 2 * scale * math.sqrt(KERNEL**2 - sharp**2))[::2, ::2] * 4
    spectrum = _halve(torch.fft.rfft2(fine), npix)
    seen = torch.fft.irfft2(
        spectrum / transfer((npix, npix), sharp * scale, drawn.device), s=(npix, npix)
    )
    return drawn, seen


def simulate(indices, settings: Settings, seed: int, stream: str, device="cpu") -> Fields:
    """Draw the fields numbered `indices` of a random stream.

    Parameters
    ----------
    indices : sequence of int
        Field numbers; a field depends on (seed, stream, number, settings) alone.
    settings : Settings
    seed : int
    stream : {'train', 'validation', 'test', 'demo', 'calibration'}
    device : str

    Returns
    -------
    Fields
    """
    optics = {
        group: draw_optics(
            np.random.default_rng([seed, STREAMS[stream], 1, group]), settings, device
        )
        for group in sorted({i // SHARED for i in indices})
    }
    drawn = [
        _field(generator(seed, stream, i), optics[i // SHARED], settings, device) for i in indices
    ]
    dirty_images = torch.stack([d["dirty"] for d in drawn])
    known = torch.stack([d["known"] for d in drawn])
    each = [optics[i // SHARED] for i in indices]
    psf = torch.stack([o.psf for o in each])
    first = dirty_images - torch.stack([d["explained"] for d in drawn])
    threshold = torch.tensor([d["threshold"] for d in drawn], device=device)
    iterations = torch.tensor([d["iterations"] * settings.peel for d in drawn], device=device)
    model, residual = hogbom(first, psf, threshold, 0.2, iterations, cycles=4)
    clean = torch.stack([gaussian(o.beam.covariance(1.0), 65, device) for o in each])
    restored, held = restore(model + known, residual, clean, CAP)
    condition = torch.stack([compress(restored), compress(residual)], 1)
    target = torch.stack([d["drawn"] for d in drawn])
    if held.any():
        target = target - torch.stack(
            [smooth(h, KERNEL * o.scale) for h, o in zip(held, each, strict=True)]
        )
    shape = torch.tensor([ellipse(o.beam) for o in each], device=device)
    return Fields(
        dirty_images, condition, target.clamp(min=0), shape, each, [d["components"] for d in drawn]
    )


def _field(rng: np.random.Generator, optics: Optics, settings: Settings, device) -> dict:
    """One field up to its dirty image, with a random imperfect model of its bright part."""
    npix = settings.npix
    canvas = npix + 2 * _MARGIN
    components = sky.draw(rng, npix / optics.scale)
    drawn, seen = draw_sky(components, optics.scale, canvas, device)
    flux = _known_flux(rng, components)
    inner = (slice(_MARGIN, -_MARGIN),) * 2
    # The noise is never known exactly: the unit in which a field is shown is off by 4 per cent.
    noise = draw_noise(optics, npix, int(rng.integers(2**62)))
    noise = noise * math.exp(0.04 * rng.normal())
    known = torch.zeros_like(seen)
    if flux.any() and settings.peel:
        _, known = draw_sky(components, optics.scale, canvas, device, flux)
    both = convolve(torch.stack([seen, known]), optics.psf)
    depth = rng.choice(3, p=[0.04, 0.8, 0.16])
    threshold = [1e9, 5 * math.exp(rng.normal() * 0.2), math.exp(rng.uniform(1.2, 4))][depth]
    return {
        "components": components,
        "drawn": drawn[inner],
        "dirty": both[0][inner] + noise,
        "known": known[inner],
        "explained": both[1][inner],
        "threshold": threshold,
        "iterations": int(rng.choice([100, 300, 600])),
    }


def _known_flux(rng: np.random.Generator, components: sky.Components) -> np.ndarray:
    """Flux of the components that an earlier major cycle has modelled, a quarter of the time."""
    if rng.random() > 0.25 or not len(components):
        return np.zeros(len(components))
    total = np.bincount(components.source, components.flux)
    known = (total > rng.uniform(3, 20)) & (rng.random(len(total)) < 0.9)
    error = rng.normal(size=len(total)) / np.maximum(total, 1) + 0.02 * rng.normal(size=len(total))
    return components.flux * (known * (1 + error))[components.source]
