"""A field's truth, and what detections are matched with."""

import math

import numpy as np
import pytest

from casa_ddpm import simulator, sky
from casa_ddpm.benchmark import field, tables
from casa_ddpm.benchmark.field import NOISE, PART, RADIUS, Field, simulated
from casa_ddpm.dirty import Beam, DirtyImage

#: A round beam of four pixels of 0.25 arcsec, and a long one of the same area.
ROUND, LONG = Beam(1.0, 1.0, 0.0), Beam(1.25, 0.8, 30.0)
SCALE = 4.0


def of(components, beam=ROUND, shape=(96, 80)):
    """A field of these components; its image does not matter."""
    psf = np.zeros(shape)
    psf[shape[0] // 2, shape[1] // 2] = 1
    dirty = DirtyImage(np.zeros(shape), psf, beam, 0.25)
    return Field("independent", 3, dirty, components)


def gaussian(y, x, flux, major, minor, pa):
    """One Gaussian; pa [deg]."""
    return sky.gaussians([[y, x]], [flux], [major], [minor], [math.radians(pa)])


# Truth


def test_truth_of_points():
    truth = of(sky.points(np.array([[0.0, 0.0], [2.0, -3.0]]), np.array([5.0, 7.0]))).truth()
    assert truth.colnames == list(tables.TRUTH)
    assert truth["x"].tolist() == [40, 28] and truth["y"].tolist() == [48, 56]
    assert truth["flux"].tolist() == [5, 7] and truth["snr"].tolist() == [5, 7]
    assert not np.any(truth["major"]) and not np.any(truth["minor"])
    assert truth["compact"].all() and set(truth["beam"]) == {SCALE}
    assert set(truth["protocol"]) == {"independent"} and set(truth["field"]) == {3}


@pytest.mark.parametrize("pa", [0.0, 30.0, 90.0, 150.0])
def test_position_angle_is_east_of_north(pa):
    """East is to the left: a source at 30 deg leans to the left, in its row and in the image."""
    source = gaussian(0, 0, 9.0, 2.0, 1.0, pa)
    (row,) = of(source).truth()
    assert (row["major"], row["minor"]) == pytest.approx((2, 1))
    assert (row["pa"] - pa + 90) % 180 - 90 == pytest.approx(0, abs=1e-6)
    image = sky.render(source, 0.5, SCALE, 64).numpy()
    angle = math.radians(pa)
    reach = 4.0
    along, across = (
        image[round(32 + reach * up), round(32 - reach * left)]
        for up, left in (
            (math.cos(angle), math.sin(angle)),
            (-math.sin(angle), math.cos(angle)),
        )
    )
    assert along > 1.5 * across


def test_peak_of_a_gaussian_in_closed_form():
    (row,) = of(gaussian(0, 0, 30.0, 2.0, 1.0, 70.0)).truth()
    assert row["snr"] == pytest.approx(30 / math.sqrt((1 + 4) * (1 + 1)))
    # Along a long beam the squared axes add up; lengths are in beams of its mean width.
    (row,) = of(gaussian(0, 0, 30.0, 2.0, 1.0, LONG.pa), LONG).truth()
    seen = (1.25**2 + 2**2) * (0.8**2 + 1**2)
    assert row["snr"] == pytest.approx(30 / math.sqrt(seen))
    (row,) = of(gaussian(0, 0, 30.0, 2.0, 1.0, LONG.pa + 90), LONG).truth()
    assert row["snr"] == pytest.approx(30 / math.sqrt((1.25**2 + 1**2) * (0.8**2 + 2**2)))


def test_structure_is_one_row():
    """A pair of points, one of three times the other's flux, and its second moments."""
    position, flux = np.array([[0.0, 0.0], [4.0, 0.0]]), np.array([30.0, 10.0])
    pair = sky.Components(position, flux, np.zeros((2, 2, 2)), np.zeros(2, int))
    (row,) = of(pair).truth()
    assert (row["x"], row["y"]) == (40, 48 + SCALE)
    assert row["flux"] == 40 and not row["compact"]
    deviation = math.sqrt(0.75 * 1**2 + 0.25 * 3**2)
    assert row["major"] == pytest.approx(deviation * math.sqrt(8 * math.log(2)))
    assert row["minor"] == pytest.approx(0, abs=1e-6)


def test_empty_field():
    empty = of(sky.points(np.zeros((0, 2)), np.zeros(0)))
    assert len(empty.truth()) == 0 and empty.truth().colnames == list(tables.TRUTH)
    nothing = empty.detections("peaks", x=[], y=[], score=[])
    assert len(nothing) == 0 and nothing.colnames == list(tables.DETECTIONS)
    false = empty.detections("peaks", x=[3.0, 4.0], y=[5.0, 5.0], score=[1.0, 2.0])
    assert false["match"].tolist() == [-1, -1]


# Detections


def test_detections_match_within_the_radius():
    points = of(sky.points(np.array([[0.0, 0.0], [5.0, 5.0]]), np.array([5.0, 7.0])))
    reach = RADIUS * SCALE
    x = np.array([60 + 0.99 * reach, 40 - 1.01 * reach, 10.0])
    found = points.detections("peaks", x=x, y=[68.0, 48.0, 10.0], score=[3.0, 2.0, 1.0])
    assert found["match"].tolist() == [1, -1, -1]
    assert found.colnames == list(tables.DETECTIONS)
    assert np.isnan(found["prob"]).all() and set(found["method"]) == {"peaks"}


def test_a_source_is_found_once():
    """Of two detections the nearer one, which need not be the surer one."""
    point = of(sky.points(np.zeros((1, 2)), np.array([5.0])))
    found = point.detections("peaks", x=[41.0, 40.5], y=[48.0, 48.0], score=[9.0, 1.0])
    assert found["match"].tolist() == [-1, 0]


def test_reach_of_an_extended_source():
    both = sky.Components.join(
        [gaussian(-5, 0, 90.0, 4.0, 2.0, 0.0), sky.points(np.array([[5.0, 0.0]]), np.array([5.0]))]
    )
    away = (RADIUS + 0.9 * PART * 4) * SCALE
    found = of(both).detections("peaks", x=[40 + away, 40 + away], y=[28.0, 68.0], score=[1, 1])
    assert found["match"].tolist() == [0, -1]
    beyond = (RADIUS + 1.1 * PART * 4) * SCALE
    (row,) = of(both).detections("peaks", x=[40 + beyond], y=[28.0], score=[1])
    assert row["match"] == -1


def test_no_source_is_matched_twice_where_reaches_overlap():
    wide = gaussian(0, 0, 90.0, 4.0, 4.0, 0.0)
    point = sky.points(np.array([[0.0, 0.25]]), np.array([9.0]))
    crowd = of(sky.Components.join([wide, point]))
    found = crowd.detections("peaks", x=[41, 40, 42], y=[48, 48, 48], score=[1, 1, 1])
    assert sorted(found["match"]) == [-1, 0, 1]
    assert found["match"][0] == 1


def test_residual_is_in_units_of_the_noise():
    point = of(sky.points(np.zeros((1, 2)), np.array([5.0])), shape=(2, 2))
    residual = np.array([[-2, 2], [2, np.nan]]) * NOISE
    row = point.image_row("peaks", residual, 1.5)
    assert row["residual_rms"] == pytest.approx(np.std([-2, 2, 2])) and row["seconds"] == 1.5
    assert math.isnan(row["ser"]) and row["residual_power"] > 0
    nothing = point.image_row("peaks", np.full((2, 2), np.nan), 0)
    assert math.isnan(nothing["residual_rms"]) and math.isnan(nothing["residual_power"])


# Fields on arrays


def test_simulated_fields_are_those_of_their_number():
    one, same, other = (simulated("independent", k, 3, 64) for k in (0, 0, 1))
    assert np.array_equal(one.dirty.data, same.dirty.data)
    assert not np.array_equal(one.dirty.data, other.dirty.data)
    assert one.major_cycle is not None
    explained = one.major_cycle(np.zeros_like(one.dirty.data))
    assert np.array_equal(explained, one.dirty.data)


def test_simulated_noise_and_sources():
    """Noise has the stated rms; a source its flux at its place, beneath noise of one."""
    noise = simulated("empty", 0, 3, 96)
    beams = noise.dirty.data.size / noise.dirty.beam.area(noise.dirty.cell)
    assert np.std(noise.dirty.data) / NOISE == pytest.approx(1, abs=4 / math.sqrt(2 * beams))
    seen = simulated("dynamic-range", 0, 3, 128)
    top = seen.truth()[0]
    y, x = np.unravel_index(np.argmax(seen.dirty.data), seen.dirty.data.shape)
    assert math.hypot(x - top["x"], y - top["y"]) < 1
    # A peak between pixels is lower by at most exp(-4 ln 2 (0.71 / scale)^2).
    assert seen.dirty.data[y, x] / NOISE == pytest.approx(top["flux"], rel=0.12)


def test_pixels_of_a_beam_are_as_many_as_asked():
    plain, fine = simulated("sparse", 0, 3, 64), simulated("sparse", 0, 3, 128, 8.0)
    assert plain.scale == pytest.approx(4, rel=0.01) and fine.scale == pytest.approx(8, rel=0.01)
    # The sky is the same one in beams.
    np.testing.assert_allclose(plain.components.flux, fine.components.flux)
    np.testing.assert_allclose(plain.components.position, fine.components.position, rtol=0.01)


def test_array_without_a_round_beam_is_refused(monkeypatch):
    monkeypatch.setattr(simulator, "make_optics", lambda *args, **kwargs: None)
    field._optics.cache_clear()
    with pytest.raises(ValueError, match="round beam within 1200 s, got 'alma.cycle5.3'"):
        simulated("independent", 0, 3, 64)
