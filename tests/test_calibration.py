"""Recalibration: fitted factors against the errors they were made with."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable
from scipy.special import expit, logit

from casa_ddpm.calibration import (
    FEWEST,
    KINDS,
    Calibration,
    Errors,
    Kind,
    check,
    fit,
    kinds,
    shadows,
)
from casa_ddpm.odds import DOUBT, Odds

ODDS = Odds((0.5, 1.0, 0.3, 0.2), (-0.5, 0.5, 0.3, 0.2), (0.0, 0.7, 0.3, 0.2))
PLAIN = Errors((3.0, 10.0), (2.0, 1.0), (1.5, 0.5))
WIDER = Errors((3.0, 10.0), (4.0, 2.0), (3.0, 1.0))
WIDEST = Errors((3.0, 10.0), (8.0, 4.0), (6.0, 2.0))
MOST = Errors((3.0, 10.0), (16.0, 8.0), (12.0, 4.0))
BESIDE = Errors((3.0, 10.0), (6.0, 3.0), (4.5, 1.5))
ALL = Calibration(
    ODDS, *(Kind(errors, errors, errors) for errors in (PLAIN, BESIDE, WIDER, WIDEST, MOST))
)


def candidates(n=4000, seed=0, narrow=2.0, far=3.0):
    """Candidates whose errors are `narrow` times too small, and positions `far` times."""
    rng = np.random.default_rng(seed)
    snr = 10 ** rng.uniform(0.4, 1.6, n)
    share = np.clip(rng.beta(0.6, 0.6, n).round(2), 0.05, 1)
    shadow = rng.exponential(3, n)
    odds = 2 + 0.7 * logit(np.clip(share, DOUBT, 1 - DOUBT)) - 1.5 * np.log1p(shadow)
    true = rng.random(n) < expit(odds)
    flux, position = narrow * rng.normal(size=n), far * rng.normal(size=(n, 2))
    flux[~true], position[~true] = np.nan, np.nan
    # Each kind is half a time farther off than the one before, and disturbed ones twice that.
    kind, disturbance = rng.integers(0, 5, n), rng.integers(0, 2, n) * 1.0
    flux *= (1 + kind / 2) * (1 + disturbance)
    return {
        "prob": share, "shadow": shadow, "snr": snr, "disturbance": disturbance, "true": true,
        "flux": flux, "position": position, "kind": kind,
    }  # fmt: skip


def sources():
    return QTable(
        {
            "x": [10.0, 50.0, 90.0] * u.pix,
            "y": [10.0, 50.0, 90.0] * u.pix,
            "snr": [3.0, 10.0, 100.0],
            "prob": [0.3, 1.0, 1.0],
            "flux": [3, 10, 100] * u.Jy,
            "flux_lo": [2, 9, 98] * u.Jy,
            "flux_hi": [5, 11, 101] * u.Jy,
            "flux_err": [1.5, 1, 1.5] * u.Jy,
            "ra_err": [1, 1, 1] * u.arcsec,
            "dec_err": [2, 2, 2] * u.arcsec,
            "blended": [True, False, False],
            "major": [0, 0, 0] * u.arcsec,
            "count": [6, 20, 20],
            "resolved": [False, False, False],
        }
    )


def test_fit_finds_what_the_errors_lack():
    all_ = fit(candidates(100_000))
    for kind, width in zip([getattr(all_, name) for name in KINDS], (2, 3, 4, 5, 6), strict=True):
        for found, wider in ((kind.quiet, 1), (kind.disturbed, 2)):
            assert np.allclose(found.flux, wider * width, rtol=0.15)
            assert np.allclose(found.position, 3, rtol=0.15)
            assert len(found.snr) == 3 and found.snr[0] < 5 and found.snr[-1] > 20
        assert (np.array(kind.blind.flux) > 1.1 * width).all()
        assert (np.array(kind.blind.flux) < 1.9 * width).all()


def test_apply():
    table = sources()
    found = ALL.apply(table, 4, 1, 0.0)
    assert found["flux_lo"].value == pytest.approx([1, 9, 98])
    assert found["flux_hi"].value == pytest.approx([7, 11, 101])
    assert found["flux_err"].value == pytest.approx([3, 1, 1.5])
    assert found["ra_err"].value == pytest.approx([1.5, 0.5, 0.5])
    assert found["dec_err"].unit == u.arcsec and found["flux"].value.tolist() == [3, 10, 100]
    shadow = 100 / 3 / (1 + 2 * 80**2 / 4**2)
    expected = expit(0.5 + logit(0.3) - 0.3 * np.log1p(shadow) + 0.2 * np.log(3))
    assert found["prob"][0] == pytest.approx(expected)
    assert table["prob"][0] == 0.3  # what was given stays


def test_each_kind_has_errors_of_its_own():
    """Wider than a fifth of the beam in most realisations, told from a point, and neither."""
    table = sources()
    table["major"] = [0.9, 0.9, 0.7] * u.arcsec
    table["resolved"][0] = True
    assert _names(table) == ["resolved", "marginal", "point"]
    found = ALL.apply(table, 4, 2, 0.0)
    assert found["flux_err"].value == pytest.approx([12, 2, 1.5])
    assert found["ra_err"].value == pytest.approx([6, 1, 0.5])


@pytest.mark.parametrize(
    ("away", "count", "flux", "near"),
    [(3.5, 11, 1, True), (4.5, 11, 1, False), (3.5, 10, 1, False), (3.5, 11, 0.2, False)],
)
@pytest.mark.parametrize(
    ("major", "resolved", "kind", "beside"),
    [(0, False, "point", "close"), (1, False, "marginal", "marginal"),
     (1, True, "resolved", "confused")],
)  # fmt: skip
def test_others_may_be_close(away, count, flux, near, major, resolved, kind, beside):
    """One within reach [beam], in most of the source's realisations, and not too faint."""
    table = sources()[:2]
    table["count"], table["resolved"][0], table["flux"][1] = [20, count], resolved, flux * u.Jy
    table["major"] = [major, 1] * u.arcsec
    table["x"], table["y"] = [0, 2 * away] * u.pix, [0, 0] * u.pix
    assert _names(table) == [beside if near else kind, "marginal"]


def _names(table):
    return [KINDS[kind] for kind in kinds(table, 4, 2)]


def test_where_more_than_noise_is_left_prob_is_another():
    quiet, half, disturbed, blind = (
        ALL.apply(sources(), 4, 1, share)["prob"][1] for share in (0.0, 0.5, 1.0, np.nan)
    )
    assert quiet > half > disturbed and quiet > blind > disturbed


def test_where_more_than_noise_is_left_errors_are_others():
    """Between quiet and disturbed it is the logarithm of the factor that counts."""
    errors = Calibration(ODDS, *[Kind(PLAIN, WIDEST, WIDER)] * 5)
    for share, factor in ((0.0, 2), (0.5, 4), (1.0, 8), (np.nan, 4)):
        found = errors.apply(sources(), 4, 1, share)
        assert found["flux_err"][0].value == pytest.approx(1.5 * factor)
        assert found["ra_err"][0].value == pytest.approx(0.75 * factor)


def test_between_the_knots_the_logarithm_counts():
    table = sources()
    table["snr"][0] = np.sqrt(30)
    assert ALL.apply(table, 4, 1, 0.0)["flux_err"][0].value == pytest.approx(1.5 * 1.5)


def test_shadows():
    """A source of a tenth of another's flux, two beams away, and one far from both."""
    table = sources()
    table["x"], table["y"] = [0, 8, 4000] * u.pix, [0, 0, 0] * u.pix
    assert shadows(table, 4.0) == pytest.approx([10 / 3 / 5, 3 / 10 / 5, 0], abs=1e-4)
    assert shadows(table[:1], 4.0) == [0] and shadows(table[:0], 4.0).shape == (0,)


def test_shadows_of_hundreds():
    """More sources than go at a time, against the definition."""
    rng = np.random.default_rng(2)
    x, y, flux = rng.uniform(0, 300, 700), rng.uniform(0, 300, 700), rng.exponential(5, 700)
    table = QTable({"x": x * u.pix, "y": y * u.pix, "flux": flux * u.Jy})
    others = [np.arange(700) != k for k in range(700)]
    expected = [
        (flux[o] / flux[k] / (1 + ((x[o] - x[k]) ** 2 + (y[o] - y[k]) ** 2) / 16)).max()
        for k, o in enumerate(others)
    ]
    assert shadows(table, 4.0) == pytest.approx(expected)


def test_empty_table():
    assert len(ALL.apply(sources()[:0], 4, 1, np.nan)) == 0


def test_stored_form():
    assert Calibration.of(ALL.stored()) == ALL
    assert Calibration.of({}) is None
    former = {"point": ALL.stored()["point"]["quiet"], "resolved": {}}
    with pytest.raises(ValueError, match="must be calibrated anew: .* lacks point, resolved$"):
        Calibration.of(ALL.stored() | former)


def test_small_bins_join_the_next():
    few = candidates(400)
    found = fit(few).point.blind
    assert len(found.snr) <= np.isfinite(few["flux"]).sum() // FEWEST


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"flux": (1.0,)}, "snr, flux and position must be of one length, got 2, 1 and 2"),
        ({"position": (1, 0)}, "position must be positive"),
        ({"snr": (10, 3)}, "snr must rise"),
    ],
)
def test_refused(changes, text):
    with pytest.raises(ValueError, match=text):
        Errors(**{**ALL.stored()["point"]["quiet"], **changes})


def test_check_tells_what_is_right_from_what_is_not():
    """Probabilities and errors that are as they should be, and errors half as wide."""
    rng = np.random.default_rng(5)
    share = rng.random(20_000)
    known = {
        "prob": share, "true": rng.random(20_000) < share, "snr": np.full(20_000, 8.0),
        "kind": np.zeros(20_000, int),
    }  # fmt: skip
    for width, expected in ((1, 0.683), (2, 0.383)):
        errors = {
            "flux": width * rng.normal(size=20_000),
            "position": width * rng.normal(size=(20_000, 2)),
        }
        found = check(known | errors)
        assert found["resolved"] == []
        assert len(found["prob"]) == 10
        for row in found["prob"]:
            assert row["true"] == pytest.approx(row["prob"], abs=0.04)
        (row,) = found["point"]
        assert row["flux"] == pytest.approx(expected, abs=0.02)
        assert row["position"] == pytest.approx(expected, abs=0.02)
    assert row["flux, twice"] == pytest.approx(0.683, abs=0.02)


def test_a_kind_of_which_there_are_few_has_the_errors_of_all():
    some = candidates(2000)
    some["kind"][:] = np.arange(2000) >= 1980
    found = fit(some)
    assert found.marginal != found.point
    assert np.allclose(found.marginal.blind.flux, found.point.blind.flux, rtol=0.1)
    some["kind"][:], some["disturbance"][:] = 0, np.arange(2000) >= 1980
    found = fit(some).point
    assert found.disturbed == found.blind != found.quiet


def test_too_little_to_fit():
    few = candidates(20)
    with pytest.raises(ValueError, match="calibration must have at least 25 sources"):
        fit(few)
