"""Taylor terms of a spectrum against explicit sums over visibilities."""

from __future__ import annotations

import numpy as np
import pytest
from band import NPIX, Band

from casa_ddpm.taylor import Taylor


@pytest.mark.parametrize(("terms", "tilt"), [(1, 0.0), (2, 0.0), (2, 6.0), (3, -4.0)])
def test_polynomials_are_orthogonal_under_the_weights(terms, tilt):
    band = Band(terms=terms, tilt=tilt)
    values = band.taylor.basis @ (band.ratio - 1) ** np.arange(terms)[:, None]
    products = (values * band.weight) @ values.T
    off = products - np.diag(np.diag(products))
    assert np.abs(off).max() < 1e-9 and (values[0] == 1).all()
    assert band.taylor.centre == pytest.approx(
        0 if terms == 1 else band.weight @ (band.ratio - 1), abs=1e-9
    )
    at_peak = band.taylor.kernels[:, :, NPIX // 2, NPIX // 2]
    assert np.allclose(at_peak, products, atol=1e-9)


def test_a_source_is_seen_as_its_visibilities_are():
    """A spectrum that is the sum of three terms, anywhere on the image."""
    band = Band(terms=3, tilt=3.0)
    spectrum = np.array([2.0, -1.4, 3.0])
    place = (40, 61)
    flux = (spectrum[:, None] * (band.ratio - 1) ** np.arange(3)[:, None]).sum(0)
    seen = band.images(flux * band.sources([place], [1.0], [0.0]), 3)
    sky = np.zeros((3, NPIX, NPIX))
    sky[:, 40, 61] = spectrum
    orthogonal = band.taylor.orthogonal(sky)
    shown = [sum(band.taylor.observe(t, orthogonal[s], s) for s in range(3)) for t in range(3)]
    near = slice(30, 66), slice(40, 80)  # where the PSF's image reaches
    for t, image in enumerate(band.taylor.seen(seen)):
        assert np.abs(image - shown[t])[near].max() < 1e-6, t
    assert np.allclose(band.taylor.terms(orthogonal), sky)


def test_first_term_is_the_mean_over_the_band():
    band = Band(terms=2, tilt=5.0)
    sky = np.zeros((2, 1, 1))
    sky[:, 0, 0] = 1.0, 0.5
    mean = band.weight @ (1 + 0.5 * (band.ratio - 1))
    assert band.taylor.orthogonal(sky)[0, 0, 0] == pytest.approx(mean)
    assert band.taylor.basis[0].tolist() == [1, 0]


def test_a_single_frequency_has_no_slope():
    one = Band(low=1.0, high=1.0, channels=1, terms=1)
    psfs = np.stack([one.psfs[0], 0 * one.psfs[0], 0 * one.psfs[0]])
    with pytest.raises(ValueError, match="nterms must be no more than the width .* got 2"):
        Taylor(psfs)
    with pytest.raises(ValueError, match="psfs must be an odd number of images, got 2"):
        Taylor(psfs[:2])
    assert len(Taylor(psfs[:1])) == 1


def test_a_reference_frequency_far_from_the_band_is_refused():
    """Its powers can no longer be told from each other."""
    band = Band(low=0.9, high=1.1)
    step = (band.frequency / 20 - 1)[:, None] ** np.arange(3)
    psfs = np.stack([p * band.psfs[0] for p in step.mean(0)])
    with pytest.raises(ValueError, match="reffreq must be no further from the band than 10 times"):
        Taylor(psfs)
