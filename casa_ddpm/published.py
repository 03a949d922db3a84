"""Fields of the published protocol (Drozdova et al. 2024, A&A 683, A105), which leaks.

One noise vector serves all fields, so that their noise is nearly the
same, and every source sits on a lattice of 1 arcsec; a network can learn both. Its figures
say how well a network reproduces that table, not what it does on other data. Nothing here is
used unless it is asked for by name. `independent` fields have noise of their own.

ALMA 5.3, 230 GHz, 20 minutes about transit, 10 s, pointings around COSMOS, 512 x 512 pixels
of 0.1 arcsec, natural weighting (Taran et al. 2023, A&A 674, A161, table 1). The network works
on pixels of 0.4 arcsec, means of 4 x 4, and on the inner part of them that holds the primary
beam, as there are no sources beyond it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import ClassVar

import numpy as np
import torch

from casa_ddpm import arrays
from casa_ddpm.simulator import STREAMS
from casa_ddpm.sky import Components, gaussians
from casa_ddpm.uv import Observation, dirty

ARCSEC = math.pi / 180 / 3600
ARRAY = "alma.cycle5.3"
#: Right ascension and declination of COSMOS [deg].
CENTRE = (150.119167, 2.205833)
#: Greatest distance of a pointing from it [deg]. The published law says 1, with which the noise of
#: two fields correlates more than was measured on its public samples (0.53 to 0.98).
SCATTER = 2.0
DURATION, INTEGRATION = 1200.0, 10.0
#: Pixel of the published images and of the network [arcsec], and their ratio.
CELL, PIXEL, BLOCK = 0.1, 0.4, 4
#: Side of the published images [pixel of CELL] and of what the network sees [pixel of PIXEL].
NPIX, WINDOW = 512, 64
#: Full width of the primary beam [arcsec]; sources lie within, on a lattice of 1 arcsec.
PRIMARY_BEAM, LATTICE = 22.86, 1.0
#: Full widths [arcsec] and total flux [Jy] of a source; how often a field has none.
AXES, FLUX, EMPTY = (0.4, 0.8), (5e-5, 5e-4), 0.05
MOST = 5
#: Noise of the dirty image [Jy/beam], and seed of the one noise vector.
RMS, NOISE = 5e-5, 11111
#: Dirty images are shown as 2 d / BRIGHTEST - 1 [Jy/beam].
BRIGHTEST = 5e-4
_SKY, _POINTING, _NOISE = 1, 2, 3


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


class Pointing:
    """The coverage of a pointing, and how it shows a sky and noise.

    Parameters
    ----------
    declination : float
        [deg]
    hour_angle : float
        Of the middle of the track [hour]. All fields are observed at one time, when the
        centre transits.
    """

    def __init__(self, declination: float, hour_angle: float, device="cpu") -> None:
        self.device = torch.device(device)
        array = arrays.load(ARRAY)
        track = Observation(array, declination, hour_angle, DURATION, INTEGRATION)
        self.uv = torch.tensor(track.uv(), dtype=torch.float32, device=self.device)
        self._shared: dict[str, torch.Tensor] = {}

    @property
    def sigma(self) -> float:
        """Standard deviation of real and imaginary part of a visibility [Jy]."""
        return RMS * math.sqrt(len(self.uv))

    @property
    def axes(self) -> torch.Tensor:
        """Spatial frequencies along the image's axes y and x, shape (nvisibility, 2) [1/arcsec]."""
        return torch.stack([self.uv[:, 1], -self.uv[:, 0]], 1) * ARCSEC

    @cached_property
    def transfer(self) -> torch.Tensor:
        """Transform of the PSF, then of the mean over a pixel; on the frequencies of `_grid`."""
        side = 4 * WINDOW
        ones = torch.full((len(self.uv),), 1 / len(self.uv), device=self.device)
        psf = dirty(self.uv, ones, 2 * CELL * ARCSEC, side)
        return torch.fft.rfft2(torch.fft.ifftshift(psf)) * _block(self.device)

    @cached_property
    def cell(self) -> torch.Tensor:
        """The uv cell of each visibility, then of its conjugate, as place in a flat grid."""
        side = 4 * WINDOW
        index = torch.round(self.axes * side * 2 * CELL).long()
        y, x = torch.cat([index, -index]).unbind(1)
        return ((y % side) * side + x % side).int()

    @cached_property
    def count(self) -> torch.Tensor:
        """Visibilities in each uv cell, shape of the flat grid."""
        return torch.bincount(self.cell, minlength=16 * WINDOW**2)

    def shared(self, conditioning: str) -> torch.Tensor:
        """`noise` of the one noise vector, kept."""
        if conditioning not in self._shared:
            self._shared[conditioning] = self.noise(NOISE, conditioning)
        return self._shared[conditioning]

    def white(self, seed: int) -> torch.Tensor:
        """Noise of all visibilities in their order [Jy], shape (nvisibility,)."""
        # On the CPU: the numbers are the same on every device.
        random = torch.Generator().manual_seed(seed)
        pairs = torch.randn(len(self.uv), 2, generator=random)
        return self.sigma * torch.view_as_complex(pairs).to(self.device)

    def noise(self, seed: int, conditioning: str) -> torch.Tensor:
        """Image of a noise vector [Jy/beam], shape (WINDOW, WINDOW)."""
        white = self.white(seed)
        if conditioning == "uv":
            return self.averaged(white)
        image = dirty(self.uv, white / len(self.uv), CELL * ARCSEC, BLOCK * WINDOW)
        return block_mean(image)

    def sky(self, components: Components, conditioning: str) -> torch.Tensor:
        """Noise-free image of a sky [Jy/beam], shape (WINDOW, WINDOW)."""
        if conditioning == "uv":
            return self.averaged(spectrum(components, self.axes))
        side = 4 * WINDOW
        grid = _grid(self.device)
        seen = spectrum(components, grid.reshape(-1, 2)).view(grid.shape[:2])
        image = torch.fft.irfft2(seen * self.transfer, s=(side, side))
        return _inner(torch.fft.fftshift(image))

    def averaged(self, visibilities: torch.Tensor) -> torch.Tensor:
        """Inverse Fourier transform of the averaged, unweighted uv samples.

        The mean of the visibilities in each uv cell of the 512 x 512 grid, 0 where there
        are none; every cell counts once. [Jy/beam], shape (WINDOW, WINDOW).
        """
        side = 4 * WINDOW
        both = torch.cat([visibilities, visibilities.conj()])
        plane = torch.zeros(side * side, dtype=both.dtype, device=self.device)
        plane.index_add_(0, self.cell, both)
        plane = (plane / self.count.clamp(min=1)).view(side, side)[:, : side // 2 + 1]
        image = torch.fft.irfft2(plane * _block(self.device), s=(side, side))
        return _inner(torch.fft.fftshift(image)) * side**2 / (self.count > 0).sum()


def _grid(device) -> torch.Tensor:
    """Frequencies (y, x) of an rfft2 of pixels of 2 CELL, shape (ny, nx, 2) [1/arcsec]."""
    side = 4 * WINDOW
    y = torch.fft.fftfreq(side, 2 * CELL, device=device)
    x = torch.fft.rfftfreq(side, 2 * CELL, device=device)
    return torch.stack(torch.meshgrid(y, x, indexing="ij"), -1)


@lru_cache
def _block(device) -> torch.Tensor:
    """Transform of the mean over BLOCK x BLOCK pixels of CELL from a given one on."""
    steps = torch.arange(BLOCK, device=device) * CELL
    y, x = torch.exp(2j * math.pi * _grid(device)[..., None] * steps).mean(-1).unbind(-1)
    return y * x


def _inner(image: torch.Tensor) -> torch.Tensor:
    """Every second pixel of 2 CELL about the centre, shape (WINDOW, WINDOW)."""
    return image[WINDOW : 3 * WINDOW : 2, WINDOW : 3 * WINDOW : 2]


def block_mean(image: torch.Tensor) -> torch.Tensor:
    """Means over BLOCK x BLOCK pixels of images (..., ny, nx)."""
    ny, nx = image.shape[-2] // BLOCK, image.shape[-1] // BLOCK
    return image.reshape(*image.shape[:-2], ny, BLOCK, nx, BLOCK).mean((-3, -1))


def spectrum(components: Components, frequencies: torch.Tensor) -> torch.Tensor:
    """Visibilities [Jy] of a sky behind the primary beam at (n, 2) frequencies [1/arcsec]."""
    total = torch.zeros(len(frequencies), dtype=torch.complex64, device=frequencies.device)
    seen = components.flux * attenuation(components.position)
    for position, flux, covariance in zip(
        components.position, seen, components.covariance, strict=True
    ):
        matrix = frequencies.new_tensor(covariance)
        width = ((frequencies @ matrix) * frequencies).sum(1)
        phase = -2 * math.pi * (frequencies @ frequencies.new_tensor(position))
        total += torch.polar(float(flux) * torch.exp(-2 * math.pi**2 * width), phase)
    return total


def attenuation(position: np.ndarray) -> np.ndarray:
    """Primary beam, a Gaussian of peak 1, at (n, 2) places [arcsec]."""
    squares = (position**2).sum(-1)
    return np.exp(-4 * math.log(2) * squares / PRIMARY_BEAM**2)


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


@lru_cache(maxsize=512)
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
    drawn, images, targets = [], [], []
    for index in indices:
        rng = np.random.default_rng([seed, STREAMS[stream], _SKY, index])
        components = draw_sky(rng)
        where = pointing(seed, stream, index % settings.pointings, str(device))
        if settings.independent:
            words = np.random.SeedSequence([seed, STREAMS[stream], _NOISE, index])
            own = int(words.generate_state(1, np.uint64)[0] >> np.uint64(1))
            noise = where.noise(own, settings.conditioning)
        else:
            noise = where.shared(settings.conditioning)
        drawn.append(components)
        images.append(where.sky(components, settings.conditioning) + noise)
        sky = torch.tensor(image(components, BLOCK * WINDOW), dtype=torch.float32, device=device)
        targets.append(block_mean(sky))
    seen = torch.nan_to_num(torch.stack(images))
    condition = torch.stack([2 * seen / BRIGHTEST - 1, seen / RMS], 1)
    shape = torch.zeros(len(drawn), 2, device=device)
    return Fields(condition, torch.stack(targets), shape, drawn)
