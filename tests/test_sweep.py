"""Fluxes and positions drawn by a sweep, against what the likelihood says in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from casa_ddpm.candidates import find_candidates
from casa_ddpm.census import Census
from casa_ddpm.dirty import Beam
from casa_ddpm.gaussians import Gaussians
from casa_ddpm.likelihood import Likelihood
from casa_ddpm.population import Population, draw_fluxes
from casa_ddpm.psf import gaussian
from casa_ddpm.sweep import ROUNDS, Sweep, find_structure

NPIX, BEAM, KERNEL = 64, 4.0, 2.0
DRAWS = 150


class Points(Population):
    """Points of any flux."""

    def density(self, flux, area=0.0):
        return (flux > self.least) * (np.asarray(area) < 1e-3)


class Flat(Census):
    """Of a field of which that is known beforehand."""

    def others(self, k):
        return Points(self.noise, self.least)


@pytest.fixture(scope="module")
def likelihood():
    """A round Gaussian PSF of 4 pixels and noise of rms 1 with its autocorrelation."""
    psf = gaussian(Beam(BEAM, BEAM, 0).covariance(1), NPIX).double()
    return Likelihood(psf, 1.0, KERNEL)


def drawn(*sources, npix=NPIX):
    """Points (y, x, flux) as a network draws them."""
    y, x = np.mgrid[:npix, :npix]
    sigma2 = (KERNEL / 2.3548) ** 2
    sky = np.zeros((npix, npix))
    for row, column, flux in sources:
        light = np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * sigma2))
        sky += flux * light / light.sum()
    return sky


def around(*places, radius=6, npix=NPIX):
    """Regions about places, each pixel to the nearest."""
    y, x = np.mgrid[:npix, :npix]
    away = np.stack([np.hypot(y - row, x - column) for row, column in places])
    return np.where(away.min(0) < radius, away.argmin(0) + 1, 0)


def redraw(sky, regions, data, likelihood, census=Flat, least=1.0, draws=DRAWS):
    """Skies after a sweep, shape (draws, ny, nx)."""
    sweep = Sweep(
        regions, data, likelihood, least, Gaussians(likelihood, BEAM, KERNEL), census=census
    )
    white = np.random.default_rng(1).normal(size=(draws, ROUNDS[0], NPIX, NPIX))
    return np.stack([sweep.redraw(sky, noise) for noise in white.astype(np.float32)])


def fluxes(skies, regions, label=1):
    return (skies * (regions == label)).sum((1, 2))


def centroids(skies):
    y, x = np.mgrid[:NPIX, :NPIX]
    total = skies.sum((1, 2))
    return (skies * y).sum((1, 2)) / total, (skies * x).sum((1, 2)) / total


def noise(likelihood, seed, npix=NPIX):
    white = torch.randn(likelihood.shape, generator=torch.Generator().manual_seed(seed))
    return likelihood.correlated(white.double())[:npix, :npix]


def test_flux_is_the_matched_filters_with_the_noise_of_a_point(likelihood):
    """Whatever flux the realisation had: mean and width of the closed form."""
    data = likelihood.predict(torch.from_numpy(drawn((32, 32, 20)))) + noise(likelihood, 3)
    # For noise with the PSF as its autocorrelation the matched filter is the peak itself.
    best = float(data[32, 32])
    regions = around((32, 32))
    for start in (14, 20, 31):
        skies = redraw(drawn((32, 32, start)), regions, data, likelihood)
        found = fluxes(skies, regions)
        # Moving a source to where the data want it raises its flux a little.
        assert found.mean() == pytest.approx(best, abs=0.25)
        assert found.std() == pytest.approx(1, rel=0.17)


def test_position_has_the_scatter_that_the_noise_allows(likelihood):
    """0.425 beam / S/N along each axis (Condon 1997), about where the data have it."""
    data = likelihood.predict(torch.from_numpy(drawn((32.3, 31.8, 20))))
    skies = redraw(drawn((31.9, 32.1, 20)), around((32, 32)), data, likelihood)
    for found, true in zip(centroids(skies), (32.3, 31.8), strict=True):
        limit = 0.425 * BEAM / 20
        assert found.mean() == pytest.approx(true, abs=4 * limit / np.sqrt(DRAWS) + 0.01)
        assert found.std() == pytest.approx(limit, rel=0.17)


def test_neighbours_are_told_apart(likelihood):
    """Two sources 1.3 beams apart that a realisation has shared wrongly."""
    places = (32, 29.4), (32, 34.6)
    data = likelihood.predict(torch.from_numpy(drawn((*places[0], 30), (*places[1], 12))))
    regions = around(*places)
    skies = redraw(drawn((*places[0], 24), (*places[1], 18)), regions, data, likelihood, draws=100)
    first, second = fluxes(skies, regions, 1), fluxes(skies, regions, 2)
    assert (first + second).mean() == pytest.approx(42, abs=1.0)
    assert abs(first.mean() - 30) < 3 and abs(second.mean() - 12) < 3


def test_prior_takes_the_selection_bias_away(likelihood):
    """The mean is that of likelihood times prior, integrated on a grid."""
    data = likelihood.predict(torch.from_numpy(drawn((32, 32, 4))))
    regions = around((32, 32))

    class Steep(Points):
        def density(self, flux, area=0.0):
            return np.maximum(flux, self.least) ** -2.5 * super().density(flux, area)

    class Known(Flat):
        def others(self, k):
            return Steep(self.noise, self.least)

    found = fluxes(redraw(drawn((32, 32, 4)), regions, data, likelihood, Known), regions)
    grid = np.linspace(1, 10, 2000)
    density = np.exp(-((grid - 4) ** 2) / 2) * grid**-2.5
    mean = (grid * density).sum() / density.sum()
    deviation = np.sqrt(((grid - mean) ** 2 * density).sum() / density.sum())
    assert found.mean() == pytest.approx(mean, abs=4 * deviation / np.sqrt(DRAWS) + 0.1)
    assert found.std() == pytest.approx(deviation, rel=0.15)
    assert mean < 3.5


def test_extended_source_keeps_its_shape_and_gets_its_flux(likelihood):
    """A box too large to be moved: one factor for all of it."""
    y, x = np.mgrid[:NPIX, :NPIX]
    ring = np.exp(-((np.hypot(y - 32, x - 32) - 16) ** 2) / 4)
    ring *= 400 / ring.sum()
    data = likelihood.predict(torch.from_numpy(ring))
    regions = (ring > 1e-4).astype(int)
    skies = redraw(0.7 * ring, regions, data, likelihood, draws=20)
    found = fluxes(skies, regions)
    assert found.mean() == pytest.approx(400, rel=0.02)
    inside = skies[0][regions > 0]
    assert np.ptp(inside / ring[regions > 0]) < 1e-6


def test_what_is_not_held_stays(likelihood):
    """Light below the least flux, and light outside of the regions."""
    sky = drawn((32, 32, 0.5), (10, 50, 3))
    data = torch.zeros(NPIX, NPIX, dtype=torch.float64)
    (found,) = redraw(sky, around((32, 32)), data, likelihood, draws=1)
    np.testing.assert_array_equal(found, sky)
    (found,) = redraw(sky, np.zeros((NPIX, NPIX), int), data, likelihood, draws=1)
    np.testing.assert_array_equal(found, sky)


def test_a_source_does_not_depend_on_what_else_there_is(likelihood):
    """Its random numbers are those of its place, not of its turn."""
    far, near = (12, 12), (50, 50)
    both = drawn((*far, 15), (*near, 15))
    data = likelihood.predict(torch.from_numpy(both))
    regions = around(far, near)
    (one,) = redraw(both, regions, data, likelihood, draws=1)
    (other,) = redraw(both, np.where(regions == 2, 1, 0), data, likelihood, draws=1)
    np.testing.assert_allclose(one[regions == 2].sum(), other[regions == 2].sum(), rtol=1e-3)


def test_density_is_that_of_the_fields():
    """Against a histogram of what fields are drawn with."""
    rng = np.random.default_rng(0)
    flux = np.concatenate([draw_fluxes(rng, 20) for _ in range(20_000)])
    edges = np.array([0.5, 1, 2, 4, 8, 15, 30, 100, 300, 900])
    counts, _ = np.histogram(flux, edges)
    for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True):
        grid = np.linspace(low, high, 4001)
        share = np.trapezoid(Population().density(grid), grid)
        assert count / len(flux) == pytest.approx(share, rel=0.06), (low, high)


def test_structure_is_what_no_gaussian_describes(likelihood):
    """A ring is, a point beside it is not."""
    y, x = np.mgrid[:NPIX, :NPIX]
    away = np.hypot(y - 20, x - 20)
    ring = np.exp(-((away - 8) ** 2) / 4)
    sky = ring + drawn((50, 50, 30.0))
    regions = np.where(away < 14, 1, 0) + 2 * around((50, 50))
    found = find_structure(sky, regions, Gaussians(likelihood, BEAM, KERNEL))
    assert found[regions == 1] == pytest.approx(sky[regions == 1])
    assert not found[regions != 1].any()


def test_sources_that_touch_are_drawn_more_often(likelihood):
    alone = around((20, 20), (44, 44))
    touching = around((26, 26), (26, 36), (36, 26), (36, 36), radius=9)
    rounds = [
        Sweep(
            r, torch.zeros(NPIX, NPIX), likelihood, 1.0, Gaussians(likelihood, BEAM, KERNEL)
        ).rounds
        for r in (alone, touching, np.zeros((NPIX, NPIX), int))
    ]
    assert rounds == [ROUNDS[0], ROUNDS[1], ROUNDS[0]]


@pytest.mark.parametrize(("apart", "crowded"), [(12, True), (115, False)])
def test_crowded_fields_take_more_rounds(apart, crowded):
    """Points, one in so many beam areas, of S/N 2 to 50, and what single realisations hold."""
    npix, rng = 160, np.random.default_rng(3)
    psf = gaussian(Beam(BEAM, BEAM, 0).covariance(1), npix).double()
    likelihood = Likelihood(psf, 1.0, KERNEL)
    number = round(npix**2 / (1.133 * BEAM**2) / apart)
    points = np.column_stack(
        [rng.uniform(0, npix, (number, 2)), 2 * 25 ** rng.uniform(size=number)]
    )
    strays = np.column_stack([rng.uniform(0, npix, (50, 2)), np.full(50, 0.1)])
    regions = find_candidates(drawn(*points, *strays, npix=npix), BEAM, KERNEL, 0.05)
    gaussians = Gaussians(likelihood, BEAM, KERNEL)
    sweep = Sweep(regions, torch.zeros(npix, npix), likelihood, 1.0, gaussians)
    assert sweep.rounds > ROUNDS[0] + 1 if crowded else sweep.rounds == ROUNDS[0]


def test_many_sources_do_not_drive_each_other_away():
    """Sidelobes of a snapshot do not fall off: drawn side by side, each would answer for all."""
    npix, ripple = 128, 0.15
    psf = gaussian(Beam(BEAM, BEAM, 0).covariance(1), npix).double()
    wave = torch.cos(2 * np.pi / 11 * (torch.arange(npix) - npix // 2))
    likelihood = Likelihood((1 - ripple) * psf + ripple * wave, 1.0, KERNEL)
    places = np.random.default_rng(4).uniform(8, npix - 8, (60, 2))
    start, truth = (drawn(*((*place, flux) for place in places), npix=npix) for flux in (4, 6))
    data = likelihood.predict(torch.from_numpy(truth)) + noise(likelihood, 2, npix)
    regions = around(*places, npix=npix)
    gaussians = Gaussians(likelihood, BEAM, KERNEL)
    sweep = Sweep(regions, data, likelihood, 1.0, gaussians, census=Flat)
    white = np.random.default_rng(1).normal(size=(2, npix, npix)).astype(np.float32)

    def left():
        return (data - likelihood.predict(torch.from_numpy(sweep.redraw(start, white)))).std()

    assert left() < 1.4
    # As it is if far sidelobes are left to the next round.
    sweep.ground.sidelobes = 0.0
    assert left() > 3
