"""Convolution and resampling of images by Fourier transforms."""

from __future__ import annotations

import torch


def convolve(image: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Linear (zero-padded) convolution of images with centred kernels.

    Parameters
    ----------
    image : Tensor, shape (..., ny, nx)
    kernel : Tensor, shape (..., ky, kx)
        Centre at pixel (ky//2, kx//2).

    Returns
    -------
    Tensor, shape (..., ny, nx)
    """
    (ny, nx), (ky, kx) = image.shape[-2:], kernel.shape[-2:]
    shape = [good_size(ny + ky - 1), good_size(nx + kx - 1)]
    product = torch.fft.rfft2(image, s=shape) * torch.fft.rfft2(kernel, s=shape)
    whole = torch.fft.irfft2(product, s=shape)
    return whole[..., ky // 2 : ky // 2 + ny, kx // 2 : kx // 2 + nx]


def good_size(n: int) -> int:
    """The least even number >= n with no prime factor above 5, fast to transform."""
    while True:
        n += n % 2
        left = n
        for prime in (2, 3, 5):
            while left % prime == 0:
                left //= prime
        if left == 1:
            return n
        n += 2


def resample(image: torch.Tensor, shape: tuple[int, int], soft: bool = False) -> torch.Tensor:
    """Fourier resampling of periodic images to `shape`; brightness is kept, pixel 0 stays.

    Parameters
    ----------
    image : Tensor, shape (..., ny, nx)
    shape : tuple of int
    soft : bool
        Fade the highest frequencies out instead of cutting them off: a sky that is
        not quite band-limited then has no crosses through its bright sources.
    """
    rows, columns = image.shape[-2:]
    ny, nx = (min(a, b) for a, b in zip(image.shape[-2:], shape, strict=True))
    low_y, low_x = (ny + 1) // 2, (nx + 1) // 2  # Nyquist's own row is left out
    spectrum = torch.fft.rfft2(image)
    if soft:
        v, u = torch.fft.fftfreq(rows) * rows / ny, torch.fft.rfftfreq(columns) * columns / nx
        spectrum = spectrum * (_fade(v)[:, None] * _fade(u)).to(image.device)
    new = spectrum.new_zeros(*image.shape[:-2], shape[0], shape[1] // 2 + 1)
    new[..., :low_y, :low_x] = spectrum[..., :low_y, :low_x]
    new[..., shape[0] - low_y + 1 :, :low_x] = spectrum[..., rows - low_y + 1 :, :low_x]
    return torch.fft.irfft2(new, s=shape) * (shape[0] * shape[1] / (rows * columns))


def _fade(frequency: torch.Tensor) -> torch.Tensor:
    """1 up to 0.3 cycles per pixel, 0 from 0.5 on."""
    beyond = ((frequency.abs() - 0.3) / 0.2).clamp(0, 1)
    return torch.cos(beyond * torch.pi / 2) ** 2
