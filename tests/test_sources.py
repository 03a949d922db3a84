"""Sources are measured on realisations drawn from posteriors that are known.

Where nothing else is said, tolerances are three to four standard errors of what is averaged.
"""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from astropy import units as u
from scipy.ndimage import gaussian_filter

from casa_ddpm.dirty import FWHM, Beam
from casa_ddpm.light import Pixels, measure_light, measure_peaks
from casa_ddpm.sources import FEW, UNITS, find_sources

CELL, KERNEL, NOISE = 0.2, 0.32, 1e-4
BEAM = Beam(0.85, 0.75, 30.0)
THETA = BEAM.fwhm / CELL  # [pixel]
#: What realisations hold where the sky is empty, in units of a 1 sigma point's peak.
FLOOR = 1e-3


def gaussian(shape, x, y, flux, covariance):
    """A Gaussian of this flux and covariance ((xx, xy), (xy, yy)) [pixel^2] at (x, y)."""
    dy, dx = np.mgrid[: shape[0], : shape[1]] - np.array([y, x])[:, None, None]
    inverse = np.linalg.inv(covariance)
    distance = inverse[0, 0] * dx**2 + 2 * inverse[0, 1] * dx * dy + inverse[1, 1] * dy**2
    return flux * np.exp(-distance / 2) / (2 * np.pi * np.sqrt(np.linalg.det(covariance)))


def draw(rng, n, shape, x, y, snr, prob=1.0, fwhm=0.0, ratio=1.0, pa=0.0):
    """Realisations of sources whose posterior is the theoretical one (Condon 1997).

    `snr` is that of the integrated flux; `fwhm` the major axis [arcsec], `ratio` minor
    over major; sizes scatter by 1 / snr.
    """
    point = (KERNEL / FWHM / CELL) ** 2
    samples = rng.normal(0, FLOOR * NOISE / (2 * np.pi * point), (n, *shape))
    for k in range(n):
        for xi, yi, s, p, w in zip(*np.broadcast_arrays(x, y, snr, prob, fwhm), strict=True):
            if rng.random() >= p:
                continue
            jitter = 0.425 * np.hypot(THETA, w / CELL) / s * rng.normal(size=2)
            size = w * (1 + rng.normal() / s) if w else 0
            own = Beam(size, size * ratio, pa).covariance(CELL)[::-1, ::-1] if w else 0
            flux = (s + rng.normal()) * NOISE
            box = tuple(
                slice(max(0, int(c - 8 - 4 * w / CELL)), int(c + 9 + 4 * w / CELL))
                for c in (yi, xi)
            )
            stamp = samples[k][box]
            stamp += gaussian(
                stamp.shape,
                xi + jitter[0] - box[1].start,
                yi + jitter[1] - box[0].start,
                flux,
                point * np.eye(2) + own,
            )
    return samples.astype(np.float32)


def lattice(rng, number, step):
    """Positions `step` pixels apart, each off by up to half a pixel, and the shape."""
    grid = np.stack(np.meshgrid(np.arange(number), np.arange(number))).reshape(2, -1)
    x, y = step * (grid + 0.5) + rng.uniform(-0.5, 0.5, grid.shape)
    return x, y, (number * step, number * step)


def nearest(table, x, y):
    """The table's rows nearest to the true positions, and their distances [pixel]."""
    distance = np.hypot(table["x"].value[:, None] - x, table["y"].value[:, None] - y)
    return table[distance.argmin(axis=0)], distance.min(axis=0)


def run(samples, **options):
    return find_sources(samples, CELL, BEAM, KERNEL, NOISE, **options)


@pytest.mark.parametrize("snr", [5, 10, 100])
@pytest.mark.parametrize("n", [20, 50])
def test_isolated_points_agree_with_their_posterior(snr, n):
    rng = np.random.default_rng(snr + n)
    x, y, shape = lattice(rng, 12, 20)
    table = run(draw(rng, n, shape, x, y, snr))
    assert len(table) == len(x)
    found, distance = nearest(table, x, y)
    error = 1 / np.sqrt(n * len(x))  # of a mean over all realisations of all sources
    # A median scatters 1.25 times more than a mean.
    assert np.mean(found["flux"].value) / NOISE == pytest.approx(snr, abs=3 * 1.25 * error)
    # The interval holds 68 % of further draws, so it is wider than 1 sigma: by 5 % for 20.
    width = {20: 1.053, 50: 1.021}[n]
    assert np.mean(found["flux_err"].value) / NOISE == pytest.approx(width, abs=0.065)
    for axis in ("ra_err", "dec_err"):
        ratio = np.mean(found[axis].value) / CELL / (0.425 * THETA / snr)
        assert ratio == pytest.approx(1.01, abs=0.05)
    assert np.all(found["prob"] > 0.99)
    assert distance.max() < 5 * 0.425 * THETA / snr / np.sqrt(n)
    assert not found["resolved"].any() and not found["blended"].any()
    # Exact between pixels: the peak of a point source is its flux.
    np.testing.assert_allclose(found["peak"].value, found["flux"].value, rtol=0.01)
    np.testing.assert_allclose(found["snr"], found["peak"].value / NOISE)


def test_flux_loses_nothing_at_the_rim():
    """Sources of one flux, jittered as at S/N 5: the sum over the region within 0.5 %."""
    rng = np.random.default_rng(0)
    x, y, shape = lattice(rng, 6, 24)
    samples = rng.normal(0, FLOOR * NOISE / 2.9, (20, *shape))
    point = (KERNEL / FWHM / CELL) ** 2 * np.eye(2)
    for k in range(20):
        for xi, yi in zip(x, y, strict=True):
            dx, dy = 0.425 * THETA / 5 * rng.normal(size=2)
            samples[k] += gaussian(shape, xi + dx, yi + dy, 5 * NOISE, point)
    flux = run(samples)["flux"].value / NOISE
    assert len(flux) == len(x)
    np.testing.assert_allclose(flux, 5, rtol=0.005)


def test_others_of_a_few_realisations_are_not_its_light():
    """A fifth of the realisations of every source hold one of S/N 2 a beam away, anywhere."""
    rng = np.random.default_rng(8)
    x, y, shape = lattice(rng, 8, 30)
    samples = draw(rng, 20, shape, x, y, 8)
    for sample in samples:
        chosen = rng.random(len(x)) < 0.2
        away, angle = rng.uniform(0.9, 1.3, len(x)) * THETA, rng.uniform(0, 2 * np.pi, len(x))
        there = np.stack([x + away * np.cos(angle), y + away * np.sin(angle)])[:, chosen]
        sample += draw(rng, 1, shape, *there, 2)[0]
    found, _ = nearest(run(samples), x, y)
    error = 1 / np.sqrt(20 * len(x))
    assert np.mean(found["flux"].value) / NOISE == pytest.approx(8, abs=3 * 1.25 * error)
    assert np.mean(found["flux_err"].value) / NOISE == pytest.approx(1.053, abs=0.065)


def test_interval_covers_the_truth():
    """Truth and realisations share a posterior: 68 % of the truths lie in the interval."""
    rng = np.random.default_rng(3)
    x, y, shape = lattice(rng, 15, 18)
    truth = np.full(len(x), 12.0)
    measured = truth + rng.normal(size=len(x))
    found, _ = nearest(run(draw(rng, 20, shape, x, y, measured)), x, y)
    low, high = (found[name].value / NOISE for name in ("flux_lo", "flux_hi"))
    covered = np.mean((low < truth) & (truth < high))
    assert covered == pytest.approx(0.683, abs=3 * np.sqrt(0.683 * 0.317 / len(x)))


@pytest.mark.parametrize("snr", [2, 3])
def test_faint_sources_stay_in_one_piece(snr):
    rng = np.random.default_rng(snr)
    x, y, shape = lattice(rng, 8, 22)
    table = run(draw(rng, 20, shape, x, y, snr))
    assert len(x) <= len(table) <= 1.03 * len(x)
    # The share of N(snr, 1) above 1.
    expected = {2: 0.841, 3: 0.977}[snr]
    assert np.sum(table["prob"]) / len(x) == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize(("snr", "prob"), [(5, 0.5), (4, 0.25), (6, 0.05)])
def test_prob_is_the_share_of_realisations(snr, prob):
    rng = np.random.default_rng(7)
    x, y, shape = lattice(rng, 10, 20)
    table = run(draw(rng, 20, shape, x, y, snr, prob))
    error = np.sqrt(prob * (1 - prob) / 20 / len(x))
    assert np.sum(table["prob"]) / len(x) == pytest.approx(prob, abs=3 * error)
    np.testing.assert_allclose(table["prob"], table["count"] / 20)
    # What the source is if it is there does not depend on how often it is there.
    mean = np.average(table["flux"].value / NOISE, weights=table["prob"])
    assert mean == pytest.approx(snr, abs=4 / np.sqrt(20 * prob * len(x)))


def test_a_single_realisation_is_a_candidate_with_theoretical_errors():
    rng = np.random.default_rng(1)
    samples = draw(rng, 50, (40, 40), [], [], [])
    samples[17] += gaussian((40, 40), 20.3, 18.7, 2 * NOISE, 0.46 * np.eye(2))
    (row,) = run(samples)
    assert row["count"] == 1 and row["prob"] == 0.02
    assert row["flux"].value == pytest.approx(2 * NOISE, rel=0.01)
    assert row["flux_err"].value == pytest.approx(NOISE, rel=0.02)
    assert row["ra_err"].value == pytest.approx(0.425 * BEAM.fwhm / 2, rel=0.1)
    assert row["flux_lo"] < row["flux"] < row["flux_hi"] and not row["resolved"]


@pytest.mark.parametrize("separation", [1, 1.25, 1.5])
@pytest.mark.parametrize("pair", [(10, 10), (5, 5), (10, 5), (30, 10)])
def test_pairs_are_told_apart(separation, pair):
    rng = np.random.default_rng(int(4 * separation) + pair[1])
    x, y, shape = lattice(rng, 5, 28)
    angle = rng.uniform(0, 2 * np.pi, len(x))
    x2 = x + separation * THETA * np.cos(angle)
    y2 = y + separation * THETA * np.sin(angle)
    snrs = np.repeat(pair, len(x))
    table = run(draw(rng, 20, shape, np.r_[x, x2], np.r_[y, y2], snrs))
    assert len(table) == 2 * len(x)
    for xi, yi, snr in ((x, y, pair[0]), (x2, y2, pair[1])):
        found, distance = nearest(table, xi, yi)
        assert distance.max() < 1
        # 2 %: light that a source one beam away loses to the other's region.
        scatter = 3 * 1.25 / np.sqrt(20 * len(x))
        assert np.mean(found["flux"].value) / NOISE == pytest.approx(snr, abs=scatter, rel=0.02)
        ratio = np.mean(found["ra_err"].value) / CELL / (0.425 * THETA / snr)
        assert ratio == pytest.approx(1.01, abs=0.12)
        assert np.mean(found["prob"]) > 0.99


@pytest.mark.parametrize(("pair", "found"), [((20, 20), 1.8), ((20, 14), 1.7), ((40, 25), 1.8)])
def test_closer_pairs_are_mostly_told_apart(pair, found):
    """Points 0.8 beam apart, of which the fainter hardly stands out of the brighter one's wing."""
    rng = np.random.default_rng(pair[1])
    x, y, shape = lattice(rng, 6, 28)
    angle = rng.uniform(0, 2 * np.pi, len(x))
    x2, y2 = x + 0.8 * THETA * np.cos(angle), y + 0.8 * THETA * np.sin(angle)
    table = run(draw(rng, 20, shape, np.r_[x, x2], np.r_[y, y2], np.repeat(pair, len(x))))
    assert found * len(x) <= np.sum(table["prob"] > 0.5) <= 2 * len(x)


@pytest.mark.parametrize("size", [1.5, 3])
def test_knots_of_a_large_source_are_no_sources(size):
    """A Gaussian whose light varies by a seventh at half a beam, in all realisations alike."""
    rng = np.random.default_rng(int(size))
    y, x = np.mgrid[-60:60, -60:60]
    for _ in range(5):
        light = np.exp(-(x**2 + y**2) / 2 / (size * THETA / FWHM) ** 2)
        light = np.maximum(0, 10 * light * (1 + 0.15 * knots(rng, light.shape)))
        samples = np.stack([gaussian_filter(light, 0.68)] * 20) * NOISE / BEAM.area(CELL)
        assert np.sum(run(samples)["prob"] > 0.5) == 1


def test_a_faint_source_near_a_bright_one_is_kept_and_flagged():
    rng = np.random.default_rng(4)
    table = run(draw(rng, 20, (60, 60), [30.2, 36.4], [30, 30], [300, 5]))
    assert len(table) == 2
    assert table["flux"].value / NOISE == pytest.approx([300, 5], abs=1.5)
    assert list(table["blended"]) == [False, True]


@pytest.mark.parametrize(("apart", "blended"), [(0.95, True), (1.3, False), (2.0, False)])  # [beam]
def test_blended_is_what_another_source_changes(apart, blended):
    """As the PSF at that distance does: at 0.95 beams it is 8 %, at 1.3 beams 1 %."""
    rng = np.random.default_rng(4)
    table = run(draw(rng, 20, (60, 60), [20, 20 + apart * THETA], [30, 30], [50, 50]))
    assert list(table["blended"]) == [blended, blended]


@pytest.mark.parametrize("size", [0.7, 1, 2, 5])  # [beam]
@pytest.mark.parametrize("snr", [15, 100])
def test_gaussians_agree_with_their_posterior(size, snr):
    rng = np.random.default_rng(int(10 * size) + snr)
    width = size * BEAM.fwhm
    x, y, shape = lattice(rng, 4, int(24 + 5 * width / CELL))
    table = run(draw(rng, 20, shape, x, y, snr, fwhm=width))
    assert len(table) == len(x)
    found, _ = nearest(table, x, y)
    scatter = 1 / np.sqrt(20 * len(x))
    assert np.mean(found["flux"].value) / NOISE == pytest.approx(snr, abs=3.75 * scatter, rel=0.003)
    assert np.mean(found["flux_err"].value) / NOISE == pytest.approx(1.05, abs=0.17)
    for axis in ("major", "minor"):
        # 1.5 %: major is the longer axis by definition, and wings end at the region.
        assert np.mean(found[axis].value) == pytest.approx(width, rel=4 * scatter / snr + 0.015)
    assert np.mean(found["major_err"].value) == pytest.approx(1.05 * width / snr, rel=0.2)
    ratio = np.mean(found["ra_err"].value) / (0.425 * np.hypot(BEAM.fwhm, width) / snr)
    assert ratio == pytest.approx(1.01, abs=0.15)
    assert np.mean(found["resolved"]) > 0.8 and np.all(found["prob"] > 0.94)
    # The beam's convolution adds the areas' covariances.
    peak = snr / np.sqrt((1 + (width / BEAM.major) ** 2) * (1 + (width / BEAM.minor) ** 2))
    # Sizes scatter, and the peak goes with their square.
    assert np.mean(found["peak"].value) / NOISE == pytest.approx(
        peak, rel=0.05 if snr < 20 else 0.02, abs=4 * scatter
    )


@pytest.mark.parametrize("pa", [20, 70, 110, 160])
def test_ellipse_is_deconvolved(pa):
    rng = np.random.default_rng(pa)
    samples = draw(rng, 20, (60, 60), [30.3], [29.6], [100], fwhm=1.5, ratio=0.5, pa=pa)
    (row,) = run(samples)
    assert row["major"].value == pytest.approx(1.5, rel=0.02)
    assert row["minor"].value == pytest.approx(0.75, rel=0.03)
    assert row["pa"].value == pytest.approx(pa, abs=1)
    assert row["pa_err"].value < 1


def test_angle_error_knows_that_0_is_180():
    rng = np.random.default_rng(0)
    point = (KERNEL / FWHM / CELL) ** 2 * np.eye(2)
    samples = np.stack(
        [
            gaussian((60, 60), 30, 30, 0.01, Beam(2, 1, a).covariance(CELL)[::-1, ::-1] + point)
            for a in rng.normal(0, 5, 50)
        ]
    )
    (row,) = run(samples)
    assert row["pa_err"].value == pytest.approx(5, rel=0.3)
    assert min(row["pa"].value, 180 - row["pa"].value) < 3


def knots(rng, shape):
    """A unit Gaussian field with the correlation length of noise at half a beam."""
    field = gaussian_filter(rng.normal(size=shape), 1.0)
    return field / field.std()


@pytest.mark.parametrize(("brightness", "most"), [(2, 6), (5, 2), (20, 1), (100, 1)])
def test_ring_is_not_shredded(brightness, most):
    """A ring with noise of one sigma per beam, half of it common to all realisations."""
    rng = np.random.default_rng(brightness)
    y, x = np.mgrid[-100:100, -100:100]
    ring = np.exp(-((np.hypot(x, y) - 40) ** 2) / 18)
    common = knots(rng, ring.shape)
    samples = [
        np.maximum(0, ring * brightness + np.sqrt(ring) * (common + knots(rng, ring.shape)))
        for _ in range(20)
    ]
    samples = gaussian_filter(samples, (0, 0.68, 0.68)) * NOISE / BEAM.area(CELL)
    table = run(samples)
    assert 1 <= np.sum(table["prob"] > 0.5) <= most
    assert np.sum(table["flux"].value) == pytest.approx(samples.sum(axis=(1, 2)).mean(), rel=0.02)
    if most == 1:
        assert table["resolved"][0]
        # The peak is on the ring, not at its centre.
        assert table["snr"][0] > 0.5 * brightness
        assert table["major"][0].value == pytest.approx(FWHM * 40 / np.sqrt(2) * CELL, rel=0.03)


def test_peak_of_an_extended_source_takes_no_copy_of_the_realisations():
    image = gaussian((200, 200), 60, 140, 200 * NOISE, 40 * np.eye(2)).astype(np.float32)
    samples, regions = np.repeat(image[None], 30, axis=0), np.zeros((200, 200), int)
    regions[120:160, 40:80] = 1
    pixels = Pixels.of(regions)
    light = measure_light(samples, pixels, KERNEL / (FWHM * CELL))
    held = np.ones((30, 1), bool)
    held[::5] = False
    tracemalloc.start()
    (peak,) = measure_peaks(samples, regions, pixels, light, held, BEAM, KERNEL, CELL)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    point = (KERNEL / FWHM / CELL) ** 2 * np.eye(2)
    clean = BEAM.covariance(CELL)
    seen = np.sqrt(np.linalg.det(clean) / np.linalg.det(40 * np.eye(2) - point + clean))
    assert peak == pytest.approx(200 * NOISE * seen, rel=0.01)
    assert most < samples.nbytes / 2


def test_two_lobes_are_two_sources():
    y, x = np.mgrid[:120, :200]
    lobes = sum(np.exp(-((x - c) ** 2 + (y - 60) ** 2) / 2 / 12**2) for c in (60, 140))
    table = run(np.repeat(lobes[None], 20, axis=0) * 20 * NOISE / BEAM.area(CELL))
    assert len(table) == 2
    assert sorted(table["x"].value) == pytest.approx([60, 140], abs=0.5)


def test_a_floor_ten_times_higher_hides_and_invents_nothing():
    rng = np.random.default_rng(2)
    x, y, shape = lattice(rng, 6, 30)
    samples = draw(rng, 20, shape, x, y, 5)
    samples += np.abs(rng.normal(size=samples.shape)) * 10 * FLOOR * NOISE / 2.9
    table = run(samples)
    assert len(table) == len(x)
    assert np.median(table["flux"].value) / NOISE == pytest.approx(5, abs=0.5)


def test_minflux_raises_the_bar():
    rng = np.random.default_rng(5)
    x, y, shape = lattice(rng, 6, 24)
    samples = draw(rng, 20, shape, x, y, 3)
    assert run(samples, minflux=3.0)["prob"].mean() == pytest.approx(0.5, abs=0.07)


def test_empty_sky_gives_an_empty_table():
    samples = np.random.default_rng(0).normal(0, FLOOR * NOISE / 2.9, (20, 50, 60))
    for table in (run(samples), run(np.zeros((1, 50, 60)))):
        assert len(table) == 0 and table.colnames == list(UNITS)


def test_a_single_realisation_is_enough():
    samples = gaussian((50, 60), 20, 30, 5 * NOISE, 0.46 * np.eye(2))[None]
    (row,) = run(samples)
    assert row["prob"] == 1 and row["count"] == 1 < FEW
    assert row["flux_err"].value == pytest.approx(NOISE, rel=0.02)


def test_units_and_order():
    rng = np.random.default_rng(0)
    table = run(draw(rng, 10, (50, 80), [20, 50, 65], [20, 25, 15], [5, 50, 20]))
    assert table.colnames == list(UNITS)
    assert all(table[name].unit == unit for name, unit in UNITS.items() if unit is not None)
    assert table["peak"].unit == u.Jy / u.beam
    assert np.all(np.diff(table["flux"].value) < 0)


def test_hundreds_of_sources():
    """More than go at a time, each with a neighbour that changes it as every other one's does."""
    rng = np.random.default_rng(9)
    x, y, shape = lattice(rng, 18, 28)
    beside = x + 0.95 * THETA
    table = run(draw(rng, 20, shape, np.r_[x, beside], np.r_[y, y], 50))
    assert len(table) == 2 * len(x) > 512 and table["blended"].all()
    table = run(draw(rng, 20, shape, x, y, 6))
    assert len(table) == len(x) and not table["blended"].any()


def test_input_is_checked():
    good = np.zeros((3, 20, 20))
    with pytest.raises(ValueError, match=r"samples must have 3 axes \(N, ny, nx\)"):
        run(good[0])
    with pytest.raises(ValueError, match="samples must be finite"):
        run(good * np.nan)
    with pytest.raises(ValueError, match="noise must be positive, got 0"):
        find_sources(good, CELL, BEAM, KERNEL, 0)
    with pytest.raises(ValueError, match="minflux must be positive, got -1"):
        run(good, minflux=-1)
