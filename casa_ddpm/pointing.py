"""A pointing of the published protocol: what its visibilities show of a sky and of noise.

ALMA 5.3, 230 GHz, 20 minutes, 10 s, 512 x 512 pixels of 0.1 arcsec, natural weighting. The
network works on pixels of 0.4 arcsec, means of 4 x 4, and on the inner part of them that holds
the primary beam, as there are no sources beyond it.
"""

from __future__ import annotations

import math
from functools import cached_property, lru_cache

import numpy as np
import torch

from casa_ddpm import arrays
from casa_ddpm.sky import Components
from casa_ddpm.uv import Observation, dirty

ARCSEC = math.pi / 180 / 3600
ARRAY = "alma.cycle5.3"
DURATION, INTEGRATION = 1200.0, 10.0
#: Pixel of the published images [arcsec], and how many of them a pixel of the network is wide.
CELL, BLOCK = 0.1, 4
#: Side of the published images [pixel], and of what the network sees [its pixel].
NPIX, WINDOW = 512, 64
#: Full width of the primary beam at half maximum [arcsec].
PRIMARY_BEAM = 22.86
#: Noise of the dirty image [Jy/beam], and seed of the one noise vector.
RMS, NOISE = 5e-5, 11111


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
