"""One elongated source or two points: draws from the prior, and what the data make of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.special import expit, logsumexp

from casa_ddpm.coupling import Coupling
from casa_ddpm.dirty import Beam
from casa_ddpm.gaussians import Gaussians, Shape
from casa_ddpm.likelihood import Likelihood
from casa_ddpm.lines import masses
from casa_ddpm.population import Population
from casa_ddpm.psf import gaussian
from casa_ddpm.sweep import Sweep
from casa_ddpm.twins import Common, Twins

NPIX, BEAM, KERNEL = 48, 4.0, 2.0
#: Of sources, one in 28 beam areas [1/pixel].
DENSITY = 2e-3
SOME = Population(1.0, 1.0, extended=0.3)


@pytest.fixture(scope="module")
def optics():
    """Likelihood of a Gaussian PSF and noise of rms 1, sources and what they do to each other."""
    psf = gaussian(Beam(BEAM, BEAM, 0).covariance(1), NPIX).double()
    likelihood = Likelihood(psf, 1.0, KERNEL)
    return likelihood, Gaussians(likelihood, BEAM, KERNEL), Coupling(likelihood)


def twins(common, data, optics):
    return Twins(common, data, *optics[1:], SOME, DENSITY)


def gradient(light, optics, rng):
    """The likelihood's gradient without any light, of data of a light and noise."""
    likelihood = optics[0]
    noise = likelihood.correlated(torch.tensor(rng.normal(size=likelihood.shape)))[:NPIX, :NPIX]
    return likelihood.sharpened(likelihood.predict(torch.tensor(light)) + noise).numpy()


def points(optics, *sources):
    """Light of points (y, x, flux)."""
    still = Shape(*np.zeros((3, 1)))
    return [flux * optics[1].images(still, (y, x), (NPIX, NPIX))[0] for y, x, flux in sources]


def test_two_points_and_the_source_that_they_pass_for(optics):
    """Flux, centre and angle are theirs; width and angle depend on no order."""
    both = points(optics, (24.0, 22.0, 6), (25.5, 24.5, 3))
    common, other = (Common.of(lights, optics[1]) for lights in (both, both[::-1]))
    flux, centre, shape = optics[1].measured(np.sum(both, axis=0))
    assert common.flux == pytest.approx(flux) and common.centre == pytest.approx(centre)
    assert other.major == pytest.approx(common.major)
    assert common.major > np.sqrt(2 * shape.extent)
    alone = Common.of([np.sum(both, axis=0)], optics[1])
    for one in (common, other):
        assert np.sin(one.angle - alone.angle) == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("width", [0.3, 0.9, 1.5])
def test_source_is_the_nearest_to_two_points_of_equal_fluxes(optics, width):
    """As the data see both: none of another width is nearer."""
    common = Common(20.0, np.array([24.0, 24.0]), width, 0.4)
    both = twins(common, np.zeros((NPIX, NPIX)), optics)
    pair = 10 * np.sum(both._points(np.array([0.5])), axis=(0, 1))
    far = []
    for factor in (0.85, 0.95, 1, 1.05, 1.15):
        # As thin as two points are, which a single source of the prior is not.
        other = twins(replace(common, major=factor * width), np.zeros((NPIX, NPIX)), optics)
        rest = pair - 20 * other._ellipses(np.array([0.01]))[0]
        far.append((rest * optics[2].seen(rest)).sum())
    assert np.argmin(far) in (1, 2, 3)
    assert np.polyfit((0.85, 0.95, 1, 1.05, 1.15), far, 2)[0] > 0


@pytest.mark.parametrize("apart", [0.2, 12])
def test_what_is_too_close_or_too_far_is_no_pair(optics, apart):
    assert Common.of(points(optics, (24, 20, 5), (24, 20 + apart, 5)), optics[1]) is None


def test_extended_sources_are_no_points(optics):
    wide = 5 * optics[1].images(Shape(0.5, 0.0, 0.0), (24.0, 24.0), (NPIX, NPIX))[0]
    assert Common.of([wide, *points(optics, (24, 21, 5))], optics[1]) is None
    assert Common.of([wide], optics[1]).major == pytest.approx(np.sqrt(0.5), rel=0.01)


def test_draws_keep_what_is_common(optics):
    common = Common(20.0, np.array([23.6, 24.3]), 1.1, 0.7)
    found = twins(common, np.zeros((NPIX, NPIX)), optics)
    rng = np.random.default_rng(0)
    for _ in range(20):
        brighter, fainter = found.draw_two(rng)
        assert brighter.sum() >= fainter.sum() > 1
        for lights in ((brighter, fainter), (found.draw_one(rng),)):
            again = Common.of(lights, optics[1])
            assert again.flux == pytest.approx(20, rel=1e-3)
            assert again.centre == pytest.approx(common.centre, abs=1e-2)
            assert again.major == pytest.approx(1.1, rel=2e-2)
            assert np.sin(again.angle - 0.7) == pytest.approx(0, abs=1e-2)


@pytest.mark.parametrize(
    ("flux", "share", "apart"), [(20, 0.08, 3.6), (10, 0.15, 3.6), (15, 0.3, 3.2), (60, 0.45, 2.6)]
)
def test_evidence_is_the_integral_over_all_shares(optics, flux, share, apart):
    """Also where one of the points is hardly a source; against a sum over two thousand shares."""
    rng = np.random.default_rng(int(flux))
    both = points(
        optics,
        (24, 24 - (1 - share) * apart, flux * share),
        (24, 24 + share * apart, flux * (1 - share)),
    )
    found = twins(Common.of(both, optics[1]), gradient(np.sum(both, axis=0), optics, rng), optics)
    n = 2000
    edge = SOME.least / flux * (1 + 1e-9)
    shares = edge + (1 - 2 * edge) * (np.arange(n) + 0.5) / n
    sums = [found._of_two(part) for part in np.split(shares, 40)]
    expected = logsumexp(np.concatenate(sums)) + np.log((1 - 2 * edge) / n)
    width = found._shares[1] - found._shares[0]
    got = np.log(masses(found._pair).sum() * width) + found._pair.max()
    assert got == pytest.approx(expected, abs=0.3)


def test_volume_is_that_of_both_points(optics):
    """The densities' Jacobian, by differences."""
    common, share, step = Common(20.0, np.array([24.0, 23.5]), 1.2, 0.6), 0.3, 1e-5

    def places(flux, y, x, major, angle, part):
        one = twins(Common(flux, np.array([y, x]), major, angle), np.zeros((NPIX, NPIX)), optics)
        apart = one._distance(np.array([part]))[0] * np.array([np.cos(angle), np.sin(angle)])
        here, there = one.common.centre + (1 - part) * apart, one.common.centre - part * apart
        return np.array([flux * part, *here, flux * (1 - part), *there])

    at = np.array([20.0, 24.0, 23.5, 1.2, 0.6, share])
    columns = [(places(*(at + d)) - places(*(at - d))) / 2 / step for d in step * np.eye(6)]
    one = twins(common, np.zeros((NPIX, NPIX)), optics)
    apart = one._distance(np.array([share]))[0]
    volume = 20.0 * apart * apart * one._stretch()
    assert abs(np.linalg.det(columns)) == pytest.approx(volume, rel=1e-4)


class Prior(Twins):
    """What is thought before the data are asked."""

    def _fit(self, images):
        return np.zeros(len(images))


def test_probabilities_are_the_share_of_pairs(optics):
    """Of skies drawn from the prior, of which pairs are about a half."""
    rng = np.random.default_rng(1)
    probabilities, pairs = [], []
    for _ in range(200):
        centre = NPIX / 2 + rng.uniform(-0.5, 0.5, 2)
        common = Common(rng.uniform(8, 40), centre, rng.uniform(0.4, 1.4), rng.uniform(0, np.pi))
        prior = Prior(common, np.zeros((NPIX, NPIX)), *optics[1:], SOME, DENSITY)
        pairs.append(rng.random() < expit(prior.log_odds()))
        light = np.sum(prior.draw_two(rng), axis=0) if pairs[-1] else prior.draw_one(rng)
        found = twins(common, gradient(light, optics, rng), optics)
        probabilities.append(expit(found.log_odds()))
    probability, pair = np.array(probabilities), np.array(pairs)
    assert 0.3 < pair.mean() < 0.6
    scatter = np.sqrt((probability * (1 - probability)).sum())
    assert abs(probability.sum() - pair.sum()) < 3 * scatter
    # The data know of most.
    assert np.mean(np.abs(probability - pair) < 0.1) > 0.8


def swept(light, start, optics, rng, draws=20, rounds=4):
    """How many of a sweep's draws have two points, where realisations have one source."""
    likelihood, gaussians, _ = optics
    noise = likelihood.correlated(torch.tensor(rng.normal(size=likelihood.shape)))[:NPIX, :NPIX]
    data = likelihood.predict(torch.tensor(light)) + noise
    y, x = np.mgrid[:NPIX, :NPIX]
    regions = (np.hypot(y - NPIX / 2, x - NPIX / 2) < 8).astype(int)
    sweep = Sweep(regions, data, likelihood, 1.0, gaussians, area=1 / DENSITY)
    white = rng.normal(size=(draws, rounds, NPIX, NPIX)).astype(np.float32)
    skies = [sweep.redraw(start, noise) for noise in white]
    return sum(np.sum(_peaks(sky)) == 2 for sky in skies)


def _peaks(sky):
    return (sky == ndimage.maximum_filter(sky, 3)) & (sky > 0.2 * sky.max())


@pytest.mark.parametrize("seed", range(3))
def test_a_realisation_s_elongated_source_becomes_two_points(optics, seed):
    """Where the data hold two, 0.8 beams apart; and does not where they hold one."""
    rng = np.random.default_rng(seed)
    pair = np.sum(points(optics, (24.4, 22.6, 22), (23.5, 25.6, 18)), axis=0)
    common = Common.of([pair], optics[1])
    one = twins(common, np.zeros((NPIX, NPIX)), optics).draw_one(rng)
    assert swept(pair, one, optics, rng) >= 15
    assert swept(one, one, optics, rng) <= 5


def test_the_network_s_light_may_come_back(optics):
    """Where the data hold what it drew, and neither one source nor two points."""
    rng = np.random.default_rng(5)
    three = points(optics, (24, 21.8, 40), (24, 26.2, 40), (25.6, 24, 20))
    light = np.sum(three, axis=0)
    likelihood, gaussians, _ = optics
    data = likelihood.predict(torch.tensor(light))
    y, x = np.mgrid[:NPIX, :NPIX]
    regions = (np.hypot(y - NPIX / 2, x - NPIX / 2) < 9).astype(int)
    sweep = Sweep(regions, data, likelihood, 1.0, gaussians, area=1 / DENSITY)
    assert gaussians.resemble(light)
    white = rng.normal(size=(10, 3, NPIX, NPIX)).astype(np.float32)
    far = [np.abs(sweep.redraw(light, noise) - light).sum() / light.sum() for noise in white]
    assert np.median(far) < 0.15
