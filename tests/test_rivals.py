"""The rivals of the benchmark, each run for real on a small observation."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from astropy.io import fits
from conftest import checksum

from casa_ddpm import measures
from casa_ddpm.benchmark import imagers, rivals
from casa_ddpm.matching import match

BY_NAME = {rival.name: rival for rival in rivals.RIVALS}


@pytest.fixture(scope="module")
def observed(small_ms, tmp_path_factory):
    """The small observation; what several rivals share is made once."""
    parameters = dict(small_ms.parameters)
    vis = parameters.pop("vis")
    folder = tmp_path_factory.mktemp("rivals") / "scratch"
    return imagers.Observation(vis, parameters, small_ms.noise, folder)


def test_rivals_say_what_they_lack(monkeypatch):
    monkeypatch.setattr(measures, "installed", lambda name: name == "casatasks")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    said = {name: rival.missing() for name, rival in BY_NAME.items()}
    assert said["peaks"] == said["tclean+imfit"] == said["tclean+photutils"] == ""
    assert said["tclean+PyBDSF"] == "bdsf not installed"
    assert said["tclean+Aegean"] == "AegeanTools not installed"
    assert said["WSClean+PyBDSF"] == "bdsf and wsclean not installed"


@pytest.mark.casa
@pytest.mark.parametrize("name", BY_NAME)
def test_rival_finds_the_sources(name, observed, small_ms, capfd, monkeypatch, tmp_path):
    """Three points of S/N 45 to 170, at their place and with their apparent flux.

    The tolerance is four of the rival's own errors, plus 1 % of the flux and 0.05 pixels for
    what is not noise: the PSF's sidelobes and the gridder.
    """
    rival = BY_NAME[name]
    if reason := rival.missing():
        pytest.skip(reason)
    monkeypatch.chdir(tmp_path)
    before = checksum(small_ms.path)
    capfd.readouterr()
    found = rival.run(observed)
    assert capfd.readouterr() == ("", "")
    assert os.listdir(tmp_path) == []
    assert checksum(small_ms.path) == before
    assert found.colnames == rivals.COLUMNS
    assert (np.diff(found["score"]) <= 0).all()
    assert found.meta["seconds"] > 0

    x, y, flux = truth(observed, small_ms)
    rows, true = match(found["x"], found["y"], x, y, radius=4.0)
    assert len(true) == 3
    assert set(rows) == {0, 1, 2}
    sources = found[rows]
    errors = sources["flux_err"]
    assert (errors > 0.5 * small_ms.noise).all() and (errors < 0.1 * flux[true]).all()
    assert (np.abs(sources["flux"] - flux[true]) < 4 * errors + 0.01 * flux[true]).all()
    for axis, place in (("x", x), ("y", y)):
        away = np.abs(sources[axis] - place[true])
        given = np.nan_to_num(np.asarray(sources[axis + "_err"]), nan=0.05)
        assert (away < 4 * given + 0.05).all()
    np.testing.assert_allclose(sources["score"], flux[true] / small_ms.noise, rtol=0.25)


def truth(observed, small_ms):
    """Positions [pixel] and apparent fluxes [Jy] of the sources."""
    from casa_ddpm import casa

    east, north, flux = np.array(small_ms.sources).T
    pb = casa.read_plane(f"{imagers.dirty(observed)[0]}.pb")
    ny, nx = pb.shape
    x, y = nx // 2 - east / 0.12, ny // 2 + north / 0.12
    return x, y, flux * pb[np.rint(y).astype(int), np.rint(x).astype(int)]


@pytest.mark.casa
def test_tclean_runs_once_for_all(observed, monkeypatch):
    """Another source finder of the same image makes no image."""
    from casa_ddpm.casa import clean

    first = BY_NAME["tclean+photutils"].run(observed)
    for name in ("dirty", "clean"):
        monkeypatch.setattr(clean, name, None)
    second = BY_NAME["tclean+imfit"].run(observed)
    for kind in ("image", "residual", "model"):
        assert first.meta[kind] == second.meta[kind]
        assert fits.getdata(first.meta[kind]).shape[-2:] == (128, 160)
    made = json.loads((observed.folder / "tclean" / "made.json").read_text())
    assert made["seconds"] < min(first.meta["seconds"], second.meta["seconds"])
    # CLEAN left noise and took the rest
    residual = fits.getdata(second.meta["residual"])
    assert np.std(residual) == pytest.approx(observed.noise, rel=0.15)


@pytest.mark.casa
def test_extended_emission_is_cleaned_at_its_scales(observed, monkeypatch, tmp_path):
    from casa_ddpm.casa import clean

    seen = []
    monkeypatch.setattr(clean, "clean", lambda *args, **masking: seen.append(args[3]))
    monkeypatch.setattr(clean, "export", lambda name: None)
    extended = imagers.Observation(**vars(observed) | {"extended": True, "folder": tmp_path})
    imagers.tclean(extended)
    plane = imagers.read_dirty(imagers.dirty(extended)[0])
    beam = plane.beam.fwhm / plane.cell
    ((points, small, large),) = seen
    assert points == 0
    assert abs(small - beam) < 0.5 and abs(large - 2.5 * beam) < 0.5
