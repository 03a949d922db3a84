"""Major cycles of a wide band: slopes beside a sky that is given."""

from __future__ import annotations

import numpy as np
import pytest
from band import NPIX, Band

from casa_ddpm import reconstruct
from casa_ddpm.options import Options
from casa_ddpm.posterior import Sampling
from casa_ddpm.reconstruction import reconstruct_band
from casa_ddpm.wideband import Wideband

PLACES, INDICES = ((48, 48), (30, 62), (66, 35)), (-0.8, 1.5, 0.0)
NOISE = 1e-4
FLUXES = np.array([1500, 600, 300]) * NOISE


@pytest.fixture(scope="module")
def seen():
    """A band, its images of the terms, its dirty image and major cycle."""
    band = Band(tilt=2.0)
    visibilities = band.sources(PLACES, FLUXES, INDICES) + band.noise(NOISE)
    return band, *band.observed(visibilities)


def true_terms(band):
    """Orthogonal terms of each source's spectrum, least squares over the band, shape (2, n)."""
    spectra = band.ratio[:, None] ** np.array(INDICES) * FLUXES
    powers = (band.ratio - 1)[:, None] ** np.arange(2)
    weight = np.sqrt(band.weight)[:, None]
    fitted, *_ = np.linalg.lstsq(weight * powers, weight * spectra, rcond=None)
    return band.taylor.orthogonal(fitted)


def test_noise_of_the_band_is_what_was_asked_for():
    band = Band()
    rms = [band.images(band.noise(1.0), 1).std() for _ in range(8)]
    assert np.mean(rms) == pytest.approx(1, rel=0.05)


def test_slopes_follow_the_sky(seen):
    band, data, dirty, major_cycle = seen
    wide = Wideband(band.taylor, dirty, major_cycle, data)
    assert not wide.start.any() and wide.start.shape == (1, NPIX, NPIX)
    truth = true_terms(band)
    sky = np.zeros((1, NPIX, NPIX), np.float32)
    for place, flux in zip(PLACES, truth[0], strict=True):
        sky[0][place] = flux
    for _ in range(3):
        left = wide(sky)
    own = band.taylor.kernels[1, 1, NPIX // 2, NPIX // 2]
    for place, slope in zip(PLACES, truth[1], strict=True):
        error = NOISE / np.sqrt(own)
        # A power law is not quite a line, and its curvature has sidelobes at the others.
        assert wide.skies[1][place] == pytest.approx(slope, abs=3 * error + 0.03 * abs(slope))
    # With the slopes what is left is noise; without them it is not.
    flat = major_cycle(np.stack([sky[0], 0 * sky[0]]))
    assert (
        left[0].std() < 1.1 * NOISE and band.taylor.seen(flat)[1].std() > 1.5 * wide.left[1].std()
    )
    assert np.count_nonzero(wide.skies[1]) == len(PLACES)


def test_what_is_left_is_what_the_visibilities_leave(seen):
    band, data, dirty, major_cycle = seen
    asked = []

    def cycle(models):
        asked.append(models)
        return major_cycle(models)

    wide = Wideband(band.taylor, dirty, cycle, data)
    sky = np.zeros((1, NPIX, NPIX), np.float32)
    sky[0, 48, 48] = FLUXES[0]
    predicted = wide(sky)
    assert not asked[0][1].any() and np.array_equal(asked[0][0], sky[0])
    wide(sky)  # through the visibilities with the slopes of the cycle before
    exact = major_cycle(asked[1])
    assert np.abs(exact[0] - predicted[0]).max() < 0.05 * NOISE


def test_starts_from_terms_on_disk(seen):
    band, data, dirty, major_cycle = seen
    terms = np.zeros((2, NPIX, NPIX), np.float32)
    terms[:, 48, 48] = FLUXES[0], -0.8 * FLUXES[0]
    wide = Wideband(band.taylor, dirty, major_cycle, major_cycle(terms), terms)
    assert wide.start[0, 48, 48] == pytest.approx(FLUXES[0] * (1 - 0.8 * band.taylor.centre))
    back = band.taylor.terms(wide.skies)
    assert np.allclose(back, terms, atol=1e-9)


@pytest.fixture(scope="module")
def found(seen):
    band, data, dirty, major_cycle = seen
    options = Options(nmajor=1, sampling=Sampling(nsamples=8, seed=3))
    return reconstruct_band(dirty, band.taylor, data, options, major_cycle)


def test_reconstruction_leaves_noise_and_knows_spectra(seen, found):
    band = seen[0]
    assert found.residual.std() < 1.1 * NOISE
    middle = 1 + band.taylor.centre
    # At the middle of the band, which is not quite evenly filled.
    for place, flux, index in zip(PLACES, FLUXES, INDICES, strict=True):
        away = np.hypot(found.sources["y"].value - place[0], found.sources["x"].value - place[1])
        row = found.sources[int(away.argmin())]
        assert away.min() < 0.2 and row["prob"] > 0.9
        error = 4 * row["flux_err"].value + 0.003 * flux
        assert row["flux"].value == pytest.approx(flux * middle**index, abs=error)
        assert abs(float(row["alpha"]) - index) < 3 * float(row["alpha_err"]) + 0.05
    assert float(found.sources["alpha_err"][0]) < 0.1


def test_without_spectra_the_residual_is_not_noise(seen, found):
    """What the terms are for: a flat sky leaves the slopes' sidelobes."""
    band, data, dirty, major_cycle = seen
    options = Options(nmajor=1, sampling=Sampling(nsamples=8, seed=3))

    def flat(model):
        return major_cycle(np.stack([model, 0 * model]))[0]

    alone = reconstruct(dirty, options, flat)
    assert alone.residual.std() > 1.15 * found.residual.std()


def test_one_term_is_a_plain_image():
    band = Band(terms=1)
    data, dirty, major_cycle = band.observed(
        band.sources(PLACES, FLUXES, (0, 0, 0)) + band.noise(NOISE)
    )
    options = Options(nmajor=1, sampling=Sampling(nsamples=4, seed=3))
    one = reconstruct_band(dirty, band.taylor, data, options, major_cycle)
    same = reconstruct(dirty, options, lambda model: major_cycle(model[None])[0])
    assert "alpha" not in one.sources.colnames
    # The rounding of another order of sums, as the sampler passes it on.
    assert np.abs(one.restored - same.restored).max() < 0.1 * NOISE
    assert len(one.sources) == len(same.sources)
