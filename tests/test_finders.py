"""Source finders on crafted images."""

from __future__ import annotations

import math

import numpy as np
import pytest
import restored
from restored import BEAM, CELL, gaussian, write_image

from casa_ddpm import measures
from casa_ddpm.benchmark import finders, imfit
from casa_ddpm.benchmark.plane import Plane
from casa_ddpm.benchmark.rivals import source_table
from casa_ddpm.dirty import Beam


def test_deconvolution_undoes_convolution(tmp_path):
    plane = Plane.read(write_image(tmp_path / "image.fits", np.zeros((32, 32))))
    source = Beam(1.5, 0.7, 100.0)
    seen = Beam.from_covariance(source.covariance(CELL) + BEAM.covariance(CELL), CELL)
    np.testing.assert_allclose(
        plane.deconvolved(seen.major, seen.minor, seen.pa), (1.5, 0.7, 100), rtol=1e-6
    )
    assert np.isnan(plane.deconvolved(0.9, 0.7, 30)).all()
    # longer than the beam along one axis only
    assert plane.deconvolved(1.2, 0.7, 30)[1] == 0


def test_island_of_a_blend_starts_one_gaussian_for_each_peak(tmp_path):
    shape = BEAM.covariance(CELL)
    data = 20 * gaussian((64, 64), 30, 32, shape) + 12 * gaussian((64, 64), 36, 32, shape)
    data += 9 * gaussian((64, 64), 50, 12, 4 * shape)
    plane = Plane.read(write_image(tmp_path / "image.fits", data))
    blend, alone = sorted(imfit.islands(plane, 1.0), key=lambda island: -len(island[1]))
    assert [round(start[0]) for start in blend[1]] == [20, 12]
    (peak, x, y, start), (first, low, last, high) = alone[1][0], alone[0]
    np.testing.assert_allclose((peak, x, y), (9, 50, 12), atol=0.05)
    assert first <= 45 < 55 <= last and low <= 7 < 17 <= high
    # a threshold at 2.5 of 9 leaves most of the moments of a source twice the beam
    assert BEAM.major * 1.2 < start.major < BEAM.major * 2


FINDERS = {
    "photutils": (finders.photutils, "photutils"),
    "imfit": (imfit.imfit, "photutils"),
    "PyBDSF": (finders.pybdsf, "bdsf"),
    "Aegean": (finders.aegean, "AegeanTools"),
}


@pytest.mark.parametrize("name", FINDERS)
def test_finder_finds_nothing_in_nothing(name, tmp_path):
    """Noise of a tenth of what the observation says."""
    finder, package = FINDERS[name]
    observation = restored.observation(tmp_path)
    if not measures.installed(package):
        pytest.skip(f"{package} is not installed")
    noise = np.random.default_rng(1).normal(0, 0.1, (64, 64)) * observation.noise
    # PyBDSF measures the noise itself: a plane without any pixel above it
    noise = noise.clip(None, 0) if name == "PyBDSF" else noise
    found = source_table(**finder(write_image(tmp_path / "an.image.fits", noise), observation))
    assert found.colnames == finders.COLUMNS
    assert len(found) == 0


@pytest.mark.parametrize("name", ["photutils", "PyBDSF", "Aegean"])
def test_finder_measures_a_gaussian(name, tmp_path):
    """One resolved Gaussian in white noise: place, flux and, where given, shape."""
    finder, package = FINDERS[name]
    observation = restored.observation(tmp_path)
    if not measures.installed(package):
        pytest.skip(f"{package} is not installed")
    source = Beam(1.4, 0.9, 120.0)
    seen = source.covariance(CELL) + BEAM.covariance(CELL)
    area = math.sqrt(np.linalg.det(seen) / np.linalg.det(BEAM.covariance(CELL)))
    sky = 0.1 * gaussian((96, 80), 30.3, 55.8, seen)
    noise = np.random.default_rng(2).normal(0, observation.noise, sky.shape)
    path = write_image(tmp_path / "an.image.fits", sky + noise)
    row = source_table(**finder(path, observation))[0]
    assert abs(row["x"] - 30.3) < 0.1 and abs(row["y"] - 55.8) < 0.1
    assert row["flux"] == pytest.approx(0.1 * area, rel=0.08)
    assert row["score"] == pytest.approx(100, rel=0.1)
    if name == "photutils":
        assert math.isnan(row["major"])
    else:
        assert row["major"] == pytest.approx(1.4, rel=0.1)
        assert row["minor"] == pytest.approx(0.9, rel=0.15)
        assert row["pa"] == pytest.approx(120, abs=10)
