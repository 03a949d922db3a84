"""Skies filled into a MeasurementSet, as CASA images and measures them."""

from __future__ import annotations

import math
import shutil

import numpy as np
import pytest

from casa_ddpm.dirty import FWHM, Beam

pytestmark = pytest.mark.casa

#: Noise [Jy/beam] and image side [pixel].
NOISE, NPIX = 5e-5, 128
NOTHING = (np.zeros((0, 2)), np.zeros(0), np.zeros((0, 2, 2)))


@pytest.fixture(scope="module")
def blank(tmp_path_factory):
    """An empty observation of ALMA cycle 5.3, its imaging and its beam."""
    from casa_ddpm.casa import clean, simulation

    folder = tmp_path_factory.mktemp("blank")
    vis = simulation.blank(folder, "alma.cycle5.3", "J2000 10h00m28.6s +02d12m21s", 200)
    cell = 0.25 * simulation.resolution(vis)
    imaging = {"imsize": [NPIX, NPIX], "cell": [f"{cell:.6g}arcsec"], "weighting": "natural"}
    imaging["pblimit"] = -0.1
    simulation.fill(vis, *NOTHING, NOISE, 1)
    beam = clean.dirty(str(vis), str(folder / "psf"), imaging).beam
    # The longest baseline is finer than the beam, but not by much.
    assert 0.25 * beam.fwhm < simulation.resolution(vis) < beam.fwhm
    return vis, imaging, beam, cell


def image(blank, folder, *sky_and_noise):
    """The dirty image of a sky."""
    from casa_ddpm.casa import clean, simulation

    vis, imaging, _, _ = blank
    simulation.fill(vis, *sky_and_noise)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return clean.dirty(str(vis), str(folder / "sky"), imaging).data


def test_sources_are_where_and_what_they_were(blank, tmp_path):
    """CLEANed by tclean and fitted by imfit: a point, and a Gaussian at 40 deg of 2 x 1 beams."""
    from casa_ddpm.casa import clean

    vis, imaging, beam, cell = blank
    north, east = np.array([12.0, -20.0]), np.array([-24.0, 16.0])  # [pixel]
    source = Beam(2 * beam.fwhm, beam.fwhm, 40.0)
    angle = math.radians(source.pa)
    along, across = (
        np.array([math.cos(angle), math.sin(angle)]),
        np.array([-math.sin(angle), math.cos(angle)]),
    )
    shape = source.major**2 * np.outer(along, along) + source.minor**2 * np.outer(across, across)
    radian = math.radians(1 / 3600)
    covariance = np.stack([np.zeros((2, 2)), shape / FWHM**2]) * radian**2
    offset = np.stack([north, east], axis=1) * cell * radian
    flux = np.array([0.01, 0.05])
    image(blank, tmp_path / "one", offset, flux, covariance, NOISE / 10, 3)
    name = str(tmp_path / "one" / "sky")
    scales = [0, round(beam.fwhm / cell), round(2 * beam.fwhm / cell)]
    clean.clean(str(vis), name, imaging, scales)

    x, y = NPIX // 2 - east, NPIX // 2 + north
    fitted = [
        clean.fit(
            f"{name}.image", (int(x[k]) - 12, int(y[k]) - 12, int(x[k]) + 12, int(y[k]) + 12),
            [(0.8 * flux[k], x[k], y[k], start)], NOISE / 10,
        )[0]
        for k, start in ((0, beam), (1, Beam(2.2 * beam.fwhm, 1.4 * beam.fwhm, 40.0)))
    ]  # fmt: skip
    for k, row in enumerate(fitted):
        assert math.hypot(row["x"] - x[k], row["y"] - y[k]) < 0.1
        assert row["flux"] == pytest.approx(flux[k], rel=0.03)
    assert math.isnan(fitted[0]["major"]) or fitted[0]["major"] < 0.3 * beam.fwhm
    assert fitted[1]["major"] == pytest.approx(source.major, rel=0.05)
    assert fitted[1]["minor"] == pytest.approx(source.minor, rel=0.05)
    assert fitted[1]["pa"] == pytest.approx(source.pa, abs=3)


def test_noise_has_its_rms_and_its_seed(blank, tmp_path):
    _, _, beam, cell = blank
    one, same, other = (image(blank, tmp_path / "n", *NOTHING, NOISE, seed) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    # Pixels within a beam share their noise.
    independent = one.size / beam.area(cell)
    for seen in (one, other):
        assert np.std(seen) / NOISE == pytest.approx(1, abs=4 / math.sqrt(2 * independent))
    assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 4 / math.sqrt(independent)


def test_noise_does_not_depend_on_the_sky(blank, tmp_path):
    """A field's sky is added to its noise, which is that of its seed."""
    source = (np.zeros((1, 2)), np.array([0.01]), np.zeros((1, 2, 2)))
    empty = image(blank, tmp_path / "n", *NOTHING, NOISE, 5)
    full = image(blank, tmp_path / "n", *source, NOISE, 5)
    assert (full - empty)[NPIX // 2, NPIX // 2] == pytest.approx(0.01, rel=1e-3)


def test_many_sources_are_added_in_parts(monkeypatch):
    from casa_ddpm.casa import simulation

    rng = np.random.default_rng(0)
    uvw, offset = rng.normal(0, 1e4, (3, 30)), rng.normal(0, 1e-4, (7, 2))
    half = rng.normal(0, 1e-5, (7, 2, 2))
    sky = offset, rng.uniform(1, 2, 7), half @ half.transpose(0, 2, 1)
    whole = simulation._visibilities(uvw, *sky)
    monkeypatch.setattr(simulation, "_PHASES", 60)
    np.testing.assert_allclose(simulation._visibilities(uvw, *sky), whole, rtol=1e-12)
    # At the origin of the uv plane the sum of the fluxes.
    assert simulation._visibilities(np.zeros((3, 1)), *sky)[0] == pytest.approx(sky[1].sum())
