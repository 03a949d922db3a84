"""The canonical frame: every image at the same number of pixels per beam.

A dirty image is band-limited, so Fourier resampling loses nothing.  A margin of
mirrored sky, faded to zero, keeps the edges from ringing; what the network
draws there is cut away on the way back.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from casa_ddpm.dirty import Beam
from casa_ddpm.fourier import resample

#: Margin around the image [beam].
_MARGIN = 4.0


def check_cell(beam: Beam, cell: float) -> None:
    """Check that a cell [arcsec] is at most half of the beam; a ValueError where it is not."""
    if beam.fwhm < 2 * cell:
        raise ValueError(
            f"cell must be at most half of the beam ({beam.fwhm:.4g} arcsec), got {cell:.4g}"
        )


@dataclass(frozen=True)
class Frame:
    """A pair of grids, the image's own and the canonical one.

    Parameters
    ----------
    native : tuple of int
        Image shape (ny, nx).
    padded : tuple of int
        Shape with the margin, on the image's own pixels.
    canonical : tuple of int
        Shape on canonical pixels, a multiple of the network's stride.
    before : tuple of int
        Margin before the first row and column.
    """

    native: tuple[int, int]
    padded: tuple[int, int]
    canonical: tuple[int, int]
    before: tuple[int, int]

    @classmethod
    def of(cls, shape, beam: Beam, cell: float, scale: float, stride: int) -> Frame:
        """The frame of an image: `scale` canonical pixels per beam, nearly.

        Parameters
        ----------
        shape : tuple of int
            (ny, nx).
        beam : Beam
        cell : float
            Pixel side [arcsec].
        scale : float
            Canonical pixels per beam (geometric mean of the axes).
        stride : int
            Canonical sides are a multiple of this.

        Raises
        ------
        ValueError
            If the cell leaves fewer than 2 pixels per beam.
        """
        check_cell(beam, cell)
        ratio = scale * cell / beam.fwhm
        margin = _MARGIN * beam.fwhm / cell
        canonical, padded, before = [], [], []
        for n in shape:
            size = stride * -int(-(ratio * (n + 2 * min(margin, n - 1))) // stride)
            whole = max(n, round(size / ratio))
            canonical.append(size)
            padded.append(whole)
            before.append((whole - n) // 2)
        pairs = ((one[0], one[1]) for one in (shape, padded, canonical, before))
        return cls(*pairs)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Brightness per beam on canonical pixels, shape (..., *canonical)."""
        image = _mirror(_mirror(image, self, 0), self, 1)
        return resample(image, self.canonical)

    def backward(self, model: torch.Tensor) -> torch.Tensor:
        """Flux per pixel on the image's own pixels, from flux per canonical pixel."""
        area = self.canonical[0] * self.canonical[1] / (self.padded[0] * self.padded[1])
        (y, x), (ny, nx) = self.before, self.native
        return area * resample(model, self.padded, soft=True)[..., y : y + ny, x : x + nx]

    def pixel(self, x, y):
        """The image's own 0-based pixel coordinates of canonical ones."""
        sy, sx = (p / c for p, c in zip(self.padded, self.canonical, strict=True))
        return x * sx - self.before[1], y * sy - self.before[0]

    def zoom(self) -> float:
        """Canonical pixels per own pixel, geometric mean."""
        ratios = [c / p for c, p in zip(self.canonical, self.padded, strict=True)]
        return (ratios[0] * ratios[1]) ** 0.5


def _mirror(image: torch.Tensor, frame: Frame, axis: int) -> torch.Tensor:
    """Extend an axis by its mirror image, faded to zero at the far ends."""
    n, whole, before = frame.native[axis], frame.padded[axis], frame.before[axis]
    position = torch.arange(whole, device=image.device) - before
    index = torch.where(position < 0, -position, position)
    index = torch.where(index > n - 1, 2 * (n - 1) - index, index)
    outside = torch.maximum(-position, position - (n - 1)).clamp(min=0)
    room = max(before, whole - n - before, 1)
    fade = torch.cos(outside / room * torch.pi / 2) ** 2
    extended = image.index_select(axis - 2, index.clamp(0, n - 1))
    return extended * (fade[:, None] if axis == 0 else fade).to(image.dtype)
