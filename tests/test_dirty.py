"""Beam and DirtyImage: conventions of angles, areas and what is refused."""

import dataclasses
import math

import numpy as np
import pytest

from casa_ddpm.dirty import Beam, DirtyImage


def drawn(beam, cell, size=129):
    """The beam as a Gaussian of peak 1 from its definition, in rotated coordinates."""
    y, x = np.indices((size, size)) - size // 2
    north, east, angle = y * cell, -x * cell, math.radians(beam.pa)
    along = north * math.cos(angle) + east * math.sin(angle)
    across = -north * math.sin(angle) + east * math.cos(angle)
    return 0.5 ** ((2 * along / beam.major) ** 2 + (2 * across / beam.minor) ** 2)


@pytest.mark.parametrize("pa", [0, 30, 90, 135, 179])
def test_covariance_is_that_of_the_gaussian(pa):
    beam = Beam(2.0, 1.1, pa)
    image = drawn(beam, 0.1)
    y, x = np.indices(image.shape) - image.shape[0] // 2
    moments = [[(image * a * b).sum() / image.sum() for b in (y, x)] for a in (y, x)]
    np.testing.assert_allclose(beam.covariance(0.1), moments, atol=1e-3 * moments[0][0])


def test_area_is_the_sum_of_the_gaussian():
    beam = Beam(2.0, 1.1, 20.0)
    assert beam.area(0.1) == pytest.approx(drawn(beam, 0.1).sum(), rel=1e-5)


def test_position_angle_runs_from_north_to_east_which_is_left():
    covariance = Beam(2.0, 1.0, 45.0).covariance(0.1)
    assert covariance[0, 1] < 0
    assert Beam(2.0, 1.0, 0.0).covariance(0.1)[0, 0] > Beam(2.0, 1.0, 90.0).covariance(0.1)[0, 0]


@pytest.mark.parametrize("pa", [0.5, 60.0, 120.0, 179.0])
def test_from_covariance_is_the_inverse(pa):
    beam = Beam.from_covariance(Beam(0.9, 0.6, pa).covariance(0.07), 0.07)
    np.testing.assert_allclose([beam.major, beam.minor, beam.pa], [0.9, 0.6, pa], rtol=1e-9)


def test_fwhm_is_the_geometric_mean():
    assert Beam(4.0, 1.0, 0.0).fwhm == pytest.approx(2.0)


@pytest.mark.parametrize(
    "axes",
    [
        *((1.0, 2.0), (1.0, 0.0), (-1.0, -2.0), ("2", "1")),
        *((math.nan, 1.0), (1.0, math.nan), (math.inf, 1)),
    ],
)
def test_impossible_beams_are_refused(axes):
    with pytest.raises(ValueError, match=r"beam axes must satisfy 0 < minor <= major, got major="):
        Beam(*axes, 0.0)


@pytest.mark.parametrize("pa", [math.nan, math.inf, "30deg"])
def test_angle_of_a_beam_is_finite(pa):
    with pytest.raises(ValueError, match=r"beam pa must be finite \[deg\], got "):
        Beam(2.0, 1.0, pa)


def image(**changes):
    beam = Beam(0.4, 0.4, 0.0)
    values = {"data": np.zeros((32, 32)), "psf": drawn(beam, 0.1, 32), "beam": beam, "cell": 0.1}
    return DirtyImage(**{**values, **changes})


def holed(value):
    data = np.zeros((32, 32))
    data[3, 4] = value
    return data


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"data": np.zeros((1, 32, 32))}, r"data must have 2 axes \(y, x\), got shape \(1, 32, 32"),
        ({"psf": np.ones((32, 30))}, r"psf must have the shape of data \(32, 32\), got \(32, 30\)"),
        ({"pb": np.ones((30, 32))}, r"pb must have the shape of data \(32, 32\), got \(30, 32\)"),
        ({"data": holed(np.nan)}, "data must be finite"),
        ({"data": holed(np.inf)}, "data must be finite"),
        ({"psf": holed(np.nan)}, "psf must be finite"),
        ({"cell": 0.0}, r"cell must be positive and finite \[arcsec\], got 0"),
        ({"cell": -0.1}, r"cell must be positive and finite \[arcsec\], got -0.1"),
        ({"cell": math.nan}, r"cell must be positive and finite \[arcsec\], got nan"),
        ({"cell": math.inf}, r"cell must be positive and finite \[arcsec\], got inf"),
        ({"cell": "0.1arcsec"}, r"cell must be positive and finite .* got '0.1arcsec'"),
        ({"thermal": 0}, r"thermal must be positive and finite \[Jy/beam\], got 0"),
        ({"thermal": math.inf}, r"thermal must be positive and finite \[Jy/beam\], got inf"),
        ({"thermal": "1mJy"}, r"thermal must be positive and finite .* got '1mJy'"),
        ({"psf": 3 * drawn(Beam(0.4, 0.4, 0), 0.1, 32)}, "psf must have peak 1, got 3"),
        ({"psf": np.zeros((32, 32))}, "psf must have peak 1, got 0"),
        ({"psf": np.roll(drawn(Beam(0.4, 0.4, 0), 0.1, 32), 5, 0)}, r"psf must .*peak.*\(16, 16\)"),
        ({"psf": np.roll(drawn(Beam(2.0, 2.0, 0), 0.1, 32), 1, 1)}, r"psf must .*peak.*\(16, 16\)"),
    ],
)
def test_what_breaks_the_rules_is_refused(changes, text):
    with pytest.raises(ValueError, match=text):
        image(**changes)


def test_a_peak_may_have_an_equal_beside_it():
    psf = drawn(Beam(0.4, 0.4, 0), 0.1, 32)
    psf[16, 15] = 1 + 1e-6
    assert image(psf=psf).psf[16, 16] == 1


def test_numbers_of_numpy_are_numbers():
    beam = Beam(*np.float32([0.4, 0.3, 10]))
    found = image(beam=beam, cell=np.float32(0.1), thermal=np.float64(1e-3))
    assert found.thermal == 1e-3


def test_primary_beam_may_be_undefined_outside():
    assert image(pb=holed(np.nan)).pb is not None


def test_pixels_that_are_masked_or_blanked_are_no_image():
    pb, data = np.ones((32, 32)), np.ones((32, 32))
    pb[0, 0], pb[1, 1], pb[2, 2], data[2, 2], data[3, 3] = np.nan, 0, 0, 0, 0
    found = image(pb=pb, data=data).valid
    # Beyond the primary beam CASA images on where pblimit is negative, and so does tclean.
    assert np.argwhere(~found).tolist() == [[0, 0], [2, 2]]
    assert image().valid.all()


def test_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        image().cell = 1.0


def test_arrays_of_a_fits_file_are_taken():
    """Their byte order is not this machine's."""
    psf = drawn(Beam(0.4, 0.4, 0), 0.1, 32)
    image = DirtyImage(psf.astype(">f8"), psf.astype(">f4"), Beam(0.4, 0.4, 0), 0.1)
    assert image.data.dtype == np.float32 and image.data.dtype.isnative
    assert image.psf.dtype.isnative and image.data.flags.c_contiguous
