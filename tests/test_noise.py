"""The noise estimate: unbiased on Gaussian noise, deaf to sources, clear about nonsense."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from casa_ddpm.noise import rms


def field(seed, sources=0, brightness=100.0, npix=512):
    """White noise of unit rms and Gaussian sources of FWHM 4 pixels."""
    rng = np.random.default_rng(seed)
    image = np.zeros((npix, npix))
    np.add.at(image, tuple(rng.integers(0, npix, (2, sources))), brightness)
    sigma = 4 / np.sqrt(8 * np.log(2))
    return rng.normal(size=image.shape) + gaussian_filter(image, sigma) * 2 * np.pi * sigma**2


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("clip", [2.5, 3.5, 5.0])
def test_unbiased_without_sources(seed, clip):
    assert rms(field(seed), clip=clip) == pytest.approx(1, rel=0.01)


@pytest.mark.parametrize("brightness", [20.0, 300.0, 10_000.0])
def test_unbiased_with_bright_sources(brightness):
    assert rms(field(7, 30, brightness)) == pytest.approx(1, rel=0.01)


def test_offset_does_not_matter():
    assert rms(field(0) + 1000) == pytest.approx(rms(field(0)), rel=1e-6)


def test_unit_scales():
    assert rms(1e-6 * field(0)) == pytest.approx(1e-6 * rms(field(0)), rel=1e-6)


def test_correlated_noise():
    noise = gaussian_filter(np.random.default_rng(0).normal(size=(512, 512)), 1.7)
    assert rms(noise) == pytest.approx(noise.std(), rel=0.01)


def test_only_valid_and_finite_pixels_count():
    image = field(1)
    image[:100] *= 50
    image[200, 200:300] = np.nan
    image[201, :] = np.inf
    valid = np.ones(image.shape, bool)
    valid[:100] = False
    assert rms(image, valid) == pytest.approx(1, rel=0.01)


@pytest.mark.parametrize(
    ("image", "valid", "text"),
    [
        (np.full((5, 5), np.nan), None, "image must have noise, got no valid pixel"),
        (np.ones((5, 5)), np.zeros((5, 5), bool), "image must have noise, got no valid pixel"),
        (np.ones((5, 5)), None, "image must have noise, got pixels that are all equal"),
        (np.zeros((5, 5)), None, "image must have noise, got no valid pixel other than 0"),
    ],
)
def test_refused(image, valid, text):
    with pytest.raises(ValueError, match=text):
        rms(image, valid)


def test_blanked_pixels_are_no_noise():
    image = field(0)
    image[: len(image) * 2 // 3] = 0
    assert rms(image) == pytest.approx(1, rel=0.02)
