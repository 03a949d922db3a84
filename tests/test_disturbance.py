"""How disturbed images are: known, and suspected."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import expit

from casa_ddpm import noise
from casa_ddpm.disturbance import DISTURBED, Signs, Suspicion, fit


def left(sigma, thermal, tangled=False):
    dirty = SimpleNamespace(thermal=thermal, tangled=tangled, sidelobe=0.1)
    return Signs.of(dirty, np.array([[1.0, -8.0]]), 100, sigma)


def test_known():
    assert left(1.0, 1.0).known == 0 and left(0.9, 1.0).known == 0
    assert left(2 * DISTURBED, 2.0).known == pytest.approx(1) and left(9.0, 1.0).known == 1
    assert left(np.sqrt(DISTURBED), 1.0).known == pytest.approx(0.5)
    assert left(1.0, 1.0, tangled=True).known == left(1.0, None, tangled=True).known == 1
    unknown = left(1.0, None)
    assert np.isnan(unknown.known) and not unknown.is_known and left(1.0, 1.0).is_known


def test_peak_is_in_units_of_what_noise_comes_to():
    assert left(2.0, None).peak == pytest.approx(4 / noise.highest(100))
    white = np.random.default_rng(0).normal(size=(64, 64))
    dirty = SimpleNamespace(thermal=None, tangled=False, sidelobe=0.1)
    assert Signs.of(dirty, white, white.size, 1.0).peak == pytest.approx(1, abs=0.15)


SUSPICION = Suspicion(0.5, 1.5, 2.0)


def test_disturbance():
    """What is known counts; the more an image shows, the more is suspected."""
    assert SUSPICION.disturbance(Signs(0.1, 1.0, 0.3)) == 0.3
    low, high, peaked = (SUSPICION.disturbance(Signs(*s)) for s in ((0.1, 1), (0.3, 1), (0.1, 2)))
    assert low == pytest.approx(expit(0.5 + 1.5 * np.log(0.1)))
    assert low < high < 1 and low < peaked < 1
    assert 0 < SUSPICION.disturbance(Signs(0.0, 0.0)) < 0.01


def test_fit():
    """To images of which each is disturbed or not."""
    rng = np.random.default_rng(1)
    sidelobe, peak = np.exp(rng.uniform(-3, -0.7, 4000)), np.exp(rng.exponential(0.3, 4000))
    disturbed = rng.random(4000) < SUSPICION.expected(sidelobe, peak)
    found = fit(sidelobe, peak, disturbed)
    assert found.offset == pytest.approx(0.5, abs=0.4)
    assert found.sidelobe == pytest.approx(1.5, abs=0.2)
    assert found.peak == pytest.approx(2.0, abs=0.3)


def test_weights_are_never_negative():
    """Also where chance would have calmer images disturbed."""
    sidelobe = np.linspace(0.05, 0.3, 20)
    found = fit(sidelobe, 1 / sidelobe, sidelobe < 0.1)
    assert found.sidelobe == 0 and found.peak > 0
    with pytest.raises(ValueError, match="must not be negative, got sidelobe=-1.0 and peak=2.0"):
        Suspicion(0, -1, 2)
