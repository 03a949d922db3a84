"""Image metrics against their definitions."""

import numpy as np
import pytest

from casa_ddpm.benchmark import image_metrics
from casa_ddpm.benchmark.image_metrics import SCALE, l2, normalised, psnr, signal_to_error, ssim


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    truth = SCALE * rng.uniform(0, 1, (32, 40))
    return truth + 0.02 * SCALE * rng.normal(size=truth.shape), truth


def test_l2_by_hand():
    assert l2(np.array([[1.0, 2]]), np.array([[4.0, 6]])) == 5


def test_normalisation_by_hand():
    x = SCALE * np.array([0, 1 / 4, 9 / 16, 1, 4, -9 / 16])
    np.testing.assert_allclose(normalised(x), [0, 0, 0.5, 1, 1, 0.5])
    assert normalised(np.array([0.001]), scale=1, gamma=10) == pytest.approx(2 * 10**-0.3 - 1)


def test_psnr_is_its_definition(pair):
    a, b = (np.clip(2 * np.sqrt(np.abs(x) / SCALE) - 1, 0, 1) for x in pair)
    assert psnr(*pair) == pytest.approx(-10 * np.log10(np.mean((a - b) ** 2)))
    assert psnr(pair[1], pair[1]) == np.inf


def test_ssim(pair):
    assert ssim(pair[1], pair[1]) == 1
    assert 0.9 < ssim(*pair) < 1
    # Of two constant images only the luminance is left, with C1 = 0.01^2.
    low, high = (np.full((9, 9), SCALE * ((1 + y) / 2) ** 2) for y in (0.2, 0.6))
    assert ssim(low, high) == pytest.approx((2 * 0.12 + 1e-4) / (0.04 + 0.36 + 1e-4))


def test_signal_to_error():
    truth = np.array([[3.0, 4]])
    assert signal_to_error(1.1 * truth, truth) == pytest.approx(20)
    assert signal_to_error(truth, truth) == np.inf
    assert np.isnan(signal_to_error(truth, 0 * truth))


@pytest.mark.parametrize("name", ["l2", "psnr", "ssim", "signal_to_error"])
def test_refuses_other_shapes(name):
    with pytest.raises(
        ValueError, match=r"image must have the shape of truth \(8, 8\), got \(8, 9"
    ):
        getattr(image_metrics, name)(np.zeros((8, 9)), np.zeros((8, 8)))


@pytest.mark.parametrize("name", ["scale", "gamma"])
def test_refuses_scales(name):
    with pytest.raises(ValueError, match=f"{name} must be positive, got 0"):
        normalised(np.zeros(3), **{name: 0})
