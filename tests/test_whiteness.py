"""The power of a residual on large scales: 1 for noise, more for what is left of the sky."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from casa_ddpm import simulator
from casa_ddpm.benchmark.field import _optics
from casa_ddpm.benchmark.protocols import PROTOCOLS
from casa_ddpm.benchmark.whiteness import large_scale_power

NPIX = 96


def optics(protocol, index=0):
    law = PROTOCOLS[protocol]
    return _optics(law.array(index), law.declination(index), law.duration(index), NPIX)


def dirty_beam(known):
    """The PSF within the image's size, as a dirty image comes with."""
    part = slice(NPIX // 2, NPIX // 2 + NPIX)
    psf = known.psf.numpy()[part, part]
    return psf / psf.max()


def noises(known, number):
    return [simulator.draw_noise(known, NPIX, seed).numpy() for seed in range(number)]


@pytest.mark.parametrize(("protocol", "index"), [("independent", 0), ("arrays", 2), ("arrays", 4)])
def test_noise_has_the_power_of_noise(protocol, index):
    """ALMA, VLA B and MeerKAT, mean of 40 fields; within 4 standard errors and the bias."""
    known = optics(protocol, index)
    power = [
        large_scale_power(2 * image, dirty_beam(known), known.scale, 2)
        for image in noises(known, 40)
    ]
    allowed = 4 * np.std(power) / np.sqrt(len(power)) + 0.01
    assert np.std(power) < 0.3
    assert np.mean(power) == pytest.approx(1, abs=allowed)


def test_uncorrelated_noise_by_hand():
    """Its PSF is one pixel: a quarter of its power would be a quarter of this."""
    psf = np.zeros((64, 48))
    psf[32, 24] = 1
    rng = np.random.default_rng(1)
    power = [large_scale_power(rng.normal(size=psf.shape), psf, 2.0) for _ in range(50)]
    assert np.mean(power) == pytest.approx(1, abs=0.05)
    image = rng.normal(size=psf.shape)
    assert large_scale_power(image / 2, psf, 2.0) == pytest.approx(
        large_scale_power(image, psf, 2.0) / 4
    )


def test_left_over_structure_is_in_excess():
    """A wide source adds its whole power, of which the rms shows a third; a fine one nothing."""
    known = optics("independent")
    psf, (noise,) = dirty_beam(known), noises(known, 1)
    point = np.zeros((NPIX, NPIX))
    point[40, 50] = 1
    wide, finer = (gaussian_filter(point, width * known.scale) for width in (1.5, 0.2))
    images = {"wide": wide, "fine": finer - gaussian_filter(finer, known.scale / 2)}
    power, rms = {}, {}
    for name, image in images.items():
        left = noise + 0.6 * image / np.std(image)
        power[name], rms[name] = large_scale_power(left, psf, known.scale), np.std(left)
    plain = large_scale_power(noise, psf, known.scale)
    assert power["wide"] > plain + 0.8 and abs(power["fine"] - plain) < 0.15
    assert rms["wide"] == pytest.approx(rms["fine"], rel=0.1) and max(rms.values()) < 1.3


def test_noise_in_the_model_is_missing():
    """A residual less its own large scales has lost most of their power."""
    known = optics("independent")
    (noise,) = noises(known, 1)
    fitted = noise - gaussian_filter(noise, known.scale)
    assert large_scale_power(fitted, dirty_beam(known), known.scale) < 0.5
    assert np.std(fitted) > 0.6


def test_undefined_pixels_are_left_out():
    """Half of an image has the power of half of it."""
    known = optics("independent")
    power = []
    for image in noises(known, 20):
        image[:, : NPIX // 2] = np.nan
        power.append(large_scale_power(image, dirty_beam(known), known.scale))
    assert np.mean(power) == pytest.approx(1, abs=4 * np.std(power) / np.sqrt(20) + 0.02)
    assert np.isnan(large_scale_power(image * np.nan, dirty_beam(known), known.scale))


def test_refused():
    image = np.ones((8, 8))
    with pytest.raises(ValueError, match="beam must be positive, got 0"):
        large_scale_power(image, image, 0)
    with pytest.raises(ValueError, match="noise must be positive, got -1"):
        large_scale_power(image, image, 3, -1)
    with pytest.raises(ValueError, match=r"psf must have the shape of residual \(8, 8\), got \(8,"):
        large_scale_power(image, np.ones((8, 9)), 3)
