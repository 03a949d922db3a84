"""The task on a wide band: Taylor terms, spectral indices, and going on from them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.table import QTable
from conftest import pixels, simulate

from casa_ddpm import ddpmclean

pytestmark = pytest.mark.casa

#: East and north [arcsec], flux at 275 GHz [Jy] and spectral index.
SOURCES = ((0.0, 0.0, 6e-3, -0.8), (3.0, -2.5, 3e-3, 1.6), (-3.2, 2.0, 1.5e-3, 0.3))
VALUES = {
    "imsize": 128, "cell": "0.12arcsec", "datacolumn": "data", "deconvolver": "mtmfs",
    "nsamples": 6, "nmajor": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A MeasurementSet of ten channels of 10 GHz from 230 GHz on."""
    from casatools import table

    path = tmp_path_factory.mktemp("mtmfs") / "wide.ms"
    simulate(path, ((0, 0, 1e-9),), seed=8, channels=10, width="10GHz")
    tool = table()
    tool.open(f"{path}/SPECTRAL_WINDOW")
    frequency = tool.getcol("CHAN_FREQ").ravel()
    tool.done()
    tool.open(str(path), nomodify=False)
    uvw, data = tool.getcol("UVW"), tool.getcol("DATA")
    for channel, value in enumerate(frequency):
        waves = uvw[:2].T * value / 299_792_458
        for east, north, flux, index in SOURCES:
            place = np.radians(np.array([east, north]) / 3600)
            phase = np.exp(2j * np.pi * waves @ place)
            data[:, channel] += flux * (value / 275e9) ** index * phase
    tool.putcol("DATA", data)
    tool.done()
    return str(path)


@pytest.fixture(scope="module")
def run(wide):
    """Products of a run, by a name whose folder is the current one no more."""
    name = str(Path(wide).parent / "run")
    return name, ddpmclean(vis=wide, imagename=name, pbcor=True, **VALUES)


def test_writes_tcleans_taylor_terms(run):
    name, result = run
    suffixes = {path.name.removeprefix("run.") for path in Path(name).parent.glob("run.*")}
    terms = {
        f"{kind}.tt{t}" for kind in ("model", "residual", "image", "psf", "sumwt") for t in (0, 1)
    }
    assert terms | {"psf.tt2", "alpha", "alpha.error", "image.tt1.pbcor", "mask"} <= suffixes
    assert not {"model", "residual", "image", "psf"} & suffixes
    assert {"model.std", "prob", "cl", "cat.ecsv", "png"} <= suffixes
    assert pixels(f"{name}.residual.tt0").std() < 1.1 * result["ddpm"]["thermalnoise"]
    assert result["summaryminor"][0][0][0]["iterDone"] == [6.0]


def test_spectral_indices_and_fluxes_at_the_middle_of_the_band(run):
    table = QTable.read(f"{run[0]}.cat.ecsv")
    assert np.allclose(table["freq"].to_value("GHz"), 275, atol=0.01)
    for east, north, flux, index in SOURCES:
        away = np.hypot(table["x"].value - 64 + east / 0.12, table["y"].value - 64 - north / 0.12)
        row = table[int(away.argmin())]
        assert away.min() < 0.3 and row["prob"] > 0.9
        error = 4 * row["flux_err"].value
        assert row["flux_app"].value == pytest.approx(flux, abs=error) and error < 0.1 * flux
        assert abs(float(row["alpha_app"]) - index) < 3 * float(row["alpha_err"]) + 0.01
        # No primary beam was put into these visibilities, and one is corrected for.
        assert float(row["alpha"] - row["alpha_app"]) == pytest.approx(
            4 * np.log(2) * 2 * (np.hypot(east, north) / 21) ** 2, abs=0.03
        )
        assert 0.01 < float(row["alpha_err"]) < 0.5


def test_component_list_has_the_spectra(run):
    from casatools import componentlist

    table = QTable.read(f"{run[0]}.cat.ecsv")
    tool = componentlist()
    tool.open(f"{run[0]}.cl")
    spectra = [tool.getspectrum(k) for k in range(tool.length())]
    tool.done()
    certain = table[table["prob"] >= 0.9]
    assert len(spectra) == len(certain) >= len(SOURCES)
    for spectrum, row in zip(spectra, certain, strict=True):
        assert spectrum["type"] == "Spectral Index"
        assert spectrum["index"] == pytest.approx(float(row["alpha"]))


def test_alpha_image_is_casas_of_these_terms(run):
    alpha = pixels(f"{run[0]}.alpha")[:, :, 0, 0]
    assert alpha[64, 64] == pytest.approx(-0.8, abs=0.1)
    assert alpha[64 - 25, 64 - 21] == pytest.approx(1.6, abs=0.3)


@pytest.mark.slow
def test_terms_of_a_cube_know_the_primary_beam(wide, tmp_path):
    """With specmode='mvc' its index is taken from all, also where none has been put in."""
    name = str(tmp_path / "x")
    result = ddpmclean(vis=wide, imagename=name, specmode="mvc", nchan=5, **VALUES)
    table = QTable.read(f"{name}.cat.ecsv")[: len(SOURCES)]
    assert np.array_equal(table["alpha"], table["alpha_app"])
    assert pixels(f"{name}.residual.tt0").std() < 1.1 * result["ddpm"]["thermalnoise"]
    for east, north, _, index in SOURCES:
        away = np.hypot(table["x"].value - 64 + east / 0.12, table["y"].value - 64 - north / 0.12)
        row = table[int(away.argmin())]
        beam = 8 * np.log(2) * (np.hypot(east, north) / 21) ** 2
        assert abs(float(row["alpha"]) - index - beam) < 3 * float(row["alpha_err"]) + 0.05


@pytest.mark.slow
def test_goes_on_from_taylor_terms(run, wide, tmp_path):
    """From those on disk as from a startmodel; the indices stay, and tclean goes on as well."""
    from casatasks import tclean

    for path in Path(run[0]).parent.glob("run.*"):
        copy = shutil.copytree if path.is_dir() else shutil.copy
        copy(path, tmp_path / path.name)
    before = QTable.read(f"{run[0]}.cat.ecsv")[:3]
    start = [f"{run[0]}.model.tt{t}" for t in (0, 1)]
    ddpmclean(vis=wide, imagename=str(tmp_path / "run"), **VALUES)
    ddpmclean(vis=wide, imagename=str(tmp_path / "other"), startmodel=start, **VALUES)
    for name in ("run", "other"):
        after = QTable.read(tmp_path / f"{name}.cat.ecsv")[:3]
        assert (np.abs(after["alpha"] - before["alpha"]) < before["alpha_err"]).all()
        assert np.allclose(after["flux"].value, before["flux"].value, rtol=0.03)
    fewer = {key: VALUES[key] for key in ("imsize", "cell", "datacolumn", "deconvolver")}
    result = tclean(
        vis=wide, imagename=str(tmp_path / "run"), niter=5, calcpsf=False, calcres=False, **fewer
    )
    assert result["iterdone"] > 0


@pytest.mark.slow
def test_model_column_has_the_spectra(wide, tmp_path):
    from casatools import table

    vis = shutil.copytree(wide, tmp_path / "copy.ms")
    ddpmclean(vis=str(vis), imagename=str(tmp_path / "x"), savemodel="modelcolumn", **VALUES)
    tool = table()
    tool.open(str(vis))
    total = np.abs(tool.getcol("MODEL_DATA")).mean((0, 2))
    tool.done()
    expected = sum(flux * (np.linspace(230, 320, 10) / 275) ** a for _, _, flux, a in SOURCES)
    # The mean amplitude goes with the brightest source's spectrum.
    assert total[0] / total[-1] == pytest.approx((230 / 320) ** -0.8, rel=0.2)
    assert total.max() < 1.1 * expected.max()


@pytest.mark.slow
@pytest.mark.parametrize("specmode", ["mfs", "mvc"])
def test_the_reference_frequency_changes_no_source(wide, tmp_path, specmode):
    """Fluxes and indices are of the band's middle, and corrected with the primary beam there."""
    tables = []
    for number, reffreq in enumerate(("", "310GHz")):
        name = str(tmp_path / f"x{number}")
        values = VALUES | {"imagename": name, "specmode": specmode, "reffreq": reffreq}
        ddpmclean(vis=wide, **values | ({"nchan": 5} if specmode == "mvc" else {}))
        tables.append(QTable.read(f"{name}.cat.ecsv")[: len(SOURCES)])
    one, other = tables
    assert np.allclose(one["freq"].to_value("GHz"), other["freq"].to_value("GHz"), atol=0.05)
    assert np.allclose(one["flux"].value, other["flux"].value, rtol=0.02)
    assert (np.abs(one["alpha"] - other["alpha"]) < one["alpha_err"]).all()


def test_terms_that_are_not_there_are_asked_for(wide, tmp_path):
    values = VALUES | {"vis": wide, "imagename": str(tmp_path / "x"), "niter": 0}
    ddpmclean(**values)
    with pytest.raises(FileNotFoundError, match=r"calcpsf=False needs '.*x\.psf\.tt3'"):
        ddpmclean(**values | {"niter": -1, "nterms": 3, "calcpsf": False})


@pytest.mark.slow
@pytest.mark.parametrize("specmode", ["mfs", "mvc"])
def test_mosaic_of_a_band(tmp_path, specmode):
    """Spectral indices under three pointings: known with a beam for each channel, else apparent."""
    path = tmp_path / "m.ms"
    sources = ((0.0, 0.0, 8e-3), (8.0, -4.0, 8e-3), (-7.0, 6.0, 8e-3))
    simulate(path, sources, seed=5, channels=6, width="12GHz", pointings=((0, 0), (9, 0), (-8, 5)))
    values = VALUES | {"imsize": 256, "gridder": "mosaic", "specmode": specmode}
    name = str(tmp_path / "x")
    ddpmclean(vis=str(path), imagename=name, conjbeams=False, **values)
    table = QTable.read(f"{name}.cat.ecsv")
    table = table[table["prob"] > 0.9]
    assert len(table) == 3
    assert np.isfinite(table["alpha"]).all() == (specmode == "mvc")
    assert np.allclose(table["flux"].value, 8e-3, rtol=0.06)
    if specmode == "mvc":
        # CASA's component has one flux at all frequencies.
        assert (np.abs(table["alpha"]) < 3 * table["alpha_err"] + 0.1).all()


def test_a_failed_run_leaves_nothing(wide, tmp_path):
    """One channel has no slope, which is known when the images of the terms are there."""
    with pytest.raises(ValueError, match="nterms must be no more than the width of the band"):
        ddpmclean(vis=wide, imagename=str(tmp_path / "x"), spw="0:3", **VALUES)
    assert not list(tmp_path.iterdir())


def test_products_without_terms_stay(run, wide, tmp_path):
    """A run with Taylor terms replaces its own images alone."""
    values = VALUES | {"nsamples": 2, "nsteps": 2, "vis": wide, "imagename": str(tmp_path / "x")}
    ddpmclean(**values | {"deconvolver": "hogbom"})
    before = pixels(str(tmp_path / "x.image"))
    ddpmclean(**values)
    assert np.array_equal(pixels(str(tmp_path / "x.image")), before)
    assert (tmp_path / "x.image.tt0").is_dir()


def test_primary_beam_goes_with_frequency_as_casas_channels_say(run, wide, tmp_path):
    from casatasks import tclean

    from casa_ddpm import casa, primary_beam

    plain = {"imsize": 256, "cell": "0.12arcsec", "datacolumn": "data", "pblimit": 0.1}
    name = str(tmp_path / "c")
    tclean(vis=wide, imagename=name, specmode="cubedata", start=4, nchan=2, niter=0, **plain)
    low, high = pixels(f"{name}.pb")[:, :, 0].transpose(2, 1, 0)
    tclean(vis=wide, imagename=f"{name}t", deconvolver="mtmfs", niter=0, **plain)
    (dirty,) = casa.read_dirty(f"{name}t", ".tt0")
    x, y = np.array([140.0, 170, 128, 90]), np.array([128.0, 150, 205, 60])
    row, column = y.astype(int), x.astype(int)
    expected = np.log(high / low)[row, column] / np.log(280 / 270)
    assert expected.min() < -1
    assert np.allclose(primary_beam.spectral_index(dirty, x, y), expected, atol=0.03)
