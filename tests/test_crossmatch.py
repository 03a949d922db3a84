"""Two lists, matched one to one, by hand."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord

from casa_ddpm.compare.crossmatch import crossmatch, offsets
from casa_ddpm.compare.source_list import places, source_list

CENTRE = SkyCoord(150 * u.deg, -60 * u.deg)


def listed(offset, flux, **columns):
    """Sources at offsets east and north [arcsec] of a place far from the equator."""
    east, north = np.transpose(offset) * u.arcsec
    sky = CENTRE.directional_offset_by(np.arctan2(east, north), np.hypot(east, north))
    return source_list({"ra": sky.ra.deg, "dec": sky.dec.deg, "flux": flux, **columns})


@pytest.fixture
def match():
    a = listed([(0, 0), (10, 0), (0, 20)], [1.0, 2.0, 4.0], flux_err=[0.1, 0.1, 0.1])
    b = listed(
        [(0.2, 20.1), (0.3, 0), (50, 0), (10.1, -0.1)], [5.0, 1.0, 9.0, 3.0], flux_err=[0.1] * 4
    )
    return crossmatch(a, b, 1.0)


def test_pairs(match):
    assert match.pairs.tolist() == [[0, 1], [1, 3], [2, 0]]
    assert match.only_a.tolist() == [] and match.only_b.tolist() == [2]


def test_figures(match):
    figures = match.figures()
    # Ratios 1, 1.5 and 1.25.
    assert figures["ratio"] == pytest.approx(1.25)
    assert figures["ratio_scatter"] == pytest.approx(1.4826 * 0.25)
    assert figures["pull"] == pytest.approx(1 / np.hypot(0.1, 0.1))
    # Offsets (0.3, 0), (0.1, -0.1), (0.2, 0.1)
    assert (figures["east"], figures["north"]) == pytest.approx((0.2, 0), abs=1e-3)
    assert figures["separation"] == pytest.approx(np.hypot(0.2, 0.1), abs=1e-3)


def test_table(match):
    table = match.table()
    assert table["in"].tolist() == ["both", "both", "both", "B"]
    assert table["flux_a"].unit == u.Jy and np.isnan(table["flux_a"][3])
    assert table["flux_b"].tolist() == [1, 3, 5, 9]
    assert table["ratio"][:3].tolist() == [1, 1.5, 1.25]
    assert np.isnan(table["separation"][3]) and table["separation"].unit == u.arcsec


def test_wide_sources_reach_further():
    """0.6 beam for a point, and 0.3 of its own width more for a Gaussian."""
    for width, number in ((0.0, 0), (2.0, 1)):
        a = listed([(0, 0)], [1.0], major=[width])
        assert len(crossmatch(a, listed([(1.0, 0)], [1.0]), 1.0).pairs) == number


def test_which_list_is_the_first_makes_no_difference():
    """Wide and narrow sources among each other, of either list."""
    rng = np.random.default_rng(3)
    lists = [
        listed(
            rng.uniform(-9, 9, (40, 2)), rng.uniform(1, 2, 40),
            major=np.where(rng.random(40) < 0.5, rng.uniform(0, 4, 40), np.nan),
        )
        for _ in range(2)
    ]  # fmt: skip
    one, other = crossmatch(*lists, 1.0).pairs, crossmatch(*lists[::-1], 1.0).pairs
    assert len(one) > 10
    assert sorted(map(tuple, one)) == sorted((i, j) for j, i in other)
    # The wide one may be in the second list.
    wide = listed([(0, 0)], [1.0], major=[2.0])
    assert len(crossmatch(listed([(1.0, 0)], [1.0]), wide, 1.0).pairs) == 1


def test_pairs_are_those_of_the_least_distances():
    """Two on two, where the nearest pair would leave the others alone; points before the wide."""
    a, b = listed([(0, 0), (0.5, 0)], [1, 1]), listed([(0.4, 0), (0.9, 0)], [1, 1])
    assert crossmatch(a, b, 1.0).pairs.tolist() == [[0, 0], [1, 1]]
    a = listed([(0, 0), (1, 0)], [1, 1], major=[np.nan, 10.0])
    assert crossmatch(a, listed([(0.55, 0)], [1]), 1.0).pairs.tolist() == [[0, 0]]


def test_channels_are_matched_by_themselves():
    """The source of the other channel is nearer; frequencies differ by less than half a step."""
    a = listed([(0, 0), (0.3, 0)], [1, 2], freq=[1e9, 2e9])
    b = listed([(0, 0), (0.3, 0), (0, 0)], [3, 4, 5], freq=[2.1e9, 1.1e9, 3.1e9])
    match = crossmatch(a, b, 1.0)
    assert match.pairs.tolist() == [[0, 1], [1, 0]]
    assert match.table()["freq"].tolist() == [1e9, 2e9, 3.1e9]
    # With a single channel on either side there is nothing to tell apart.
    match = crossmatch(a, listed([(0, 0)], [1.0], freq=[9e9]), 1.0)
    assert match.pairs.tolist() == [[0, 0]]


def test_nothing_matches_nothing():
    a, nothing = listed([(0, 0)], [1.0]), source_list({"ra": []})
    for match in (crossmatch(a, nothing, 1.0), crossmatch(nothing, a, 1.0)):
        assert match.pairs.shape == (0, 2)
        assert all(np.isnan(value) for value in match.figures().values())
        assert len(match.table()) == 1
    assert len(crossmatch(nothing, nothing, 1.0).table()) == 0


def test_offsets_are_along_the_sky():
    a, b = listed([(0, 0)], [1.0]), listed([(3, -4)], [1.0])
    east, north = offsets(places(a), places(b))
    assert (east[0], north[0]) == pytest.approx((3, -4), abs=1e-3)
