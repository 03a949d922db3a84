"""What is about the sources of a table."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable

from casa_ddpm.circumstances import KINDS, columns, crowding, kinds, structure


def pair(away=8.0, count=20, flux=10.0, major=0.0, resolved=False):
    """A source of flux 10, and another [arcsec] away."""
    return QTable(
        {
            "x": [0, 2 * away] * u.pix,
            "y": [0, 0] * u.pix,
            "flux": [10, flux] * u.Jy,
            "prob": [1.0, 1.0],
            "count": [20, count],
            "major": [major, 0] * u.arcsec,
            "resolved": [resolved, False],
        }
    )


@pytest.mark.parametrize(
    ("major", "resolved", "kind"),
    [(0.3, False, "point"), (0.5, False, "marginal"), (0.5, True, "resolved")],
)
def test_kinds(major, resolved, kind):
    """Told from a point, or wider than a fifth of the beam of 2 arcsec, or neither."""
    found = kinds(pair(major=major, resolved=resolved), 2.0, np.zeros(2))
    assert [KINDS[k] for k in found] == [kind, "point"]


def test_what_is_resolved_beside_others_may_be_confused():
    both = pair(resolved=True)
    both["resolved"][1] = True
    found = kinds(both, 2.0, np.array([0.1, 0.0]))
    assert [KINDS[k] for k in found] == ["confused", "resolved"]


@pytest.mark.parametrize(
    ("away", "expected"), [(4.0, 0.25), (2.0, 0.75), (7.9, 0.003), (8.1, 0), (1.0, 1 / 0.9 - 0.25)]
)
def test_crowding(away, expected):
    """Half a beam is as near as 0.9, and four beams are far; the beam is 2 arcsec."""
    assert crowding(pair(away), 2.0, 0.5) == pytest.approx([expected] * 2, abs=1e-3)


@pytest.mark.parametrize(
    ("changes", "crowds"),
    [({"count": 10}, False), ({"count": 11}, True), ({"flux": 0.9}, False), ({"flux": 1.1}, True)],
)
def test_who_crowds(changes, crowds):
    """What most of the realisations hold that hold the source, and is not too faint."""
    found = crowding(pair(4.0, **changes), 2.0, 0.5)
    assert (found[0] > 0) == crowds and found[1] > 0


def test_the_nearest_counts():
    rng = np.random.default_rng(0)
    places = rng.uniform(0, 120, (2, 50))
    many = QTable({"x": places[0] * u.pix, "y": places[1] * u.pix, "flux": np.ones(50) * u.Jy})
    many["count"] = 20
    away = np.hypot(*(places[:, :, None] - places[:, None])) / 4
    np.fill_diagonal(away, np.inf)
    expected = np.clip(1 / np.maximum(away.min(1), 0.9) - 0.25, 0, None)
    assert crowding(many, 2.0, 0.5) == pytest.approx(expected)
    assert (expected == 0).any() and (expected > 0.5).any()


def test_structure():
    """The share of what is resolved; of little that is known it is little."""
    table = pair(resolved=True)
    assert structure(table) == 1  # one of three, with the point that is supposed
    table["resolved"] = False
    assert structure(table) == 0
    many = QTable({"prob": np.full(99, 0.5), "resolved": np.arange(99) < 10})
    assert structure(many) == pytest.approx(5 / 50.5 / 0.3)
    one = QTable({"prob": [0.1], "resolved": [True]})
    assert structure(one) == pytest.approx(0.1 / 1.1 / 0.3)


def test_empty_table():
    nothing = pair()[:0]
    assert structure(nothing) == 0 and crowding(nothing, 2.0, 0.5).shape == (0,)
    assert kinds(nothing, 2.0, np.zeros(0)).shape == (0,)


def test_columns():
    """All of it, of one length."""
    table = pair(4.0, resolved=True)
    table["snr"] = [9.0, 8.0]
    found = columns(table, 2.0, 0.5)
    assert found["prob"].tolist() == [1, 1] and found["snr"].tolist() == [9, 8]
    assert found["structure"].tolist() == [1, 1]
    assert found["crowding"] == pytest.approx([0.25, 0.25])
    assert [KINDS[kind] for kind in found["kind"]] == ["confused", "point"]
