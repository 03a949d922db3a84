"""What ddpmclean and its rivals make of a field, with and without CASA."""

from __future__ import annotations

import os

import numpy as np
import pytest

from casa_ddpm import sky
from casa_ddpm.benchmark import outcome, tables
from casa_ddpm.benchmark.field import NOISE, Field, simulated
from casa_ddpm.benchmark.metrics import LIMIT, OURS, PEAKS
from casa_ddpm.benchmark.outcome import fidelity, from_image, from_visibilities
from casa_ddpm.benchmark.panels import Panels
from casa_ddpm.benchmark.rivals import RIVALS, Rival
from casa_ddpm.options import Options
from casa_ddpm.posterior import Sampling

OPTIONS = Options(nmajor=1, sampling=Sampling(nsamples=2, nsteps=4, device="cpu"))


def by_method(detections):
    """The rows of each method, in the order in which they come."""
    names = dict.fromkeys(detections["method"])
    return [detections[detections["method"] == name] for name in names]


def check(rows, names):
    """Tables have their columns, one image a method, and what is found is apparent."""
    truth, detections, images = (rows[name] for name in tables.COLUMNS)
    assert truth.colnames == list(tables.TRUTH)
    assert detections.colnames == list(tables.DETECTIONS)
    limit = [] if truth["major"].any() else [LIMIT]
    assert list(dict.fromkeys(detections["method"])) == names + limit
    assert list(images["method"]) == names
    assert (images["seconds"] >= 0).all() and np.isfinite(images["residual_rms"]).all()
    for table in by_method(detections):
        hits = table[table["match"] >= 0]
        assert len(np.unique(hits["match"])) == len(hits) >= 1
        true = truth[hits["match"]]
        bright = true["flux"] > 8
        assert np.abs(hits["flux"] / true["flux"] - 1)[bright].max(initial=0) < 0.5
        assert np.abs(hits["x"] - true["x"]).max() < 3


def test_image_route():
    rows = from_image("independent", 2, 11, 64, OPTIONS)
    check(rows, [OURS, PEAKS])
    ours, peaks, oracle = by_method(rows["detections"])
    images = rows["images"]
    assert ours["prob"].min() >= 0 and ours["prob"].max() <= 1
    assert np.isnan(peaks["prob"]).all() and np.allclose(peaks["flux_err"], 1)
    assert np.isnan(images["ser"]).all()
    # The peaks' residual is the dirty image itself.
    assert images[1]["residual_rms"] > images[0]["residual_rms"]
    assert (oracle["match"] >= 0).sum() >= (peaks["match"] >= 0).sum()


def test_image_route_of_an_empty_field():
    rows = from_image("empty", 0, 11, 64, OPTIONS)
    images = rows["images"]
    assert len(rows["truth"]) == 0
    assert (rows["detections"]["match"] == -1).all()
    assert images[0]["residual_rms"] == pytest.approx(1, abs=0.15)


def test_structure_is_compared_as_an_image():
    images = from_image("structure", 0, 11, 64, OPTIONS)["images"]
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


@pytest.mark.casa
def test_route_of_measurement_sets(observatory, tmp_path, monkeypatch):
    """The task and a rival, or the task alone; nothing is written elsewhere."""
    monkeypatch.chdir(tmp_path)
    peaks = [rival for rival in RIVALS if rival.name == PEAKS]
    for protocol, chosen in (("independent", peaks), ("extended", [])):
        with observatory.field(protocol, 0, 11) as (field, own):
            names = [OURS, *(rival.name for rival in chosen)]
            check(from_visibilities(field, own, OPTIONS, chosen), names)
    assert os.listdir(".") == []


def fails(observation):
    raise RuntimeError("bdsf failed in /tmp/x:\nTraceback\n" + 900 * "." + "\nValueError: no beam")


@pytest.mark.casa
def test_a_rival_that_fails_has_no_rows(observatory, monkeypatch):
    """The field goes on, and is told of; a failure of ours ends it."""
    chosen = [Rival("broken", lambda: "", fails), *(r for r in RIVALS if r.name == PEAKS)]
    with observatory.field("independent", 0, 11) as (field, own):
        found = from_visibilities(field, own, OPTIONS, chosen)
        check(found, [OURS, PEAKS])
        (failure,) = tables.failures(found["images"])
        assert (failure.method, failure.where) == ("broken", "independent 0")
        assert failure.error.startswith("... ") and failure.error.endswith(". ValueError: no beam")
        monkeypatch.setattr(outcome, "_task", lambda *_: fails(None))
        with pytest.raises(RuntimeError, match="bdsf failed"):
            from_visibilities(field, own, OPTIONS, chosen)


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
