"""Spectral indices of sources against explicit least squares over the visibilities."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable
from band import NPIX, Band

from casa_ddpm.spectral_index import _overlaps, add_spectral_indices

#: The last is half a beam from the first.
PLACES = np.array([(48, 47), (34, 60), (62, 37), (50, 48)])
FLUXES = np.array([0.4, 0.2, 0.1, 0.3])
INDICES = np.array([-0.8, 1.5, 0.0, 2.0])


def table(fluxes, places=PLACES, sizes=0.0, prob=1.0):
    """Sources as they are found; `sizes` are FWHM [pixel]."""
    y, x = np.asarray(places, float).T
    sizes = np.broadcast_to(sizes, y.shape)
    return QTable(
        {
            "x": x * u.pix, "y": y * u.pix, "flux": fluxes * u.Jy, "flux_err": 1e-9 * fluxes * u.Jy,
            "flux_lo": fluxes * u.Jy, "flux_hi": fluxes * u.Jy,
            "prob": np.broadcast_to(prob, y.shape), "resolved": sizes > 0,
            "major": sizes * u.arcsec, "minor": sizes * u.arcsec, "pa": np.zeros(len(y)) * u.deg,
        }
    )  # fmt: skip


def terms(band, flux=FLUXES):
    """Orthogonal terms of the least-squares lines through power laws, shape (2, n)."""
    weight = np.sqrt(band.weight)[:, None]
    powers = (band.ratio - 1)[:, None] ** np.arange(2)
    spectra = flux * band.ratio[:, None] ** INDICES
    return band.taylor.orthogonal(np.linalg.lstsq(weight * powers, weight * spectra)[0])


def modelled(band, visibilities, flux=FLUXES):
    """The dirty image, and what a band knows that has modelled all sources."""
    skies = np.zeros((2, NPIX, NPIX))
    skies[(slice(None), *PLACES.T)] = terms(band, flux)
    data, dirty, _ = band.observed(visibilities)
    left = band.taylor.seen(data)
    for t in range(2):
        left[t] -= sum(band.taylor.observe(t, skies[s], s) for s in range(2))
    return dirty, SimpleNamespace(taylor=band.taylor, left=left, skies=skies)


@pytest.mark.parametrize(("tilt", "error"), [(0.0, 0.03), (5.0, 0.1)])
def test_without_noise_indices_are_those_of_the_spectra(tilt, error):
    """At the middle of the band, wherever the reference frequency is; best if evenly filled."""
    band = Band(tilt=tilt)
    dirty, wide = modelled(band, band.sources(PLACES, FLUXES, INDICES) + band.noise(1e-5))
    mean, _ = terms(band)
    found = add_spectral_indices(table(mean), dirty, wide)
    assert np.allclose(found["alpha"], INDICES, atol=error)
    assert found["alpha_err"].max() < 0.05
    at_middle = FLUXES * (1 + band.taylor.centre) ** INDICES
    assert np.allclose(found["flux"].value, at_middle, rtol=error / 10)
    assert np.abs(mean / at_middle - 1).max() > 0.01


def test_errors_hold_what_they_say():
    """68 and 95 % of indices in noise, of two sources in each other's beam as well."""
    away, band, flux = [], Band(), 0.05 * FLUXES
    for _ in range(60):
        visibilities = band.sources(PLACES, flux, INDICES) + band.noise(1e-4)
        dirty, wide = modelled(band, visibilities, flux)
        mean, _ = terms(band, flux)
        found = add_spectral_indices(table(mean), dirty, wide)
        away.extend((found["alpha"] - INDICES) / found["alpha_err"])
    away = np.abs(np.array(away, float))
    assert 0.60 < np.mean(away < 1) < 0.76 and 0.91 < np.mean(away < 2) < 0.985


def test_where_the_data_tell_nothing_the_error_says_so():
    """Faint sources; and one that hardly is one takes no slope from a true one beside it."""
    band = Band()
    dirty, wide = modelled(band, band.sources(PLACES, FLUXES, INDICES) + band.noise(0.05))
    faint = add_spectral_indices(table(1e-4 * FLUXES), dirty, wide)
    assert np.allclose(faint["alpha_err"], 5, rtol=0.02) and np.abs(faint["alpha"]).max() < 0.1
    mean, _ = terms(band)
    certain = add_spectral_indices(table(mean[:3], PLACES[:3]), dirty, wide)
    ghost = add_spectral_indices(table(mean, prob=np.array([1, 1, 1, 1e-6])), dirty, wide)
    assert np.allclose(certain["alpha_err"], ghost["alpha_err"][:3], rtol=0.05)


def test_overlaps_are_sums_over_the_visibilities():
    """Of points and Gaussians, with each other and with an image."""
    band = Band()
    sizes = np.array([0.0, 3.0, 0.0, 5.0])
    seen = band.sources(PLACES, FLUXES, INDICES)
    data = band.taylor.seen(band.images(seen, 2))[1]
    _, dirty, _ = band.observed(seen)
    overlaps, right = _overlaps(
        table(FLUXES, sizes=sizes), dirty, data, band.taylor.kernels[1][[0, 1]]
    )
    deviations = sizes / np.sqrt(8 * np.log(2))
    one = np.stack(
        [
            band.sources([place], [1.0], [0.0], [deviation])
            for place, deviation in zip(PLACES, deviations, strict=True)
        ]
    )
    slope = band.ratio - 1 - band.taylor.centre
    for power, overlap in zip((slope, slope**2), overlaps, strict=True):
        expected = ((one * (band.weight * power)) @ one.conj().T).real
        assert np.allclose(overlap, expected, atol=0.01 * np.abs(expected).max())
    expected = ((one.conj() * (band.weight * slope)) @ seen).real
    assert np.allclose(right, expected, atol=0.01 * np.abs(expected).max())
