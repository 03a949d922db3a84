"""The peel: a cheap image-plane minor cycle that explains the sidelobes of bright emission.

The network is conditioned on the restored image, model (*) clean beam +
residual, which looks the same for every array; the peeled model need not be a
good sky, it only has to take the sidelobes away.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

from casa_ddpm.fourier import convolve

#: Half side of the part of the PSF that a minor-cycle subtraction uses [pixel], and its least in
#: units of how far the main lobe of a wide beam is above this share of the peak.
PATCH, _LOBES, _LOBE = 48, 2, 0.5


def hogbom(
    dirty: torch.Tensor,
    psf: torch.Tensor,
    threshold: torch.Tensor,
    gain: float = 0.15,
    iterations: int | torch.Tensor = 2000,
    cycles: int = 8,
    where: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Hogbom CLEAN of a batch of fields, each to its own threshold.

    Minor cycles use a patch of the PSF; they end where the residual peak has
    fallen to the patch's error and a Fourier convolution makes the residual
    exact again (Hogbom 1974; Clark 1980).

    Parameters
    ----------
    dirty : Tensor, shape (batch, ny, nx)
    psf : Tensor, shape (batch, 2 ny - 1 or less, ...)
        Centred PSFs; the part beyond their edge counts as zero.
    threshold : Tensor, shape (batch,)
        Absolute peak at which a field is done [units of dirty].
    gain : float
        Loop gain.
    iterations : int or Tensor of int, shape (batch,)
        Most components of a field.
    cycles : int
        Most Fourier subtractions.
    where : Tensor of bool, shape (ny, nx), optional
        Where components may be; elsewhere only their sidelobes are subtracted.

    Returns
    -------
    model, residual : Tensor, shape (batch, ny, nx)
        Components [units of dirty per unit PSF peak, per pixel] and dirty - psf (*) model.
    """
    model = torch.zeros_like(dirty)
    residual = dirty
    half = _patch(psf)
    patch = _centre(psf, half)
    peak_of_psf = patch.amax((-2, -1))
    outside = _outer_sidelobe(psf, half)
    left = torch.as_tensor(iterations, device=dirty.device).expand(len(dirty)).clone()
    for _ in range(cycles):
        start = (residual.abs() if where is None else residual.abs() * where).amax((-2, -1))
        if not ((left > 0) & (start > threshold)).any():
            break
        stop = torch.maximum(threshold, 1.5 * outside * start)
        _minor(residual, patch, peak_of_psf, stop, gain, left, model, where)
        residual = dirty - convolve(model, psf)
    return model, residual


def _centre(psf: torch.Tensor, half: int) -> torch.Tensor:
    """The central square of side 2 half + 1, zero-padded where the PSF is smaller."""
    padded = torch.nn.functional.pad(psf, (half, half, half, half))
    y, x = psf.shape[-2] // 2, psf.shape[-1] // 2
    return padded[..., y : y + 2 * half + 1, x : x + 2 * half + 1]


def _outer_sidelobe(psf: torch.Tensor, half: int) -> torch.Tensor:
    """Highest sidelobe outside of a central square of side 2 half + 1, per field."""
    outer = psf.clone()
    y, x = psf.shape[-2] // 2, psf.shape[-1] // 2
    outer[..., max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1] = 0
    return outer.abs().amax((-2, -1))


def _patch(psf: torch.Tensor) -> int:
    """Half side of the patch: PATCH, or more where the main lobe would pass for a sidelobe."""
    wide = _outer_sidelobe(psf, PATCH) > _LOBE
    return max([PATCH, *(_LOBES * _reach(beam) for beam in psf[wide].cpu().numpy())])


def _reach(psf: np.ndarray) -> int:
    """How far a PSF's main lobe is above _LOBE, along rows or columns [pixel]."""
    centre = tuple(n // 2 for n in psf.shape)
    parts, _ = ndimage.label(psf > _LOBE)
    return int(np.abs(np.argwhere(parts == parts[centre]) - centre).max())


def _minor(residual, patch, peak_of_psf, stop, gain, left, model, where) -> None:
    """One minor cycle, adding to `model` and taking from the iterations `left`."""
    batch, ny, nx = residual.shape
    half = patch.shape[-1] // 2
    wide = nx + 2 * half
    work = torch.nn.functional.pad(residual, (half, half, half, half))
    inner = work[:, half : half + ny, half : half + nx]
    side = torch.arange(2 * half + 1, device=work.device)
    square = (side[:, None] * wide + side).view(1, -1)
    flat, flat_model = work.view(batch, -1), model.view(batch, -1)
    patch = patch.reshape(batch, -1)
    for iteration in range(int(left.max())):
        height = inner.abs() if where is None else inner.abs() * where
        highest = height.reshape(batch, -1).argmax(1)
        y, x = highest // nx, highest % nx
        value = inner[torch.arange(batch, device=work.device), y, x]
        active = (value.abs() > stop) & (left > 0)
        if iteration % 16 == 0 and not active.any():
            return
        left -= active.long()
        step = torch.where(active, gain * value / peak_of_psf, 0)
        flat_model.scatter_add_(1, highest[:, None], step[:, None])
        index = (y * wide + x)[:, None] + square
        flat.scatter_add_(1, index, -step[:, None] * patch)


def restore(
    model: torch.Tensor, residual: torch.Tensor, clean: torch.Tensor, cap: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The restored image, model (*) clean beam + residual, with its brightest part held back.

    Parameters
    ----------
    model, residual : Tensor, shape (..., ny, nx)
        Flux per pixel and brightness per beam.
    clean : Tensor, shape (..., ky, kx)
        Clean beam of peak 1, centred.
    cap : float
        Restored brightness above which the model is scaled down, so that the
        network meets nothing brighter than what it was trained on.

    Returns
    -------
    restored, held : Tensor, shape (..., ny, nx)
        Image, and the part of the model that is not in it.
    """
    share = (cap / convolve(model, clean).clamp(min=cap)).clamp(max=1)
    shown = share * model
    return convolve(shown, clean) + residual, model - shown
