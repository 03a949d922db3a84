"""Diffusion in the formulation of Karras et al. (2022, arXiv:2206.00364), "EDM"."""

from __future__ import annotations

import torch
from torch import nn

from casa_ddpm.network import UNet

#: A noise level so high that the denoiser sees the condition alone: the posterior mean.
BLIND = 80.0


class Denoiser(nn.Module):
    """Preconditioned denoiser D(x; sigma) (EDM eq. 7, table 1).

    Parameters
    ----------
    network : UNet
    sigma_data : float
        Rms of the normalised sky.
    """

    def __init__(self, network: UNet, sigma_data: float = 0.25) -> None:
        super().__init__()
        self.network = network
        self.sigma_data = sigma_data

    def forward(self, x, sigma, condition, shape):
        """Expected clean sky given the noisy sky x and the condition.

        Parameters
        ----------
        x : Tensor, shape (batch, 1, ny, nx)
            Normalised sky + sigma times white noise.
        sigma : Tensor, shape (batch,)
        condition : Tensor, shape (batch, channels, ny, nx)
        shape : Tensor, shape (batch, 2)

        Returns
        -------
        Tensor, shape (batch, 1, ny, nx), float32
        """
        s, d = sigma[:, None, None, None], self.sigma_data
        total = (s**2 + d**2).sqrt()
        c_skip, c_out, c_in = d**2 / total**2, s * d / total, 1 / total
        raw = self.network(c_in * x, condition, sigma.log() / 4, shape)
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
    error = (denoiser(noisy, sigma, condition, shape) - y).square().mean((1, 2, 3))
    d = denoiser.sigma_data
    return error * (sigma**2 + d**2) / (sigma * d) ** 2
