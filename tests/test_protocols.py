"""Each law of the benchmark's fields keeps what its text says."""

import math

import numpy as np
import pytest

from casa_ddpm import arrays, sky
from casa_ddpm.benchmark import field, protocols
from casa_ddpm.benchmark.protocols import DURATION, PROTOCOLS
from casa_ddpm.dirty import FWHM

#: Side of the fields [beam], that of 160 pixels.
SIDE = 160 / 4.25


def drawn(name, number=40):
    """Fields of a protocol, each of a seed of its own."""
    return [PROTOCOLS[name].draw(np.random.default_rng([7, k]), SIDE) for k in range(number)]


def closest(components):
    """Least distance of two sources [beam]."""
    away = components.position[:, None] - components.position
    return (np.hypot(*away.T) + np.diag(np.full(len(components), np.inf))).min()


def axes(components):
    """FWHM (major, minor) [beam]."""
    return FWHM * np.sqrt(np.linalg.eigvalsh(components.covariance))[:, ::-1].T


@pytest.mark.parametrize("name", ["independent", "arrays"])
def test_isolated_points(name):
    fields = drawn(name)
    assert {len(c) for c in fields} == set(range(8, 15))
    assert min(closest(c) for c in fields) > 4
    flux = np.concatenate([c.flux for c in fields])
    assert 2 <= flux.min() < 2.5 and 11.5 < flux.max() <= 12
    assert not any(c.covariance.any() for c in fields)


@pytest.mark.parametrize("side", [12.0, SIDE, 150.0])
def test_sparse_points_are_as_dense_on_images_of_any_side(side):
    fields = [PROTOCOLS["sparse"].draw(np.random.default_rng([8, k]), side) for k in range(10)]
    beam = math.pi / (4 * math.log(2))
    for c in fields:
        # Not more than half a source off, and now and then there is no place for one.
        assert 0.9 * side**2 / beam / 115 - 1 < len(c) <= side**2 / beam / 115 + 0.5
        assert len(c) < 2 or closest(c) > 4
        assert ((c.flux >= 2) & (c.flux <= 12)).all() and not c.covariance.any()


def test_crowded_fields_have_a_point_in_twelve_beam_areas():
    fields = drawn("crowded")
    beam = math.pi / (4 * math.log(2))
    for c in fields:
        assert len(c) * 12 * beam == pytest.approx((0.84 * SIDE) ** 2, rel=0.02)
    flux = np.concatenate([c.flux for c in fields])
    assert flux.min() >= 2 and flux.max() <= 50
    # Log-uniform: the median is the geometric mean of the ends.
    assert np.median(flux) == pytest.approx(10, rel=0.1)


def test_one_of_the_bright_field_is_of_300():
    for c in drawn("bright"):
        assert len(c) == 13 and closest(c) > 2
        assert c.flux[0] == 300 and c.flux[1:].min() >= 2 and c.flux[1:].max() <= 12


def test_gaussians_have_their_sizes_and_their_peaks():
    fields = drawn("extended")
    assert {len(c) for c in fields} == {3, 4, 5, 6}
    assert min(closest(c) for c in fields) > 8
    major, minor = np.concatenate([axes(c) for c in fields], axis=1)
    peak = np.concatenate([c.flux for c in fields]) / np.sqrt((1 + major**2) * (1 + minor**2))
    assert major.min() >= 1 and major.max() <= 5
    assert (minor / major).min() >= 0.4 and (minor / major).max() <= 1
    assert peak.min() >= 4 and peak.max() <= 50
    assert np.median(peak) == pytest.approx(math.sqrt(200), rel=0.25)


def test_structure_is_one_source_of_about_30_a_beam():
    brightness = []
    for c in drawn("structure", 20):
        assert len(c) > 5 and not c.source.any()
        seen = sky.render(c, 1.0, 4.25, 160).numpy() * math.pi / (4 * math.log(2)) * 4.25**2
        # mean brightness, weighted by itself
        brightness.append((seen**2).sum() / seen.sum())
    assert 20 < np.median(brightness) < 60
    assert min(brightness) > 8 and max(brightness) < 300


def test_contrast_of_two_points():
    for c in drawn("dynamic-range", 5):
        assert closest(c) == pytest.approx(20)
        assert c.flux.tolist() == [1e5, 10]


def test_empty_is_empty():
    assert all(len(c) == 0 for c in drawn("empty", 3))


@pytest.mark.parametrize("name", PROTOCOLS)
def test_sources_lie_within_the_field(name):
    for c in drawn(name, 10):
        assert (np.abs(c.position) < SIDE / 2).all()


def test_places_run_out():
    """As many as fit, rather than one that is too close."""
    assert len(protocols.apart(np.random.default_rng(0), 50, 10, 6)) < 10
    assert protocols.apart(np.random.default_rng(0), 0, 10, 1).shape == (0, 2)


def test_arrays_take_turns():
    law = PROTOCOLS["arrays"]
    known = arrays.names()
    assert len(set(law.arrays)) == 5 and set(law.arrays) <= set(known)
    assert [law.array(k) for k in range(6)] == [*law.arrays, law.arrays[0]]
    # An array on a line from east to west has a round beam only far from the equator.
    assert law.declination(law.arrays.index("atca_6c")) < -40
    assert law.duration(0) == DURATION
    assert law.duration(law.arrays.index("atca_6c")) > DURATION


def test_fields_are_those_of_their_seed_protocol_and_number():
    def one(protocol, index, seed):
        truth, noise = field.components(protocol, index, seed, SIDE)
        return truth.position.tolist(), truth.flux.tolist(), noise

    first = one("independent", 0, 11)
    assert one("independent", 0, 11) == first
    others = [one("independent", 1, 11), one("independent", 0, 12), one("arrays", 0, 11)]
    assert all(a != b for other in others for a, b in zip(first, other, strict=True))
    # Of every field of every protocol the noise is its own.
    seeds = [field.components(name, k, 11, SIDE)[1] for name in PROTOCOLS for k in range(5)]
    assert len(set(seeds)) == len(seeds)
