"""The clean beam: fitted to exact Gaussians and real PSFs, drawn, and shown to the network."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from casa_ddpm import arrays
from casa_ddpm.dirty import Beam
from casa_ddpm.psf import ellipse, fit_beam, gaussian
from casa_ddpm.uv import Observation


@pytest.mark.parametrize("beam", [Beam(0.9, 0.6, 30), Beam(0.8, 0.8, 0), Beam(1.5, 0.5, 120)])
@pytest.mark.parametrize("npix", [64, 65])
def test_fit_of_a_gaussian_is_exact(beam, npix):
    psf = gaussian(beam.covariance(0.1), npix).numpy()
    got = fit_beam(psf, 0.1)
    np.testing.assert_allclose(got.covariance(0.1), beam.covariance(0.1), rtol=1e-4, atol=1e-4)


def real_psf(npix=64):
    """A PSF of a short ALMA track by an explicit DFT."""
    observation = Observation(arrays.load("alma.cycle5.3"), -5.0, 1.0, 600, 300)
    uv = observation.uv()
    cell = 0.12 / 3600 * math.pi / 180
    pixel = (np.arange(npix) - npix // 2) * cell
    rows = np.exp(2j * np.pi * uv[:, 1:] * pixel)
    columns = np.exp(-2j * np.pi * uv[:, :1] * pixel)
    return np.einsum("ky,kx->yx", rows, columns).real / len(uv)


def test_fit_of_a_real_psf_is_near_the_nonlinear_one():
    psf = real_psf()
    y, x = np.nonzero(psf > 0.5)
    dy, dx = y - 32, x - 32

    def error(p):
        return np.exp(-0.5 * (p[0] * dy**2 + 2 * p[1] * dy * dx + p[2] * dx**2)) - psf[y, x]

    a, b, c = least_squares(error, [0.2, 0, 0.2]).x
    expected = Beam.from_covariance(np.linalg.inv([[a, b], [b, c]]), 0.12)
    got = fit_beam(psf, 0.12)
    assert got.major == pytest.approx(expected.major, rel=0.04)
    assert got.minor == pytest.approx(expected.minor, rel=0.04)
    assert got.pa == pytest.approx(expected.pa, abs=2)


def test_sidelobes_do_not_matter():
    psf = gaussian(Beam(6, 4, 40).covariance(1.0), 65).numpy()
    psf[50:58, 50:58] = 0.6
    assert fit_beam(psf, 1.0).major == pytest.approx(6, rel=1e-3)


@pytest.mark.parametrize(
    ("psf", "text"),
    [
        (np.ones((16, 16)), "main lobe that is resolved and inside"),
        (np.eye(1, 16 * 16, 8 * 16 + 8).reshape(16, 16), "main lobe that is resolved and inside"),
        (np.zeros((16, 16)), "main lobe that is resolved and inside"),
        (np.roll(gaussian(np.eye(2) * 4, 32).numpy(), 3, 0), "falls off in every direction"),
    ],
)
def test_what_has_no_main_lobe_is_refused(psf, text):
    with pytest.raises(ValueError, match=f"psf must have a .*{text}"):
        fit_beam(psf, 0.1)


def test_gaussian_is_centred_with_peak_one():
    image = gaussian(np.array([[9.0, 2.0], [2.0, 4.0]]), 40)
    assert image[20, 20] == 1
    y, x = torch.meshgrid(torch.arange(40) - 20, torch.arange(40) - 20, indexing="ij")
    moments = [(image * a * b).sum() / image.sum() for a, b in ((y, y), (y, x), (x, x))]
    np.testing.assert_allclose(moments, [9, 2, 4], rtol=1e-3)


@pytest.mark.parametrize("pa", [0, 30, 90, 170])
def test_ellipse_is_the_complex_ellipticity(pa):
    e = (3.0 - 1.0) / (3.0 + 1.0) * np.exp(2j * np.radians(pa))
    np.testing.assert_allclose(ellipse(Beam(3.0, 1.0, pa)), [e.real, e.imag], atol=1e-12)


def test_ellipse_of_a_round_beam_is_zero():
    np.testing.assert_allclose(ellipse(Beam(2.0, 2.0, 77)), 0)
