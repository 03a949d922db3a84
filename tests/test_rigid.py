"""Light that keeps its shape, drawn to fit what the data say of its flux and place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import special

from casa_ddpm import rigid
from casa_ddpm.coupling import Coupling
from casa_ddpm.dirty import Beam
from casa_ddpm.likelihood import Likelihood
from casa_ddpm.population import Population
from casa_ddpm.psf import gaussian

NPIX, BEAM, KERNEL = 64, 4.0, 2.0


class Flat(Population):
    """Of any flux."""

    def density(self, flux, area=0.0):
        return (np.asarray(flux) > self.least).astype(float)


@pytest.fixture(scope="module")
def likelihood():
    """A round Gaussian PSF of 4 pixels and noise of rms 1 with its autocorrelation."""
    psf = gaussian(Beam(BEAM, BEAM, 0).covariance(1), NPIX).double()
    return Likelihood(psf, 1.0, KERNEL)


def light(y0, x0, flux):
    """A ring, which no Gaussian describes."""
    y, x = np.indices((NPIX, NPIX))
    ring = np.exp(-((np.hypot(y - y0, x - x0) - 4) ** 2) / 2)
    return flux * ring / ring.sum()


def drawn(likelihood, now, truth, draws=200, least=1.0):
    """Fluxes and centroids of light `now` that is drawn for the data of `truth`."""
    left = likelihood.predict(torch.from_numpy(truth - now))
    gradient = likelihood.sharpened(left).numpy()
    box = slice(16, 48), slice(16, 48)
    coupling, known = Coupling(likelihood), Flat(likelihood.noise, least)
    random = np.random.default_rng(0)
    found = np.stack(
        [rigid.redraw(now[box], gradient[box], coupling, known, random) for _ in range(draws)]
    )
    fluxes = found.sum((1, 2))
    y, x = np.indices(found.shape[1:])
    centres = np.stack([(found * axis).sum((1, 2)) / fluxes for axis in (y, x)], 1) + 16
    return fluxes, centres


def test_flux_and_place_are_those_of_the_data(likelihood):
    now, truth = light(32, 32, 250.0), light(32.2, 31.7, 300.0)
    fluxes, centres = drawn(likelihood, now, truth)
    assert fluxes.mean() == pytest.approx(300, abs=3)
    assert centres.mean(0) == pytest.approx([32.2, 31.7], abs=0.05)


def test_scatter_is_that_of_the_likelihood(likelihood):
    """The error of a template's flux is the noise over the root of its power (Kay 1993, 4.4)."""
    truth = light(32, 32, 300.0)
    fluxes, _ = drawn(likelihood, truth, truth, 500)
    one = torch.from_numpy(truth / 300)
    power = float((one * likelihood.sharpened(likelihood.predict(one))).sum())
    assert fluxes.std() == pytest.approx(1 / np.sqrt(power), rel=0.1)


def test_no_flux_below_the_least(likelihood):
    fluxes, _ = drawn(likelihood, light(32, 32, 3.0), light(32, 32, 0.0), least=2.0)
    # A tenth of a standard deviation is how finely fluxes are told apart.
    assert fluxes.min() > 1.5 and np.median(fluxes) < 6


def test_the_mean_of_drawn_fluxes_is_that_of_the_data():
    """By what they are drawn from, not by half a step of its grid less."""
    normal = special.ndtri((np.arange(400) + 0.5) / 400)
    factors = [rigid._factor(100.0, 0.0, 0.1, Flat(1.0, 1.0), number) for number in normal]
    assert np.mean(factors) == pytest.approx(1, abs=1e-4)
    assert np.std(factors) == pytest.approx(0.1, rel=0.02)


def test_nothing_moves_by_more_than_a_pixel(likelihood):
    """A linear fit says nothing of what is farther away."""
    _, centres = drawn(likelihood, light(32, 32, 100.0), light(36, 32, 100.0))
    assert np.abs(centres - 32).max() < 0.1
