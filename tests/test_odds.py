"""Odds of candidates: fitted to some, held to on others."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit

from casa_ddpm.odds import DOUBT, Odds, fit

ODDS = Odds((0.5, 1.0, 0.0), (0.0, 0.7, 0.2), (-0.5, 0.5, 0.8))


def candidates(n=60_000, seed=0):
    """Features, and whether they are sources: in disturbed images the network is too sure."""
    rng = np.random.default_rng(seed)
    snr = 10 ** rng.uniform(0.4, 1.6, n)
    prob = np.clip(rng.beta(0.6, 0.6, n).round(2), 0.05, 1)
    structure, disturbance = rng.choice([0.0, 1.0], n), rng.choice([0.0, 0.5, 1.0], n)
    known = logit(np.clip(prob, DOUBT, 1 - DOUBT))
    plain, structured = 1 + 0.9 * known, -1 + 0.6 * known + 0.3 * np.log(snr)
    quiet = np.where(structure == 1, structured, plain)
    odds = (1 - disturbance) * quiet + disturbance * (-3 + 0.3 * known + np.log(snr))
    return prob, snr, structure, disturbance, rng.random(n) < expit(odds)


@pytest.mark.parametrize("disturbance", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("structure", [0.0, 1.0])
def test_fitted_probability_is_the_true_fraction(structure, disturbance):
    """On candidates that it was not fitted to, in every tenth, wherever they are."""
    found = fit(*candidates())
    prob, snr, structures, disturbances, true = candidates(seed=1)
    here = (structures == structure) & (disturbances == disturbance)
    claimed = found.probability(prob[here], snr[here], structure, disturbance)
    for low in np.arange(0, 1, 0.1):
        part = (claimed >= low) & (claimed < low + 0.1)
        if part.sum() > 200:
            assert true[here][part].mean() == pytest.approx(claimed[part].mean(), abs=0.05)


def test_states():
    """Each has weights of its own, and what is between them is between their log-odds."""
    prob, snr = np.array([0.3, 0.9]), np.array([5.0, 20.0])
    known, bright = logit(prob), np.log(snr)
    plain, structured = 0.5 + known, 0.7 * known + 0.2 * bright
    disturbed = -0.5 + 0.5 * known + 0.8 * bright
    for structure, disturbance, odds in (
        (0, 0, plain), (1, 0, structured), (0, 1, disturbed), (1, 1, disturbed),
        (0.5, 0.2, 0.4 * plain + 0.4 * structured + 0.2 * disturbed),
    ):  # fmt: skip
        found = ODDS.probability(prob, snr, structure, disturbance)
        assert found == pytest.approx(expit(odds))
    each = ODDS.probability(prob, snr, np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    assert each == pytest.approx(expit([plain[0], disturbed[1]]))


@pytest.mark.parametrize(("structure", "disturbance"), [(0, 0), (0.3, 0.3), (1, 0), (0, 1)])
def test_probability_is_monotone(structure, disturbance):
    prob, snr = np.meshgrid(np.linspace(0, 1, 21), np.geomspace(0.1, 100, 30), indexing="ij")
    found = ODDS.probability(prob.ravel(), snr.ravel(), structure, disturbance).reshape(prob.shape)
    assert (np.diff(found, axis=0) >= 0).all() and (np.diff(found, axis=1) >= 0).all()
    assert found.min() >= 0 and found.max() <= 1


def test_weights_are_never_negative():
    """Also where chance would have a higher probability mean a lower one."""
    prob, snr, structure, disturbance, _ = candidates(4000)
    wrong = np.random.default_rng(2).random(len(prob)) < 0.9 - 0.8 * prob
    found = fit(prob, snr, structure, disturbance, wrong)
    assert min(*found.plain[1:], *found.structured[1:], *found.disturbed[1:]) >= 0


def test_of_points_in_noise_the_signal_to_noise_ratio_tells_nothing_more():
    prob, snr, *_ = candidates(4000)
    true = np.random.default_rng(3).random(len(prob)) < expit(np.log(snr))
    found = fit(prob, snr, np.zeros(len(prob)), np.zeros(len(prob)), true)
    assert found.plain[2] == 0


@pytest.mark.parametrize("wrong", [(0, -1, 0), (0, 1)])
@pytest.mark.parametrize("name", ["plain", "structured", "disturbed"])
def test_refused(name, wrong):
    weights = {"plain": (0, 1, 0), "structured": (0, 1, 0), "disturbed": (0, 1, 0)}
    with pytest.raises(ValueError, match=f"{name} must be an offset and two weights"):
        Odds(**weights | {name: wrong})
