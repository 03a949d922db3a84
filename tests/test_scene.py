"""One field: the peel of an array whose sidelobes pass for noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable

from casa_ddpm import checkpoint, circumstances, factors, noise
from casa_ddpm.benchmark.field import NOISE, simulated
from casa_ddpm.disturbance import Signs
from casa_ddpm.scene import Scene


@pytest.fixture(scope="module")
def compact_array():
    """Points of S/N 2 to 12 under the ACA, which has sidelobes of 0.57 all over the image."""
    return simulated("arrays", 1, 11, 160)


@pytest.fixture(scope="module")
def wide():
    """127 points of S/N 2 to 12 under ALMA: their sidelobes add up to 1.5 times the noise."""
    return simulated("sparse", 0, 11, 384, 3.0)


def peeled(field, cycle=None, deep=False, **changes):
    """The scene, and what eight major cycles of the peel leave."""
    _, settings = checkpoint.load("default")
    scene = Scene(replace(field.dirty, **changes), settings, 8)
    model = np.zeros_like(field.dirty.data)
    for _ in range(8):
        more, rest, sigma = scene.peel((cycle or field.major_cycle)(model), deep=deep)
        if not scene.outruns(more, rest, sigma):
            break
        model = model + more
    return scene, rest


def test_noise_of_the_visibilities_tells_how_deep_to_peel(compact_array):
    scene, rest = peeled(compact_array)
    assert scene.dirty.tangled
    assert rest.std() < 1.4 * NOISE
    # Without it sidelobes pass for noise.
    _, shallow = peeled(compact_array, thermal=None)
    assert shallow.std() > 1.6 * NOISE


def test_arrays_with_low_sidelobes_are_peeled_by_the_noise_of_the_image():
    field = simulated("independent", 0, 11, 96)
    scene, rest = peeled(field)
    assert not scene.dirty.tangled
    np.testing.assert_array_equal(rest, peeled(field, thermal=None)[1])


def test_a_peel_that_would_diverge_stops(compact_array, monkeypatch):
    """The image of this PSF ends with sidelobes of 0.5: without visibilities it is not positive."""
    _, settings = checkpoint.load("default")
    scene = Scene(compact_array.dirty, settings, 8)
    monkeypatch.setattr("casa_ddpm.scene._SIDELOBES", 0.0)
    _, rest = peeled(compact_array, scene.residual, thermal=0.3 * NOISE)
    assert rest.std() < compact_array.dirty.data.std()
    monkeypatch.setattr("casa_ddpm.scene._GROWN", np.inf)
    _, rest = peeled(compact_array, scene.residual, thermal=0.3 * NOISE)
    assert not rest.std() < 1e3 * compact_array.dirty.data.std()


def test_noise_that_the_visibilities_do_not_tell_of_is_not_peeled(compact_array):
    """As that of a calibration that is half wrong."""
    _, rest = peeled(compact_array, thermal=0.5 * NOISE)
    assert rest.std() > 0.9 * NOISE


def test_sidelobes_of_many_sources_are_no_noise(wide):
    """The peel goes on below what they and the noise make together."""
    dirty = noise.rms(wide.dirty.data)
    assert dirty > 1.7 * NOISE
    _, shallow = peeled(wide)
    scene, deep = peeled(wide, deep=True)
    assert not scene.dirty.tangled
    assert noise.rms(shallow) > 0.9 * dirty
    assert noise.rms(deep) < 0.8 * dirty


def test_without_sidelobes_there_is_nothing_to_go_on_for():
    field = simulated("independent", 0, 11, 96)
    np.testing.assert_array_equal(peeled(field)[1], peeled(field, deep=True)[1])


def test_faint_sidelobes_of_many_sources_need_the_visibilities(wide):
    """Each alone would not matter beyond the edge of the PSF's image."""
    _, settings = checkpoint.load("default")
    scene = Scene(replace(wide.dirty, thermal=None), settings, 8)
    one = np.zeros_like(wide.dirty.data)
    one[100, 100] = 2 * NOISE / scene.far
    many = np.zeros_like(one)
    many[20:-20:24, 20:-20:24] = 0.5 * NOISE / scene.far
    rest = wide.dirty.data
    assert scene.outruns(one, rest, NOISE)
    assert not scene.outruns(one / 4, rest, NOISE)
    assert scene.outruns(many, rest, NOISE)


def test_sources_are_calibrated_among_all_that_there_are(compact_array):
    """By beams and pixels of the image; those outside of the clean mask count, and are left out."""
    _, settings = checkpoint.load("default")
    dirty = compact_array.dirty
    allowed = np.ones(dirty.data.shape, bool)
    allowed[:, 80:] = False
    scene = Scene(dirty, settings, 8, allowed=allowed)
    beam = dirty.beam.fwhm / dirty.cell
    table = QTable(
        {
            "x": [79, 79 + 1.5 * beam, 20] * u.pix, "y": [50, 50, 50] * u.pix,
            "prob": [0.8, 1.0, 1.0], "snr": [10.0, 10, 10], "flux": [10, 10, 10] * u.Jy,
            "flux_err": [1, 1, 1] * u.Jy, "flux_lo": [9, 9, 9] * u.Jy,
            "flux_hi": [11, 11, 11] * u.Jy,
            "ra_err": [1, 1, 1] * u.arcsec, "dec_err": [1, 1, 1] * u.arcsec,
            "major": [0, 0, 0] * u.arcsec, "count": [20, 20, 20], "resolved": [False] * 3,
        }
    )  # fmt: skip
    found = scene.calibrated(table, Signs(0.1, 1.0, 0.0), np.array([False, False, True]))
    crowded = circumstances.crowding(table, dirty.beam.fwhm, dirty.cell)
    assert crowded == pytest.approx([1 / 1.5 - 0.25, 1 / 1.5 - 0.25, 0])
    known = factors.features(table["snr"], crowded, 0.0, 0.0)
    expected = scene.calibration.point.position.at(known)
    assert found["x"].value == pytest.approx([79, 20])
    assert found["ra_err"].value == pytest.approx(expected[[0, 2]])
    assert expected[0] > 1.05 * expected[2]
    assert found["prob"][0] == pytest.approx(
        scene.calibration.odds.probability(np.array([0.8]), np.array([10.0]), 0.0, 0.0)[0]
    )
    assert found["prob"][1] == 1 and table["prob"][0] == 0.8


@pytest.mark.parametrize("kind", [int, float, bool])
def test_mask_of_any_kind_is_one(compact_array, kind):
    """As a FITS image holds it, which has no bool."""
    _, settings = checkpoint.load("default")
    mask = np.zeros(compact_array.dirty.data.shape, kind)
    mask[10:20, 30:50] = 1
    allowed = Scene(compact_array.dirty, settings, 8, allowed=mask).allowed
    assert allowed.dtype == bool and allowed.sum() == 200
