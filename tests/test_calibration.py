"""Recalibration: what is fitted against what the candidates were made with."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable
from scipy.special import expit, logit

from casa_ddpm import calibration
from casa_ddpm.calibration import Calibration, check, fit
from casa_ddpm.circumstances import KINDS
from casa_ddpm.disturbance import Signs, Suspicion
from casa_ddpm.factors import Errors, Factor
from casa_ddpm.odds import DOUBT, Odds

QUIET, DISTURBED = Signs(0.1, 1.0, 0.0), Signs(0.1, 1.0, 1.0)


def twice(flux, position):
    """Errors that are so many times too small, and 1.5 times that in disturbed images."""
    return Errors(*(Factor(np.log(f), 0, 0, 0, np.log(1.5)) for f in (flux, position)))


#: What a field of resolved sources and near neighbours make of factors and S/N.
SLOPED = Factor(0.1, 0.2, 0.3, 0.4, 0.5)


ALL = Calibration(
    Suspicion(0.5, 1.0, 2.0),
    Odds((0.5, 1.0, 0.0), (0.2, 0.7, 0.2), (-0.5, 0.5, 0.2)),
    Odds((0.3, 0.8, 0.0), (0.1, 0.5, 0.2), (-0.7, 0.3, 0.2)),
    *(twice(2 + kind, 3 + kind) for kind in range(len(KINDS))),
)


def candidates(n=4000, seed=0, narrow=2.0, far=3.0):
    """Candidates whose errors are `narrow` times too small, and positions `far` times."""
    rng = np.random.default_rng(seed)
    snr = 10 ** rng.uniform(0.4, 1.6, n)
    prob = np.clip(rng.beta(0.6, 0.6, n).round(2), 0.05, 1)
    # Ten of an image.
    sidelobe, disturbance = np.repeat([rng.uniform(0.05, 0.3, n // 10), rng.random(n // 10)], 10, 1)
    disturbance = (disturbance < 4 * sidelobe - 0.2) * 1.0
    odds = 2 + 0.7 * logit(np.clip(prob, DOUBT, 1 - DOUBT)) - 2 * disturbance
    true = rng.random(n) < expit(odds)
    flux, position = narrow * rng.normal(size=n), far * rng.normal(size=(n, 2))
    flux[~true], position[~true] = np.nan, np.nan
    # Each kind is half a time farther off than the one before, and disturbed ones twice that.
    kind = rng.integers(0, len(KINDS), n)
    structure, crowding = rng.random(n), rng.uniform(0, 0.8, n)
    flux *= (1 + kind / 2) * (1 + disturbance) * np.exp(structure)
    position *= np.exp(crowding)[:, None]
    return {
        "prob": prob, "snr": snr, "structure": structure, "crowding": crowding,
        "sidelobe": sidelobe, "peak": np.ones(n), "disturbance": disturbance, "true": true,
        "flux": flux, "position": position, "kind": kind,
    }  # fmt: skip


def sources():
    return QTable(
        {
            "x": [10.0, 50.0, 90.0] * u.pix,
            "y": [10.0, 50.0, 90.0] * u.pix,
            "snr": [3.0, 10.0, 100.0],
            "prob": [0.3, 0.8, 1.0],
            "flux": [3, 10, 100] * u.Jy,
            "flux_lo": [2, 9, 98] * u.Jy,
            "flux_hi": [5, 11, 101] * u.Jy,
            "flux_err": [1.5, 1, 1.5] * u.Jy,
            "ra_err": [1, 1, 1] * u.arcsec,
            "dec_err": [2, 2, 2] * u.arcsec,
            "major": [0, 0, 0] * u.arcsec,
            "count": [6, 20, 20],
            "resolved": [False, False, False],
        }
    )


def test_fit_finds_what_the_errors_lack():
    found = fit(candidates(20_000))
    for name, width in zip(KINDS, (2, 3, 4, 5), strict=True):
        errors = getattr(found, name)
        assert np.exp(errors.flux.level) == pytest.approx(width, rel=0.1)
        assert errors.flux.structure == pytest.approx(1, abs=0.2)
        assert errors.flux.crowding == pytest.approx(0, abs=0.2)
        assert errors.position.crowding == pytest.approx(1, abs=0.2)
        assert errors.position.structure == pytest.approx(0, abs=0.2)
        assert np.exp(errors.flux.disturbance) == pytest.approx(2, rel=0.15)
        assert np.exp(errors.position.level) == pytest.approx(3, rel=0.07)
        assert errors.position.disturbance == pytest.approx(0, abs=0.1)


def test_what_is_fitted_holds_for_others():
    """Probabilities and errors of other candidates, where the disturbance is known."""
    found, others = fit(candidates(20_000)), candidates(20_000, seed=1)
    claimed = found.odds.probability(
        *(others[name] for name in ("prob", "snr", "structure", "disturbance"))
    )
    for part in (others["disturbance"] == 0, others["disturbance"] == 1, others["prob"] > 0.9):
        assert claimed[part].mean() == pytest.approx(others["true"][part].mean(), abs=0.03)


def test_suspected_disturbance_is_right_on_average():
    found, others = fit(candidates(20_000)), candidates(20_000, seed=1)
    suspected = found.suspicion.expected(others["sidelobe"], others["peak"])
    assert suspected.mean() == pytest.approx(others["disturbance"].mean(), abs=0.05)
    claimed = found.blind.probability(
        *(others[name] for name in ("prob", "snr", "structure")), suspected
    )
    for part in (others["sidelobe"] < 0.1, others["sidelobe"] > 0.25, others["prob"] > 0.9):
        assert claimed[part].mean() == pytest.approx(others["true"][part].mean(), abs=0.03)


def test_apply():
    table = sources()
    found = ALL.apply(table, 4, 1, QUIET)
    assert found["flux_lo"].value == pytest.approx([1, 8, 96])
    assert found["flux_hi"].value == pytest.approx([7, 12, 102])
    assert found["flux_err"].value == pytest.approx([3, 2, 3])
    assert found["ra_err"].value == pytest.approx([3, 3, 3])
    assert found["dec_err"].unit == u.arcsec and found["flux"].value.tolist() == [3, 10, 100]
    assert found["prob"][0] == pytest.approx(expit(0.5 + logit(0.3)))
    assert table["prob"][0] == 0.3  # what was given stays


def test_each_kind_has_errors_of_its_own():
    """Wider than a fifth of the beam in most realisations, told from a point, or neither."""
    table = sources()
    table["major"] = [0.9, 0.9, 0.7] * u.arcsec
    table["resolved"][0] = True
    found = ALL.apply(table, 4, 2, QUIET)
    assert found["flux_err"].value == pytest.approx([1.5 * 4, 3, 1.5 * 2])
    table["x"], table["y"] = [10, 13, 90] * u.pix, [10, 10, 10] * u.pix
    near = ALL.apply(table, 4, 2, QUIET)  # confused
    assert near["flux_err"].value == pytest.approx([1.5 * 5, 3, 1.5 * 2])


def test_all_that_is_known_counts():
    """S/N, neighbours, resolved sources and what is left, each with its own weight."""
    stored = ALL.stored()
    sloped = Calibration.of(
        stored | {"point": {"flux": asdict(SLOPED), "position": asdict(SLOPED)}}
    )
    table = sources()
    table["x"], table["y"] = [10, 18, 90] * u.pix, [10, 10, 10] * u.pix
    table["resolved"][2] = True
    table["prob"] = [1.0, 1.0, 0.2]
    found = sloped.apply(table, 4, 1, Signs(0.1, 1.0, 0.5))
    structure = 0.2 / 3.2 / 0.3
    known = 0.1 + 0.2 * np.log(0.3) + 0.3 * (1 / 2 - 1 / 4) + 0.4 * structure + 0.5 * 0.5
    assert found["flux_err"][0].value == pytest.approx(1.5 * np.exp(known))
    assert found["dec_err"][0].value == pytest.approx(2 * np.exp(known))


def test_where_more_than_noise_is_left_all_is_less_sure():
    """And where that is not known, by what is suspected."""
    some, suspected = Signs(0.1, 1.0, 0.5), Signs(0.1, 1.0)
    share = ALL.suspicion.disturbance(suspected)
    for signs, factor in ((QUIET, 0), (some, 0.5), (DISTURBED, 1), (suspected, share)):
        found = ALL.apply(sources(), 4, 1, signs)
        assert found["flux_err"][0].value == pytest.approx(3 * 1.5**factor)
        assert found["ra_err"][0].value == pytest.approx(3 * 1.5**factor)
    quiet, half, disturbed, blind = (
        ALL.apply(sources(), 4, 1, signs)["prob"][1]
        for signs in (QUIET, some, DISTURBED, suspected)
    )
    assert quiet > half > disturbed
    state = (np.array([0.8]), np.array([10.0]), 0.0)
    assert blind == pytest.approx(ALL.blind.probability(*state, share)[0])


def test_what_is_resolved_tells_of_the_others():
    table = sources()
    table["resolved"][2] = True
    found = ALL.apply(table, 4, 1, QUIET)
    # One of what two, and a point that is supposed, come to is more than is needed.
    assert found["prob"][1] == pytest.approx(expit(0.2 + 0.7 * logit(0.8) + 0.2 * np.log(10)))


def test_empty_table():
    assert len(ALL.apply(sources()[:0], 4, 1, Signs(0.1, 1.0))) == 0


def test_stored_form():
    assert Calibration.of(ALL.stored()) == ALL
    assert Calibration.of({}) is None
    stored = ALL.stored()
    former = {name: stored[name] for name in ("odds", "point", "marginal", "resolved")}
    with pytest.raises(ValueError, match="anew: its calibration lacks suspicion, blind, confused$"):
        Calibration.of(former)
    with pytest.raises(ValueError, match="must be calibrated anew: .*quiet"):
        Calibration.of(stored | {"odds": {"quiet": (0, 1, 0)}})


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


def test_small_bins_join_the_next():
    """Of 30 sources there is one bin, of 60 there are two, whatever their S/N."""
    for number, bins in ((30, 1), (60, 2)):
        rng = np.random.default_rng(number)
        snr = np.concatenate([np.full(number - 10, 4.0), np.full(10, 30.0)])
        if bins == 2:
            snr[25:30] = 10
            snr[30:] = 100
        rows = check(
            {
                "prob": np.ones(number), "true": np.ones(number, bool), "snr": snr,
                "kind": np.zeros(number, int), "flux": rng.normal(size=number),
                "position": rng.normal(size=(number, 2)),
            }
        )["point"]  # fmt: skip
        assert len(rows) == bins
        assert min(row["sources"] for row in rows) >= calibration.FEWEST


def test_a_kind_of_which_there_are_few_has_the_errors_of_all():
    some = candidates(2000)
    some["kind"][:] = np.arange(2000) >= 1980
    found = fit(some)
    assert found.marginal == found.resolved
    assert found.marginal != found.point
    assert found.marginal.flux.level == pytest.approx(found.point.flux.level, abs=0.05)


def test_too_little_to_fit():
    few = candidates(20)
    with pytest.raises(ValueError, match="calibration must have at least 25 sources"):
        fit(few)
