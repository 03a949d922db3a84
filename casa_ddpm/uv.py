"""The uv plane: coverage of an observation, imaging weights, gridding.

Coordinates u, v are in wavelengths, image coordinates in radians; the dirty
image of visibilities V with weights w is

    D(l, m) = sum_k w_k Re[V_k exp(2 pi i (u_k l + v_k m))] / sum_k w_k

(Thompson, Moran & Swenson 2017, eq. 10.4).  East is the first sky axis of the
coordinates and lies along -x of the array.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch

from casa_ddpm.arrays import Array

LIGHT = 299_792_458.0
#: Angular speed of the Earth [rad/s].
EARTH = 7.292115e-5


@dataclass(frozen=True)
class Observation:
    """A track of an array on one field.

    Parameters
    ----------
    array : Array
        Antenna positions.
    declination : float
        Declination of the field [deg].
    hour_angle : float
        Hour angle of the middle of the track [hour].
    duration : float
        Length of the track [s].
    integration : float
        Time of one visibility [s].
    frequencies : tuple of float
        Channel frequencies, imaged together [Hz].
    """

    array: Array
    declination: float
    hour_angle: float
    duration: float
    integration: float
    frequencies: tuple[float, ...] = field(default=(230e9,))

    def uv(self) -> np.ndarray:
        """Coverage [wavelength], shape (nvisibility, 2), of the pairs above 10 deg elevation.

        Thompson, Moran & Swenson (2017), eq. 4.1, for local baselines.
        """
        count = max(1, round(self.duration / self.integration))
        times = (np.arange(count) + 0.5) * self.integration - count * self.integration / 2
        angles = self.hour_angle * math.pi / 12 + times * EARTH
        phi, delta = math.radians(self.array.latitude), math.radians(self.declination)
        elevation = np.sin(phi) * np.sin(delta) + np.cos(phi) * np.cos(delta) * np.cos(angles)
        angles = angles[elevation > math.sin(math.radians(10))][:, None]
        east, north, up = self.array.baselines.T
        x = -math.sin(phi) * north + math.cos(phi) * up
        z = math.cos(phi) * north + math.sin(phi) * up
        u = np.sin(angles) * x + np.cos(angles) * east
        v = math.sin(delta) * (np.sin(angles) * east - np.cos(angles) * x) + math.cos(delta) * z
        metres = np.stack([u.ravel(), v.ravel()], axis=1)
        scales = np.array(self.frequencies) / LIGHT
        return (scales[:, None, None] * metres).reshape(-1, 2)


def weights(
    uv: torch.Tensor, cell: float, npix: int, weighting: str, robust: float = 0.5
) -> torch.Tensor:
    """Imaging weights of visibilities of equal noise, as CASA's ``imager`` defines them.

    Parameters
    ----------
    uv : Tensor, shape (nvisibility, 2)
        Coverage [wavelength].
    cell : float
        Pixel side [rad].
    npix : int
        Image side [pixel]; the density is counted in cells of 1/(npix cell).
    weighting : {'natural', 'uniform', 'briggs'}
        Briggs (1995, PhD thesis, eq. 3.19).
    robust : float
        Briggs' parameter, -2 to 2.

    Returns
    -------
    Tensor, shape (nvisibility,)

    Raises
    ------
    ValueError
        If weighting is none of the three.
    """
    if weighting not in ("natural", "uniform", "briggs"):
        raise ValueError(f"weighting must be natural, uniform or briggs, got {weighting!r}")
    if weighting == "natural":
        return torch.ones_like(uv[:, 0])
    index = torch.round(uv * (npix * cell)).long()
    both = torch.cat([index, -index]) % npix
    flat = both[:, 0] * npix + both[:, 1]
    density = torch.bincount(flat, minlength=npix * npix).to(uv.dtype)
    local = density[flat[: len(uv)]]
    if weighting == "uniform":
        return 1 / local
    f2 = (5 * 10 ** (-robust)) ** 2 / (local.sum() / len(uv))
    return 1 / (1 + local * f2)


#: Width [cell] and shape of the gridding kernel: error below 1e-6 at twofold oversampling.
_WIDTH, _SHAPE = 7, 2.30 * 7


def _kernel(x: torch.Tensor) -> torch.Tensor:
    """Exponential of semicircle (Barnett, Magland & af Klinteberg 2019, eq. 1.8)."""
    inside = (1 - (2 * x / _WIDTH) ** 2).clamp(min=0)
    return torch.exp(_SHAPE * (inside.sqrt() - 1)) * (inside > 0)


def _correction(npix: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Fourier transform of the kernel at the image pixels, by quadrature, shape (npix,)."""
    rule = torch.tensor(np.array(np.polynomial.legendre.leggauss(64))) * _WIDTH / 2
    nodes, quadrature = rule.to(device, dtype)
    pixel = torch.arange(npix, dtype=dtype, device=device) - npix // 2
    phase = 2 * math.pi * pixel[:, None] * nodes / (2 * npix)
    return (torch.cos(phase) * _kernel(nodes) * quadrature).sum(1)


def dirty(uv: torch.Tensor, values: torch.Tensor, cell: float, npix: int) -> torch.Tensor:
    """Sum of values_k exp(2 pi i (u_k l + v_k m)), its real part, on the image pixels.

    A type-1 non-uniform Fourier transform.  Visibilities beyond the Nyquist
    frequency of the cell are left out, as band-limited resampling would do.

    Parameters
    ----------
    uv : Tensor, shape (nvisibility, 2)
        Coverage [wavelength].
    values : Tensor, shape (nvisibility,)
        Weighted visibilities, real or complex.
    cell : float
        Pixel side [rad].
    npix : int
        Image side [pixel].

    Returns
    -------
    Tensor, shape (npix, npix)
        Centre at pixel (npix//2, npix//2); y is north, x is west.
    """
    keep = (uv.abs() * cell < 0.5).all(1)
    uv, values = uv[keep], values[keep]
    grid = 2 * npix
    # Array axes: y along v, x along -u (east is to the left).
    position = torch.stack([uv[:, 1], -uv[:, 0]], 1) * (cell * grid)
    first = torch.ceil(position - _WIDTH / 2).long()
    steps = torch.arange(_WIDTH, device=uv.device)
    index = first[:, :, None] + steps
    taps = _kernel(index.to(uv.dtype) - position[:, :, None])
    flat = (index[:, 0, :, None] % grid) * grid + index[:, 1, None, :] % grid
    shares = values[:, None, None] * (taps[:, 0, :, None] * taps[:, 1, None, :])
    plane = torch.zeros(grid * grid, dtype=shares.dtype, device=uv.device)
    plane.index_add_(0, flat.reshape(-1), shares.reshape(-1))
    # Without a norm, of which MKL may divide 2048 x 2048 twice (pytorch issue 169670).
    image = torch.fft.ifft2(plane.view(grid, grid), norm="forward").real
    image = torch.fft.fftshift(image)
    edge = npix - npix // 2
    image = image[edge : edge + npix, edge : edge + npix]
    correction = _correction(npix, uv.dtype, uv.device)
    return image / (correction[:, None] * correction)
