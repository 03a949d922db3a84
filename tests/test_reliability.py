"""Reliability of probabilities by hand and of calibrated ones."""

import numpy as np
import pytest
from astropy.table import Table

from casa_ddpm.benchmark import reliability, tables
from casa_ddpm.benchmark.sample import samples


def sample_of(prob, hit, fields=1):
    k = len(prob)
    field = np.arange(k) % fields
    keys = {"protocol": ["p"] * k, "field": field}
    found = Table(keys | {"method": ["m"] * k, "x": np.zeros(k), "y": np.zeros(k)})
    found["score"], found["prob"] = np.nan_to_num(prob), prob
    found["match"] = -1
    truth = Table(keys | {name: np.ones(k) for name in ("x", "y", "flux", "snr", "beam")})
    truth["major"], truth["minor"], truth["compact"] = 0.0, 0.0, True
    for f in range(fields):
        rows = np.flatnonzero(field == f)
        found["match"][rows] = np.where(np.asarray(hit)[rows], np.arange(len(rows)), -1)
    images = Table({"protocol": ["p"] * fields, "field": range(fields), "method": ["m"] * fields})
    return samples(truth, found, images, number=50)["p"]["m"]


def test_by_hand():
    sample = sample_of([0.12, 0.18, 0.3, 0.95, 1.0, np.nan], [False, True, True, True, False, True])
    known = {name: figure.summary() for name, figure in reliability.figures(sample).items()}
    assert known["prob_mean[0.1-0.2]"]["value"] == 0.15
    assert known["prob_true[0.1-0.2]"]["value"] == 0.5 and known["prob_true[0.1-0.2]"]["n"] == 2
    # 0.3 belongs to the decile that it begins, 1 to the last.
    assert known["prob_true[0.3-0.4]"]["value"] == 1 and known["prob_mean[0.9-1.0]"]["n"] == 2
    assert known["prob_true[0.0-0.1]"]["value"] is None
    expected = (2 * 0.35 + 0.7 + 2 * 0.475) / 5
    assert known["prob_error"]["value"] == pytest.approx(expected, rel=1e-5)
    assert known["prob_error"]["n"] == 5


def test_without_probabilities():
    known = reliability.figures(sample_of([np.nan, np.nan], [True, False]))
    assert all(figure.summary()["value"] is None for figure in known.values())
    none = samples(
        tables.empty(tables.TRUTH),
        tables.empty(tables.DETECTIONS),
        Table({"protocol": ["p"], "field": [0], "method": ["m"]}),
    )["p"]["m"]
    assert reliability.figures(none)["prob_error"].summary()["value"] is None


def test_calibrated_probabilities():
    rng = np.random.default_rng(0)
    prob = rng.uniform(size=5000)
    known = reliability.figures(sample_of(prob, rng.uniform(size=5000) < prob, fields=50))
    for decile, middle in zip(reliability.deciles(), np.arange(0.05, 1, 0.1), strict=True):
        # 500 each.
        assert known[f"prob_true[{decile}]"].values[0] == pytest.approx(middle, abs=0.08)
        assert known[f"prob_mean[{decile}]"].values[0] == pytest.approx(middle, abs=0.01)
    # Ten deciles' absolute binomial errors: 0.8 * 0.4 / sqrt(500) on average.
    assert known["prob_error"].values[0] < 0.03
    worse = reliability.figures(sample_of(prob, rng.uniform(size=5000) < prob / 2, fields=50))
    assert worse["prob_error"].values[0] == pytest.approx(0.25, abs=0.03)
