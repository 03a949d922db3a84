"""Logistic regression within bounds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from casa_ddpm import logistic
from casa_ddpm.logistic import ANY, NONE, NOT_NEGATIVE


def drawn(n=20_000, seed=0):
    """Features with an offset, and weights that are right for them."""
    features = np.random.default_rng(seed).normal(size=(n, 3))
    features[:, 0] = 1
    return features, np.array([-0.5, 1.5, 0.7])


@pytest.mark.parametrize("certain", [True, False])
def test_fit_finds_the_weights(certain):
    """From whether it is so, or from the share of cases in which it is."""
    features, weights = drawn()
    share = expit(features @ weights)
    if certain:
        share = np.random.default_rng(1).random(len(share)) < share
    found = logistic.fit(features, share, [ANY] * 3)
    assert found == pytest.approx(weights, abs=0.08 if certain else 1e-3)


def test_bounds_and_shrinkage():
    features, weights = drawn()
    share = expit(features @ (weights * [1, -1, 1]))
    found = logistic.fit(features, share, [ANY, NOT_NEGATIVE, NONE])
    assert found[1:].tolist() == [0, 0] and found[0] < 0
    free, held = (
        logistic.fit(features[:50], share[:50], [ANY] * 3, shrink)
        for shrink in (0.0, np.array([0, 5, 5]))
    )
    assert (np.abs(held[1:]) < 0.9 * np.abs(free[1:])).all()
