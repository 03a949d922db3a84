"""Convolution against scipy's, and resampling of images that are band-limited."""

import math

import numpy as np
import pytest
import torch
from scipy.signal import fftconvolve

from casa_ddpm.fourier import convolve, good_size, resample


@pytest.mark.parametrize(
    ("image", "kernel"), [((20, 31), (7, 7)), ((16, 16), (32, 33)), ((9, 8), (17, 4))]
)
def test_convolve_is_scipys(image, kernel):
    rng = np.random.default_rng(0)
    a, k = rng.normal(size=(3, *image)), rng.normal(size=(3, *kernel))
    ky, kx = kernel
    for i, got in enumerate(convolve(torch.tensor(a), torch.tensor(k))):
        whole = fftconvolve(a[i], k[i])
        expected = whole[ky // 2 : ky // 2 + image[0], kx // 2 : kx // 2 + image[1]]
        np.testing.assert_allclose(got, expected, atol=1e-12)


def test_convolve_with_a_delta_is_nothing():
    image = torch.randn(2, 15, 22, generator=torch.Generator().manual_seed(0))
    delta = torch.zeros(30, 44)
    delta[15, 22] = 1
    torch.testing.assert_close(convolve(image, delta), image)


def test_good_size():
    def smooth(n):
        for prime in (2, 3, 5):
            while n % prime == 0:
                n //= prime
        return n == 1

    good = [n for n in range(2, 700, 2) if smooth(n)]
    for n in range(1, 600):
        assert good_size(n) == next(g for g in good if g >= n)


@pytest.mark.parametrize("old", [(48, 64), (47, 63)])
@pytest.mark.parametrize("new", [(64, 40), (61, 45), (96, 128), (30, 31)])
def test_resample_is_exact_for_band_limited_images(old, new):
    random = np.random.default_rng(1)
    y, x = ([np.arange(n) / n for n in s] for s in zip(old, new, strict=True))
    expected, image = np.zeros(new), np.zeros(old)
    for _ in range(20):
        ky, kx = random.integers(-14, 15, 2)
        phase, height = random.uniform(0, 2 * math.pi), random.normal()
        for target, k in ((image, 0), (expected, 1)):
            wave = 2 * math.pi * (ky * y[k][:, None] + kx * x[k]) + phase
            target += height * np.cos(wave)
    np.testing.assert_allclose(resample(torch.tensor(image), new), expected, atol=1e-10)


def test_resample_of_a_batch_is_each():
    images = torch.randn(2, 3, 20, 22, generator=torch.Generator().manual_seed(0))
    got = resample(images, (32, 24))
    torch.testing.assert_close(got[1, 2], resample(images[1, 2], (32, 24)))


def test_resample_keeps_the_mean():
    image = torch.rand(33, 40, generator=torch.Generator().manual_seed(0))
    assert float(resample(image, (50, 21)).mean()) == pytest.approx(float(image.mean()), rel=1e-5)
