"""The data's last word: the model that goes into a major cycle is made to fit the dirty image."""

from __future__ import annotations

import torch

from casa_ddpm.peel import good_size


def refine(
    model: torch.Tensor,
    variance: torch.Tensor,
    residual: torch.Tensor,
    psf: torch.Tensor,
    noise: float,
    iterations: int = 60,
) -> torch.Tensor:
    """Update a model by what its residual still holds.

    The maximum of the Gaussian posterior with prior N(model, variance), independent
    in each pixel, and likelihood of a dirty image D = B (*) a + n whose noise
    covariance is noise^2 B (natural weighting): the update d solves

        (B / noise^2 + 1 / variance) d = residual / noise^2,

    by conjugate gradients in the variable d / sqrt(variance), so that pixels
    without variance stay as they are.  Where variance is small against the noise,
    a faint source, little changes; where it is large the data decide.

    Parameters
    ----------
    model : Tensor, shape (ny, nx)
        [Jy/pixel].
    variance : Tensor, shape (ny, nx)
        [Jy^2/pixel^2].
    residual : Tensor, shape (ny, nx)
        Dirty image less psf (*) model [Jy/beam].
    psf : Tensor, shape (ny, nx)
        Centre at pixel (ny//2, nx//2).
    noise : float
        [Jy/beam].
    iterations : int
        Most steps.

    Returns
    -------
    Tensor, shape (ny, nx)
    """
    width = (variance.double() / noise**2).sqrt()
    blur = _blur(psf.double())

    def normal(z: torch.Tensor) -> torch.Tensor:
        return z + width * blur(width * z)

    right = width * residual.double() / noise
    z = torch.zeros_like(right)
    error, step = right, right
    power = error.square().sum()
    goal = 1e-8 * power
    for _ in range(iterations):
        if power <= goal:
            break
        image = normal(step)
        along = (step * image).sum()
        if along <= 0:  # the PSF of real weights is not quite positive: stop before it shows
            break
        rate = power / along
        z, error = z + rate * step, error - rate * image
        power, before = error.square().sum(), power
        step = error + power / before * step
    return model + (noise * width * z).to(model.dtype)


def _blur(psf: torch.Tensor):
    """Linear convolution with the PSF, its transform made once."""
    ny, nx = psf.shape
    shape = [good_size(2 * ny), good_size(2 * nx)]
    kernel = torch.zeros(shape, dtype=psf.dtype)
    kernel[:ny, :nx] = psf
    kernel = torch.roll(kernel, (-(ny // 2), -(nx // 2)), (0, 1))
    transfer = torch.fft.rfft2(kernel)

    def blur(image: torch.Tensor) -> torch.Tensor:
        return torch.fft.irfft2(torch.fft.rfft2(image, s=shape) * transfer, s=shape)[:ny, :nx]

    return blur
