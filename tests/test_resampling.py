"""Weighted statistics against those of repeated rows, the bootstrap against theory."""

import numpy as np
import pytest
from scipy import stats

from casa_ddpm.benchmark import resampling
from casa_ddpm.benchmark.resampling import Estimate, Resamples


@pytest.fixture
def weighted():
    """Weights of 50 resamples, two columns of values."""
    rng = np.random.default_rng(1)
    weight = rng.integers(0, 4, (50, 23)).astype(float)
    return weight, rng.normal(2, 1, 23), rng.normal(1, 2, 23)


@pytest.mark.parametrize(
    ("name", "oracle"),
    [
        ("mean", np.mean),
        ("std", np.std),
        ("median", np.median),
        ("spread", lambda v: 1.4826 * np.median(np.abs(v - np.median(v)))),
    ],
)
def test_statistics_are_those_of_repeated_rows(weighted, name, oracle):
    weight, values, _ = weighted
    expected = [oracle(np.repeat(values, w.astype(int))) for w in weight]
    np.testing.assert_allclose(getattr(resampling, name)(weight, values), expected, rtol=1e-12)


def test_correlation_and_determination_are_those_of_repeated_rows(weighted):
    weight, a, b = weighted
    rows = [(np.repeat(a, w.astype(int)), np.repeat(b, w.astype(int))) for w in weight]
    r = [np.corrcoef(*pair)[0, 1] for pair in rows]
    r2 = [1 - np.sum((x - y) ** 2) / np.sum((y - y.mean()) ** 2) for x, y in rows]
    np.testing.assert_allclose(resampling.correlation(weight, a, b), r, rtol=1e-10)
    np.testing.assert_allclose(resampling.determination(weight, a, b), r2, rtol=1e-10)


def test_values_may_differ_by_resample(weighted):
    weight, values, _ = weighted
    shift = np.arange(50.0)
    moved = resampling.median(weight, values + shift[:, None])
    np.testing.assert_allclose(moved, resampling.median(weight, values) + shift)


@pytest.mark.parametrize("name", ["mean", "std", "median", "spread"])
def test_nothing_has_no_statistic(name):
    function = getattr(resampling, name)
    assert np.isnan(function(np.zeros((3, 2)), np.array([1.0, 2.0]))).all()
    assert np.isnan(function(np.zeros((3, 0)), np.zeros(0))).all()


def test_one_source_has_no_correlation():
    one, a, b = np.ones((2, 1)), np.array([5.1]), np.array([4.9])
    assert np.isnan(resampling.correlation(one, a, b)).all()
    assert np.isnan(resampling.determination(one, a, b)).all()


def test_draws():
    drawn = Resamples.draw([4, 2, 9, 2], seed=3, number=50)
    assert drawn.fields.tolist() == [2, 4, 9] and drawn.counts.shape == (51, 3)
    assert (drawn.counts[0] == 1).all() and (drawn.counts.sum(axis=1) == 3).all()
    assert np.array_equal(drawn.counts, Resamples.draw([2, 4, 9], 3, 50).counts)
    assert not np.array_equal(drawn.counts, Resamples.draw([2, 4, 9], 4, 50).counts)
    assert np.array_equal(drawn.weights([9, 2, 9]), drawn.counts[:, [2, 0, 2]])
    assert np.array_equal(drawn.restricted([2, 9]).counts, drawn.counts[:, [0, 2]])
    with pytest.raises(ValueError, match="number must be at least 0, got -1"):
        Resamples.draw([1], 0, -1)


def test_a_single_field_has_no_interval():
    """How fields differ is not known from one, which would always give itself."""
    resamples = Resamples.draw([5, 5, 5], seed=1)
    weight = resamples.weights([5, 5])
    assert weight.shape == (1, 2)
    figure = Estimate(resampling.mean(weight, np.array([1.0, 3.0])), 2).summary()
    assert figure == {"value": 2, "low": None, "high": None, "n": 2}


def test_interval_of_a_mean_is_that_of_theory():
    """400 fields of one value each: half of the 68 % interval is 0.994 sigma / sqrt(400)."""
    values = np.random.default_rng(0).normal(size=400)
    weight = Resamples.draw(range(400), 0, 2000).weights(range(400))
    figure = Estimate(resampling.mean(weight, values), 400).summary()
    half = stats.norm.ppf(0.84) * values.std() / 20
    # 2000 resamples know a percentile to about 3 % of sigma.
    assert figure["high"] - figure["value"] == pytest.approx(half, rel=0.08)
    assert figure["value"] - figure["low"] == pytest.approx(half, rel=0.08)


def test_intervals_hold_truth_in_68_of_100_experiments():
    """Fields of one to eight sources that share an offset: their mean, 400 times over."""
    held = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        number = rng.integers(1, 9, 50)
        field = np.repeat(np.arange(50), number)
        values = np.repeat(rng.normal(size=50), number) + 0.3 * rng.normal(size=len(field))
        weight = Resamples.draw(field, seed, 200).weights(field)
        figure = Estimate(resampling.mean(weight, values), len(field)).summary()
        held.append(figure["low"] <= 0 <= figure["high"])
    # Binomial error 0.023; sources drawn one by one would hold it in about 35 of 100.
    assert np.mean(held) == pytest.approx(0.68, abs=0.06)


def test_interval_is_scipy_s():
    """Median over sources, resampled by field, against scipy.stats.bootstrap."""
    rng = np.random.default_rng(5)
    field = np.sort(rng.integers(0, 60, 300))
    values = rng.normal(size=60)[field] + rng.normal(size=300)
    weight = Resamples.draw(range(60), 1, 3000).weights(field)
    ours = Estimate(resampling.median(weight, values), 300).summary()

    def pooled(fields):
        return np.median(np.concatenate([values[field == f] for f in fields]))

    theirs = stats.bootstrap(
        (np.arange(60),), pooled, confidence_level=0.68, n_resamples=3000,
        method="percentile", vectorized=False, rng=np.random.default_rng(2),
    ).confidence_interval  # fmt: skip
    assert ours["low"] == pytest.approx(theirs.low, abs=0.02)
    assert ours["high"] == pytest.approx(theirs.high, abs=0.02)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([np.nan, 1, 2], {"value": None, "low": None, "high": None, "n": 7}),
        ([np.inf, 1, 2], {"value": None, "low": None, "high": None, "n": 7}),
        ([1.0, 1, np.nan], {"value": 1.0, "low": 1.0, "high": 1.0, "n": 7}),
        ([1.0, 1, np.nan, np.nan], {"value": 1.0, "low": None, "high": None, "n": 7}),
        ([1.0], {"value": 1.0, "low": None, "high": None, "n": 7}),
        ([1 / 3, 0, 100], {"value": 0.333333, "low": 16.0, "high": 84.0, "n": 7}),
        ([1e-17, -1e-17, -1e-17], {"value": 0.0, "low": 0.0, "high": 0.0, "n": 7}),
    ],
)
def test_summary(values, expected):
    assert Estimate(np.array(values, float), 7).summary() == expected
