"""Shapes of sources drawn from the data: closed forms, and truths drawn from the prior."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from casa_ddpm import population, sky
from casa_ddpm.census import Census
from casa_ddpm.dirty import FWHM, Beam
from casa_ddpm.gaussians import (
    MOST_ELLIPTICAL,
    Gaussians,
    Shape,
    _plane,
    _powers,
    _round_powers,
    moments,
)
from casa_ddpm.likelihood import Likelihood
from casa_ddpm.population import Population
from casa_ddpm.psf import gaussian
from casa_ddpm.shapes import Fit, _draw_shift
from casa_ddpm.sweep import ROUNDS, Sweep

NPIX, BEAM, KERNEL = 64, 4.0, 2.0


@pytest.fixture(scope="module")
def likelihood():
    """A round Gaussian PSF of 4 pixels and noise of rms 1 with its autocorrelation."""
    psf = gaussian(Beam(BEAM, BEAM, 0).covariance(1), NPIX).double()
    return Likelihood(psf, 1.0, KERNEL)


@pytest.fixture(scope="module")
def gaussians(likelihood):
    return Gaussians(likelihood, BEAM, KERNEL)


def ellipse(major, ratio, angle):
    """The shape of these axes, or of arrays of them."""
    e = (1 - np.square(ratio)) / (1 + np.square(ratio))
    extent = np.square(major) * (1 + np.square(ratio)) / 2
    return Shape(extent, e * np.cos(2 * np.asarray(angle)), e * np.sin(2 * np.asarray(angle)))


def angle(shape):
    return np.arctan2(shape.cross, shape.plus) / 2


def noise(likelihood, seed):
    white = torch.randn(likelihood.shape, generator=torch.Generator().manual_seed(seed))
    return likelihood.correlated(white.double())[:NPIX, :NPIX]


def about(place, radius=10):
    y, x = np.mgrid[:NPIX, :NPIX]
    return (np.hypot(y - place[0], x - place[1]) < radius).astype(int)


def measured(image, gaussians):
    flux, centre, covariance = moments(image)
    own = covariance - gaussians.point * np.eye(2)
    return flux, centre, Shape.of(own / BEAM**2)


def draws(gaussians, likelihood, data, start, number, census=Census, seed=1):
    """Flux and shape after a sweep that begins with the sky `start`."""
    regions = about((32, 32))
    sweep = Sweep(
        regions, data, likelihood, 1.0, Gaussians(likelihood, BEAM, KERNEL), census=census
    )
    white = np.random.default_rng(seed).normal(size=(number, ROUNDS[0], NPIX, NPIX))
    skies = [sweep.redraw(start, w) for w in white.astype(np.float32)]
    return [measured(found * (regions > 0), gaussians) for found in skies]


def test_shape_and_covariance_are_inverse():
    shape = ellipse(2.0, 0.5, 0.7)
    ((yy, xy, xx),) = shape.moments()
    found = Shape.of(np.array([[yy, xy], [xy, xx]]))
    assert (found.major, found.minor, angle(found)) == pytest.approx((2.0, 1.0, 0.7))
    # Variance along the axis from +y to +x.
    along = np.array([np.cos(0.7), np.sin(0.7)])
    assert along @ [[yy, xy], [xy, xx]] @ along == pytest.approx((2 / FWHM) ** 2)


def test_shape_of_what_noise_has_made_negative():
    found = Shape.of(np.diag([-0.1, 0.3]))
    assert found.ellipticity == pytest.approx(MOST_ELLIPTICAL)
    assert found.minor == pytest.approx(population.LEAST_RATIO * found.major)
    assert Shape.of(np.diag([-0.1, -0.2])).major == 0


def test_images_have_the_moments_of_their_shape(gaussians):
    shape = ellipse(np.array([0, 0.5, 2.0]), np.array([1, 0.8, 0.4]), np.array([0, 0.3, 2.0]))
    images = gaussians.images(shape, np.array([30.3, 32.8]), (64, 64))
    for k, image in enumerate(images):
        flux, centre, found = measured(image, gaussians)
        assert flux == pytest.approx(1, abs=1e-4)
        assert centre == pytest.approx([30.3, 32.8], abs=1e-3)
        assert found.major == pytest.approx(shape.major[k], abs=0.02)
        if k:
            assert found.minor == pytest.approx(shape.minor[k], 0.01)
            assert np.sin(angle(found) - angle(shape)[k]) == pytest.approx(0, abs=0.01)


def test_powers_in_closed_form(gaussians):
    """Gaussians of size s under a round beam: 1 / sqrt((1 + 2 major^2) (1 + 2 minor^2))."""
    major, ratio = np.array([0, 0.5, 1, 2]), np.array([1, 0.8, 0.5, 0.4])
    powers = gaussians.powers(ellipse(major, ratio, np.array([0, 0.3, 1, 2])))
    expected = 1 / np.sqrt((1 + 2 * major**2) * (1 + 2 * (ratio * major) ** 2))
    np.testing.assert_allclose(powers, expected, rtol=1e-4)


@pytest.mark.parametrize("start", [(0.0, 1.0, 0.0), (1.0, 0.4, 1.5)])
def test_size_is_found_whatever_the_realisation_had(gaussians, likelihood, start):
    """S/N 100, noise-free data: flux, axes and angle of the truth."""
    true = ellipse(0.8, 0.5, 0.4)
    (image,) = gaussians.images(true, np.array([32.2, 31.7]), (NPIX, NPIX))
    data = likelihood.predict(torch.from_numpy(150 * image))
    (begin,) = gaussians.images(ellipse(*start), np.array([32.0, 32.0]), (NPIX, NPIX))
    found = draws(gaussians, likelihood, data, 120 * begin, 40)
    assert np.mean([flux for flux, _, _ in found]) == pytest.approx(150, rel=0.02)
    assert np.mean([s.major for *_, s in found]) == pytest.approx(0.8, abs=0.03)
    assert np.mean([s.minor for *_, s in found]) == pytest.approx(0.4, abs=0.05)
    turn = np.mean([complex(s.plus, s.cross) for *_, s in found])
    assert np.angle(turn) / 2 == pytest.approx(0.4, abs=0.05)
    centres = np.mean([centre for _, centre, _ in found], 0)
    assert centres == pytest.approx([32.2, 31.7], abs=0.03)


def test_point_stays_a_point(gaussians, likelihood):
    """At S/N 20 the data do not tell a point from 0.2 beams: the prior says mostly a point."""
    (image,) = gaussians.images(ellipse(0.0, 1.0, 0.0), np.array([32.0, 32.0]), (NPIX, NPIX))
    data = likelihood.predict(torch.from_numpy(20 * image))
    found = draws(gaussians, likelihood, data, 20 * image, 50)
    assert np.mean([s.major < 0.1 for *_, s in found]) > 0.8
    assert np.mean([flux for flux, *_ in found]) == pytest.approx(20, abs=0.4)


def test_truths_of_the_prior_are_draws_like_any_other(gaussians, likelihood):
    """Cook, Gelman & Rubin (2006): the truth's rank among the draws is uniform."""

    class Flat(Population):
        def density(self, flux, area=0.0):
            return ((flux > 8) & (flux < 60)).astype(float)

    class Known(Census):
        def others(self, k):
            return Flat(self.noise, self.least)

    rng = np.random.default_rng(5)
    number, ranks = 9, []
    for k in range(60):
        extended = rng.random() < Population().extended
        major = np.exp(rng.uniform(np.log(0.2), np.log(2.5))) if extended else 0.0
        true = ellipse(major, rng.uniform(population.LEAST_RATIO, 1), rng.uniform(0, np.pi))
        flux, centre = rng.uniform(8, 60), 32 + rng.uniform(-0.4, 0.4, 2)
        (image,) = gaussians.images(true, centre, (NPIX, NPIX))
        data = likelihood.predict(torch.from_numpy(flux * image)) + noise(likelihood, k)
        (start,) = gaussians.images(ellipse(0.4, 0.7, 1.0), centre, (NPIX, NPIX))
        found = draws(gaussians, likelihood, data, flux * start, number, Known, seed=k)
        ranks.append(sum(one < flux for one, *_ in found))
    ranks = np.array(ranks)
    # Mean and width of a uniform rank of 0 ... 9, each within three standard errors.
    assert ranks.mean() == pytest.approx(number / 2, abs=3 * 2.87 / np.sqrt(60))
    inside = np.mean((ranks >= 2) & (ranks <= 7))
    assert inside == pytest.approx(0.6, abs=3 * 0.063)


def test_shifts_leave_the_posterior_as_it_is(gaussians, likelihood):
    """Draws from it, shifted three times, are as wide, though it is wider than a shift may be."""
    shape, place, axis = Shape(0.0, 0.0, 0.0), np.array([32.0, 32.0]), np.array([1.0, 0.0])
    truth = 4 * gaussians.images(shape, place, (NPIX, NPIX))[0]
    data = likelihood.sharpened(likelihood.predict(torch.from_numpy(truth))).numpy()
    fit = Fit(gaussians, Population(), data)
    away = np.linspace(-3, 3, 241)
    density = np.exp(fit.evidence(shape, place + away[:, None] * axis))
    random = np.random.default_rng(0)
    starts = np.interp(random.random(600), np.cumsum(density) / density.sum(), away)
    ends = []
    for shift in starts:
        for _ in range(3):
            shift += _draw_shift(shape, place + shift * axis, axis, fit, random)
        ends.append(shift)
    inside = np.abs(ends) < 3
    assert inside.mean() > 0.95
    assert np.std(np.array(ends)[inside]) == pytest.approx(starts.std(), rel=0.09)


def test_structure_keeps_its_shape(gaussians, likelihood):
    """A ring of two beams is no Gaussian: its flux changes, its shape does not."""
    y, x = np.mgrid[:NPIX, :NPIX]
    ring = np.exp(-((np.hypot(y - 32, x - 32) - 5) ** 2) / 2)
    ring *= 200 / ring.sum()
    data = likelihood.predict(torch.from_numpy(ring))
    regions = about((32, 32), 12)
    sweep = Sweep(regions, data, likelihood, 1.0, Gaussians(likelihood, BEAM, KERNEL))
    white = np.random.default_rng(0).normal(size=(ROUNDS[0], NPIX, NPIX)).astype(np.float32)
    found = sweep.redraw(0.8 * ring, white)
    assert found.sum() == pytest.approx(200, rel=0.05)
    # A move by a part of a pixel, no more.
    assert np.abs(found / found.sum() - ring / ring.sum()).sum() < 0.15


def test_densities_are_those_of_the_fields():
    """Share of points, sizes and fluxes of single sources as `sky.draw` gives them."""
    known, rng = Population(), np.random.default_rng(1)
    parts = [sky.draw(rng, 40.0) for _ in range(1500)]
    single = [np.bincount(p.source)[p.source] == 1 for p in parts]
    covariance = np.concatenate([p.covariance[s] for p, s in zip(parts, single, strict=True)])
    flux = np.concatenate([p.flux[s] for p, s in zip(parts, single, strict=True)])
    major = FWHM * np.sqrt(np.linalg.eigvalsh(covariance)[:, 1].clip(0))
    # Fields are few and of very different richness, so that shares scatter by more.
    assert np.mean(major == 0) == pytest.approx(1 - known.extended, abs=0.05)
    for low, high in ((0.2, 0.5), (0.5, 1.5), (1.5, 5)):
        grid = np.linspace(low, high, 2001)
        share = np.trapezoid(known.extended * population.size_density(grid), grid)
        found = np.mean((major >= low) & (major < high))
        assert found == pytest.approx(share, rel=0.15)
    assert np.trapezoid(known.density(np.geomspace(0.5, 900, 9999), 3.0),
                        np.geomspace(0.5, 900, 9999)) == pytest.approx(1, abs=0.01)  # fmt: skip
    wide = (major > 1.5) & (major < 3)
    grid = np.geomspace(10, 900, 4001)
    share = np.trapezoid(known.density(grid, 1.4), grid)
    assert np.mean(flux[wide] > 10) == pytest.approx(share, abs=0.1)


def test_power_of_round_gaussians_is_separable(likelihood):
    psf = torch.fft.irfft2(likelihood.transfer, s=likelihood.shape)
    sizes = np.array([0.0, 0.5, 2.0, 5.5])
    round_ = Shape(sizes**2, np.zeros(4), np.zeros(4))
    exact = _powers(round_.moments() * BEAM**2, _plane(psf))
    got = _round_powers((sizes * BEAM / FWHM) ** 2, psf)
    np.testing.assert_allclose(got, exact, rtol=1e-5)
