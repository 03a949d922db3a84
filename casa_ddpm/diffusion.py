"""Diffusion in the formulation of Karras et al. (2022, arXiv:2206.00364), "EDM"."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from casa_ddpm.network import UNet
from casa_ddpm.normalisation import Normalisation

#: A noise level so high that the denoiser sees the condition alone: the posterior mean.
BLIND = 80.0


#: Restored brightness [noise] from which a neighbourhood counts as bright.
_FLOOR = 3.0
#: Sides of the windows whose highest pixel, then mean, is the brightness around a pixel.
_HIGHEST, _MEAN = 7, 5


class Denoiser(nn.Module):
    """Preconditioned denoiser D(x; sigma) (EDM eq. 7, table 1).

    The sky spans decades, but how bright it is around a pixel is known from the
    condition. So sigma_data is a map, and the network works in units in which all
    sources are alike.

    Parameters
    ----------
    network : UNet
    sigma_data : float
        Rms of the normalised sky where nothing is bright.
    normalisation : Normalisation
        Of the sky.
    """

    def __init__(
        self,
        network: UNet,
        sigma_data: float = 0.25,
        normalisation: Normalisation | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.sigma_data = sigma_data
        self.normalisation = normalisation or Normalisation()

    @property
    def reach(self) -> int:
        """Pixels beyond which no input can change an output pixel."""
        return self.network.reach + _HIGHEST // 2 + _MEAN // 2

    @property
    def stride(self) -> int:
        """Image sides must be a multiple of this [pixel]."""
        return self.network.stride

    def brightness(self, condition: torch.Tensor) -> torch.Tensor:
        """How bright the restored image is around a pixel, from 1, shape (batch, 1, ny, nx)."""
        restored = torch.sinh(condition[:, :1]).clamp(min=_FLOOR)
        highest = functional.max_pool2d(restored, _HIGHEST, 1, _HIGHEST // 2)
        around = functional.avg_pool2d(highest, _MEAN, 1, _MEAN // 2, count_include_pad=False)
        return 1 + around - _FLOOR

    def deviation(self, bright: torch.Tensor) -> torch.Tensor:
        """sigma_data around pixels of a brightness, same shape."""
        forward = self.normalisation.forward
        return self.sigma_data * forward(bright) / forward(torch.ones_like(bright))

    def forward(self, x, sigma, condition, shape):
        """Expected clean sky given the noisy sky x and the condition.

        Parameters
        ----------
        x : Tensor, shape (batch, 1, ny, nx)
            Normalised sky + sigma times white noise.
        sigma : Tensor, shape (batch,)
        condition : Tensor, shape (batch, channels, ny, nx)
            Compressed restored image first.
        shape : Tensor, shape (batch, 2)

        Returns
        -------
        Tensor, shape (batch, 1, ny, nx), float32
        """
        bright = self.brightness(condition)
        relative = torch.sinh(condition[:, :1]) / bright
        s, d = sigma[:, None, None, None], self.deviation(bright)
        total = (s**2 + d**2).sqrt()
        c_skip, c_out, c_in = d**2 / total**2, s * d / total, 1 / total
        shown = torch.cat([condition, relative], 1)
        raw = self.network(c_in * x, shown, sigma.log() / 4, shape)
        return c_skip * x + c_out * raw.float()


def loss(denoiser: Denoiser, y, condition, shape, normal, uniform, mean=-0.8, std=1.3):
    """Weighted denoising error of each example (EDM eq. 2, 5 and 6), shape (batch,).

    A tenth of the examples are denoised from pure noise, which teaches the
    posterior mean that the sampler starts from.

    Parameters
    ----------
    y : Tensor, shape (batch, 1, ny, nx)
        Normalised skies.
    condition, shape
        See `Denoiser`.
    normal : Tensor, shape (batch, 1, ny, nx)
        White noise.
    uniform : Tensor, shape (batch,)
        Uniform numbers that pick the noise levels; stratified ones lower the variance.
    mean, std : float
        Of ln(sigma).
    """
    blind = uniform < 0.1
    quantile = ((uniform - 0.1) / 0.9).clamp(1e-3, 1 - 1e-3)
    sigma = (mean + std * torch.special.ndtri(quantile)).exp()
    sigma = torch.where(blind, BLIND, sigma)
    noisy = y + sigma[:, None, None, None] * normal
    error = (denoiser(noisy, sigma, condition, shape) - y).square()
    d = denoiser.deviation(denoiser.brightness(condition))
    weight = 1 / d**2 + 1 / sigma[:, None, None, None] ** 2
    return (weight * error).mean((1, 2, 3))
