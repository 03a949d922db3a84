"""Fluxes, positions and shapes by hand, and of errors drawn from the limit."""

import numpy as np
import pytest
from astropy.table import Table

from casa_ddpm.benchmark import accuracy
from casa_ddpm.benchmark.sample import samples

N = 4000


def sample_of(truth, found, seed=0, number=20):
    """All true sources found, 20 in a field, but for the columns that are given."""
    m = len(truth["snr"])
    keys = {"protocol": ["p"] * m, "field": np.arange(m) // 20}
    zeros = {name: np.zeros(m) for name in ("x", "y", "major", "minor", "pa")}
    rest = {"flux": truth["snr"], "beam": np.full(m, 4.0), "compact": np.ones(m, bool)}
    true = keys | zeros | rest | truth
    match = {"method": ["m"] * m, "match": np.arange(m) % 20, "score": np.full(m, 9.0)}
    same = {name: true[name] for name in ("x", "y", "flux", "major", "minor", "pa")}
    images = Table(keys | {"method": ["m"] * m})
    return samples(Table(true), Table(keys | match | same | found), images, seed, number)["p"]["m"]


def values(estimates):
    return {name: estimate.summary()["value"] for name, estimate in estimates.items()}


def test_flux_by_hand():
    truth = {"snr": [10.0, 10, 10, 10, 10], "compact": [True, True, True, True, False]}
    found = {"flux": [10.5, 9.0, 13.0, 10.0, 99.0], "flux_err": [1.0, 0.4, 2.0, np.nan, 1.0]}
    known = values(accuracy.flux_figures(sample_of(truth, found)))
    assert known["flux_ratio[10-20]"] == pytest.approx(1.025)
    # Deviations from the median 10.25: 0.25, 1.25, 2.75, 0.25.
    assert known["flux_scatter[10-20]"] == pytest.approx(1.4826 * 0.75, rel=1e-5)
    assert known["flux_std[10-20]"] == pytest.approx(np.std([0.5, -1, 3, 0]), rel=1e-5)
    assert known["flux_within_10[10-20]"] == 0.75 and known["recovered_10[10-20]"] == 0.75
    # Of the three with an error; of all four.
    assert known["flux_within_1s[10-20]"] == pytest.approx(1 / 3, rel=1e-5)
    assert known["flux_within_2s[10-20]"] == pytest.approx(2 / 3, rel=1e-5)
    assert known["recovered_2s[10-20]"] == 0.5
    assert known["flux_ratio[>=5]"] == known["flux_ratio[10-20]"]
    assert known["flux_ratio[7-10]"] is None and known["flux_r[>=5]"] is None


def test_truth_by_what_is_measured():
    """In bins of what the catalogue says, not of what is true."""
    truth = {"snr": [4.5, 4.5, 5.5, 5.5], "flux": [9.0, 4.5, 11.0, 5.5]}
    found = {"flux": [8.2, 5.2, 9.0, 6.6]}
    known = values(accuracy.flux_figures(sample_of(truth, found)))
    # Measured S/N 4.1, 5.2, 4.5 and 6.6; the first and third are of sources of two beam areas.
    assert known["flux_expected[4-5]"] == pytest.approx((9.0 / 8.2 + 11 / 9) / 2, rel=1e-5)
    assert known["flux_expected[5-6]"] == pytest.approx(4.5 / 5.2, rel=1e-5)
    assert known["flux_expected[6-7]"] == pytest.approx(5.5 / 6.6, rel=1e-5)
    assert known["flux_expected[3-4]"] is None


def test_interval_comes_before_error():
    truth = {"snr": [10.0, 10]}
    found = {"flux": [10.5, 10.5], "flux_err": [9.0, 9], "flux_lo": [10.1, 9.9]}
    known = values(accuracy.flux_figures(sample_of(truth, found | {"flux_hi": [11.0, 11]})))
    # 10.1 to 11 does not hold 10, twice as far down does.
    assert known["flux_within_1s[10-20]"] == 0.5 and known["flux_within_2s[10-20]"] == 1


def test_method_without_errors_or_fluxes():
    truth = {"snr": [10.0, 20]}
    known = values(accuracy.flux_figures(sample_of(truth, {})))
    assert known["flux_within_10[>=5]"] == 1
    assert not [name for name in known if name.endswith("s]") or "_2s" in name]
    none = sample_of(truth, {"flux": [np.nan] * 2, "major": [np.nan] * 2, "x_err": [np.nan] * 2})
    fluxes = values(accuracy.flux_figures(none))
    assert fluxes["flux_ratio[>=5]"] is None and fluxes["recovered_10[>=5]"] == 0
    assert values(accuracy.shape_figures(none))["shape_major"] is None
    positions = values(accuracy.position_figures(none))
    assert positions["position_rms"] == 0 and positions["position_within_1s"] is None


def test_only_above_the_threshold():
    """Three quarters of the low scores are false: their fluxes do not count."""
    truth = Table({"protocol": ["p"] * 2, "field": [0, 0], "x": [0.0, 0], "y": [0.0, 0]})
    for name, value in {"snr": [10.0, 10], "flux": [10.0, 10], "compact": [True, True]}.items():
        truth[name] = value
    truth["major"], truth["minor"], truth["pa"], truth["beam"] = 0.0, 0.0, 0.0, 4.0
    found = Table({"score": [9.0, 1, 1, 1, 1], "match": [0, 1, -1, -1, -1]})
    found["flux"] = [10.0, 50, 1, 1, 1]
    found["protocol"], found["field"], found["method"] = "p", 0, "m"
    found["x"], found["y"] = 0.0, 0.0
    images = Table({"protocol": ["p"], "field": [0], "method": ["m"]})
    sample = samples(truth, found, images, number=5)["p"]["m"]
    known = accuracy.flux_figures(sample)
    assert known["flux_ratio[>=5]"].summary()["value"] == 1
    assert known["flux_ratio[>=5]"].n == 1 and known["recovered_10[>=5]"].n == 2
    assert known["recovered_10[>=5]"].summary()["value"] == 0.5


@pytest.fixture(scope="module")
def ideal():
    """Half points, half Gaussians of 1.2 by 0.6 beams, with the errors of the limit."""
    rng = np.random.default_rng(0)
    snr = np.exp(rng.uniform(np.log(5), np.log(50), N))
    gauss = np.arange(N) % 2 == 1
    flux = snr * np.where(gauss, np.sqrt((1 + 1.44) * (1 + 0.36)), 1)
    truth = {"snr": snr, "flux": flux, "x": rng.uniform(0, 99, N), "y": rng.uniform(0, 99, N)}
    truth |= {"major": 1.2 * gauss, "minor": 0.6 * gauss, "pa": rng.uniform(0, 180, N)}
    limit = np.where(gauss, np.sqrt(3) * flux / snr, 1)
    away = 0.425 * 4 / snr
    found = {axis: truth[axis] + away * rng.normal(size=N) for axis in "xy"}
    found |= {f"{axis}_err": away for axis in "xy"}
    found |= {"flux": flux + limit * rng.normal(size=N), "flux_err": limit}
    found["pa"] = (truth["pa"] + 3 + 8 * rng.normal(size=N)) % 180
    found["major"] = truth["major"] * (0.95 + 0.1 * rng.normal(size=N))
    return sample_of(truth, found, number=100)


def test_limit_is_reproduced(ideal):
    known = accuracy.flux_figures(ideal) | accuracy.position_figures(ideal)
    at = {name: estimate.values[0] for name, estimate in known.items()}
    error = 1 / np.sqrt(2 * N)  # of a standard deviation; of a robust one 1.6 times that
    assert at["flux_std[>=5]"] == pytest.approx(1, abs=3 * error)
    assert at["flux_scatter[>=5]"] == pytest.approx(1, abs=5 * error)
    assert at["position_rms"] == pytest.approx(1, abs=3 * error)
    assert at["position_scatter"] == pytest.approx(1, abs=5 * error)
    for name in ("flux", "position"):
        assert at[f"{name}_within_1s[>=5]"] == pytest.approx(0.6827, abs=0.022)
        assert at[f"{name}_within_2s[>=5]"] == pytest.approx(0.9545, abs=0.01)
    assert at["flux_ratio[>=5]"] == pytest.approx(1, abs=0.01)
    assert at["flux_r[>=5]"] > 0.97 and 0.95 < at["flux_r2[>=5]"] < at["flux_r[>=5]"]


def test_interval_of_a_coverage_is_binomial(ideal):
    figure = accuracy.flux_figures(ideal)["flux_within_1s[>=5]"].summary()
    half = 0.994 * np.sqrt(0.6827 * 0.3173 / N)
    # 100 resamples know it to about 10 %; each draws 200 of 200 fields.
    assert (figure["high"] - figure["low"]) / 2 == pytest.approx(half, rel=0.25)


def test_shapes(ideal):
    known = values(accuracy.shape_figures(ideal))
    assert known["shape_major"] == pytest.approx(0.95, abs=0.01)
    assert known["shape_minor"] == 1
    assert known["shape_pa"] == pytest.approx(3, abs=0.7)
    # Median of abs(3 + 8 g).
    assert known["shape_pa_error"] == pytest.approx(5.78, abs=0.5)
    assert accuracy.shape_figures(ideal)["shape_major"].n == N / 2


def test_position_angles_wrap():
    truth = {"snr": [20.0], "major": [1.0], "minor": [0.5], "pa": [179.0]}
    found = values(accuracy.shape_figures(sample_of(truth, {"pa": [2.0]})))
    assert found["shape_pa"] == 3 and found["shape_pa_error"] == 3
    round_one = truth | {"minor": [0.9]}
    found = values(accuracy.shape_figures(sample_of(round_one, {"pa": [2.0]})))
    assert found["shape_pa"] is None and found["shape_major"] == 1
    small = truth | {"major": [0.6], "minor": [0.3]}
    assert values(accuracy.shape_figures(sample_of(small, {})))["shape_major"] is None
