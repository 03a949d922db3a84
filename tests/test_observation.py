"""What the benchmark makes of a field, with and without CASA."""

from __future__ import annotations

import os

import numpy as np
import pytest
from scipy.signal import fftconvolve

from casa_ddpm import sky
from casa_ddpm.benchmark import tables
from casa_ddpm.benchmark.field import NOISE, Field, simulated
from casa_ddpm.benchmark.metrics import OURS, PEAKS
from casa_ddpm.benchmark.observation import Observatory, fidelity, from_image, from_visibilities
from casa_ddpm.benchmark.panels import Panels
from casa_ddpm.benchmark.rivals import RIVALS
from casa_ddpm.options import Options
from casa_ddpm.posterior import Sampling

OPTIONS = Options(nmajor=1, sampling=Sampling(nsamples=2, nsteps=4, device="cpu"))


def check(rows, names):
    """Tables have their columns, one image a method, and what is found is apparent."""
    truth, detections, images = rows
    assert truth.colnames == list(tables.TRUTH)
    assert [table.colnames for table in detections] == [list(tables.DETECTIONS)] * len(names)
    assert [row["method"] for row in images] == names
    for row in images:
        assert row["seconds"] >= 0 and np.isfinite(row["residual_rms"])
    for table in detections:
        hits = table[table["match"] >= 0]
        assert len(np.unique(hits["match"])) == len(hits) >= 1
        true = truth[hits["match"]]
        bright = true["flux"] > 8
        assert np.abs(hits["flux"] / true["flux"] - 1)[bright].max(initial=0) < 0.5
        assert np.abs(hits["x"] - true["x"]).max() < 3


def test_image_route():
    rows = from_image("independent", 2, 11, 64, OPTIONS)
    check(rows, [OURS, PEAKS])
    truth, (ours, peaks), images = rows
    assert ours["prob"].min() >= 0 and ours["prob"].max() <= 1
    assert np.isnan(peaks["prob"]).all() and np.allclose(peaks["flux_err"], 1)
    assert all(np.isnan(row["ser"]) for row in images)
    # The peaks' residual is the dirty image itself.
    assert images[1]["residual_rms"] > images[0]["residual_rms"]


def test_image_route_of_an_empty_field():
    truth, detections, images = from_image("empty", 0, 11, 64, OPTIONS)
    assert len(truth) == 0
    assert all((table["match"] == -1).all() for table in detections)
    assert images[0]["residual_rms"] == pytest.approx(1, abs=0.15)


def test_structure_is_compared_as_an_image():
    _, _, images = from_image("structure", 0, 11, 64, OPTIONS)
    assert images[0]["ser"] > 0
    assert np.isfinite(images[1]["residual_rms"]) and np.isnan(images[1]["ser"])


def test_fidelity_of_the_truth_and_of_nothing():
    """A point that the model holds in its pixel is exact; half of it leaves half: 6 dB."""
    plain = simulated("empty", 0, 3, 64)
    point = sky.points(np.zeros((1, 2)), np.array([20.0]))
    field = Field("structure", 0, plain.dirty, point)
    model = np.zeros((64, 64))
    model[32, 32] = 20 * NOISE
    assert fidelity(field, model) > 30
    assert fidelity(field, 0.5 * model) == pytest.approx(20 * np.log10(2), abs=0.2)
    assert fidelity(field, 0 * model) == pytest.approx(0, abs=1e-6)


@pytest.fixture(scope="module")
def observatory(tmp_path_factory):
    return Observatory(tmp_path_factory.mktemp("scratch"), 64)


def explained(field):
    """The truth as the dirty beam shows it [Jy/beam]; the beam ends at the image's size."""
    npix = len(field.dirty.data)
    model = sky.render(field.components, 1e-3, field.scale, npix).numpy() * field.noise
    whole = fftconvolve(model, field.dirty.psf)
    return whole[npix // 2 :, npix // 2 :][:npix, :npix]


@pytest.mark.casa
def test_observatory(observatory, tmp_path, monkeypatch):
    """Fields of one array: the task and a rival, and no trace of them afterwards."""
    monkeypatch.chdir(tmp_path)
    peaks = [rival for rival in RIVALS if rival.name == PEAKS]
    with observatory.field("independent", 0, 11) as (field, own):
        assert field.dirty.data.shape == (64, 64) and field.noise == NOISE
        assert field.scale == pytest.approx(4.25, rel=0.01)
        assert not field.extended
        kept = field.dirty.data.copy()
        check(from_visibilities(field, own, OPTIONS, peaks), [OURS, PEAKS])
        assert any(own.iterdir())
    assert not own.exists()
    with observatory.field("extended", 0, 11) as (field, own):
        assert field.extended
        check(from_visibilities(field, own, OPTIONS, []), [OURS])
        # The visibilities hold the truth, position angles included: what is left is the noise
        # and sidelobes of the beam from beyond its image.
        assert np.std(field.dirty.data) > 8 * NOISE
        assert np.std(field.dirty.data - explained(field)) < 2 * NOISE
    with observatory.field("independent", 0, 11) as (field, own):
        assert np.array_equal(field.dirty.data, kept)
    # One MeasurementSet serves all, and nothing is written elsewhere.
    assert [path.name for path in observatory.folder.iterdir()] == ["alma.cycle5.3.1200"]
    assert os.listdir(".") == []


@pytest.mark.casa
def test_images_are_kept_for_the_gallery(observatory, tmp_path):
    """Ours with its realisations, and each imager's once, however many finders it has."""
    chosen = [rival for rival in RIVALS if rival.name in ("peaks", "tclean+photutils")]
    with observatory.field("structure", 0, 11) as (field, own):
        from_visibilities(field, own, OPTIONS, chosen, tmp_path)
    (path,) = tmp_path.iterdir()
    kept = Panels.load(path)
    assert kept.name == "structure 0"
    assert [list(line)[0] for line in kept.lines] == ["dirty", OURS, "tclean"]
    images = kept.images
    truth = images["truth"]
    assert truth.sum() == pytest.approx(field.truth()["flux"][0] * NOISE, rel=0.01)
    for name in ("mean", "median", OURS, "tclean"):
        assert np.corrcoef(images[name].ravel(), truth.ravel())[0, 1] > 0.7, name
    assert images["std"].max() > 0
    assert np.std(images["tclean residual"]) < np.std(images["dirty"]) / 2


@pytest.mark.casa
def test_scratch_is_removed_after_an_error(observatory):
    with (
        pytest.raises(KeyboardInterrupt),
        observatory.field("independent", 0, 11) as (_, own),
    ):
        assert own.is_dir()
        raise KeyboardInterrupt
    assert not own.exists()
