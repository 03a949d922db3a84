"""Patterns of pixels against explicit Fourier transforms of what they stand for."""

import numpy as np
import pytest
from scipy.signal import fftconvolve

from casa_ddpm.offset import Stamp

PLACE, IMAGE = np.array([40.37, 51.81]), (120, 110)
#: Spatial frequencies (v, u) [cycles/pixel], within the band of an image of four pixels a beam.
FREQUENCIES = np.random.default_rng(0).uniform(-0.36, 0.36, (50, 2))


def spectrum(stamp, images):
    """Explicit Fourier transform of images on a stamp at FREQUENCIES, shape (n, 50)."""
    side = np.arange(images.shape[-1])
    y, x = (
        np.exp(-2j * np.pi * np.outer(f, side + c))
        for f, c in zip(FREQUENCIES.T, stamp.corner, strict=True)
    )
    return np.einsum("ky,nyx,kx->nk", y, images, x)


@pytest.mark.parametrize("shape", [(0, 0, 0), (2.0, 0.5, 1.0), (9.0, -3.0, 4.0)])
def test_templates_are_a_gaussian_and_its_derivatives(shape):
    stamp = Stamp.at(PLACE, np.array(shape, float), IMAGE)
    v, u = FREQUENCIES.T
    yy, yx, xx = shape
    whole = np.exp(-2j * np.pi * FREQUENCIES @ PLACE)
    whole = whole * np.exp(-2 * np.pi**2 * (yy * v * v + 2 * yx * v * u + xx * u * u))
    factors = [1, -2j * np.pi * v, -2j * np.pi * u]
    factors += [-2 * np.pi**2 * part for part in (v * v, 2 * v * u, u * u)]
    got = spectrum(stamp, stamp.templates)
    for template, factor in zip(got, factors, strict=True):
        np.testing.assert_allclose(template, factor * whole, atol=3e-6 * np.abs(factor).max())


def test_moved_stamp_is_the_pattern_of_its_new_place():
    stamp = Stamp.at(PLACE, np.zeros(3), IMAGE)
    moved = stamp.moved(PLACE + [1.3, -2.2], np.zeros(3))
    assert np.array_equal(moved.corner, stamp.corner)
    expected = np.exp(-2j * np.pi * FREQUENCIES @ (PLACE + [1.3, -2.2]))
    np.testing.assert_allclose(spectrum(moved, moved.templates[:1])[0], expected, atol=3e-6)


@pytest.mark.parametrize("place", [PLACE, np.array([2.2, 60.4]), np.array([79.9, -0.3])])
def test_add_and_cut_are_adjoint_also_beyond_the_edge(place):
    random = np.random.default_rng(1)
    stamp, image = Stamp.at(place, np.zeros(3), (80, 64)), random.normal(size=(80, 64))
    weights, added = random.normal(size=6), np.zeros((80, 64))
    stamp.add(added, weights)
    here = np.tensordot(weights, stamp.templates, 1)
    assert (added * image).sum() == pytest.approx((here * stamp.cut(image)).sum(), rel=1e-10)


def test_seen_is_a_convolution_with_the_psf():
    psf = np.random.default_rng(2).normal(size=(120, 110))
    one, other = (
        Stamp.at(PLACE, np.zeros(3), IMAGE),
        Stamp.at(np.array([70.2, 44.6]), np.ones(3), IMAGE),
    )
    image = np.zeros((120, 110))
    other.add(image, [1.0])
    whole = fftconvolve(image, psf)[60 : 60 + 120, 55 : 55 + 110]
    seen = one.seen(other, psf, 1)
    assert seen.shape == (1, *one.templates.shape[1:])
    # A PSF image that is shorter than the distance counts as zero, here as there.
    np.testing.assert_allclose(seen[0], one.cut(whole), atol=1e-9)
