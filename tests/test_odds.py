"""Odds of candidates: fitted to some, held to on others."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import expit, logit

from casa_ddpm.odds import DISTURBED, DOUBT, Odds, disturbance, fit

ODDS = Odds((0.5, 1.0, 0.3, 0.2), (-0.5, 0.5, 0.3, 0.2), (0.0, 0.7, 0.3, 0.2))


def candidates(n=40_000, seed=0):
    """Features, and whether they are sources: in disturbed images the network is too sure."""
    rng = np.random.default_rng(seed)
    snr = 10 ** rng.uniform(0.4, 1.6, n)
    prob = np.clip(rng.beta(0.6, 0.6, n).round(2), 0.05, 1)
    shadow = rng.exponential(3, n)
    share = rng.choice([0.0, 0.5, 1.0], n)
    known = logit(np.clip(prob, DOUBT, 1 - DOUBT))
    odds = (2 - 3 * share) + (0.9 - 0.6 * share) * known - 1.5 * np.log1p(shadow)
    return prob, shadow, snr, share, rng.random(n) < expit(odds)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_fitted_probability_is_the_true_fraction(share):
    """On candidates that it was not fitted to, in every tenth, wherever they are."""
    found = fit(*candidates())
    prob, shadow, snr, shares, true = (values for values in candidates(seed=1))
    here = shares == share
    claimed = found.probability(prob[here], shadow[here], snr[here], share)
    for low in np.arange(0, 1, 0.1):
        part = (claimed >= low) & (claimed < low + 0.1)
        if part.sum() > 200:
            assert true[here][part].mean() == pytest.approx(claimed[part].mean(), abs=0.05)


def test_blind_probability_is_right_on_average():
    found = fit(*candidates())
    prob, shadow, snr, _, true = candidates(seed=1)
    claimed = found.probability(prob, shadow, snr, np.nan)
    assert claimed.mean() == pytest.approx(true.mean(), abs=0.01)
    for part in (snr < 5, shadow > 3, prob > 0.9):
        assert claimed[part].mean() == pytest.approx(true[part].mean(), abs=0.03)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0, np.nan])
def test_probability_is_monotone(share):
    prob, shadow = np.meshgrid(np.linspace(0, 1, 21), np.geomspace(0.1, 100, 30), indexing="ij")
    found = ODDS.probability(prob.ravel(), shadow.ravel(), np.full(prob.size, 5.0), share)
    found = found.reshape(prob.shape)
    assert (np.diff(found, axis=0) >= 0).all() and (np.diff(found, axis=1) <= 0).all()
    assert found.min() >= 0 and found.max() <= 1


def test_weights_are_never_negative():
    """Also where chance would have a higher probability mean a lower one."""
    prob, shadow, snr, share, _ = candidates(4000)
    wrong = np.random.default_rng(2).random(len(prob)) < 0.9 - 0.8 * prob
    found = fit(prob, shadow, snr, share, wrong)
    assert min(*found.quiet[1:], *found.disturbed[1:], *found.blind[1:]) >= 0


def left(noise, thermal, tangled=False):
    return disturbance(SimpleNamespace(thermal=thermal, tangled=tangled), noise)


def test_disturbance():
    assert left(1.0, 1.0) == 0 and left(0.9, 1.0) == 0
    assert left(2 * DISTURBED, 2.0) == pytest.approx(1) and left(9.0, 1.0) == 1
    assert 0.4 < left(np.sqrt(DISTURBED), 1.0) < 0.6
    assert left(1.0, 1.0, tangled=True) == 1
    assert np.isnan(left(1.0, None)) and np.isnan(left(1.0, None, tangled=True))


@pytest.mark.parametrize("wrong", [(0, -1, 0, 0), (0, 1)])
@pytest.mark.parametrize("name", ["quiet", "disturbed", "blind"])
def test_refused(name, wrong):
    weights = {"quiet": (0, 1, 0, 0), "disturbed": (0, 1, 0, 0), "blind": (0, 1, 0, 0)}
    with pytest.raises(ValueError, match=f"{name} must be an offset and three weights"):
        Odds(**weights | {name: wrong})
