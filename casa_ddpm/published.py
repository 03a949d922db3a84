"""Fields of the published protocol (Drozdova et al. 2024, A&A 683, A105), which leaks.

One noise vector serves all fields, so that their noise is nearly the same, and every source
sits on a lattice of 1 arcsec; a network can learn both. Its figures say how well a network
reproduces the published table, not what it does on other data. Nothing here is used unless it
is asked for by name. `independent` fields have noise of their own.

Pointings are scattered around COSMOS, sources over the primary beam (Taran et al. 2023,
A&A 674, A161, table 1); `pointing` has the observation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch

from casa_ddpm.normalisation import PUBLISHED_SCALE
from casa_ddpm.pointing import (
    BLOCK,
    CELL,
    NOISE,
    NPIX,
    PRIMARY_BEAM,
    RMS,
    WINDOW,
    Pointing,
    block_mean,
)
from casa_ddpm.simulator import STREAMS
from casa_ddpm.sky import Components, gaussians

#: Right ascension and declination of COSMOS [deg].
CENTRE = (150.119167, 2.205833)
#: Greatest distance of a pointing from it [deg]. The published law says 1, with which the noise of
#: two fields correlates more than was measured on its public samples (0.53 to 0.98).
SCATTER = 2.0
#: Step of the lattice of sources [arcsec].
LATTICE = 1.0
#: Full widths [arcsec] and total flux [Jy] of a source; most in a field; how often there is none.
AXES, FLUX, MOST, EMPTY = (0.4, 0.8), (5e-5, 5e-4), 5, 0.05
#: Dirty images are shown as 2 d / BRIGHTEST - 1 [Jy/beam].
BRIGHTEST = 5e-4
_SKY, _POINTING, _NOISE = 1, 2, 3
#: Pointings that are kept.
_KEPT = 512


@dataclass(frozen=True)
class Settings:
    """What fields of the published protocol are drawn from.

    Parameters
    ----------
    conditioning : {'dirty', 'uv'}
        Show the dirty image, or the inverse Fourier transform of the averaged uv samples.
    independent : bool
        A noise vector for each field instead of one for all.
    pointings : int
        Different pointings of a stream, used in turn.

    Raises
    ------
    ValueError
        If conditioning is none of the two or there is no pointing.
    """

    conditioning: str = "dirty"
    independent: bool = False
    pointings: int = 256

    #: A field that is turned has another noise.
    turned: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.conditioning not in ("dirty", "uv"):
            raise ValueError(f"conditioning must be 'dirty' or 'uv', got {self.conditioning!r}")
        if self.pointings < 1:
            raise ValueError(f"pointings must be at least 1, got {self.pointings}")


@dataclass(frozen=True)
class Fields:
    """A batch of fields on the network's pixels.

    Parameters
    ----------
    condition : Tensor, shape (batch, 2, WINDOW, WINDOW)
        The image d [Jy/beam] as 2 d / BRIGHTEST - 1, and in units of RMS.
    target : Tensor, shape (batch, WINDOW, WINDOW)
        Mean brightness of the sky [Jy per pixel of CELL].
    shape : Tensor, shape (batch, 2)
        Zero: all fields have about the same beam.
    components : list of Components
        The truth, lengths in arcsec (y, x) and fluxes in Jy, not attenuated.
    """

    condition: torch.Tensor
    target: torch.Tensor
    shape: torch.Tensor
    components: list[Components]


def lattice() -> np.ndarray:
    """Places (y, x) where a source can be, shape (n, 2) [arcsec]."""
    reach = int(PRIMARY_BEAM / 2 / LATTICE)
    axis = np.arange(-reach, reach + 1) * LATTICE
    places = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    return places[np.hypot(*places.T) <= PRIMARY_BEAM / 2]


def draw_sky(rng: np.random.Generator) -> Components:
    """1 to 5 Gaussians on the lattice, now and then none; lengths in arcsec, fluxes in Jy."""
    number = 0 if rng.random() < EMPTY else int(rng.integers(1, MOST + 1))
    places = lattice()
    where = places[rng.choice(len(places), number, replace=False)]
    minor, major = np.sort(rng.uniform(*AXES, (2, number)), axis=0)
    flux = rng.uniform(*FLUX, number)
    return gaussians(where, flux, major, minor, rng.uniform(0, math.pi, number))


def image(components: Components, npix: int = NPIX) -> np.ndarray:
    """The sky [Jy/pixel] on (npix, npix) pixels of CELL, the centre at (npix//2, npix//2)."""
    axis = (np.arange(npix) - npix // 2) * CELL
    total = np.zeros((npix, npix))
    for (y, x), flux, covariance in zip(
        components.position, components.flux, components.covariance, strict=True
    ):
        rows, columns = (np.abs(axis - centre) < 2.5 for centre in (y, x))
        dy, dx = axis[rows][:, None] - y, axis[columns] - x
        (a, b), (_, c) = np.linalg.inv(covariance)
        shape = np.exp(-0.5 * (a * dy**2 + 2 * b * dy * dx + c * dx**2))
        norm = 2 * math.pi * math.sqrt(np.linalg.det(covariance))
        total[np.ix_(rows, columns)] += flux * CELL**2 / norm * shape
    return total


def _truth(components: Components) -> torch.Tensor:
    """The sky [Jy per pixel of CELL] on the network's pixels, shape (WINDOW, WINDOW)."""
    return block_mean(torch.tensor(image(components, BLOCK * WINDOW), dtype=torch.float32))


@lru_cache(maxsize=_KEPT)
def pointing(seed: int, stream: str, index: int, device: str = "cpu") -> Pointing:
    """A pointing at a random place within SCATTER of the centre, uniform in area."""
    rng = np.random.default_rng([seed, STREAMS[stream], _POINTING, index])
    distance, angle = SCATTER * math.sqrt(rng.random()), rng.uniform(0, 2 * math.pi)
    declination = CENTRE[1] + distance * math.cos(angle)
    east = distance * math.sin(angle) / math.cos(math.radians(declination))
    # A field east of the centre has not transited when the centre does.
    return Pointing(declination, -east / 15, device)


def simulate(indices, settings: Settings, seed: int, stream: str, device="cpu") -> Fields:
    """Draw fields.

    Parameters
    ----------
    indices : sequence of int
        Numbers of the fields in their stream.
    settings : Settings
    seed : int
    stream : str
        Of `simulator.STREAMS`. No field, pointing or independent noise of one stream is in
        another, whatever their seeds.
    device : str or torch.device

    Returns
    -------
    Fields
    """
    # More than are kept come round when they are forgotten.
    at = pointing if settings.pointings <= _KEPT else pointing.__wrapped__
    drawn, images, targets = [], [], []
    for index in indices:
        rng = np.random.default_rng([seed, STREAMS[stream], _SKY, index])
        components = draw_sky(rng)
        where = at(seed, stream, index % settings.pointings, str(device))
        if settings.independent:
            words = np.random.SeedSequence([seed, STREAMS[stream], _NOISE, index])
            own = int(words.generate_state(1, np.uint64)[0] >> np.uint64(1))
            noise = where.noise(own, settings.conditioning)
        else:
            noise = where.shared(settings.conditioning)
        drawn.append(components)
        images.append(where.sky(components, settings.conditioning) + noise)
        targets.append(_truth(components).to(device))
    seen = torch.nan_to_num(torch.stack(images))
    condition = torch.stack([2 * seen / BRIGHTEST - 1, seen / RMS], 1)
    shape = torch.zeros(len(drawn), 2, device=device)
    return Fields(condition, torch.stack(targets), shape, drawn)


def memorised(settings: Settings, seed: int, indices) -> torch.Tensor:
    """Noise, noise-free sky and truth, apart, of fields of the stream 'memory'.

    Parameters
    ----------
    settings : Settings
    seed : int
    indices : sequence of int
        Numbers of the fields in the stream; each has a pointing of its own.

    Returns
    -------
    Tensor, shape (n, 3, WINDOW, WINDOW)
        Images of the one noise vector and of the sky [RMS], and the mean brightness of the sky
        [PUBLISHED_SCALE per pixel of CELL].
    """
    found = []
    for index in indices:
        components = draw_sky(np.random.default_rng([seed, STREAMS["memory"], _SKY, index]))
        where = pointing.__wrapped__(seed, "memory", index)
        noise = where.noise(NOISE, settings.conditioning) / RMS
        sky = where.sky(components, settings.conditioning) / RMS
        found.append(torch.stack([noise, sky, _truth(components) / PUBLISHED_SCALE]))
    return torch.stack(found)
