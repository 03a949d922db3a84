"""The task on real MeasurementSets: products, reproducibility, errors, real data."""

from __future__ import annotations

import glob
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import QTable
from conftest import checksum, pixels, simulate

from casa_ddpm import ddpmclean, measures
from casa_ddpm.dirty import Beam

pytestmark = pytest.mark.casa

#: What one run writes, with pbcor and savesamples.
PRODUCTS = (
    ".psf .pb .sumwt .residual .model .image .image.pbcor .mask .model.std .prob .samples .cl"
    " .cat.ecsv .cat.fits .crtf .reg .png"
).split()
FAST = {"nsamples": 6, "nsteps": 6, "device": "cpu"}


@pytest.fixture(scope="module")
def run(small_ms, tmp_path_factory):
    """One run with everything on: the small observation's parameters, its dict and its prefix."""
    name = str(tmp_path_factory.mktemp("run") / "out" / "a")
    before = checksum(small_ms.path)
    values = small_ms.parameters | FAST | {"weighting": "natural", "seed": 3}
    result = ddpmclean(imagename=name, pbcor=True, savesamples=True, **values)
    assert checksum(small_ms.path) == before
    return values, result, name


def test_all_products_are_there(run):
    _, _, name = run
    written = {path[len(name) :] for path in glob.glob(name + ".*")}
    assert written == set(PRODUCTS)


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    """Two channels with data and one beyond them: dict and prefix of a run."""
    folder = tmp_path_factory.mktemp("cube")
    ms = simulate(folder / "line.ms", ((0.0, 0.0, 0.020),), seed=5, channels=2, width="0.01GHz")
    name = str(folder / "c")
    values = {"specmode": "cube", "nchan": 3, "start": 0, "interpolation": "nearest"}
    values |= {"vis": ms.path, "imsize": 80, "cell": "0.15arcsec", "weighting": "natural"}
    result = ddpmclean(imagename=name, savesamples=True, pbcor=True, **(values | FAST))
    return ms, result, name


def test_channels_of_a_cube(cube):
    """Each channel has an image, a beam, sources and noise of its own."""
    ms, result, name = cube
    suffixes = PRODUCTS
    assert {path[len(name) :] for path in glob.glob(name + ".*")} == set(suffixes)
    for suffix in (".model", ".model.std", ".prob", ".residual", ".image"):
        assert pixels(name + suffix).shape == (80, 80, 1, 3), suffix
    assert pixels(name + ".samples").shape == (80, 80, 1, 3, 6)
    noise = result["ddpm"]["noise"]
    # Each channel holds half of the visibilities.
    assert noise[:2] == pytest.approx(ms.noise * np.sqrt(2), rel=0.15) and np.isnan(noise[2])
    table = QTable.read(name + ".cat.ecsv")
    certain = table[table["prob"] > 0.9]
    assert [str(n)[-4:] for n in certain["name"]] == [" ch0", " ch1"]
    assert certain["flux"].value == pytest.approx(0.020, rel=0.05)
    assert np.ptp(certain["freq"].to_value("Hz")) == pytest.approx(1e7, rel=1e-3)


def test_channel_without_data(cube):
    """It is there as in tclean, and holds nothing."""
    _, result, name = cube
    for suffix in (".model", ".model.std", ".prob"):
        assert not pixels(name + suffix)[..., 2].any()
        assert pixels(name + suffix)[..., 0].any()
    assert sorted(result["summaryminor"][0]) == [0, 1]
    assert result["ddpm"]["cycles"][2] == []


def test_what_is_returned(run, small_ms):
    _, result, name = run
    assert result["stopcode"] in (4, 8, 9) and result["stopDescription"]
    # The dirty image, one for each pass, and where something is peeled or taken back one more;
    # what is set aside before them takes a few.
    passes = len(result["ddpm"]["cycles"])
    assert passes + 1 <= result["nmajordone"] <= 2 * passes + 2 + 4
    account = result["ddpm"]
    assert account["imagename"] == name and account["seed"] == 3 and account["device"] == "cpu"
    assert account["noise"] == pytest.approx(small_ms.noise, rel=0.1)
    # An upper bound: these sources turn by between integrations of five minutes.
    assert 0.98 * small_ms.noise < account["thermalnoise"] < 2 * small_ms.noise
    assert set(account["seconds"]) == {"dirty", "reconstruct", "restore", "write"}
    assert account["sources"] <= account["candidates"]


def test_images_agree_with_each_other(run):
    """restored = model (*) beam + residual; std and prob belong to the samples."""
    _, _, name = run
    samples = pixels(name + ".samples")
    assert samples.shape[-1] == FAST["nsamples"]
    std = pixels(name + ".model.std")
    assert np.allclose(samples.std(-1, ddof=1), std, atol=1e-4 * std.max())
    prob = pixels(name + ".prob")
    assert prob.min() >= 0 and prob.max() <= 1
    assert np.abs(np.diff(np.unique(prob)) * FAST["nsamples"]).min() > 0.99
    flat = pixels(name + ".image") / np.where(pixels(name + ".pb") > 0.2, pixels(name + ".pb"), 1)
    inside = pixels(name + ".pb") > 0.3
    assert np.allclose(pixels(name + ".image.pbcor")[inside], flat[inside], rtol=1e-5)


def test_open_without_casa(run):
    """spectral-cube reads CASA images by itself, with units and beams."""
    from spectral_cube import SpectralCube

    _, _, name = run
    units = {".image": "Jy / beam", ".image.pbcor": "Jy / beam", ".model": "Jy / pix"}
    units |= {".model.std": "Jy / pix", ".prob": "", ".residual": "", ".psf": "", ".pb": ""}
    for suffix, unit in units.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cube = SpectralCube.read(name + suffix, format="casa_image")
        assert cube.shape[1:] == (128, 160)
        assert str(cube.unit) == unit
        assert cube.wcs.celestial.wcs.crval[0] == pytest.approx(150.119167, abs=1e-5)


def test_sources_are_found(run, small_ms):
    """The three sources of 10, 5 and 3 mJy are in the catalogue, certain and in place."""
    _, _, name = run
    table = QTable.read(name + ".cat.ecsv")
    for east, north, flux in small_ms.sources:
        ra = small_ms.ra + east / 3600 / np.cos(np.radians(small_ms.dec))
        dec = small_ms.dec + north / 3600
        away = np.hypot(
            (table["ra"].value - ra) * np.cos(np.radians(dec)), table["dec"].value - dec
        )
        found = table[np.argmin(away)]
        assert away.min() * 3600 < 0.1
        assert found["prob"] > 0.95
        assert found["flux"].value == pytest.approx(flux, rel=0.15)


def test_component_list_holds_the_certain_sources(run):
    from casatools import componentlist

    _, result, name = run
    tool = componentlist()
    tool.open(name + ".cl")
    try:
        assert tool.length() == result["ddpm"]["sources"]
    finally:
        tool.done()
    table = QTable.read(name + ".cat.fits")
    assert (table["prob"] >= 0.9).sum() == result["ddpm"]["sources"]


def test_history_names_the_task(run):
    from casatools import image

    _, _, name = run
    tool = image()
    for suffix in (".image", ".model.std", ".prob"):
        tool.open(name + suffix)
        history = "\n".join(tool.history(list=False))
        tool.done()
        assert "ddpmclean" in history and "seed" in history


def test_same_seed_same_products(run, tmp_path):
    """Bit for bit on the CPU, in another folder."""
    values, _, name = run
    ddpmclean(imagename=str(tmp_path / "a"), pbcor=True, savesamples=True, **values)
    for suffix in PRODUCTS:
        if os.path.isdir(name + suffix) and suffix != ".cl":
            assert np.array_equal(pixels(name + suffix), pixels(f"{tmp_path}/a{suffix}")), suffix
    for suffix in (".cat.ecsv", ".crtf", ".reg"):
        assert (tmp_path / f"a{suffix}").read_text() == Path(name + suffix).read_text()


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 1e-3)])
def test_batchsize_changes_rounding_only(small_ms, tmp_path, precision, tolerance):
    values = small_ms.parameters | FAST | {"nsamples": 8, "nmajor": 1, "precision": precision}
    for batch in (1, 8):
        ddpmclean(imagename=str(tmp_path / f"b{batch}"), batchsize=batch, **values)
    one, eight = (pixels(tmp_path / f"b{batch}.image") for batch in (1, 8))
    assert np.abs(one - eight).max() < tolerance * one.max()


def test_niter_0_makes_tcleans_dirty_products(small_ms, tmp_path):
    from casatasks import tclean

    ddpmclean(imagename=str(tmp_path / "ours"), niter=0, **small_ms.parameters)
    tclean(imagename=str(tmp_path / "theirs"), niter=0, **small_ms.parameters)
    names = {
        prefix: {p.name[len(prefix) :] for p in tmp_path.glob(f"{prefix}.*")}
        for prefix in ("ours", "theirs")
    }
    assert names["ours"] == names["theirs"]
    for suffix in names["ours"]:
        assert np.array_equal(
            pixels(tmp_path / f"ours{suffix}"), pixels(tmp_path / f"theirs{suffix}")
        )


def test_dirty_image_mode(run, small_ms, tmp_path):
    """FITS in, the same sources out as from the visibilities, whose noise is told."""
    from casatasks import exportfits

    _, result, name = run
    thermal = result["ddpm"]["thermalnoise"]
    ddpmclean(imagename=str(tmp_path / "d"), niter=0, weighting="natural", **small_ms.parameters)
    for suffix in (".residual", ".psf", ".pb"):
        exportfits(str(tmp_path / f"d{suffix}"), str(tmp_path / f"d{suffix}.fits"))
    ddpmclean(
        dirtyimage=str(tmp_path / "d.residual.fits"),
        psfimage=str(tmp_path / "d.psf.fits"),
        pbimage=str(tmp_path / "d.pb.fits"),
        imagename=str(tmp_path / "i"),
        pbcor=True,
        thermalnoise=f"{1e3 * thermal}mJy",
        **FAST,
    )
    mine, theirs = QTable.read(str(tmp_path / "i.cat.ecsv")), QTable.read(name + ".cat.ecsv")
    assert mine.meta["thermal"] == pytest.approx(thermal)
    # A PSF no larger than the image leaves sidelobes, and so some doubt.
    assert mine.meta["noise"] > 1.1 * thermal and (mine["prob"][:3] > 0.8).all()
    for column, tolerance in (("ra", 1e-5), ("dec", 1e-5), ("flux", 5e-4)):
        first, second = (np.asarray(table[column][:3]) for table in (mine, theirs))
        assert np.allclose(first, second, atol=tolerance), column


def test_image_in_galactic_coordinates(small_ms, tmp_path):
    """The catalogue and the list are in J2000, with the sources where they are."""
    from casatools import componentlist, image

    centre = SkyCoord(small_ms.ra, small_ms.dec, unit="deg", frame="fk5")
    name = str(tmp_path / "g")
    galactic = f"GALACTIC {centre.galactic.l.deg:.8f}deg {centre.galactic.b.deg:.8f}deg"
    values = small_ms.parameters | FAST | {"phasecenter": galactic, "nmajor": 1}
    ddpmclean(imagename=name, **values)
    table = QTable.read(name + ".cat.ecsv")
    assert table.meta["RADESYS"] == "FK5"
    places = SkyCoord(table["ra"], table["dec"], frame="fk5")
    for east, north, _ in small_ms.sources[:2]:
        true = centre.spherical_offsets_by(east * u.arcsec, north * u.arcsec)
        assert places.separation(true).min() < 0.05 * u.arcsec
    # The beam's angle is from the north as well: that of the same visibilities imaged in J2000.
    ddpmclean(imagename=str(tmp_path / "j"), niter=0, **small_ms.parameters)
    tool = image()
    tool.open(str(tmp_path / "j.psf"))
    beam = tool.restoringbeam()
    tool.done()
    turned = (table.meta["BPA"] - beam["positionangle"]["value"] + 90) % 180 - 90
    assert abs(turned) < 3
    tool = componentlist()
    tool.open(name + ".cl")
    assert tool.getcomponent(0)["shape"]["direction"]["refer"] == "J2000"
    tool.done()


def test_mask_bounds_the_model(small_ms, tmp_path):
    """usemask='user': no model flux and no source outside of the region."""
    values = small_ms.parameters | FAST | {"nmajor": 1}
    mask = "circle[[80pix,64pix],15pix]"
    ddpmclean(imagename=str(tmp_path / "m"), usemask="user", mask=mask, **values)
    model, allowed = pixels(tmp_path / "m.model"), pixels(tmp_path / "m.mask") > 0
    assert 0 < allowed.sum() < 1000
    assert model[allowed].sum() > 0.005
    assert not model[~allowed].any()
    table = QTable.read(str(tmp_path / "m.cat.ecsv"))
    assert len(table)
    assert (np.hypot(table["x"].value - 80, table["y"].value - 64) < 16).all()


def test_restart(small_ms, tmp_path):
    """False counts the name up and leaves the first run alone; True goes on from its model."""
    values = small_ms.parameters | FAST | {"nmajor": 1, "imagename": str(tmp_path / "r")}
    ddpmclean(pbcor=True, **values)
    first = pixels(tmp_path / "r.model")
    result = ddpmclean(restart=False, **values)
    assert Path(result["ddpm"]["imagename"]).name == "r_2"
    assert np.array_equal(pixels(tmp_path / "r.model"), first)
    assert (tmp_path / "r.image.pbcor").exists()
    ddpmclean(**values)
    assert not (tmp_path / "r.image.pbcor").exists()  # it was of the earlier .image
    again = pixels(tmp_path / "r.model")
    assert not np.array_equal(again, first)
    assert again.sum() == pytest.approx(first.sum(), rel=0.05)


BAD = {
    "missing MS": ({"vis": "none.ms"}, "vis must name an existing MeasurementSet, got 'none.ms'"),
    "not an MS": ({"vis": "."}, "vis must name a MeasurementSet"),
    "both inputs": ({"dirtyimage": "dirty.fits"}, "exactly one of vis and dirtyimage"),
    "neither input": ({"vis": ""}, "exactly one of vis and dirtyimage"),
    "no output name": ({"imagename": ""}, "imagename must be a name"),
    "no folder": ({"imagename": "no/such/folder/a"}, "imagename must lie in a folder"),
    "empty selection": ({"field": "99"}, "field"),
    "empty spw": ({"spw": "17"}, "spw"),
    "negative cell": ({"cell": "-1arcsec"}, "cell must be one or two positive angles"),
    "coarse cell": ({"cell": "3arcsec"}, "cell must be"),
    "no samples": ({"nsamples": 0}, "nsamples must be at least 1, got 0"),
    "one step": ({"nsteps": 1}, "nsteps must be at least 2, got 1"),
    "unknown network": ({"network": "nosuch"}, "network must be one of .* got 'nosuch'"),
    "truncated network": ({"network": "cut.safetensors"}, "network 'cut.safetensors' is not"),
    "foreign conditioning": ({"conditioning": "uv"}, "conditioning must be what network"),
    "unknown device": ({"device": "tpu"}, "device must be"),
    "absent device": ({"device": "cuda:7"}, "device 'cuda:7' is not available"),
    "unknown sampler": ({"sampler": "euler"}, "sampler"),
    "unknown aggregate": ({"aggregate": "mode"}, "aggregate"),
    "bad probability": ({"minprob": 1.5}, "minprob must be between 0 and 1"),
    "unsupported": ({"outlierfile": "o.txt"}, "outlierfile='o.txt' is not supported yet"),
    "bad weighting": ({"weighting": "bogus"}, "weighting"),
    "bad threshold": ({"threshold": "3mK"}, "threshold"),
    "misspelt": ({"nsample": 5}, "nsample"),
}


@pytest.mark.parametrize("name", BAD)
def test_refused_before_anything_is_written(small_ms, tmp_path, monkeypatch, name):
    wrong, text = BAD[name]
    monkeypatch.chdir(tmp_path)
    Path("cut.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    Path("dirty.fits").touch()
    before = sorted(os.listdir())
    with pytest.raises((ValueError, TypeError, FileNotFoundError), match=text):
        ddpmclean(**(small_ms.parameters | FAST | {"imagename": "a"} | wrong))
    assert sorted(os.listdir()) == before


@pytest.fixture(scope="module")
def dirty_fits(small_ms, tmp_path_factory):
    """Dirty image and PSF as FITS."""
    from casatasks import exportfits

    folder = tmp_path_factory.mktemp("fits")
    ddpmclean(imagename=str(folder / "d"), niter=0, **small_ms.parameters)
    for suffix in (".residual", ".psf"):
        exportfits(str(folder / f"d{suffix}"), str(folder / f"d{suffix}.fits"))
    return folder


def _edit(source, target, data=None, **header):
    """A FITS file with other pixels or header values; None removes a keyword."""
    from astropy.io import fits

    with fits.open(source) as file:
        for key, value in header.items():
            if value is None:
                file[0].header.remove(key)
            else:
                file[0].header[key] = value
        if data is not None:
            file[0].data = data(file[0].data)
        file.writeto(target)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ("shape", "psfimage"),
        ("cell", "psfimage"),
        ("beam", "beam"),
        ("unit", "dirtyimage"),
    ],
)
def test_refused_images(dirty_fits, tmp_path, monkeypatch, wrong, text):
    monkeypatch.chdir(tmp_path)
    dirty, psf = dirty_fits / "d.residual.fits", dirty_fits / "d.psf.fits"
    _edit(dirty, "dirty.fits", BUNIT="Jy/beam")
    if wrong == "shape":
        _edit(psf, "psf.fits", lambda pixels: pixels[..., :-2, :])
    elif wrong == "cell":
        _edit(psf, "psf.fits", CDELT1=-4e-5, CDELT2=4e-5)
    elif wrong == "unit":
        os.remove("dirty.fits")
        _edit(dirty, "dirty.fits", BUNIT="K")
    if not os.path.exists("psf.fits") and wrong != "beam":
        shutil.copy(psf, "psf.fits")
    before = sorted(os.listdir())
    values = {"psfimage": "psf.fits"} if os.path.exists("psf.fits") else {}
    with pytest.raises(ValueError, match=text):
        ddpmclean(dirtyimage="dirty.fits", imagename="a", **values, **FAST)
    assert sorted(os.listdir()) == before


def test_more_thermal_noise_than_there_is(dirty_fits, tmp_path, monkeypatch):
    monkeypatch.chdir(dirty_fits)
    values = {"dirtyimage": "d.residual.fits", "psfimage": "d.psf.fits", "imagename": "a"}
    with pytest.raises(
        ValueError, match="thermalnoise must not be more than 1.3 times .* got '1Jy'"
    ):
        ddpmclean(**values, thermalnoise="1Jy", **FAST)
    assert not glob.glob("a.*")


def test_files_that_are_not_ours_are_kept(dirty_fits, tmp_path, monkeypatch):
    """A region file of the user's own with the name of a product."""
    monkeypatch.chdir(tmp_path)
    Path("a.crtf").write_text("#CRTFv0\n")
    images = {"dirtyimage": "d.residual.fits", "psfimage": "d.psf.fits"}
    values = {"imagename": "a"} | {name: str(dirty_fits / path) for name, path in images.items()}
    with pytest.raises(FileExistsError, match="imagename='a' must not be the prefix of a.crtf, wh"):
        ddpmclean(**values, **FAST)
    assert os.listdir() == ["a.crtf"]
    assert Path("a.crtf").read_text() == "#CRTFv0\n"


@pytest.mark.slow
def test_real_data(tmp_path, monkeypatch):
    """3C 273 (VLA, 11,700:1): core as tclean's; after six cycles a residual like CLEAN's."""
    from casatasks import importuvfits, imstat, tclean

    monkeypatch.chdir(tmp_path)
    [source] = glob.glob(f"{measures.casadata_path()}/**/3C273XC1.fits", recursive=True)
    importuvfits(fitsfile=source, vis="3c273.ms")
    values = {"vis": "3c273.ms", "imsize": 512, "cell": "0.3arcsec", "weighting": "briggs"}
    ddpmclean(imagename="ours", nmajor=6, nsamples=8, **values)
    tclean(imagename="theirs", niter=500, **values)
    ours, theirs = imstat("ours.image"), imstat("theirs.image")
    assert ours["max"][0] == pytest.approx(theirs["max"][0], rel=0.05)
    assert list(ours["maxpos"][:2]) == list(theirs["maxpos"][:2])
    assert imstat("ours.residual")["rms"][0] < 1.05 * imstat("theirs.residual")["rms"][0]
    table = QTable.read("ours.cat.ecsv")
    # What CLEAN comes down to with 5,000 iterations: calibration limits either of these.
    assert table.meta["thermal"] == pytest.approx(0.39e-3, rel=0.1)
    assert table.meta["noise"] > 3 * table.meta["thermal"]
    core = table[0]
    assert np.hypot(core["x"].value - 256, core["y"].value - 256) * 0.3 < 0.3


@pytest.mark.slow
def test_line_cube(tmp_path, monkeypatch):
    """NGC 5921 in the HI line (VLA): each channel's flux is CLEAN's within the noise."""
    from casatasks import tclean

    monkeypatch.chdir(tmp_path)
    values = {
        "vis": calibrated_line(), "specmode": "cube", "start": 8, "nchan": 40, "width": 1,
        "imsize": 128, "cell": "15arcsec", "weighting": "briggs", "datacolumn": "data",
    }  # fmt: skip
    result = ddpmclean(imagename="ours", nsamples=6, nsteps=6, **values)
    # What point-source CLEAN leaves in the residual it counts in dirty beams: many scales instead.
    clean = {"deconvolver": "multiscale", "scales": [0, 5, 15]}
    tclean(imagename="theirs", niter=60_000, threshold="5mJy", **clean, **values)
    y, x = np.mgrid[:128, :128] - 64
    disc = (np.hypot(y, x) * 15 < 240).T[:, :, None, None]
    fluxes = []
    for name in ("ours", "theirs"):
        areas = [Beam(*beam, 0).area(15) for beam in beams(f"{name}.image")]
        fluxes.append((pixels(f"{name}.image") * disc).sum((0, 1, 2)) / areas)
    # A disc of n beams adds up their noise; both images have the same noise in them.
    error = result["ddpm"]["noise"] * np.sqrt(disc.sum() / np.array(areas))
    away = (fluxes[0] - fluxes[1]) / error
    assert away.std() < 1 and np.abs(away).max() < 2.5
    assert sum(fluxes[0]) == pytest.approx(sum(fluxes[1]), rel=0.06)
    assert max(fluxes[1]) > 10 * error.max()


def beams(path):
    """Major and minor axis of each channel's beam [arcsec]."""
    from casatools import image

    tool = image()
    tool.open(path)
    record = tool.restoringbeam()["beams"]
    tool.done()
    shapes = [record[f"*{k}"]["*0"] for k in range(len(record))]
    return [(beam["major"]["value"], beam["minor"]["value"]) for beam in shapes]


def calibrated_line():
    """casadata's demo/NGC5921.fits, calibrated and without its continuum."""
    from casatasks import (
        applycal,
        bandpass,
        fluxscale,
        gaincal,
        importuvfits,
        setjy,
        split,
        uvcontsub,
    )  # fmt: skip

    [source] = glob.glob(f"{measures.casadata_path()}/**/NGC5921.fits", recursive=True)
    importuvfits(fitsfile=source, vis="raw.ms")
    setjy("raw.ms", field="0", standard="Perley-Taylor 99", scalebychan=False)
    common = {"refant": "15", "solint": "inf"}
    bandpass("raw.ms", caltable="b", field="0", spw="0", combine="scan", **common)
    gaincal(
        "raw.ms", caltable="g", field="0,1", spw="0:6~56", gaintable=["b"], interp=["nearest"],
        gainfield=["0"], **common,
    )  # fmt: skip
    fluxscale("raw.ms", caltable="g", fluxtable="f", reference="0", transfer="1")
    applycal(
        "raw.ms", field="1,2", gaintable=["f", "b"], gainfield=["1", "0"],
        interp=["linear", "nearest"],
    )  # fmt: skip
    split("raw.ms", outputvis="source.ms", field="2", datacolumn="corrected")
    uvcontsub("source.ms", outputvis="line.ms", fitspec="0:4~6;50~59", fitorder=0)
    return "line.ms"
