"""All figures of a made-up benchmark, whose methods differ by known factors."""

import json

import numpy as np
import pytest
from astropy.table import Table, vstack
from crafted import METHODS, benchmark

from casa_ddpm.benchmark import legend, metrics, tables
from casa_ddpm.benchmark.resampling import Estimate


@pytest.fixture(scope="module")
def made():
    return benchmark(80, seed=1)


@pytest.fixture(scope="module")
def known(made):
    return metrics.figures(*made, seed=3, number=100)


def every(known):
    return [
        (name, figure)
        for methods in known.values()
        for figures in methods.values()
        for name, figure in figures.items()
    ]


def test_every_figure_is_plain_and_has_a_legend(known):
    assert list(known["independent"]) == [*METHODS, metrics.EXPECTED]
    for name, figure in every(known):
        assert name.split("[")[0] in legend.ENTRIES
        assert list(figure) == ["value", "low", "high", "n"]
        assert figure["low"] is None or figure["low"] <= figure["high"]
    assert json.loads(json.dumps(known, allow_nan=False)) == known


def test_figures_are_those_of_the_laws(known):
    for k, method in enumerate(METHODS):
        found = known["independent"][method]
        for name, expected in {
            "flux_ratio[>=5]": 1,
            "flux_std[>=5]": 1 + 0.25 * k,
            "position_rms[>=5]": 1 + 0.25 * k,
            "residual_rms": 1 + 0.1 * k,
        }.items():
            figure = found[name]
            # An interval is two sigma wide: 3.5 sigma, for twelve figures.
            more = 1.25 * (figure["high"] - figure["low"])
            assert figure["low"] - more < expected < figure["high"] + more
    peaks = known["independent"]["peaks"]
    assert peaks["prob_error"]["value"] is None and "recovered_2s[>=5]" not in peaks
    assert peaks["ser"]["value"] is None and peaks["ser"]["n"] == 0
    assert known["independent"]["ddpmclean"]["false_certain"]["n"] == 80


def test_same_seed_same_figures_in_any_order(made, known):
    truth, found, images = made
    assert metrics.figures(truth, found[::-1], images, seed=3, number=100) == known
    assert metrics.figures(*made, seed=4, number=100) != known


def test_protocols_do_not_mix(made, known):
    other = benchmark(20, seed=5, protocol="crowded")
    both = [vstack(pair) for pair in zip(made, other, strict=True)]
    found = metrics.figures(*both, seed=3, number=100)
    assert list(found) == ["independent", "crowded"]
    assert found["independent"] == known["independent"]
    assert found["crowded"] == metrics.figures(*other, seed=3, number=100)["crowded"]


def test_default_thresholds(made):
    defaults = {"peaks": 5.0, "ddpmclean": -np.inf}
    found = metrics.figures(*made, defaults=defaults, number=0)["independent"]
    assert found["peaks"]["purity"]["value"] > 0.98 > found["ddpmclean"]["purity"]["value"]
    assert found["peaks"]["purity"]["low"] is None
    # Whose users lay none has no figure, and no difference to others.
    names = {"purity", "completeness", "f1_default", "false"}
    assert names <= set(found["peaks"]) and not names & set(found[METHODS[2]])
    pair = metrics.compare(*made, "ddpmclean", METHODS[2], defaults=defaults, number=0)
    assert not names & set(pair["independent"]) and "f1" in pair["independent"]


def test_nothing_at_all():
    truth, found = tables.empty(tables.TRUTH), tables.empty(tables.DETECTIONS)
    assert metrics.figures(truth, found, Table()) == {}
    _, _, images = benchmark(3, protocol="empty")
    known = metrics.figures(truth, found, images)["empty"]
    for name, figure in known["peaks"].items():
        empty = name in ("false", "false_certain", "residual_rms")
        assert (figure["value"] is not None) == empty, name
    assert known[metrics.EXPECTED]["completeness_90"]["value"] is None


def test_images_of_any_column():
    truth, found, images = benchmark(4)
    images["psnr"], images["note"] = np.full(len(images), 33.0), "x"
    images["psnr"][:3] = [np.inf, 30, 30]
    known = metrics.figures(truth, found, images, number=5)["independent"]
    assert known["ddpmclean"]["psnr"]["value"] == 33 and known["ddpmclean"]["psnr"]["n"] == 3
    assert known["peaks"]["psnr"]["value"] == 32.25
    assert "seconds" not in known["peaks"] and "note" not in known["peaks"]


def test_method_is_no_better_than_itself(made):
    truth, found, images = made
    twin = [table[table["method"] == "ddpmclean"] for table in (found, images)]
    for table in twin:
        table["method"] = "twin"
    again = vstack([found, twin[0]]), vstack([images, twin[1]])
    known = metrics.compare(truth, *again, "ddpmclean", "twin", number=50)["independent"]
    for figure in known.values():
        assert figure["better"] is None and figure["value"] in (0, None)
        assert figure["low"] in (0, None) and figure["high"] in (0, None)


def test_comparisons(made):
    found = metrics.comparisons(*made, "ddpmclean", seed=3, number=100)
    assert list(found["independent"]["ddpmclean"]) == list(METHODS[1:])
    rival = found["independent"]["ddpmclean"]["tclean + PyBDSF"]
    for name in ("flux_std[>=5]", "position_rms", "residual_rms"):
        assert rival[name]["better"] == "ddpmclean" and rival[name]["high"] < 0
    assert rival["f1_threshold"]["better"] is None  # no goal
    turned = metrics.compare(*made, "tclean + PyBDSF", "ddpmclean", seed=3, number=100)
    other = turned["independent"]["position_rms"]
    assert other["value"] == -rival["position_rms"]["value"] and other["better"] == "ddpmclean"
    assert metrics.compare(*made, "ddpmclean", "nobody") == {}


def test_pairs_know_differences_better_than_each_alone():
    """Two methods that see the same noise."""
    truth, found, images = benchmark(60, methods=("a",))
    other = found.copy()
    other["method"], other["score"] = "b", other["score"] - 0.01 * np.arange(len(other)) % 0.05
    images = vstack([images, Table(images, copy=True)])
    images["method"][60:] = "b"
    tables_ = truth, vstack([found, other]), images
    alone = metrics.figures(*tables_, number=100)["independent"]["a"]["completeness_90"]
    pair = metrics.compare(*tables_, "a", "b", number=100)["independent"]["completeness_90"]
    assert pair["high"] - pair["low"] < 0.5 * (alone["high"] - alone["low"])


def test_better_is_closer_to_the_goal():
    ratios = [np.array([1.02, 1.01, 1.02, 1.03]), np.array([0.95, 0.94, 0.95, 0.96])]
    pair, (a, b) = ("a", "b"), (Estimate(ratio, 9) for ratio in ratios)
    result = metrics._difference("flux_ratio[5-6]", pair, a, b)
    assert result["value"] == pytest.approx(0.07) and result["better"] == "a"
    # As far from 1, on the other side.
    b = Estimate(2 - a.values[[0, 2, 1, 3]], 9)
    assert metrics._difference("flux_ratio[5-6]", pair, a, b)["better"] is None


def test_infinite_figures_have_no_difference():
    """Such as thresholds that nothing exceeds: neither method is better, and nothing is warned."""
    infinite = Estimate(np.full(5, np.inf), 4)
    finite = Estimate(np.linspace(1, 2, 5), 4)
    pair = ("a", "b")
    for one, other in ((infinite, infinite), (infinite, finite), (finite, infinite)):
        for name in ("flux_ratio", "threshold_90", "f1"):
            difference = metrics._difference(name, pair, one, other)
            assert difference["value"] is None and difference["better"] is None
