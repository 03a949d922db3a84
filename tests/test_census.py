"""What sources tell of their field: fields that are drawn, and Bayes' rule by enumeration."""

from __future__ import annotations

import numpy as np
import pytest

from casa_ddpm.census import Census
from casa_ddpm.population import (
    COUNTS,
    WIDE,
    Population,
    count_densities,
    count_shares,
    draw_axes,
    draw_fluxes,
    size_density,
    size_share,
)

#: How often fields are faint, wide and steep.
KINDS = (0.45, 0.35, 0.2)


def census(fluxes, favours=None, areas=None, least=1.0):
    found = Census(1.0, least)
    zero = np.zeros(len(fluxes))
    rows = zip(fluxes, zero if areas is None else areas, zero if favours is None else favours,
               strict=True)  # fmt: skip
    for k, (flux, area, favour) in enumerate(rows):
        found.record(k, flux, area, favour)
    return found


def test_nobody_tells_anything():
    alone = Census(2.0, 3.0).others(0)
    assert (alone.noise, alone.least) == (2.0, 3.0)
    assert alone.counts == pytest.approx(COUNTS)
    assert alone.extended == pytest.approx(np.mean(WIDE), abs=0.01)


def test_a_source_tells_nothing_of_itself():
    found = census([200.0], [20.0])
    assert found.others(0).counts == pytest.approx(COUNTS)
    assert found.others(0).extended == pytest.approx(np.mean(WIDE), abs=0.01)
    assert found.others(1).extended > 0.7
    assert found.others(1).counts[0] < 0.1


def test_what_is_taken_away_is_forgotten():
    found = census([5.0, 7.0, 9.0], [-3.0, 2.0, 1.0])
    found.record(1, 300.0, 4.0, 30.0)
    found.discard(2)
    found.discard(2)
    other = census([5.0, 300.0], [-3.0, 30.0], [0.0, 4.0])
    assert found.others(9).counts == pytest.approx(other.others(9).counts)
    assert found.others(9).extended == pytest.approx(other.others(9).extended)


def test_points_make_points_likely():
    """Ten sources that look like points, and ten that do not."""
    few, many = (census(np.full(10, 9.0), np.full(10, f)).others(99).extended for f in (-2, 6))
    assert few < 0.08 and many > 0.85
    # One extended source among many points is no reason to believe it a point.
    mixed = census(np.full(10, 9.0), [30.0, *[-2.0] * 9])
    assert 0.05 < mixed.others(99).extended < 0.3


def test_sources_of_which_nothing_is_known_tell_nothing():
    nothing = np.full(50, np.log(size_share(5.0)))
    found = census(np.full(50, 5.0), nothing).others(99).extended
    assert found == pytest.approx(np.mean(WIDE), abs=0.01)


@pytest.mark.parametrize("least", [1.0, 3.0])
def test_kind_of_counts_is_as_probable_as_it_says(least):
    """Fields drawn as skies are: of those thought faint with probability p a share p is."""
    rng = np.random.default_rng(2)
    thought, true = [], []
    for _ in range(1500):
        seed = rng.integers(2**32)
        kind = np.random.default_rng(seed).choice(3, p=KINDS)
        fluxes = draw_fluxes(np.random.default_rng(seed), 400)
        fluxes = fluxes[fluxes > least][:4]
        faint, *others = census(fluxes, least=least).others(99).counts
        thought.append((faint, sum(others[:5]), sum(others[5:])))
        true.append(np.eye(3)[kind])
    thought, true = np.array(thought), np.array(true)
    for k in range(3):
        for low, high in ((0, 0.3), (0.3, 0.6), (0.6, 1.0)):
            part = (thought[:, k] >= low) & (thought[:, k] < high)
            if part.sum() > 100:
                expected = thought[part, k].mean()
                assert true[part, k].mean() == pytest.approx(expected, abs=0.1)
    assert thought[true[:, 0] > 0, 0].mean() > thought[true[:, 0] == 0, 0].mean() + 0.15


def test_share_of_extended_sources_is_found():
    """Fields of 30 sources of which it is known what they are: within the scatter of the number."""
    rng = np.random.default_rng(3)
    for _ in range(30):
        major, _ = draw_axes(rng, 30)
        wide = major > 0
        found = census(np.full(30, 9.0), np.where(wide, 12.0, -12.0)).others(99).extended
        assert found == pytest.approx((wide.sum() + 0.35) / 30.81, abs=0.02)


def test_densities_of_the_kinds_add_up():
    flux = np.geomspace(0.6, 900, 50)
    for area in (0.0, 3.0):
        both = np.array(COUNTS) @ count_densities(flux, area)
        # Between the table's points one is interpolated, the other its logarithm.
        np.testing.assert_allclose(Population().density(flux, area), both, rtol=0.02)


@pytest.mark.parametrize("least", [1.0, 4.0, 50.0])
@pytest.mark.parametrize("area", [0.0, 4.0])
def test_shares_above_a_flux(least, area):
    """Against the integral of the densities up to a flux, and what is above that."""
    flux = np.geomspace(least, 900, 200_000)
    expected = np.trapezoid(count_densities(flux, area), flux, axis=1) + count_shares(900, area)
    np.testing.assert_allclose(count_shares(least, area), expected, rtol=0.03)


@pytest.mark.parametrize("widest", [0.1, 0.2, 1.5, 5.0])
def test_share_of_sizes(widest):
    grid = np.linspace(0, widest, 100_001)
    assert size_share(widest) == pytest.approx(np.trapezoid(size_density(grid), grid), rel=1e-3)


def test_that_no_wider_source_was_thought_of_tells_nothing():
    """Sources that the data do not tell from points, under arrays that see few or all sizes."""
    found = []
    for widest in (0.3, 5.0):
        many = Census(1.0, 1.0)
        for k in range(20):
            many.record(k, 9.0, 0.0, np.log(size_share(widest)), widest)
        found.append(many.others(99).extended)
    assert found == pytest.approx([np.mean(WIDE)] * 2, abs=0.02)


def test_no_flux_below_the_least():
    known = Population(noise=2.0, least=5.0)
    assert known.density(np.array([4.9, 5.1])).tolist()[0] == 0
    assert known.density(np.array([5.1]))[0] == Population(1.0, 2.5).density(np.array([2.55]))[0]
