"""The edge to CASA, against tclean itself on the same data."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import QTable
from astropy.wcs.utils import pixel_to_skycoord
from conftest import checksum, pixels
from numpy.testing import assert_allclose, assert_array_equal

from casa_ddpm import measures
from casa_ddpm.dirty import Beam

if not measures.installed("casatasks"):
    pytest.skip("casatasks is not installed", allow_module_level=True)
measures.configure()

import casatools  # noqa: E402
from casatasks import exportfits, flagdata, tclean  # noqa: E402
from casatools import componentlist, image  # noqa: E402

from casa_ddpm import casa  # noqa: E402
from casa_ddpm.casa.components import component  # noqa: E402
from casa_ddpm.casa.coordinates import equatorial_wcs  # noqa: E402

pytestmark = pytest.mark.casa

#: The imagers that are compared with tclean: its parameters.
MODES = {
    "natural": {},
    "briggs": {"weighting": "briggs", "robust": 0.5},
    "taper": {"weighting": "uniform", "uvtaper": ["1arcsec"], "restoringbeam": ["1.5arcsec"]},
    "wproject": {"gridder": "wproject", "wprojplanes": 4},
    "mosaic": {"gridder": "mosaic", "pblimit": 0.5, "phasecenter": "J2000 10h00m28.6s -30d12m28s"},
    "psfphasecenter": {"gridder": "mosaic", "psfphasecenter": "J2000 10h00m28.6s -30d12m22s"},
    "one correlation": {"stokes": "XX", "projection": "TAN", "cell": ["0.1arcsec", "0.1arcsec"]},
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder of its own for every test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def header(path):
    """What an image's header says, without what differs from run to run."""
    tool = image()
    tool.open(path)
    summary = tool.summary(list=False)
    info = {k: v for k, v in tool.miscinfo().items() if k not in ("memavail", "memreq")}
    mask = tool.getchunk(getmask=True)
    coordinates = tool.coordsys().torecord()
    kept = ("shape", "axisnames", "axisunits", "unit", "masks", "defaultmask", "restoringbeam")
    result = {key: np.array(summary.get(key, "")).tolist() for key in kept}
    result |= {"info": info, "good": int(mask.sum())}
    for kind in ("direction0", "stokes1", "spectral2"):
        # without the offsets that CASA keeps for removed axes
        result[kind] = {k: np.array(v).tolist() for k, v in coordinates[kind].items()}
    tool.done()
    return result


def history(path):
    tool = image()
    tool.open(path)
    lines = tool.history(list=False)
    tool.done()
    return lines


def some_model(shape):
    model = np.zeros(shape)
    ny, nx = shape
    model[ny // 2, nx // 2] = 0.009
    model[ny // 2 + 25, nx // 2 - 33] = 0.004
    model[ny // 2 - 20 : ny // 2 - 15, 40:44] = 1e-4
    return model


# --- VisibilityImager against tclean -------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_equals_tclean(small_ms, mode):
    parameters = small_ms.parameters | MODES[mode]
    with casa.VisibilityImager(parameters | {"imagename": "ours"}) as imager:
        (dirty,) = imager.dirty()
        model = some_model(dirty.data.shape)
        imager.residual(model[None] / 3)
        (residual,) = imager.residual(model[None])
        imager.restore(pbcor=True)
        assert_allclose(imager.model()[0], model, rtol=1e-6)

    tclean(imagename="theirs", niter=0, **parameters)
    assert_array_equal(dirty.data, pixels("theirs.residual")[:, :, 0, 0].T)
    assert_array_equal(dirty.psf, pixels("theirs.psf")[:, :, 0, 0].T)
    shutil.rmtree("theirs.model")
    shutil.copytree("ours.model", "theirs.model")
    tclean(imagename="theirs", niter=0, calcpsf=False, pbcor=True, **parameters)
    assert_array_equal(residual, pixels("theirs.residual")[:, :, 0, 0].T)

    ours, theirs = casa.products("ours"), casa.products("theirs")
    assert [p.removeprefix("ours") for p in ours] == [p.removeprefix("theirs") for p in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        # a mosaic's model is divided and multiplied by the weight image in every cycle
        rtol = 1e-6 if mine.endswith(".model") else 0
        assert_allclose(pixels(mine), pixels(other), rtol=rtol, err_msg=mine)
        assert header(mine) == header(other)


def test_units_beams_and_masks(small_ms):
    parameters = small_ms.parameters | {"imagename": "x", "pblimit": 0.7}
    with casa.VisibilityImager(parameters) as imager:
        (dirty,) = imager.dirty()
        imager.residual(some_model(dirty.data.shape)[None])
        imager.restore(pbcor=True)
    units = {".image": "Jy/beam", ".image.pbcor": "Jy/beam", ".model": "Jy/pixel"}
    for path in casa.products("x"):
        suffix, head = path.removeprefix("x"), header(path)
        assert head["unit"] == units.get(suffix, "")
        assert bool(head["restoringbeam"]) == (suffix in (".psf", ".image", ".image.pbcor"))
        masked = suffix in (".image", ".image.pbcor", ".residual", ".pb")
        assert head["masks"] == (["mask0"] if masked else [])
    good = header("x.pb")["good"]
    assert 0 < good < dirty.pb.size
    assert dirty.valid.sum() == good


def test_negative_pblimit_images_beyond_the_primary_beam(small_ms):
    """As tclean does: it cuts the primary beam, and masks nothing of what it cleans."""
    parameters = small_ms.parameters | {"pblimit": -0.7}
    with casa.VisibilityImager(parameters | {"imagename": "x"}) as imager:
        (dirty,) = imager.dirty()
    tclean(imagename="theirs", niter=0, **parameters)
    assert header("theirs.residual")["good"] == header("x.residual")["good"] == dirty.data.size
    assert dirty.valid.all()
    assert 0 < np.count_nonzero(dirty.pb) == header("x.pb")["good"] < dirty.data.size
    assert dirty.lit == pytest.approx(np.mean(dirty.pb > 0))


def test_dirty_image(small_ms):
    with casa.VisibilityImager(small_ms.parameters | {"imagename": "x"}) as imager:
        (dirty,) = imager.dirty()
        truth = np.zeros(dirty.data.shape)
        y, x = (n // 2 for n in truth.shape)
        for east, north, flux in small_ms.sources:
            column, row = round(x - east / dirty.cell), round(y + north / dirty.cell)
            truth[row, column] = flux * dirty.pb[row, column]
        (residual,) = imager.residual(truth[None])
    assert dirty.data.shape == (128, 160)
    assert dirty.freq == 230e9
    assert_allclose(dirty.cell, 0.12, rtol=1e-9)
    assert np.unravel_index(dirty.psf.argmax(), dirty.psf.shape) == (y, x)
    assert 0.7 < dirty.beam.minor < dirty.beam.major < 1
    assert_allclose(residual.std(), small_ms.noise, rtol=0.15)
    assert_allclose(dirty.wcs.pixel_to_world_values(x, y), (small_ms.ra, small_ms.dec), atol=1e-7)


def test_measurement_set_is_only_read(small_ms):
    before = checksum(small_ms.path)
    with casa.VisibilityImager(small_ms.parameters | {"imagename": "x"}) as imager:
        (dirty,) = imager.dirty()
        imager.residual(some_model(dirty.data.shape)[None])
        imager.restore()
        imager.save_model()
    assert checksum(small_ms.path) == before


@pytest.mark.parametrize("savemodel", ["modelcolumn", "virtual"])
def test_save_model_as_tclean(small_ms, savemodel):
    for name in ("ours", "theirs"):
        shutil.copytree(small_ms.path, f"{name}.ms")
    parameters = small_ms.parameters | {"savemodel": savemodel}
    with casa.VisibilityImager(parameters | {"vis": "ours.ms", "imagename": "ours"}) as imager:
        (dirty,) = imager.dirty()
        untouched = checksum("ours.ms")
        imager.residual(some_model(dirty.data.shape)[None])
        imager.restore()
        assert checksum("ours.ms") == untouched
        imager.save_model()
    tclean(**parameters | {"vis": "theirs.ms", "imagename": "theirs", "startmodel": "ours.model"})
    # the simulated MS has a MODEL_DATA column; a virtual model is kept in SOURCE
    for table, column in (("", "MODEL_DATA"), ("/SOURCE", "SOURCE_MODEL")):
        ours, theirs = (read_column(f"{n}.ms{table}", column) for n in ("ours", "theirs"))
        assert (ours is None) == (theirs is None)
        if table == "" and ours is not None:
            assert_array_equal(ours, theirs)
            assert (np.abs(ours - 1).max() > 0.1) == (savemodel == "modelcolumn")
    assert (read_column("ours.ms/SOURCE", "SOURCE_MODEL") is not None) == (savemodel == "virtual")


def read_column(path, column):
    from casatools import table

    tool = table()
    tool.open(path)
    try:
        if column not in tool.colnames():
            return None
        return tool.getcol(column) if column == "MODEL_DATA" else True
    finally:
        tool.done()


def test_restart_continues(small_ms):
    parameters = small_ms.parameters | {"imagename": "x"}
    with casa.VisibilityImager(parameters) as imager:
        (dirty,) = imager.dirty()
        assert imager.model() is None
        model = some_model(dirty.data.shape)[None]
        (residual,) = imager.residual(model)
    with casa.VisibilityImager(parameters) as imager:
        assert_array_equal(imager.dirty()[0].data, residual)
        assert_array_equal(imager.model(), model.astype(np.float32))
    with casa.VisibilityImager(parameters | {"calcres": False, "calcpsf": False}) as imager:
        assert_array_equal(imager.dirty()[0].data, residual)
        assert_array_equal(imager.residual(np.zeros_like(model))[0], dirty.data)
    for name in ("x_2", "x_3"):
        with casa.VisibilityImager(parameters | {"restart": False}) as imager:
            assert imager.imagename == name
            assert_array_equal(imager.dirty()[0].data, dirty.data)


def test_startmodel(small_ms):
    with casa.VisibilityImager(small_ms.parameters | {"imagename": "x"}) as imager:
        (residual,) = imager.residual(some_model(imager.dirty()[0].data.shape)[None])
    parameters = small_ms.parameters | {"imagename": "y", "startmodel": "x.model"}
    with casa.VisibilityImager(parameters) as imager:
        assert_array_equal(imager.dirty()[0].data, residual)
        imager.close()
        assert_array_equal(imager.residual(imager.model())[0], residual)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"usemask": "pb", "pbmask": 0.8},
        {"mask": "circle[[80pix,64pix],20pix]"},
        {"usemask": "auto-multithresh"},
    ],
)
def test_mask_is_tcleans(small_ms, parameters):
    parameters = small_ms.parameters | parameters
    with casa.VisibilityImager(parameters | {"imagename": "ours"}) as imager:
        imager.dirty()
        mask = imager.mask()
    tclean(imagename="theirs", niter=1, **parameters)
    assert_array_equal(mask[0].T, pixels("theirs.mask")[:, :, 0, 0])
    assert header("ours.mask") == header("theirs.mask")
    assert not os.path.exists("ours.work.temp")


def test_automatic_mask_of_a_channel_is_its_own(line_ms):
    """Whatever channels there are beside it, and however often it is asked for."""
    values = line_ms.parameters | {"specmode": "cubedata", "start": 0, "imagename": "cube"}
    values |= {"usemask": "auto-multithresh", "niter": -1}
    with casa.VisibilityImager(values | {"nchan": 2}) as imager:
        imager.dirty()
        masks = [imager.mask() for _ in range(3)]
        assert not os.path.exists("cube.automask")
    with casa.VisibilityImager(values | {"nchan": 1, "imagename": "alone"}) as imager:
        imager.dirty()
        alone = imager.mask()
    assert 0 < alone.sum() < 0.1 * alone.size
    for mask in masks:
        assert_array_equal(mask[0], alone[0])
        assert_array_equal(mask[1], masks[0][1])


def test_several_measurement_sets(small_ms):
    shutil.copytree(small_ms.path, "copy.ms")
    parameters = small_ms.parameters | {"vis": [small_ms.path, "copy.ms"], "scan": ["1", ""]}
    with casa.VisibilityImager(parameters | {"imagename": "ours"}) as imager:
        (dirty,) = imager.dirty()
    tclean(imagename="theirs", **parameters)
    assert_array_equal(dirty.data, pixels("theirs.residual")[:, :, 0, 0].T)


def test_one_of_several_measurement_sets_may_have_nothing(small_ms, folder):
    """As in tclean; where all have nothing it is an error."""
    shutil.copytree(small_ms.path, "copy.ms")
    parameters = small_ms.parameters | {"vis": [small_ms.path, "copy.ms"]}
    chosen = parameters | {"uvrange": ["", ">900km"], "niter": -1}
    with casa.VisibilityImager(chosen | {"imagename": "ours"}) as imager:
        (dirty,) = imager.dirty()
    with casa.VisibilityImager(small_ms.parameters | {"imagename": "one", "niter": -1}) as imager:
        (alone,) = imager.dirty()
    assert_array_equal(dirty.data, alone.data)
    assert dirty.thermal == alone.thermal
    with pytest.raises(ValueError, match="uvrange='>900km' selects nothing of vis="):
        casa.VisibilityImager(parameters | {"uvrange": ">900km", "imagename": "x"})


def test_a_coarse_cell_is_refused_before_the_data_are_imaged(small_ms):
    parameters = small_ms.parameters | {"cell": "0.9arcsec", "imagename": "x", "niter": -1}
    with (
        casa.VisibilityImager(parameters) as imager,
        pytest.raises(ValueError, match="cell must be at most half of the beam"),
    ):
        imager.dirty()
    assert os.path.exists("x.psf") and not os.path.exists("x.residual")


def test_a_month_that_is_none_leaves_no_lock(small_ms):
    """CASA's own selection keeps the table locked for the rest of the process."""
    parameters = small_ms.parameters | {"imagename": "x", "timerange": "2020/13/01"}
    with pytest.raises(ValueError, match="timerange must have dates"):
        casa.VisibilityImager(parameters)
    tclean(imagename="y", niter=0, **small_ms.parameters)
    assert os.path.exists("y.residual")


def test_data_that_are_no_numbers_are_named(small_ms):
    vis = shutil.copytree(small_ms.path, "nan.ms")
    tool = casatools.table()
    tool.open(vis, nomodify=False)
    data = tool.getcol("DATA")
    data[0, 0, 7] = np.nan
    tool.putcol("DATA", data)
    tool.done()
    values = {"vis": vis, "imagename": "x", "niter": -1, "datacolumn": "DATA"}
    parameters = small_ms.parameters | values
    with (
        casa.VisibilityImager(parameters) as imager,
        pytest.raises(ValueError, match=r"vis='nan.ms' must hold numbers .* flagdata\(mode='clip'"),
    ):
        imager.dirty()


def test_channels_of_the_data_are_in_the_datas_frame(line_ms):
    """An image of cubedata does not say which that is."""
    vis = shutil.copytree(line_ms.path, "topo.ms")
    tool = casatools.table()
    tool.open(f"{vis}/SPECTRAL_WINDOW", nomodify=False)
    tool.putcol("MEAS_FREQ_REF", np.full(2, 5, np.int32))
    tool.done()
    values = line_ms.parameters | {"vis": vis, "imagename": "x", "nchan": 2}
    with casa.VisibilityImager(values | {"specmode": "cubedata"}) as imager:
        imager.dirty()
    assert casa.spectral_frame("x.residual", vis) == "TOPO"
    assert casa.spectral_frame("x.residual", ["", vis]) == "TOPO"
    assert casa.spectral_frame("x.residual") == "LSRK"


def test_locks_are_released_after_an_error(small_ms):
    with (
        pytest.raises(ZeroDivisionError),
        casa.VisibilityImager(small_ms.parameters | {"imagename": "x"}) as imager,
    ):
        imager.dirty()
        1 / 0  # noqa: B018
    tclean(imagename="x", niter=0, **small_ms.parameters)
    shutil.rmtree("x.residual")


# --- what is refused, before anything is written -------------------------------------------------

CUBE = {"specmode": "cube"}
WRONG = {
    "missing": ({"vis": "nosuch.ms"}, FileNotFoundError, "vis='nosuch.ms' does not exist"),
    "none": ({"vis": ""}, ValueError, "vis must name a MeasurementSet, got ''"),
    "empty list": ({"vis": []}, ValueError, "vis must name a MeasurementSet"),
    "one missing": ({"vis": ["{ms}", "no.ms"]}, FileNotFoundError, "vis='no.ms' does not exist"),
    "not an MS": ({"vis": "{ms}/ANTENNA"}, ValueError, "ANTENNA' must be a MeasurementSet"),
    "a file": ({"vis": "file"}, ValueError, "vis='file' must be a MeasurementSet"),
    "field": ({"field": "9"}, ValueError, "field='9' selects nothing .*No match|no match"),
    "spw": ({"spw": "3"}, ValueError, "spw='3' selects nothing of vis"),
    "scan": ({"scan": "7"}, ValueError, "scan='7' selects nothing of vis"),
    "antenna": ({"antenna": "ZZ99"}, ValueError, "antenna='ZZ99' selects nothing of vis"),
    "month": ({"timerange": "2020/13/01"}, ValueError, "timerange must have dates as year/month/"),
    "day": ({"timerange": ">31/12/2020"}, ValueError, "timerange must have .* got '31/12/2020'"),
    "time": ({"timerange": ">2040/01/01"}, ValueError, "timerange='>2040/01/01' selects nothing"),
    "uvrange": ({"uvrange": "garbage"}, ValueError, "uvrange='garbage' selects .*Parse error"),
    "intent": ({"intent": "FOO"}, ValueError, "intent='FOO' selects nothing"),
    "observation": ({"observation": 4}, ValueError, "observation='4' selects nothing"),
    "lengths": ({"field": ["0", "0"]}, ValueError, "field must be one value or one for each of"),
    "flagged": ({"vis": "flagged.ms"}, ValueError, "must hold data that are not all flagged"),
    "flagged here": ({"vis": "half.ms", "antenna": "A001"}, ValueError, "not all flagged"),
    "datacolumn": ({"datacolumn": "model"}, ValueError, "datacolumn must be .* got 'model'"),
    "imagename": ({"imagename": ""}, ValueError, "imagename must be the prefix of a path"),
    "no cell": ({"cell": []}, ValueError, r"cell must be given, .* got \[\]"),
    "oblong": ({"cell": ["1arcsec", "2arcsec"]}, ValueError, "cell must be .* pixels square"),
    "cell's unit": ({"cell": "1Jy"}, ValueError, "cell must be a positive angle .* got '1Jy'"),
    "imsize": ({"imsize": [64, 64, 2]}, ValueError, "imsize must be one or two positive integers"),
    "specmode": ({"specmode": "mvs"}, ValueError, "specmode must be one of mfs, .*, got 'mvs'"),
    "mvc": ({"specmode": "mvc"}, ValueError, "specmode mvc requires 'mtmfs' deconvolver but"),
    "stokes": ({"stokes": "IQUV"}, ValueError, "stokes must be a single plane .* got 'IQUV'"),
    "savemodel": ({"savemodel": "x"}, ValueError, "savemodel must be 'none', .* got 'x'"),
    "calcpsf": ({"calcpsf": False}, FileNotFoundError, "calcpsf=False needs 'x.psf'"),
    "startmodel": ({"startmodel": "nosuch"}, ValueError, "Startmodel nosuch cannot be found"),
    "no model": ({"startmodel": "file"}, ValueError, "startmodel must be a CASA image, got 'file'"),
    "vptable": ({"vptable": "file"}, ValueError, "vptable must be a table of voltage .* 'file'"),
    "no patterns": ({"vptable": "half.ms"}, ValueError, "vptable must be .* got 'half.ms'"),
    "cell's size": ({"cell": "1000deg"}, ValueError, "cell must be .* to 90deg .* got '1000deg'"),
    "gridder": ({"gridder": "x"}, ValueError, "^gridder='x' is refused .*; use 'standard', 'wpro"),
    "telescope": (
        {"gridder": "awproject"},
        ValueError,
        r"^gridder='awproject' .* \('ALMA'\) in the",
    ),
    "projection": (
        {"projection": "x"},
        ValueError,
        "projection='x' is refused by CASA's .* code : x",
    ),
    "no such field": (
        {"phasecenter": 17},
        ValueError,
        "phasecenter must be a field id below 1.*17",
    ),
    "rubbish": ({"phasecenter": "rubbish"}, ValueError, "phasecenter must be .* got 'rubbish'"),
    "no declination": ({"phasecenter": "J2000 10h"}, ValueError, "phasecenter must .* 'J2000 10h'"),
    "frame": ({"phasecenter": "FOO 10h -3d"}, ValueError, "phasecenter must .* 'FOO 10h -3d'"),
    "no number": ({"phasecenter": "J2000 x y"}, ValueError, "phasecenter must be .*'J2000 x y'"),
    "not moving": (
        {"phasecenter": "TRACKFIELD"},
        ValueError,
        "^phasecenter='TRACKFIELD' is refused",
    ),
    "psfphasecenter": (
        {"gridder": "mosaic", "psfphasecenter": "rubbish"},
        ValueError,
        "psfphasecenter must be .* got 'rubbish'",
    ),
    "uvtaper": ({"uvtaper": "big"}, ValueError, r"uvtaper must be .*'5klambda'.* got \['big'\]"),
    "taper's unit": ({"uvtaper": ["5Jy"]}, ValueError, r"uvtaper must be .* got \['5Jy'\]"),
    "taper's angle": ({"uvtaper": ["5m", "5m", "x"]}, ValueError, "uvtaper must be .* 'x'"),
    "reffreq": ({"reffreq": "rubbish"}, ValueError, "reffreq must be a frequency .* got 'rubbish'"),
    "restfreq": ({"restfreq": ["1GHz", "1Jy"]}, ValueError, "restfreq must be .*'1Jy'"),
    "start": (CUBE | {"start": "rubbish"}, ValueError, "start must be a channel .* got 'rubbish'"),
    "start's sign": (CUBE | {"start": -5}, ValueError, "start must be a channel .* got -5"),
    "width": (CUBE | {"width": "5Jy"}, ValueError, "width must be a number of .* got '5Jy'"),
    "narrow": (CUBE | {"width": "1Hz"}, ValueError, "^width='1Hz' is refused by CASA's imager"),
    "kinds": (
        CUBE | {"start": "230GHz", "width": "1km/s"},
        ValueError,
        "^start='230GHz' is refused",
    ),
    "still": (CUBE | {"specmode": "cubesource"}, ValueError, "^specmode='cubesource' is refused"),
    "beam": ({"restoringbeam": "rubbish"}, ValueError, "restoringbeam must be .* got 'rubbish'"),
    "beam's axes": (
        {"restoringbeam": ["1mas", "2mas"]},
        ValueError,
        "restoringbeam must be .*2mas",
    ),
    "beam's angle": ({"restoringbeam": ["2mas", "1mas", "1"]}, ValueError, "restoringbeam must be"),
    "region": (
        {"mask": "circle[[bad"},
        ValueError,
        r"mask must be .* got 'circle\[\[bad': line# 1",
    ),
    "region file": (
        {"mask": "bad.crtf"},
        ValueError,
        "mask must be .* 'bad.crtf': .*Illegal circle",
    ),
    "one region": ({"mask": ["circle[[5pix,5pix],3pix]", "ci[["]}, ValueError, r"got 'ci\[\[': ci"),
}


@pytest.fixture(scope="session")
def flagged(small_ms, tmp_path_factory):
    """The small observation flagged throughout, and all but one baseline's worth flagged."""
    folder = tmp_path_factory.mktemp("flagged")
    for name, selection in (("flagged.ms", {}), ("half.ms", {"antenna": "A001"})):
        shutil.copytree(small_ms.path, folder / name)
        flagdata(str(folder / name), mode="manual", flagbackup=False, **selection)
    return folder


@pytest.mark.parametrize("wrong", WRONG)
def test_refused_before_anything_is_written(small_ms, flagged, folder, wrong):
    changes, error, message = WRONG[wrong]
    for name in ("flagged.ms", "half.ms"):
        (folder / name).symlink_to(flagged / name)
    (folder / "file").touch()
    (folder / "bad.crtf").write_text("#CRTFv0\ncircle[[bad\n")
    if "vis" in changes:
        vis = changes["vis"]
        fill = [v.format(ms=small_ms.path) for v in ([vis] if isinstance(vis, str) else vis)]
        changes = changes | {"vis": fill if isinstance(vis, list) else fill[0]}
    before = sorted(os.listdir())
    with pytest.raises(error, match=message) as raised:
        casa.VisibilityImager(small_ms.parameters | {"imagename": "x"} | changes)
    assert not re.search(r"\n|SEVERE|\.cc", str(raised.value))
    assert sorted(os.listdir()) == before


#: What shows only once CASA has made the images.
BLANK = {
    "stokes": ({"stokes": "RR"}, "stokes='RR' must leave the visibilities some weight"),
    "fine": (
        {"cell": "1e-9arcsec"},
        "cell='1e-9arcsec' must make an image .* larger than its beam",
    ),
    "briggs": (
        {"weighting": "briggs", "npixels": 1},
        "weighting='briggs', npixels=1 must leave the visibilities some weight .* PSF that is zero",
    ),
    "taper": ({"uvtaper": ["100deg"]}, r"uvtaper=\['100deg'\] must leave the visibilities some"),
    "reffreq": (
        {"reffreq": "1e99GHz"},
        "reffreq='1e99GHz' must make an image of the data that",
    ),
    "telescope": (
        {"gridder": "awp2"},
        "^gridder='awp2' is refused by .* telescope ALMA; use 'stand",
    ),
    "w planes": (
        {"gridder": "wproject", "wprojplanes": -1},
        "^wprojplanes=-1 is refused by CASA's",
    ),
    "facets": (
        {"gridder": "widefield", "facets": 3},
        r"facets=3 must suit imsize=\[64, 64\], use ",
    ),
}


@pytest.mark.parametrize("blank", BLANK)
def test_blank_images_are_refused(small_ms, blank):
    changes, message = BLANK[blank]
    parameters = small_ms.parameters | {"imagename": "x", "imsize": [64, 64], "niter": -1}
    with (
        casa.VisibilityImager(parameters | changes) as imager,
        pytest.raises(ValueError, match=message) as raised,
    ):
        imager.dirty()
    assert not re.search(r"\n|SEVERE|\.cc", str(raised.value))


def test_what_is_left_must_fit(small_ms):
    with casa.VisibilityImager(small_ms.parameters | {"imagename": "x"}) as imager:
        imager.dirty()
    with pytest.raises(ValueError, match=r"imsize=\[64, 64\] must be that of 'x.psf' on disk"):
        casa.VisibilityImager(small_ms.parameters | {"imagename": "x", "imsize": 64})


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ("nosuch.mask", "mask='nosuch.mask' must hold a pixel of the image above pbmask=0.0"),
        ("circle[[800pix,800pix],5pix]", r"5pix\]' must hold a pixel .*: it lies outside of it$"),
        (
            "file",
            "mask='file' must hold a pixel .* it .* is neither a mask image nor a region file",
        ),
    ],
)
def test_mask_of_nothing(small_ms, mask, message):
    Path("file").write_text("hello\n")
    with casa.VisibilityImager(small_ms.parameters | {"imagename": "x", "mask": mask}) as imager:
        imager.dirty()
        with pytest.raises(ValueError, match=message):
            imager.mask()


def test_model_of_another_shape(small_ms):
    with casa.VisibilityImager(small_ms.parameters | {"imagename": "x"}) as imager:
        imager.dirty()
        with pytest.raises(ValueError, match=r"must have the image's shape .* \(1, 128, 160\)"):
            imager.residual(np.zeros((1, 160, 128)))


def test_part_of_the_flags_is_enough(small_ms, flagged):
    casa.check_data(casa.tclean_defaults() | {"vis": str(flagged / "half.ms"), "spw": "0:0"})
    both = [str(flagged / "flagged.ms"), str(flagged / "half.ms")]
    casa.check_data(casa.tclean_defaults() | {"vis": both})


# --- world coordinates ---------------------------------------------------------------------------


@pytest.mark.parametrize("frame", ["J2000", "ICRS", "B1950", "GALACTIC"])
@pytest.mark.parametrize("projection", ["SIN", "TAN", "ARC", "ZEA", "STG"])
def test_wcs_agrees_with_casa(frame, projection):
    check_wcs(coordinates(frame, projection))


@pytest.mark.parametrize(
    "changes",
    [
        {"pc": np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])},
        {"projection_parameters": np.array([0.03, -0.2])},
        {"crpix": np.array([12.5, -20.25])},
    ],
)
def test_wcs_of_a_rotated_a_slant_and_a_shifted_image(changes):
    check_wcs(coordinates("J2000", "SIN", **changes))


@pytest.mark.parametrize("frame", ["J2000", "ICRS", "B1950", "GALACTIC", "ECLIPTIC", "SUPERGAL"])
@pytest.mark.parametrize("latitude", [-0.527, 1.57079])
def test_equatorial_wcs_is_casas_conversion(frame, latitude):
    """To a milliarcsecond in a field of seven arcminutes, near a pole as well."""
    from casatools import coordsys

    record = coordinates(frame, "SIN", crval=np.array([2.62, latitude]), latpole=0.0)
    # As the tool's own conversion takes it.
    record["obsdate"]["m0"]["value"] = 51544.5
    wcs = equatorial_wcs(record)
    system = wcs.wcs.radesys
    assert system == ("ICRS" if frame == "ICRS" else "FK5")
    cs = coordsys()
    cs.fromrecord(record)
    cs.setconversiontype(direction="ICRS" if frame == "ICRS" else "J2000")
    for x, y in [(60, 50), (0, 0), (119, 3), (7, 99)]:
        found = cs.toworld([x, y, 0, 0])["numeric"][:2]
        want = SkyCoord(*found, unit="rad", frame=system.lower())
        assert pixel_to_skycoord(x, y, wcs).separation(want).to_value("mas") < 1
    cs.done()


def test_equatorial_wcs_without_a_date():
    """That of the frame's own epoch, from which B1950 has turned by little in the years since."""
    records = [coordinates("B1950", "SIN") for _ in range(2)]
    records[0]["obsdate"] |= {"refer": "LAST"}
    records[0]["obsdate"]["m0"]["value"] = 0.0
    records[1]["obsdate"]["m0"]["value"] = 51544.5
    one, other = (pixel_to_skycoord(3, 4, equatorial_wcs(record)) for record in records)
    assert one.separation(other).arcsec < 0.5


def test_equatorial_wcs_of_a_map_that_is_no_disc():
    """Turning it about a point would take what is far away to a wrong place."""
    equatorial_wcs(coordinates("J2000", "CAR"))
    with pytest.raises(ValueError, match="an image in GALACTIC must be in one of .* got CAR"):
        equatorial_wcs(coordinates("GALACTIC", "CAR"))


def coordinates(frame, projection, **changes):
    """Record of a coordinate system of CASA's; changes are to its celestial coordinate."""
    from casatools import coordsys

    tool = coordsys()
    cs = tool.newcoordsys(direction=True, stokes=["I"], spectral=True)
    record = cs.torecord()
    cs.done()
    tool.done()
    record["direction0"] |= {
        "system": frame,
        "conversionSystem": frame,
        "projection": projection,
        "projection_parameters": np.array([0.0, 0.0] if projection == "SIN" else []),
        "crval": np.array([2.62, -0.527]),
        "crpix": np.array([60.0, 50.0]),
        "cdelt": np.array([-3.5e-5, 3.5e-5]),
        "units": np.array(["rad", "rad"]),
        "latpole": -30.2,
    } | changes
    return record


def check_wcs(record):
    from casatools import coordsys

    from casa_ddpm.casa.coordinates import celestial_wcs

    cs = coordsys()
    cs.fromrecord(record)
    wcs = celestial_wcs(record)
    for x, y in ((0, 0), (60, 50), (119, 3), (7.3, 98.6)):
        world = cs.toworld([x, y])["numeric"][:2]
        unit = 1 if cs.units()[0] == "deg" else np.degrees(1)
        assert_allclose(wcs.world_to_pixel_values(*(world * unit)), (x, y), atol=1e-3)
    cs.done()


def test_wcs_of_the_products(small_ms):
    parameters = small_ms.parameters | {
        "imagename": "x",
        "phasecenter": "ICRS 10h00m28s -30d12m20s",
    }
    with casa.VisibilityImager(parameters) as imager:
        (dirty,) = imager.dirty()
    tool = image()
    tool.open("x.residual")
    check_wcs(tool.coordsys().torecord())
    tool.done()
    assert dirty.wcs.wcs.radesys == "ICRS"


def test_cell_must_be_square_and_upright():
    from casa_ddpm.casa.coordinates import celestial_wcs, square_cell

    cell = np.radians(7.2 / 3600)
    for cdelt, pc, message in (
        ([-1, 2], np.eye(2), "cell must be square, got 7.2 by 14.4 arcsec"),
        ([1, 1], np.eye(2), "right ascension must increase to the left"),
        ([-1, 1], [[0.8, 0.6], [-0.6, 0.8]], "declination upwards, got increments -7.2, 7.2 .*0.6"),
    ):
        with pytest.raises(ValueError, match=message):
            square_cell(coordinates("J2000", "SIN", cdelt=np.multiply(cdelt, cell), pc=pc))
    degrees = {"units": np.array(["deg", "deg"]), "cdelt": np.array([-0.002, 0.002])}
    assert_allclose(square_cell(coordinates("J2000", "SIN", **degrees)), 7.2)
    with pytest.raises(ValueError, match="reference system must be one of J2000, .* got AZEL"):
        celestial_wcs(coordinates("AZEL", "SIN"))


# --- ImageImager ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def imaged(small_ms, tmp_path_factory):
    """Products of a VisibilityImager with a model, and the dirty image before it, on disk."""
    folder = tmp_path_factory.mktemp("imaged")
    name = str(folder / "seen")
    with casa.VisibilityImager(small_ms.parameters | {"imagename": name}) as imager:
        (dirty,) = imager.dirty()
        for suffix in (".residual", ".psf", ".pb"):
            shutil.copytree(name + suffix, folder / f"in{suffix}")
            exportfits(str(folder / f"in{suffix}"), str(folder / f"in{suffix}.fits"))
            exportfits(str(folder / f"in{suffix}"), str(folder / f"two{suffix}.fits"), dropdeg=True)
        (residual,) = imager.residual(some_model(dirty.data.shape)[None])
        imager.restore(pbcor=True)
    return folder, dirty, residual


@pytest.mark.parametrize("form", ["in.{}", "in.{}.fits", "two.{}.fits"])
def test_images_give_the_same_dirty_image(imaged, form):
    folder, dirty, _ = imaged
    paths = [str(folder / form.format(part)) for part in ("residual", "psf", "pb")]
    with casa.ImageImager("x", *paths) as imager:
        (read,) = imager.dirty()
    for name in ("data", "psf", "pb"):
        assert_array_equal(getattr(read, name), getattr(dirty, name))
    assert_allclose(
        [read.beam.major, read.beam.minor, read.beam.pa],
        [dirty.beam.major, dirty.beam.minor, dirty.beam.pa],
        rtol=1e-6,
    )
    assert_allclose(read.cell, dirty.cell)
    assert read.freq == (None if "two" in form else dirty.freq)
    corners = [0, 0, 159.0], [0, 127.0, 3.5]
    assert_allclose(
        read.wcs.pixel_to_world_values(*corners), dirty.wcs.pixel_to_world_values(*corners)
    )


def test_image_products_are_tcleans(imaged):
    folder, _, residual = imaged
    paths = [str(folder / f"in.{part}") for part in ("residual", "psf", "pb")]
    with casa.ImageImager("ours", *paths) as imager:
        imager.dirty()
        (ours,) = imager.residual(some_model(residual.shape)[None])
        imager.restore(pbcor=True)
        assert imager.mask().all()
        assert_array_equal(imager.model()[0], some_model(residual.shape).astype(np.float32))
    for suffix in (".psf", ".pb", ".residual", ".model", ".image", ".image.pbcor"):
        mine, other = header("ours" + suffix), header(str(folder / "seen") + suffix)
        for head in (mine, other):
            head["info"].pop("useweightimage", None)
        assert mine == other
    # Restoration: CASA's own convolution with the clean beam. The residuals differ by the PSF's
    # wings beyond the image.
    seen = str(folder / "seen")
    convolved = pixels("ours.image") - pixels("ours.residual")
    assert_allclose(convolved, pixels(seen + ".image") - pixels(seen + ".residual"), atol=1e-8)
    middle = slice(32, 96), slice(40, 120)
    assert np.abs(ours - residual)[middle].max() < 0.01 * 0.009
    pb = pixels("ours.pb")
    assert_allclose(pixels("ours.image.pbcor"), pixels("ours.image") / pb, rtol=1e-5)


def test_a_primary_beam_is_of_the_run_that_was_given_it(imaged):
    folder, _, _ = imaged
    paths = [str(folder / f"in.{part}") for part in ("residual", "psf", "pb")]
    with casa.ImageImager("x", *paths) as imager:
        assert imager.dirty()[0].pb is not None
    with casa.ImageImager("x", *paths[:2]) as imager:
        assert imager.dirty()[0].pb is None
    assert casa.products("x") == ["x.psf", "x.residual"]


def test_a_mask_that_is_there_holds(imaged):
    """Beside a dirty image as beside visibilities."""
    folder, _, _ = imaged
    paths = [str(folder / f"in.{part}") for part in ("residual", "psf")]
    with casa.ImageImager("x", *paths) as imager:
        imager.dirty()
        assert imager.mask().all()
        mine = np.zeros((1, 128, 160))
        mine[0, 60:70, 80:90] = 1
        casa.images.write_planes("x.mask", mine)
        assert_array_equal(imager.mask(), mine > 0)
    assert_array_equal(pixels("x.mask")[:, :, 0, 0].T, mine[0])


def test_residual_is_the_sum_over_sources(imaged):
    """The FFT against a sum of shifted PSFs."""
    folder, dirty, _ = imaged
    imager = casa.ImageImager("x", str(folder / "in.residual"), str(folder / "in.psf"))
    imager.dirty()
    model = np.zeros(dirty.data.shape)
    model[64, 80], model[70, 60], model[3, 157] = 0.01, 0.004, 0.002
    expected = dirty.data.astype(float)
    for y, x in np.argwhere(model):
        rows, columns = np.arange(128) - y + 64, np.arange(160) - x + 80
        inside = (rows[:, None] >= 0) & (rows[:, None] < 128) & (columns >= 0) & (columns < 160)
        shifted = dirty.psf[rows.clip(0, 127)[:, None], columns.clip(0, 159)]
        expected -= model[y, x] * np.where(inside, shifted, 0)
    assert_allclose(imager.residual(model[None])[0], expected, atol=1e-8)


def test_gaussian_stands_in_for_the_psf(imaged, monkeypatch):
    folder, dirty, _ = imaged
    said = []
    monkeypatch.setattr("casa_ddpm.casa.image_imager.log", lambda *words: said.append(words))
    image_with_beam(folder / "in.residual", "beam.im", dirty.beam)
    imager = casa.ImageImager("x", "beam.im")
    (read,) = imager.dirty()
    assert "Its sidelobes are not known" in said[0][0] and said[0][1] == "WARN"
    assert read.psf[64, 80] == 1 and read.pb is None
    assert_allclose(read.psf.sum(), dirty.beam.area(dirty.cell), rtol=1e-4)
    imager.restore(pbcor=True)
    assert casa.products("x") == ["x.psf", "x.residual", "x.image"]
    assert "needs a pbimage" in said[1][0]
    assert header("x.image")["masks"] == []


def image_with_beam(source, path, beam=None, change=None, unit="Jy/beam", **csys):
    """A copy of an image with another beam, other pixels, unit or coordinates."""
    tool = image()
    tool.open(str(source))
    record, values = tool.coordsys().torecord(), tool.getchunk()
    tool.done()
    record["direction0"] |= csys
    new = image()
    new.fromarray(path, change(values) if change else values, record)
    new.setbrightnessunit(unit)
    if beam:
        new.setrestoringbeam(f"{beam.major}arcsec", f"{beam.minor}arcsec", f"{beam.pa}deg")
    new.done()


def nan(values):
    values[3, 4] = np.nan
    return values


def test_millijansky_are_converted(imaged):
    folder, dirty, _ = imaged
    image_with_beam(folder / "in.residual", "m.im", change=lambda v: 1000 * v, unit="mJy/beam")
    read = casa.ImageImager("x", "m.im", str(folder / "in.psf")).dirty()[0]
    assert_allclose(read.data, dirty.data, rtol=1e-6)


def test_pixels_outside_the_primary_beam_may_be_nan(imaged):
    folder, dirty, _ = imaged
    image_with_beam(folder / "in.residual", "d.im", change=nan)
    image_with_beam(folder / "in.pb", "pb.im", change=lambda v: np.where(v < v[5, 5], np.nan, v))
    read = casa.ImageImager("x", "d.im", str(folder / "in.psf"), "pb.im").dirty()[0]
    assert read.data[4, 3] == 0 and not read.valid[4, 3]
    assert header("x.residual")["good"] == read.valid.sum() < dirty.data.size


@pytest.mark.parametrize("with_pb", [False, True])
def test_masked_pixels_of_the_dirty_image_are_no_image(imaged, with_pb):
    folder, dirty, _ = imaged
    shutil.copytree(folder / "in.residual", "d.im")
    tool = image()
    tool.open("d.im")
    tool.calcmask("'d.im' < 0.002", name="own")
    tool.done()
    pb = str(folder / "in.pb") if with_pb else ""
    imager = casa.ImageImager("x", "d.im", str(folder / "in.psf"), pb)
    (read,) = imager.dirty()
    assert_array_equal(read.valid, (dirty.data < 0.002) & (dirty.valid | (not with_pb)))
    assert_array_equal(imager.mask()[0], read.valid)
    assert header("x.residual")["good"] == read.valid.sum() < dirty.data.size


@pytest.mark.parametrize("name", ["pbimage", "startmodel"])
def test_images_of_another_place_are_refused(imaged, name):
    folder, _, _ = imaged
    paths = [str(folder / f"in.{part}") for part in ("residual", "psf")]
    tool = image()
    tool.open(str(folder / "in.pb"))
    crval = tool.coordsys().torecord()["direction0"]["crval"]
    tool.done()
    image_with_beam(folder / "in.pb", "away.im", unit="", crval=crval + np.array([0, 1e-6]))
    with pytest.raises(ValueError, match=f"{name}='away.im' must lie where .* 1.7.* pixels from"):
        casa.ImageImager("x", *paths, **{name: "away.im"})
    shutil.move("away.im", "x.model")
    with pytest.raises(ValueError, match="imagename='x.model' must lie where dirtyimage="):
        casa.ImageImager("x", *paths)


def test_image_imager_starts_from_a_model(imaged):
    """The dirty image less the model, and the model among the products."""
    folder, dirty, _ = imaged
    paths = [str(folder / f"in.{part}") for part in ("residual", "psf")]
    first = casa.ImageImager("x", *paths)
    first.dirty()
    (residual,) = first.residual(some_model(dirty.data.shape)[None])
    shutil.move("x.model", "start.model")
    again = casa.ImageImager("y", *paths, startmodel="start.model")
    assert_allclose(again.dirty()[0].data, residual, atol=1e-8)
    assert_allclose(again.model()[0], some_model(dirty.data.shape), rtol=1e-6)
    with pytest.raises(ValueError, match="startmodel='start.model' must not be given where 'y.mod"):
        casa.ImageImager("y", *paths, startmodel="start.model")
    with pytest.raises(ValueError, match="must be in Jy/pixel, got 'Jy/beam'"):
        first.restore()
        casa.ImageImager("z", *paths, startmodel="x.image")


def test_image_imager_continues_or_counts_up(imaged):
    folder, dirty, _ = imaged
    paths = [str(folder / f"in.{part}") for part in ("residual", "psf")]
    imager = casa.ImageImager("x", *paths)
    imager.dirty()
    (residual,) = imager.residual(some_model(dirty.data.shape)[None])
    assert_allclose(casa.ImageImager("x", *paths).dirty()[0].data, residual, atol=1e-8)
    again = casa.ImageImager("x", *paths, restart=False)
    assert again.imagename == "x_2"
    assert_array_equal(again.dirty()[0].data, dirty.data)


WRONG_IMAGES = {
    "missing": (("no.im",), FileNotFoundError, "dirtyimage='no.im' does not exist"),
    "none": (("",), FileNotFoundError, "dirtyimage='' does not exist"),
    "missing psf": (("{in}.residual", "no"), FileNotFoundError, "psfimage='no' does not exist"),
    "not an image": (("text",), ValueError, "dirtyimage='text' must be a CASA image or a FITS"),
    "an MS": (("{ms}",), ValueError, "must be a CASA image or a FITS image"),
    "no beam": (("{in}.residual",), ValueError, "or psfimage must have a restoring beam in its"),
    "NaN": (("nan.im", "{in}.psf"), ValueError, "dirtyimage='nan.im' must have no NaN pixels"),
    "NaN in PSF": (("{in}.residual", "nan.im"), ValueError, "psfimage='nan.im' must have no NaN"),
    "shape": (
        ("{in}.residual", "small.im"),
        ValueError,
        "'small.im' must have the shape .*128, 160",
    ),
    "cell": (("{in}.residual", "wide.im"), ValueError, "'wide.im' must have the cell of .* 0.12"),
    "pb's shape": (
        ("{in}.residual", "{in}.psf", "small.im"),
        ValueError,
        "pbimage='small.im' must",
    ),
    "peak": (("{in}.residual", "shifted.im"), ValueError, r"peak of 1 at pixel \(80, 64\), got 1 "),
    "scale": (("{in}.residual", "doubled.im"), ValueError, r"peak of 1 at .* got 2 at \(80, 64\)"),
    "unit": (("kelvin.im", "{in}.psf"), ValueError, "kelvin.im' must be in Jy/beam, got 'K'"),
    "planes": (("planes.im",), ValueError, r"one plane .* Stokes \(2\).*imsubimage.*stokes='I'"),
    "cube": (("cube.im",), ValueError, r"Spectral \(3\); image one plane at a time.*chans='0'\)"),
    "no sky": (("linear.im",), ValueError, "one plane in right ascension and declination"),
    "over itself": (("x.residual",), ValueError, "imagename='x' must not be the prefix of dirty"),
}


@pytest.mark.parametrize("wrong", WRONG_IMAGES)
def test_refused_images(imaged, small_ms, folder, wrong):
    source = imaged[0]
    paths, error, message = WRONG_IMAGES[wrong]
    make_wrong_images(source)
    shutil.copytree(source / "in.residual", "x.residual")
    paths = [p.replace("{in}", str(source / "in")).replace("{ms}", small_ms.path) for p in paths]
    before = sorted(os.listdir())
    with pytest.raises(error, match=message):
        casa.ImageImager("x", *paths)
    assert sorted(os.listdir()) == before


def make_wrong_images(source):
    psf = source / "in.psf"
    image_with_beam(source / "in.residual", "nan.im", change=nan)
    image_with_beam(psf, "small.im", change=lambda v: v[:-2, :-2])
    image_with_beam(psf, "wide.im", cdelt=np.array([-1e-6, 1e-6]))
    image_with_beam(psf, "shifted.im", change=lambda v: np.roll(v, 1, 0))
    image_with_beam(psf, "doubled.im", change=lambda v: 2 * v)
    image_with_beam(source / "in.residual", "kelvin.im", unit="K")
    tool = image()
    tool.fromshape("planes.im", [160, 128, 2, 1])
    tool.done()
    tool.fromshape("cube.im", [160, 128, 1, 3])
    tool.done()
    tool.fromshape("linear.im", [160, 128], linear=True)
    tool.done()
    Path("text").write_text("no image")


# --- writing -------------------------------------------------------------------------------------


def test_write_image(imaged):
    folder, dirty, _ = imaged
    template = str(folder / "in.residual")
    data = np.arange(128 * 160, dtype=np.float32).reshape(1, 128, 160)
    casa.write_image("x.model.std", data, template, "Jy/pixel", Beam(2.0, 1.5, -30.0))
    assert_array_equal(pixels("x.model.std")[:, :, 0, 0].T, data[0])
    ours, theirs = header("x.model.std"), header(template)
    assert ours["unit"] == "Jy/pixel"
    beam = ours["restoringbeam"]
    assert (beam["major"]["value"], beam["minor"]["value"]) == (2.0, 1.5)
    assert beam["positionangle"] == {"unit": "deg", "value": -30.0}
    assert theirs["masks"] == ours["masks"] == ["mask0"]
    assert ours["direction0"] == theirs["direction0"] and ours["info"] == theirs["info"]
    assert [line for line in history("x.model.std") if not line.startswith("Created")] == []
    with pytest.raises(FileExistsError, match="'x.model.std' exists and is not overwritten"):
        casa.write_image("x.model.std", data, template, "")
    with pytest.raises(ValueError, match=r"data must have the image's shape .* \(1, 128, 160\)"):
        casa.write_image("y", data.transpose(0, 2, 1), template, "")


def test_write_samples(imaged):
    folder, dirty, _ = imaged
    samples = np.random.default_rng(0).normal(size=(3, 1, 128, 160)).astype(np.float32)
    casa.write_samples("x.samples", samples, str(folder / "in.residual"))
    head = header("x.samples")
    assert head["shape"] == [160, 128, 1, 1, 3]
    assert head["axisnames"][-1] == "Realisation" and head["unit"] == "Jy/pixel"
    assert_array_equal(pixels("x.samples")[:, :, 0, 0].T, samples[:, 0])
    with pytest.raises(FileExistsError, match="'x.samples' exists"):
        casa.write_samples("x.samples", samples, str(folder / "in.residual"))


def test_history(imaged):
    folder, _, residual = imaged
    for suffix in (".residual", ".sumwt"):
        shutil.copytree(str(folder / "seen") + suffix, f"x{suffix}")
    casa.write_components("x.cl", catalogue())
    Path("x.png").touch()
    paths = casa.products("x")
    assert paths == ["x.sumwt", "x.residual", "x.cl", "x.png"]
    casa.write_history("x", paths, "ddpmclean", {"vis": "a.ms", "niter": -1})
    for path in paths[:2]:
        lines = [line for line in history(path) if not line.startswith("Created")]
        assert lines[0] == "taskname=ddpmclean" and lines[1].startswith("version: ")
        assert lines[2:] == ['vis         = "a.ms"', "niter       = -1"]


def catalogue():
    return QTable(
        {
            "name": ["one", "two"],
            "ra": [150.1, 150.2] * u.deg,
            "dec": [-30.2, 2.0] * u.deg,
            "flux": [1e-3, 0.02] * u.Jy,
            "major": [np.nan, 0.5] * u.arcsec,
            "minor": [np.nan, 0.25] * u.arcsec,
            "pa": [np.nan, 130] * u.deg,
            "resolved": [False, True],
            "freq": [230e9, np.nan] * u.Hz,
        }
    )


@pytest.mark.parametrize(("frame", "name"), [(None, "ICRS"), ("FK5", "J2000")])
def test_components(frame, name):
    table = catalogue()
    if frame:
        table.meta["RADESYS"] = frame
    casa.write_components("x.cl", table)
    tool = componentlist()
    tool.open("x.cl")
    point, gaussian = (tool.getcomponent(n) for n in (0, 1))
    assert [tool.getlabel(n) for n in (0, 1)] == ["one", "two"]
    tool.done()
    assert_allclose(point["flux"]["value"], [1e-3, 0, 0, 0])
    assert point["flux"]["unit"] == "Jy"
    assert (point["shape"]["type"], gaussian["shape"]["type"]) == ("Point", "Gaussian")
    direction = gaussian["shape"]["direction"]
    assert direction["refer"] == name
    assert_allclose(
        [np.degrees(direction[m]["value"]) for m in ("m0", "m1")], [150.2, 2.0], atol=1e-9
    )
    assert_allclose(gaussian["shape"]["majoraxis"]["value"] * 60, 0.5)  # [arcmin]
    assert_allclose(gaussian["shape"]["minoraxis"]["value"] * 60, 0.25)
    assert_allclose(gaussian["shape"]["positionangle"]["value"], 130)
    frequency = point["spectrum"]["frequency"]
    assert frequency["refer"] == "LSRK"
    assert component(table[0], spectral="TOPO")["freq"].startswith("TOPO 230000000000.0")
    assert_allclose(frequency["m0"]["value"], 230)
    with pytest.raises(FileExistsError, match="'x.cl' exists and is not overwritten"):
        casa.write_components("x.cl", table)


def test_no_components():
    casa.write_components("x.cl", catalogue()[:0])
    tool = componentlist()
    tool.open("x.cl")
    assert tool.length() == 0
    tool.done()


def test_log(tmp_path):
    from casatasks import casalog

    kept = casalog.logfile()
    casalog.setlogfile(str(tmp_path / "some.log"))
    casa.log("a remark", "WARN")
    casalog.setlogfile(kept)
    line = (tmp_path / "some.log").read_text().splitlines()[-1]
    assert "WARN" in line and "ddpmclean" in line and line.endswith("a remark")


def test_missing_corrected_data_is_said(small_ms, monkeypatch):
    from casatools import table

    said = []
    monkeypatch.setattr("casa_ddpm.casa.imager.log", lambda *words: said.append(words))
    shutil.copytree(small_ms.path, "copy.ms")
    tool = table()
    tool.open("copy.ms", nomodify=False)
    tool.removecols("CORRECTED_DATA")
    tool.done()
    parameters = small_ms.parameters | {"imagename": "x"}
    casa.VisibilityImager(parameters).close()
    assert said == []
    casa.VisibilityImager(parameters | {"vis": "copy.ms"}).close()
    assert said == [("copy.ms has no CORRECTED_DATA: its DATA are imaged", "WARN")]
