"""Purity and completeness by hand, and against simulated peaks of a matched filter."""

import numpy as np
import pytest
from astropy.table import Table
from scipy.ndimage import gaussian_filter, maximum_filter
from scipy.stats import norm

from casa_ddpm import matching
from casa_ddpm.benchmark import detection, matched_filter, tables
from casa_ddpm.benchmark.sample import samples


def curve(score, hit, true=4):
    return detection.curve(score, hit, np.ones((1, len(score))), np.array([true]))


def sample_of(score, match, snr, flux=np.nan, prob=np.nan, protocol="p"):
    """One field with true sources of these S/N."""
    k, m = len(score), len(snr)
    keys = {"protocol": [protocol], "field": [0], "method": ["m"]}
    found = Table({name: value * k for name, value in keys.items()})
    for name, value in (("score", score), ("flux", flux), ("prob", prob), ("x", 0.0), ("y", 0.0)):
        found[name] = np.broadcast_to(np.asarray(value, float), k)
    found["match"] = np.asarray(match, int)
    truth = Table({"protocol": [protocol] * m, "field": [0] * m, "snr": np.asarray(snr, float)})
    for name in ("x", "y", "major", "minor", "pa"):
        truth[name] = np.zeros(m)
    truth["flux"], truth["beam"], truth["compact"] = truth["snr"], 4.0, True
    if not k:
        found = tables.empty(tables.DETECTIONS)
    if not m:
        truth = tables.empty(tables.TRUTH)
    return samples(truth, found, Table(keys), number=10)[protocol]["m"]


def test_curve_by_hand():
    # One hit of one, one of two, two of three, two of four; four sources are there.
    known = curve([0.6, 0.9, 0.7, 0.8], [False, True, True, False])
    assert known.threshold.tolist() == [np.inf, 0.9, 0.8, 0.7, 0.6]
    np.testing.assert_allclose(known.purity, [[np.nan, 1, 1 / 2, 2 / 3, 1 / 2]])
    np.testing.assert_allclose(known.completeness, [[0, 1 / 4, 1 / 4, 1 / 2, 1 / 2]])
    np.testing.assert_allclose(known.f1, [[0, 2 / 5, 2 / 6, 4 / 7, 4 / 8]])
    assert known.threshold[known.best()] == 0.7


def test_equal_scores_are_above_a_threshold_together():
    for hits in ([True, False, True], [False, True, True], [True, True, False]):
        known = curve([0.5, 0.5, 0.5], hits)
        assert known.threshold.tolist() == [np.inf, 0.5]
        assert known.purity[0, 1] == pytest.approx(2 / 3)


def test_purity_that_is_reached_again_counts():
    # A false one first: 0, 1/2, 2/3 ... 9/10, then a false one.
    known = curve(np.arange(11.0, 0, -1), [False] + [True] * 9 + [False], true=20)
    place = known.at_purity(0.9)
    assert known.threshold[place] == 2 and known.completeness[0, place[0]] == 9 / 20


def test_purity_that_is_never_reached():
    known = curve([3.0, 2.0], [False, True])
    assert np.isinf(known.threshold[known.at_purity(0.9)]).all()
    assert known.completeness[0, known.at_purity(0.9)] == 0


def test_thresholds_of_others():
    known = curve([3.0, 2.0, 1.0], [True, True, False])
    chosen = [float(known.threshold[known.above(t)][0]) for t in (9, 3, 2.5, 2, -np.inf)]
    assert chosen == [np.inf, 3, 3, 2, 1]


def values(sample, **options):
    return {name: f.summary()["value"] for name, f in detection.figures(sample, **options).items()}


def test_figures_by_hand():
    snr = [3.5, 4.5, 5.5, 60, 2]
    found = values(sample_of([9, 8, 7, 6, 5], [3, 2, 1, -1, 0], snr, flux=[70, 5.2, 4.1, 4.2, 3.3]))
    # Three of three at 7, then 3/4 and 4/5.
    assert found["completeness_90"] == 0.6 and found["threshold_90"] == 7
    assert found["f1"] == 0.8 and found["f1_threshold"] == 5
    assert found["purity"] == 0.8 and found["completeness"] == 0.8 and found["false"] == 1
    assert [found[f"completeness_90[{name}]"] for name in ("3-4", "4-5", "5-6", "50-")] == [
        0, 1, 1, 1,
    ]  # fmt: skip
    assert found["completeness_90[6-7]"] is None
    # Above the threshold the false one of flux 4.2 is not.
    assert found["purity_90[4-5]"] == 1 and found["purity_90[3-4]"] is None
    assert "false_certain" not in found
    users = values(sample_of([9, 8, 7, 6, 5], [3, 2, 1, -1, 0], snr), default=6)
    assert users["purity"] == 0.75 and users["completeness"] == 0.6


def test_probability_outranks_brightness():
    """An artefact of prob 0.5 and S/N 450 is below all that are certain; the S/N decides ties."""
    prob, snr = np.array([0.5, 0.95, 0.9, 0.9]), np.array([450.0, 3, 4, 40])
    score = detection.certainty(prob, snr)
    assert np.argsort(-score).tolist() == [1, 3, 2, 0]
    assert np.abs(score - prob).max() <= 1e-6
    found = values(sample_of(score, [-1, 0, 1, 2], [5.0] * 4, prob=prob), default=0.9)
    assert found["completeness_90"] == 0.75
    assert found["f1_default"] == pytest.approx(6 / 7) and found["false_certain"] == 0


@pytest.mark.parametrize(("prob", "false"), [(0.9, 1), (0.9 - 1e-8, 0)])
def test_the_default_threshold_is_laid_on_the_probability(prob, false):
    score = detection.certainty(np.array([prob]), np.array([400.0]))
    found = values(sample_of(score, [-1], [5.0], prob=[prob]), default=0.9)
    assert found["false"] == false == found["false_certain"]


def test_without_a_default_threshold_there_are_no_figures_at_one():
    found = values(sample_of([9, 8], [0, -1], [5.0]), default=None)
    assert not {"purity", "completeness", "f1_default", "false"} & set(found)
    assert found["f1"] == 1


def test_nothing_found_and_nothing_there():
    none = values(sample_of([], [], [5.0, 6.0]))
    assert none["f1"] == none["completeness_90"] == none["completeness"] == none["false"] == 0
    assert none["purity"] is None and none["threshold_90"] is None
    empty = values(sample_of([4.0, 5.0], [-1, -1], [], prob=[0.2, 0.95]))
    assert empty["f1"] is None and empty["completeness_90"] is None
    assert empty["purity"] == 0 and empty["false"] == 2 and empty["false_certain"] == 1
    assert all(value is None for name, value in empty.items() if name.startswith("complete"))


@pytest.fixture(scope="module")
def peaks():
    """Peaks of 400 dirty images of 483 beams, each with 4 points of S/N 1 to 8 [noise]."""
    beam, images = 6, 400
    side = round(np.sqrt(483 * np.pi / 4 / np.log(2)) * beam)
    sigma = beam / np.sqrt(8 * np.log(2))
    yy, xx = np.mgrid[:side, :side]
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(images):
        # Natural weighting: the noise's autocorrelation is the beam.
        image = gaussian_filter(rng.normal(size=(side, side)), sigma / np.sqrt(2), mode="wrap")
        image *= np.sqrt(2 * np.pi) * sigma
        snr, where = rng.uniform(1, 8, 4), rng.uniform(2 * beam, side - 2 * beam, (2, 4))
        for s, x, y in zip(snr, *where, strict=True):
            image += s * np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / 2 / sigma**2)
        y, x = np.nonzero((image == maximum_filter(image, 5, mode="wrap")) & (image > 2.5))
        index, true = matching.match(x, y, *where, 0.6 * beam)
        partner = np.full(len(x), -1)
        partner[index] = true
        rows.append((image[y, x], partner >= 0, np.append(snr, np.nan)[partner], snr))
    return [np.concatenate(column) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize(
    ("threshold", "purity", "found"),
    # FACTS: a threshold's purity, and completeness at S/N 3, 4, 5 and 6.
    [
        (3.5, 0.67, (0.41, 0.78, 0.95, 1.00)),
        (4.0, 0.91, (0.24, 0.61, 0.90, 0.98)),
        (4.5, 0.99, (0.11, 0.40, 0.78, 0.94)),
        (5.0, 0.997, (0.05, 0.22, 0.59, 0.87)),
    ],
)
def test_matched_filter_of_simulated_images(peaks, threshold, purity, found):
    score, hit, snr, true = peaks
    known = curve(score, hit, true=len(true))
    place = known.above(threshold)[0]
    # Some 1000 detections.
    assert known.purity[0, place] == pytest.approx(purity, abs=0.03)
    for s, expected in zip((3, 4, 5, 6), found, strict=True):
        near, there = np.abs(snr - s) < 0.35, np.sum(np.abs(true - s) < 0.35)
        share = np.sum(near & hit & (score >= threshold)) / there
        # 160 sources each, and pixels that are not infinitely fine.
        error = 2.5 * np.sqrt(max(expected * (1 - expected), 0.02) / there)
        assert share == pytest.approx(expected, abs=error + 0.03)
        assert matched_filter.chance(s, threshold) == pytest.approx(expected, abs=0.03)


def test_chance_is_the_integral():
    v = np.linspace(0, 1, 20001)
    for snr, threshold in ((2.0, 4.0), (4.0, 4.0), (7.0, 5.0)):
        a = snr - threshold
        free = np.trapezoid(norm.pdf(a + v * snr) * np.exp(-(snr**2) * v), v * snr)
        assert matched_filter.chance(snr, threshold) == pytest.approx(norm.cdf(a) + free, abs=1e-8)
    extremes = matched_filter.chance([1.0, 1e4, 1e6], [[5.0], [np.inf]])
    np.testing.assert_allclose(extremes, [[0, 1, 1], [0, 0, 0]], atol=0.01)


def test_expected_figures():
    sample = sample_of([9.0], [0], [3.5, 4.5, 100])
    found = matched_filter.figures(sample, np.full(11, 4.0))
    chances = matched_filter.chance([3.5, 4.5, 100], 4.0)
    assert found["completeness_90"].values[0] == pytest.approx(chances.mean())
    assert found["completeness_90[4-5]"].values[0] == pytest.approx(chances[1])
    assert found["completeness_90[50-]"].n == 1
    assert found["completeness_90[5-6]"].summary()["value"] is None
