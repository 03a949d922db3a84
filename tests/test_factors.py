"""Factors of errors: fitted to errors of which it is known what they lack."""

from __future__ import annotations

import numpy as np
import pytest

from casa_ddpm import factors
from casa_ddpm.factors import ONE_SIGMA, Errors, Factor

LEVELS = {"level": 0.2, "snr": -0.1, "crowding": 0.5, "structure": 0.3, "disturbance": 0.7}


def around(n, seed=0):
    """Features of n sources in all circumstances."""
    rng = np.random.default_rng(seed)
    snr, crowding = 10 ** rng.uniform(0.5, 2, n), rng.uniform(0, 0.8, n)
    return factors.features(snr, crowding, rng.random(n), rng.integers(0, 2, n))


def test_factor():
    """Of a S/N of 10 by itself it is that of the level; elsewhere the logarithms add up."""
    factor = Factor(**LEVELS)
    snr, crowding = np.array([10.0, 100.0, 1000.0, 1.0]), np.array([0, 0.5, 0.5, 0])
    found = factor.at(factors.features(snr, crowding, 0.0, 0.0))
    assert found[0] == pytest.approx(np.exp(0.2))
    assert found[1] == pytest.approx(np.exp(0.2 - 0.1 * np.log(10) + 0.25))
    # Beyond the S/N that it was fitted on it stays as it is there.
    assert found[2] == pytest.approx(np.exp(0.2 - 0.1 * np.log(15) + 0.25))
    assert found[3] == pytest.approx(np.exp(0.2 - 0.1 * np.log(0.3)))
    both = factor.at(factors.features(snr, crowding, 0.5, 1.0))
    assert both == pytest.approx(found * np.exp(0.15 + 0.7))


@pytest.mark.parametrize("law", ["normal", "laplace"])
def test_fit_finds_what_the_errors_lack(law):
    """Whatever their law: the share that they hold is what counts."""
    features, rng = around(8000), np.random.default_rng(1)
    errors = getattr(rng, law)(size=8000) * Factor(**LEVELS).at(features)
    found = factors.fit(features, errors)
    unit = np.quantile(np.abs(getattr(rng, law)(size=200_000)), ONE_SIGMA)
    assert found.level == pytest.approx(0.2 + np.log(unit), abs=0.1)
    for name in ("snr", "crowding", "structure", "disturbance"):
        assert getattr(found, name) == pytest.approx(LEVELS[name], abs=0.15)
    other = around(8000, seed=2)
    fresh = getattr(rng, law)(size=8000) * Factor(**LEVELS).at(other)
    for part in (other[:, 4] == 0, other[:, 4] == 1, other[:, 2] > 0.5, other[:, 1] < 0):
        held = np.abs(fresh[part]) < found.at(other[part])
        assert held.mean() == pytest.approx(ONE_SIGMA, abs=0.03)


def test_what_makes_hardly_a_difference_has_no_slope():
    """Chance alone would give it one."""
    features = around(60, seed=5)
    found = factors.fit(features, 2 * np.random.default_rng(3).normal(size=60))
    slopes = np.array([found.snr, found.crowding, found.structure, found.disturbance])
    assert (slopes == 0).sum() >= 2
    features[:, 3:] = 0
    found = factors.fit(features, 2 * np.random.default_rng(3).normal(size=60))
    assert found.structure == found.disturbance == 0
    assert found.level == pytest.approx(np.log(2), abs=0.3)


def test_refused():
    with pytest.raises(ValueError, match="errors must be finite, got NaN or infinite"):
        factors.fit(around(3), np.array([1.0, np.inf, 2.0]))


def test_stored_form():
    errors = Errors(Factor(**LEVELS), Factor(*range(5)))
    stored = {"flux": LEVELS, "position": dict(zip(LEVELS, range(5), strict=True))}
    assert Errors.of(stored) == errors
