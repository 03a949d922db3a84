"""Whether there is a source: against quadrature, and against how often there is one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import integrate, special

from casa_ddpm import presence
from casa_ddpm.census import Census
from casa_ddpm.dirty import FWHM, Beam
from casa_ddpm.gaussians import Gaussians, Shape
from casa_ddpm.likelihood import Likelihood
from casa_ddpm.population import Population
from casa_ddpm.presence import SIZES, Presence, find_sites
from casa_ddpm.psf import gaussian
from casa_ddpm.sweep import ROUNDS, Sweep

NPIX, BEAM, KERNEL = 48, 4.0, 2.0
PLACE = (24, 24)


@pytest.fixture(scope="module")
def likelihood():
    """A round Gaussian PSF of 4 pixels and noise of rms 1 with its autocorrelation."""
    psf = gaussian(Beam(BEAM, BEAM, 0).covariance(1), NPIX).double()
    return Likelihood(psf, 1.0, KERNEL)


def point(flux, place=PLACE):
    """A point as a network draws it."""
    y, x = np.mgrid[:NPIX, :NPIX]
    variance = (KERNEL / FWHM) ** 2
    away = (y - place[0]) ** 2 + (x - place[1]) ** 2
    return flux * np.exp(-away / (2 * variance)) / (2 * np.pi * variance)


def seen(likelihood, model, seed=None):
    """What the data are of a realisation, with noise if there is a seed."""
    data = likelihood.predict(torch.from_numpy(model))
    if seed is None:
        return data
    white = torch.randn(likelihood.shape, generator=torch.Generator().manual_seed(seed))
    return data + likelihood.correlated(white.double())[:NPIX, :NPIX]


def disc(radius=2.5, place=PLACE):
    y, x = np.mgrid[:NPIX, :NPIX]
    return (np.hypot(y - place[0], x - place[1]) < radius).astype(int)


class Points(Census):
    """Of a field that is known to have points alone."""

    def others(self, k):
        return Population(self.noise, self.least, extended=0.0)


def swept(likelihood, regions, data, sites=None, area=1000.0, census=Census):
    gaussians = Gaussians(likelihood, BEAM, KERNEL)
    return Sweep(regions, data, likelihood, 1.0, gaussians, sites, area, census)


def white(draws):
    rng = np.random.default_rng(3)
    return rng.normal(size=(draws, ROUNDS[0], NPIX, NPIX)).astype(np.float32)


@pytest.mark.parametrize(
    "known", [Population(), Population(1.0, 1.0, (0.1, *[0.2] * 4, 0.1, *[0.0] * 4), 0.1)]
)
def test_evidence_is_the_integral_over_fluxes(likelihood, known):
    """Of a point at one pixel, and of a Gaussian of a beam, by quadrature."""
    gaussians = Gaussians(likelihood, BEAM, KERNEL)
    found = Presence(gaussians, 1.0, 1.0)
    data = likelihood.sharpened(seen(likelihood, point(6.0), seed=1)).numpy()
    site = np.zeros((NPIX, NPIX), bool)
    site[PLACE] = True
    odds = found.log_odds(data, site, 1.0, known)
    assert odds.shape == (1, len(SIZES))
    for j, size in ((0, 0.0), (2, 1.0)):
        shape = Shape(size**2, 0.0, 0.0)
        (image,) = gaussians.images(shape, np.array(PLACE, float), (NPIX, NPIX))
        match, power = (image * data).sum(), gaussians.powers(shape)[0]

        flux = np.geomspace(1, 999, 100_000)
        density = known.density(flux, size**2)
        likely = np.exp(flux * match - flux**2 * power / 2)
        top, whole = (integrate.simpson(y, flux) for y in (density * likely, density))
        expected = np.log(top / whole * presence.size_shares(known)[j])
        assert odds[0, j] == pytest.approx(expected, abs=0.05)


def test_probability_is_how_often_there_is_one(likelihood):
    """Places that hold a source with a known prior probability: 400 of them."""
    prior, number = 0.3, 400
    regions = disc()
    pixels = np.argwhere(regions)
    # Half a source is expected beforehand on the whole area.
    area = 0.5 * len(pixels) / (prior / (1 - prior))
    fluxes = np.geomspace(1, 999, 4000)
    steps = np.append(0, np.diff(fluxes)) * Population().density(fluxes)
    total = np.cumsum(steps)
    rng = np.random.default_rng(8)
    chances, truths = [], []
    for k in range(number):
        there = rng.random() < prior
        flux = np.interp(rng.random() * total[-1], total, fluxes)
        place = pixels[rng.integers(len(pixels))]
        data = seen(likelihood, point(flux * there, place), seed=k)
        sweep = swept(likelihood, regions, data, area=area, census=Points)
        chances.append(sweep.chances(np.zeros((NPIX, NPIX)))[0])
        truths.append(there)
    chances, truths = np.array(chances), np.array(truths)
    for low, high in ((0, 0.15), (0.15, 0.5), (0.5, 0.95), (0.95, 1)):
        part = (chances >= low) & (chances <= high)
        error = np.sqrt((chances[part] * (1 - chances[part])).sum()) / part.sum()
        assert part.sum() > 10
        assert truths[part].mean() == pytest.approx(chances[part].mean(), abs=3 * error + 0.01)


def test_missed_sources_are_found(likelihood):
    """No realisation holds it: where it is bright all do afterwards, where it is not none."""
    empty, nowhere = np.zeros((NPIX, NPIX)), np.zeros((NPIX, NPIX), int)
    for flux, share in ((9.0, 1.0), (0.0, 0.0)):
        data = seen(likelihood, point(flux), seed=2)
        sweep = swept(likelihood, nowhere, data, disc())
        skies = [sweep.redraw(empty, noise) for noise in white(20)]
        held = np.mean([found.sum() > 1 for found in skies])
        assert held == pytest.approx(share, abs=0.1)
        if flux:
            assert np.mean([found.sum() for found in skies]) == pytest.approx(flux, abs=1.5)


def test_sources_that_are_none_are_taken_away(likelihood):
    data = seen(likelihood, point(0.0), seed=4)
    sweep = swept(likelihood, disc(4), data, area=10_000.0)
    skies = [sweep.redraw(point(5.0), noise) for noise in white(20)]
    assert np.mean([found.sum() > 1 for found in skies]) < 0.15
    without = Sweep(disc(4), data, likelihood, 1.0, Gaussians(likelihood, BEAM, KERNEL))
    assert all(without.redraw(point(5.0), noise).sum() > 0.5 for noise in white(5))


def test_draws_are_as_frequent_as_the_chances_say(likelihood):
    """A source of S/N 3.6: the share of realisations that hold it is its probability."""
    data = seen(likelihood, point(3.6))
    sweep = swept(likelihood, disc(), data, area=400.0)
    held = [sweep.redraw(np.zeros((NPIX, NPIX)), noise).sum() > 1 for noise in white(150)]
    chance = sweep.chances(np.zeros((NPIX, NPIX)))[0]
    assert 0.2 < chance < 0.95
    assert np.mean(held) == pytest.approx(chance, abs=3 * np.sqrt(chance * (1 - chance) / 150))


def test_structure_is_never_in_doubt(likelihood):
    """What is no compact source is there if the realisation says so."""
    y, x = np.mgrid[:NPIX, :NPIX]
    ring = np.exp(-((np.hypot(y - 24, x - 24) - 12) ** 2) / 4)
    data = seen(likelihood, np.zeros((NPIX, NPIX)), seed=1)
    sweep = swept(likelihood, (ring > 1e-3).astype(int), data)
    assert sweep.chances(ring).tolist() == [1.0]
    wide = 60 * np.exp(-(np.hypot(y - 24, x - 24) ** 2) * 4 * np.log(2) / (3 * BEAM) ** 2)
    assert sweep.gaussians.resemble(wide) and sweep.chances(wide).tolist() == [1.0]


def test_sources_are_in_doubt_however_large_their_region(likelihood):
    """Regions are as large as the realisations' faintest light is scattered."""
    for flux, low, high in ((7.0, 0.99, 1.0), (0.0, 0.0, 0.5)):
        data = seen(likelihood, point(flux), seed=2)
        sweep = swept(likelihood, disc(15), data, area=10_000.0)
        for sky in (np.zeros((NPIX, NPIX)), point(7.0)):
            assert low <= sweep.chances(sky)[0] <= high
        missed = [sweep.redraw(np.zeros((NPIX, NPIX)), noise).sum() < 1 for noise in white(10)]
        assert np.mean(missed) == (0 if flux else pytest.approx(1, abs=0.3))


def test_sites_are_where_the_residual_has_peaks(likelihood):
    residual = seen(likelihood, point(4.0, (10, 12)) + point(5.0, (30, 40)), seed=None).numpy()
    sites = find_sites(residual, 1.0, BEAM)
    assert sites.max() == 2 and sites[10, 12] > 0 and sites[30, 40] > 0
    assert sites[10, 12] != sites[30, 40]
    assert find_sites(residual, 2.0, BEAM).max() == 0
    assert (sites > 0).sum() == pytest.approx(2 * np.pi * (0.6 * BEAM) ** 2, rel=0.3)


def test_odds_grow_with_the_number_of_sources(likelihood):
    gaussians = Gaussians(likelihood, BEAM, KERNEL)
    found = Presence(gaussians, 1.0, 1.0)
    data = likelihood.sharpened(seen(likelihood, point(3.0))).numpy()
    few, many = (
        found.log_odds(data, disc() > 0, density, Population()) for density in (1e-3, 1e-2)
    )
    assert presence.total(many) - presence.total(few) == pytest.approx(np.log(10))
    assert presence.total(few) == pytest.approx(special.logsumexp(few))
