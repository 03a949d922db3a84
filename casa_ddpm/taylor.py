"""Spectra across a wide band, as polynomials of the frequency.

With w = (nu - nu_0) / nu_0 the sky is the sum of m_t w^t, and what tclean calls Taylor terms are
its images seen with the visibilities' weights times w^t (Rau & Cornwell 2011, A&A 532, A71):

    d_t = sum_s P_{t+s} (*) m_s + noise of covariance ~ P_{t+s}

These depend on each other as soon as nu_0 is not in the middle of the band. Here the sky is a sum
of M_t p_t(w) with polynomials p_t that are orthogonal under those weights, p_0 = 1: M_0 is the
image of the whole band that every imager makes, and each further term is independent of it but
for sidelobes.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch

from casa_ddpm.fourier import convolve

#: Least width of the band, the deviation of its frequencies over their mean, to tell a spectrum.
_NARROWEST = 1e-4
#: Furthest that the reference frequency may be from its middle, in units of that width.
_FAR = 10


class Taylor:
    """The Taylor terms of a field and their orthogonal ones.

    Parameters
    ----------
    psfs : ndarray, shape (2 n - 1, ny, nx)
        P_t of tclean's .psf.tt0, .psf.tt1, ..., centred on pixel (ny//2, nx//2); n terms.

    Attributes
    ----------
    basis : ndarray, shape (n, n)
        p_t(w) is the sum of basis[t, s] w^s; unit lower triangular.
    power : ndarray, shape (n,)
        Mean square of each polynomial over the band: what a unit point of its spectrum shows.

    Raises
    ------
    ValueError
        If the number of images is even, the band too narrow for so many terms or the reference
        frequency far outside of it.
    """

    def __init__(self, psfs: np.ndarray) -> None:
        if len(psfs) % 2 == 0:
            raise ValueError(f"psfs must be an odd number of images, got {len(psfs)}")
        self.psfs = np.asarray(psfs, float)
        n, (ny, nx) = (len(psfs) + 1) // 2, psfs.shape[1:]
        moments = self.psfs[:, ny // 2, nx // 2]
        step = np.arange(n)
        products = moments[step[:, None] + step]
        try:
            factor = np.linalg.cholesky(products)
        except np.linalg.LinAlgError:
            factor = np.zeros((n, n))
        # The rms of each polynomial over the band.
        if (np.diag(factor) < 0.5 * _NARROWEST**step).any():
            raise ValueError(
                f"nterms must be no more than the width of the band (spw) can tell, got {n}"
            )
        self.basis, self.power = np.linalg.inv(factor / np.diag(factor)), np.diag(factor) ** 2
        if n > 1 and abs(self.centre) > _FAR * factor[1, 1]:
            raise ValueError(
                f"reffreq must be no further from the band than {_FAR} times its width, got one of "
                f"{1 / (1 + self.centre):.3g} times its frequency"
            )

    def __len__(self) -> int:
        return len(self.basis)

    @property
    def centre(self) -> float:
        """The mean of w, at which the polynomial of first order is 0."""
        return float(-self.basis[1, 0]) if len(self) > 1 else 0.0

    def orthogonal(self, terms: np.ndarray) -> np.ndarray:
        """M_t of a sky's m_t, or of anything along the first axis of `terms`."""
        return np.tensordot(np.linalg.inv(self.basis.T), terms, 1)

    def terms(self, orthogonal: np.ndarray) -> np.ndarray:
        """The sky's m_t of M_t; inverse of `orthogonal`."""
        return np.tensordot(self.basis.T, orthogonal, 1)

    def seen(self, images: np.ndarray) -> np.ndarray:
        """What is seen of images with the weights p_t, of those with w^t, along the first axis."""
        return np.tensordot(self.basis, images, 1)

    @cached_property
    def kernels(self) -> np.ndarray:
        """Image with weights p_t of a unit point of spectrum p_s, shape (n, n, ny, nx)."""
        n = len(self)
        step = np.arange(n)
        products = self.psfs[step[:, None] + step]
        return np.einsum("ta,sb,abyx->tsyx", self.basis, self.basis, products)

    def observe(self, t: int, sky: np.ndarray, s: int) -> np.ndarray:
        """How a sky (ny, nx) [Jy/pixel] of spectrum p_s shows with the weights p_t [Jy/beam]."""
        kernel = torch.from_numpy(self.kernels[t, s])
        return convolve(torch.from_numpy(np.asarray(sky, float)), kernel).numpy()
