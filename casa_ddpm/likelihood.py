"""The data's word: skies are made to fit the dirty image where it knows better."""

from __future__ import annotations

import torch

from casa_ddpm.fourier import good_size
from casa_ddpm.psf import transfer

#: Most that the inverse of the drawing kernel may amplify a spatial frequency.
_SHARPEST = 10.0
#: Power that a fit to all spatial frequencies leaves, over that of one to the positive ones, below
#: which it is the better one.
_CLEARLY = 0.95


class Likelihood:
    """A dirty image D = B (*) a + n as a constraint on skies drawn with a Gaussian kernel G.

    The noise covariance is noise^2 B, that of natural weighting. A sky a is drawn
    as m = G (*) a, so that D = B G^-1 (*) m + n.

    Parameters
    ----------
    psf : Tensor, shape (ny, nx)
        B, with its centre at pixel (ny//2, nx//2).
    noise : float
        Rms of n [units of D].
    kernel : float
        FWHM of G [pixel]; 0 where the sky is not convolved.
    """

    def __init__(self, psf: torch.Tensor, noise: float, kernel: float = 0.0) -> None:
        ny, nx = psf.shape
        self.noise, self._pixels = noise, ny * nx
        self.shape = [good_size(2 * ny), good_size(2 * nx)]
        centred = torch.zeros(self.shape, dtype=psf.dtype)
        centred[:ny, :nx] = psf
        centred = torch.roll(centred, (-(ny // 2), -(nx // 2)), (0, 1))
        self.transfer = torch.fft.rfft2(centred).real
        sharpen = 1 / transfer(self.shape, kernel)
        self.sharpen = sharpen.clamp(max=_SHARPEST).to(psf.dtype)

    def sidelobes(self, radius: int) -> float:
        """Rms of the PSF beyond a square of half side `radius` [pixel] about its peak."""
        psf = torch.fft.irfft2(self.transfer, s=self.shape)
        near = [torch.arange(-radius, radius + 1) % n for n in self.shape]
        psf[near[0][:, None], near[1]] = 0
        return float((psf.square().sum() / self._pixels).sqrt())

    def _filter(self, image: torch.Tensor, response: torch.Tensor) -> torch.Tensor:
        """Linear convolution by a transfer function."""
        ny, nx = image.shape[-2:]
        spectrum = torch.fft.rfft2(image, s=self.shape) * response
        return torch.fft.irfft2(spectrum, s=self.shape)[..., :ny, :nx]

    def predict(self, drawn: torch.Tensor) -> torch.Tensor:
        """Noise-free dirty images of drawn skies, shape (..., ny, nx)."""
        return self._filter(drawn, self.transfer * self.sharpen)

    def sharpened(self, residual: torch.Tensor) -> torch.Tensor:
        """Gradient of the log likelihood in a drawn sky, times noise^2, shape (..., ny, nx)."""
        return self._filter(residual, self.sharpen)

    def correlated(self, white: torch.Tensor) -> torch.Tensor:
        """Noise of the image's covariance out of white noise of unit rms, shape (..., ny, nx)."""
        power = self.transfer.clamp(min=0)
        return self.noise * self._filter(white, (power / self._mean(power)).sqrt())

    def _mean(self, power: torch.Tensor) -> torch.Tensor:
        """Mean over the whole plane of which rfft2 keeps one half."""
        twice = power[:, 1 : (self.shape[1] + 1) // 2].sum()
        return (power.sum() + twice) / (self.shape[0] * self.shape[1])

    def fit(
        self, drawn: torch.Tensor, variance: torch.Tensor, residual: torch.Tensor, iterations=60
    ) -> torch.Tensor:
        """Update skies by what their residuals still hold.

        The maximum of the Gaussian posterior with prior N(drawn, variance), independent
        in each pixel: the update d solves

            (G^-1 B G^-1 / noise^2 + 1 / variance) d = G^-1 (*) residual / noise^2

        by conjugate residuals in the variable d / sqrt(variance), so that pixels without
        variance stay as they are. Where the variance is small against the noise, as in
        a faint source, little changes; where it is large the data decide.

        A PSF that ends with the image has negative spatial frequencies beside those that the
        data hold, and sharpened a hundredfold these can leave wild solutions. Each sky is
        solved for with and without them, and keeps the former where it leaves clearly less.

        Parameters
        ----------
        drawn : Tensor, shape (..., ny, nx)
            Skies [flux/pixel].
        variance : Tensor, shape (ny, nx)
            [flux^2/pixel^2].
        residual : Tensor, shape (..., ny, nx)
            Dirty image less `predict(drawn)` [flux/beam].
        iterations : int
            Most steps.

        Returns
        -------
        Tensor, shape (..., ny, nx)
        """
        every = torch.ones_like(self.transfer)
        whole = self._fitted(drawn, variance, residual, iterations, every)
        part = self.fit_held(drawn, variance, residual, iterations)
        most, least = (
            (residual - self.predict(sky - drawn)).square().sum((-2, -1), keepdim=True)
            for sky in (whole, part)
        )
        return torch.where(most < _CLEARLY * least, whole, part)

    def fit_held(
        self, drawn: torch.Tensor, variance: torch.Tensor, residual: torch.Tensor, iterations=60
    ) -> torch.Tensor:
        """The same, with the spatial frequencies alone that the data hold; see `fit`."""
        return self._fitted(drawn, variance, residual, iterations, self.transfer > 0)

    def _fitted(
        self,
        drawn: torch.Tensor,
        variance: torch.Tensor,
        residual: torch.Tensor,
        iterations: int,
        counted: torch.Tensor,
    ) -> torch.Tensor:
        """The same, with those spatial frequencies alone that are counted."""
        width = variance.sqrt() / self.noise
        sharpen = self.sharpen * counted
        both = self.transfer * sharpen**2

        def normal(z: torch.Tensor) -> torch.Tensor:
            return z + width * self._filter(width * z, both)

        right = width * self._filter(residual, sharpen) / self.noise
        return drawn + self.noise * width * _conjugate_residuals(normal, right, iterations)


def _conjugate_residuals(normal, right: torch.Tensor, iterations: int) -> torch.Tensor:
    """Solve normal(z) = right for each image of a batch (Stiefel 1955).

    Unlike in conjugate gradients what is left falls in every step, so that it can be cut off.
    """

    def dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a * b).sum((-2, -1), keepdim=True)

    z, error = torch.zeros_like(right), right
    step, image = right, normal(right)
    along = dot(error, image)
    goal = 1e-8 * dot(right, right)
    ahead = image
    for _ in range(iterations):
        active = dot(error, error) > goal
        if not active.any():
            break
        rate = torch.where(active, along / dot(ahead, ahead), 0.0)
        z, error = z + rate * step, error - rate * ahead
        image, before = normal(error), along
        along = dot(error, image)
        turn = torch.where(active, along / before, 0.0)
        step, ahead = error + turn * step, image + turn * ahead
    return z
