"""Spectral indices of sources, fitted to what Taylor terms of the data hold of them."""

from __future__ import annotations

import numpy as np
import torch
from astropy import units as u
from astropy.table import QTable

from casa_ddpm import noise, sky
from casa_ddpm.dirty import DirtyImage
from casa_ddpm.likelihood import Likelihood
from casa_ddpm.power_law import PowerLaws
from casa_ddpm.wideband import Wideband

#: How steep a spectrum may be: deviation of a spectral index about 0, before the data speak.
_STEEPEST = 5.0
#: Deviation of spectral indices of most sources.
_TYPICAL = 1.5
_TINY = np.finfo(float).tiny
#: Fourier modes at a time, and the share of the largest below which one holds no data.
_MODES, _EMPTY = 20_000, 1e-6


def add_spectral_indices(sources: QTable, dirty: DirtyImage, band: Wideband) -> QTable:
    """A table of sources with their spectral indices.

    The flux of every source is known, and so are its place and shape: how much of each
    orthogonal polynomial of the frequency there is in its spectrum is a linear fit to the
    images of the higher Taylor terms, of all sources at once.

    Parameters
    ----------
    sources : QTable
        As `sources.find_sources` returns it; x and y in pixels of the image.
    dirty : DirtyImage
    band : Wideband
        With the last cycle's terms.

    Returns
    -------
    QTable
        With the columns alpha, d log flux / d log frequency of the apparent flux, and alpha_err,
        its standard error; where the data tell nothing they are 0 and 5. And fluxes are those of
        a power law at the middle of the band instead of its mean, for a band evenly filled.
    """
    table, taylor = sources.copy(), band.taylor
    flux, error = (np.asarray(table[name].value, float) for name in ("flux", "flux_err"))
    slope, variance = np.zeros(len(flux)), np.zeros(len(flux))
    # The polynomials' slopes at the middle of the band.
    powers = np.arange(1, len(taylor))
    slopes = taylor.basis[:, 1:] @ (powers * taylor.centre ** (powers - 1.0))
    for t in range(1, len(taylor)):
        # Instead of the image of the band's mean, the sources: the same light on a few pixels
        # more or less shows as another slope.
        data = band.left[t] + sum(taylor.observe(t, band.skies[s], s) for s in (0, t))
        sigma = noise.rms(band.left[t], dirty.valid)
        part, doubt = _amplitudes(table, dirty, data, taylor.kernels[t][[0, t]], sigma)
        slope += slopes[t] * part
        variance += slopes[t] ** 2 * doubt
    middle = 1 + taylor.centre
    line = slope * middle / flux
    doubt = np.hypot(np.sqrt(variance) * middle / flux, line * error / flux)
    return _as_power_laws(table, line, doubt, np.sqrt(taylor.power[1]) / middle)


def _as_power_laws(table: QTable, slope: np.ndarray, doubt: np.ndarray, width: float) -> QTable:
    """A table with indices, and with fluxes at the middle of the band instead of the mean.

    Parameters
    ----------
    table : QTable
    slope, doubt : ndarray, shape (n,)
        Of the line through a spectrum, over the mean and per unit of frequency; its error.
    width : float
        Standard deviation of the frequencies over their mean.
    """
    laws = PowerLaws(width)
    alpha = laws.index(slope)
    alpha_err = np.minimum(doubt * laws.stretch(alpha), _STEEPEST)
    table["alpha"], table["alpha_err"] = alpha, alpha_err
    # A spectrum that is not known is no reason to change a flux, but to doubt it.
    share = _TYPICAL**2 / (_TYPICAL**2 + alpha_err**2)
    likely, unsure = share * alpha, np.sqrt(share) * alpha_err
    flux, error = (np.asarray(table[name].value, float) for name in ("flux", "flux_err"))
    more = np.hypot(1, laws.steepness(likely) * unsure * flux / np.maximum(error, _TINY))
    mean = laws.mean(likely)
    for name in ("flux_lo", "flux_hi"):
        table[name] = (table["flux"] + more * (table[name] - table["flux"])) / mean
    table["flux_err"] = more * table["flux_err"] / mean
    table["flux"] = table["flux"] / mean
    return table


def _amplitudes(
    sources: QTable, dirty: DirtyImage, data: np.ndarray, kernels: np.ndarray, sigma: float
) -> tuple[np.ndarray, np.ndarray]:
    """Amplitudes of a term in the sources' spectra [Jy] and their variances, shape (n,) each.

    Parameters
    ----------
    sources : QTable
    dirty : DirtyImage
    data : ndarray, shape (ny, nx)
        Image with the term's weights [Jy/beam]; its noise has the covariance of the second kernel.
    kernels : ndarray, shape (2, ny, nx)
        How a point shows in it by the mean of its spectrum, and by the term.
    sigma : float
        Rms of its noise.
    """
    (mean, normal), right = _overlaps(sources, dirty, data, kernels)
    flux = np.asarray(sources["flux"].value, float)
    own = kernels[1][tuple(n // 2 for n in data.shape)]
    # As much of a source's flux as there is the source.
    width = _STEEPEST * np.maximum(np.abs(flux * sources["prob"]), _TINY)
    scale = sigma**2 / own
    inverse = np.linalg.inv(np.eye(len(width)) + np.outer(width, width) * normal / scale)
    found = width * (inverse @ (width * (right - mean @ flux))) / scale
    return found, width**2 * np.diag(inverse)


def _overlaps(
    sources: QTable, dirty: DirtyImage, data: np.ndarray, kernels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Overlaps of sources as kernels show them, (2, n, n), and with an image, (n,).

    By sums over the Fourier modes that the kernels have.
    """
    weight, wave, transfer, image = _modes(data, kernels)
    y, x = (np.asarray(sources[axis].value, float) for axis in ("y", "x"))
    (yy, yx), (_, xx) = np.moveaxis(_covariances(sources, dirty.cell), 0, -1)
    overlaps, right = np.zeros((len(kernels), len(x), len(x))), np.zeros(len(x))
    for first in range(0, len(weight), _MODES):
        part = slice(first, first + _MODES)
        v, h = wave[:, part]
        widths = np.outer(yy, v * v) + 2 * np.outer(yx, v * h) + np.outer(xx, h * h)
        phases = np.outer(y, v) + np.outer(x, h)
        modes = np.exp(-2j * np.pi * phases - 2 * np.pi**2 * widths)
        right += (modes.conj() @ (weight[part] * image[part])).real
        for sums, shown in zip(overlaps, transfer[:, part], strict=True):
            sums += ((modes * (weight[part] * shown)) @ modes.conj().T).real
    return overlaps, right


def _modes(data: np.ndarray, kernels: np.ndarray):
    """Fourier modes that kernels (2, ny, nx) have, and an image (ny, nx) in them.

    Returns
    -------
    weight : ndarray, shape (m,)
        Of each in a sum over all modes.
    wave : ndarray, shape (2, m)
        Wave numbers along y and x [1/pixel].
    transfer : ndarray, shape (2, m)
        Of the kernels.
    image : ndarray of complex, shape (m,)
    """
    likelihoods = [Likelihood(torch.from_numpy(kernel), 1.0) for kernel in kernels]
    transfer = np.stack([each.transfer.numpy() for each in likelihoods])
    rows, columns = likelihoods[0].shape
    image = np.fft.rfft2(data, s=(rows, columns))
    # What rfft2 keeps of the inner columns stands for two.
    weight = np.full(image.shape, 2.0)
    weight[:, [0, -1]] = 1.0
    weight /= rows * columns
    wave = np.meshgrid(np.fft.fftfreq(rows), np.fft.rfftfreq(columns), indexing="ij")
    kept = np.abs(transfer[1]) > _EMPTY * transfer[1].max()
    return weight[kept], np.array(wave)[:, kept], transfer[:, kept], image[kept]


def _covariances(sources: QTable, cell: float) -> np.ndarray:
    """Covariances (y, x) of sources [pixel^2], 0 of points, shape (n, 2, 2)."""
    wide = np.asarray(sources["resolved"], bool)
    major, minor = (
        np.where(wide, sources[axis].to_value(u.arcsec), 0) / cell for axis in ("major", "minor")
    )
    return sky.covariances(major, minor, sources["pa"].to_value(u.rad))
