"""The noise estimate: unbiased on Gaussian noise, deaf to sources, clear about nonsense."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from casa_ddpm.noise import by_rings, rms


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


def plane(npix=128, reach=0.14):
    """Weights of a uv plane: visibilities that thin out along the radius, shape (npix, npix)."""
    rng = np.random.default_rng(3)
    cells = np.rint(rng.normal(scale=reach * npix, size=(20_000, 2))).astype(int)
    weight = np.zeros((npix, npix))
    np.add.at(weight, tuple(np.concatenate([cells, -cells]).T % npix), 1)
    return weight


def seen(weight):
    """Its PSF, centred."""
    psf = np.fft.fftshift(np.fft.ifft2(weight).real)
    return psf / psf.max()


def observed_noise(weight, seed):
    """Noise of unit rms of visibilities with these weights in the image."""
    white = np.fft.fft2(np.random.default_rng(seed).normal(size=weight.shape))
    noise = np.fft.ifft2(white * np.sqrt(weight)).real
    return noise * np.sqrt(weight.size / weight.sum())


def diffuse(weight, brightness):
    """Clouds all over the image, as the array sees them, of that rms."""
    rng = np.random.default_rng(5)
    sky = gaussian_filter(rng.normal(size=weight.shape), 6, mode="wrap")
    image = np.fft.ifft2(np.fft.fft2(sky) * weight).real
    return brightness * image / image.std()


@pytest.mark.parametrize("seed", range(5))
def test_noise_by_rings_is_the_rms_where_there_is_no_sky(seed):
    weight = plane()
    noise = observed_noise(weight, seed)
    assert by_rings(noise, seen(weight)) == rms(noise) == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("brightness", [2.0, 5.0, 30.0])
def test_noise_by_rings_below_a_diffuse_sky_that_fills_the_image(brightness):
    weight = plane()
    image = observed_noise(weight, 0) + diffuse(weight, brightness)
    assert rms(image) > 0.9 * brightness
    assert by_rings(image, seen(weight)) == pytest.approx(1, rel=0.15)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("width", [0.1, 0.25, np.inf])
def test_noise_by_rings_of_tapered_and_of_uniform_weights(width, seed):
    density = plane()
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(128), np.fft.fftfreq(128)))
    taper = np.exp(-((radius / width) ** 2))
    for imaging in (taper, taper / np.maximum(density, 1)):
        # The PSF has the weights, the noise's power their squares.
        noise = observed_noise(density * imaging**2, seed)
        assert by_rings(noise, seen(density * imaging)) == pytest.approx(rms(noise), rel=1e-9)


def test_noise_by_rings_is_not_less_than_is_possible():
    weight = plane()
    image = observed_noise(weight, 0) + diffuse(weight, 5.0)
    assert by_rings(image, seen(weight), least=2.0) == 2.0
    assert by_rings(image, seen(weight), least=100.0) == rms(image)


@pytest.mark.parametrize("seed", range(4))
def test_noise_by_rings_of_an_image_without_its_psf(seed):
    """White noise smoothed with the Gaussian that stands in for the PSF."""
    white = np.random.default_rng(seed).normal(size=(128, 128))
    gaussian = np.zeros((128, 128))
    gaussian[64, 64] = 1
    gaussian = gaussian_filter(gaussian, 2)
    noise = gaussian_filter(white, 2, mode="wrap")
    assert by_rings(noise, gaussian / gaussian.max()) == pytest.approx(rms(noise), rel=1e-9)


@pytest.mark.parametrize("npix", [16, 32])
@pytest.mark.parametrize("reach", [0.02, 0.05, 0.14])
def test_noise_by_rings_of_a_few_beams(npix, reach):
    """A few modes of the uv plane, or a single one, are not cut into rings."""
    weight = plane(npix, reach)
    noise = observed_noise(weight, 0)
    assert by_rings(noise, seen(weight)) == rms(noise)


def test_noise_by_rings_of_valid_pixels():
    weight = plane()
    noise = observed_noise(weight, 0)
    valid = np.hypot(*np.mgrid[-64:64, -64:64]) < 50
    blanked = np.where(valid, noise, np.nan)
    assert by_rings(blanked, seen(weight), valid) == pytest.approx(rms(noise, valid), rel=1e-9)


def test_noise_by_rings_needs_noise():
    with pytest.raises(ValueError, match="image must have noise"):
        by_rings(np.zeros((16, 16)), np.eye(16))
