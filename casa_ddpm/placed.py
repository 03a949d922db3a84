"""A U-Net that knows where on the image it is, for the published protocol alone.

The U-Net does the same at every pixel. What the published protocol leaks, its one noise
vector and its lattice, is known by place: a learned image of a few channels holds it.
"""

from __future__ import annotations

import torch
from torch import nn

from casa_ddpm.diffusion import Denoiser
from casa_ddpm.network import UNet

#: Channels of the condition that a denoiser shows beside the positional embedding.
_CONDITIONS = 3


class PlacedUNet(UNet):
    """A U-Net whose condition a learned positional embedding is appended to.

    Parameters
    ----------
    widths, depth
        See `UNet`.
    channels : int
        Of the embedding.
    npix : int
        Side of the images it works on [pixel].
    memory : int
        Rank of a linear estimate of the sky, zero until `remember` is told, that is shown beside
        the condition. The noise of a pointing is nearly a sum of images that are known, which a
        local network can hardly tell from one another.
    """

    def __init__(self, widths, depth: int, channels: int, npix: int, memory: int = 0) -> None:
        super().__init__(widths, depth, _CONDITIONS + channels + bool(memory))
        self.position = nn.Parameter(0.1 * torch.randn(1, channels, npix, npix))
        self.memory = nn.Buffer(torch.zeros(2, memory, npix, npix)) if memory else None

    def forward(self, x, condition, noise, shape):
        """Raw network output, shape (batch, 1, npix, npix); see `UNet`."""
        shown = [condition, self.position.expand(len(x), -1, -1, -1)]
        if self.memory is not None:
            sky = self.recalled(condition[:, 1:2])
            # As skies are with the power of the published root, so that no source is small.
            shown.append(sky.sign() * sky.abs().sqrt())
        return super().forward(x, torch.cat(shown, 1), noise, shape)

    def remember(self, factors: torch.Tensor) -> None:
        """Take the factors of `linear.estimator` as the memory."""
        assert self.memory is not None
        self.memory.copy_(factors)

    def recalled(self, image: torch.Tensor) -> torch.Tensor:
        """The linear estimate of the sky from an image (batch, 1, npix, npix), same shape."""
        assert self.memory is not None
        reads, writes = self.memory.flatten(2)
        # Large numbers cancel.
        with torch.autocast(image.device.type, enabled=False):
            return (image.float().flatten(1) @ reads.T @ writes).view_as(image)


class PlacedDenoiser(Denoiser):
    """A denoiser to which no place is brighter than another, with the empty sky at any value.

    The condition is not a restored image in units of the noise, so that it does not tell
    sigma_data. The published normalisation puts an empty sky at -1, where preconditioning
    expects 0.
    """

    def brightness(self, condition: torch.Tensor) -> torch.Tensor:
        """1 everywhere, shape (batch, 1, ny, nx)."""
        return torch.ones_like(condition[:, :1])

    def forward(self, x, sigma, condition, shape):
        """Expected clean sky; see `Denoiser`."""
        empty = self.normalisation.forward(x.new_zeros(()))
        return empty + super().forward(x - empty, sigma, condition, shape)
