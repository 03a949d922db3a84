"""The U-Net: noisy sky and condition in, a correction to the sky out.

Every operation is local and identical at each pixel (the norm runs over
channels, not over the image), so a tile gives what the whole image gives there.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

#: Side of the patch of pixels that the stem folds into channels.
PATCH = 2


class Norm(nn.Module):
    """Root-mean-square norm over channels (Zhang & Sennrich 2019), at each pixel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalised features, same shape."""
        return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-4)


class Block(nn.Module):
    """Residual block whose features are scaled and shifted by the embedding."""

    def __init__(self, inputs: int, outputs: int, embedding: int) -> None:
        super().__init__()
        self.norm = Norm()
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.modulation = nn.Linear(embedding, 2 * outputs)
        self.second = _silent(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """Features (batch, outputs, ny, nx) of features (batch, inputs, ny, nx)."""
        h = self.first(functional.silu(self.norm(x)))
        scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, 1)
        h = functional.silu(self.norm(h) * (1 + scale) + shift)
        return self.skip(x) + self.second(h)


class Stage(nn.ModuleList):
    """The blocks of one level, one after the other."""

    def forward(self, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """Features (batch, channels, ny, nx) after all blocks."""
        for block in self:
            x = block(x, embedding)
        return x


def _silent(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer with zero weights, so that a fresh branch adds nothing."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class UNet(nn.Module):
    """A noise- and beam-conditioned U-Net.

    Parameters
    ----------
    widths : sequence of int
        Channels of each level; the first works on 2 x 2 pixel patches, each
        next one at half the resolution.
    depth : int
        Residual blocks of a level, on the way down and on the way up.
    conditions : int
        Channels of the condition image.
    """

    def __init__(self, widths=(48, 96, 128), depth: int = 2, conditions: int = 3) -> None:
        super().__init__()
        size = 4 * widths[0]
        self.frequencies = nn.Buffer(2.0 ** torch.linspace(-1, 5, 16), persistent=False)
        self.embed = nn.Sequential(
            nn.Linear(32 + 2, size), nn.SiLU(), nn.Linear(size, size), nn.SiLU()
        )
        self.stem = nn.Conv2d(PATCH**2 * (1 + conditions), widths[0], 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        self.levels, self.depth = len(widths), depth

        def stage(inputs: int, outputs: int) -> Stage:
            sides = [inputs, *[outputs] * (depth - 1)]
            return Stage([Block(side, outputs, size) for side in sides])

        for above, width in zip((widths[0], *widths[:-1]), widths, strict=True):
            self.down.append(stage(above, width))
        for width, below in zip(widths[:-1], widths[1:], strict=True):
            self.up.append(stage(width + below, width))
        self.out = _silent(nn.Conv2d(widths[0], PATCH**2, 3, padding=1))
        self.norm = Norm()

    @property
    def reach(self) -> int:
        """Pixels beyond which no input can change an output pixel (receptive-field radius)."""
        # Two convolutions a block; all but the deepest level are passed twice.
        passes = [2] * (self.levels - 1) + [1]
        radius = sum(2 * self.depth * n * self._pixel(k) for k, n in enumerate(passes))
        return radius + 2 * PATCH + self.stride

    @property
    def stride(self) -> int:
        """Image sides must be a multiple of this [pixel]."""
        return self._pixel(self.levels - 1)

    @staticmethod
    def _pixel(level: int) -> int:
        """Side of a pixel of a level [image pixel]."""
        return int(PATCH * 2**level)

    def forward(self, x, condition, noise, shape):
        """Raw network output.

        Parameters
        ----------
        x : Tensor, shape (batch, 1, ny, nx)
            Scaled noisy sky.
        condition : Tensor, shape (batch, conditions, ny, nx)
        noise : Tensor, shape (batch,)
            Noise-level input, ln(sigma) / 4.
        shape : Tensor, shape (batch, 2)
            Beam ellipticity, e cos 2pa and e sin 2pa.

        Returns
        -------
        Tensor, shape (batch, 1, ny, nx)
        """
        phase = noise[:, None] * self.frequencies * math.pi
        embedding = self.embed(torch.cat([phase.cos(), phase.sin(), shape], 1))
        h = functional.pixel_unshuffle(torch.cat([x, condition], 1), PATCH)
        h = self.stem(h)
        skips = []
        for level, stage in enumerate(self.down):
            h = functional.avg_pool2d(h, 2) if level else h
            h = stage(h, embedding)
            skips.append(h)
        for level in reversed(range(len(self.up))):
            h = functional.interpolate(h, scale_factor=2, mode="nearest")
            h = self.up[level](torch.cat([h, skips[level]], 1), embedding)
        return functional.pixel_shuffle(self.out(functional.silu(self.norm(h))), PATCH)
