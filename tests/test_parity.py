"""Drop-in parity: tclean and ddpmclean, called alike, write the same image set.

Every product of tclean has to come from ddpmclean too, with the same shape, coordinates, unit,
beams and pixel mask; what the deconvolver has no part in (PSF, primary beam, weights, a mask that
the user gives) with the same pixels.
"""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import SOURCES, simulate
from numpy.testing import assert_allclose, assert_array_equal

from casa_ddpm import ddpmclean

pytestmark = pytest.mark.casa

#: What every call says, unless its set says otherwise; vis is a key of `data`.
COMMON = {"vis": "small", "imsize": 96, "cell": "0.15arcsec", "niter": 20}
#: What makes ddpmclean quick.
QUICK = {"nsamples": 2, "nsteps": 2, "nmajor": 1, "device": "cpu"}

CENTRE = "J2000 10h00m28.7s -30d12m20s"
REGION = "circle[[48pix,48pix],20pix]"
#: Eight channels of 50 MHz in each of two spectral windows.
LINE = {"vis": "line", "specmode": "cube", "spw": "0", "cell": "0.2arcsec", "imsize": 64}
VELOCITY = {"nchan": 3, "start": "-300km/s", "width": "-100km/s", "restfreq": "230GHz"}
MOSAIC = {"vis": "mosaic", "gridder": "mosaic", "cell": "0.25arcsec", "imsize": [128, 96]}
#: Four channels of 10 GHz.
TAYLOR = {"vis": "wide", "deconvolver": "mtmfs"}

#: Sets of the default run: a name, and the parameters of one call or of several in turn.
FAST = {
    "dirty": {"niter": 0},
    "briggs, region": {
        "weighting": "briggs", "robust": -0.5, "imsize": [96, 80], "cell": ["0.15arcsec"],
        "mask": REGION, "pbcor": True,
    },
    "pipeline's two steps": [
        {"niter": 0, "restoration": False, "datacolumn": "data"},
        {"calcres": False, "calcpsf": False, "restoringbeam": "common", "pbcor": True},
    ],
    "several": {"vis": "several", "field": ["0", "1"], "spw": ["", "0:0~1"], "pblimit": -0.1},
    "mosaic": MOSAIC | {"phasecenter": CENTRE, "pbcor": True},
    "cube": LINE | VELOCITY | {"restoringbeam": "common", "weighting": "briggsbwtaper"},
    "Taylor terms": TAYLOR | {"pbcor": True, "mask": REGION},
}  # fmt: skip
#: Sets of the slow run.
CONTINUUM = {
    "natural": {},
    "negative pblimit": {"pblimit": -0.1, "pbcor": True},
    "uniform": {"weighting": "uniform", "imsize": [90]},
    "superuniform": {"weighting": "superuniform", "npixels": 4},
    "briggsabs": {"weighting": "briggsabs", "robust": 0.0, "noise": "0.1Jy"},
    "no pblimit": {"weighting": "briggs", "robust": 2, "pblimit": -1, "pbcor": True},
    "radial": {"weighting": "radial", "cell": 0.15},
    "taper": {
        "weighting": "briggs", "robust": 0.5, "uvtaper": ["1arcsec", "0.8arcsec", "20deg"],
    },
    "taper in klambda": {"uvtaper": "150klambda"},
    "high pblimit": {"pblimit": 0.6, "pbcor": True},
    "explicit beam": {"restoringbeam": ["1.6arcsec", "1.4arcsec", "30deg"], "pbcor": True},
    "round beam": {"restoringbeam": "1.6arcsec", "psfcutoff": 0.5},
    "no restoration": {"restoration": False},
    "dirty, not restored": {"niter": 0, "restoration": False, "calcres": True},
    "PSF only": {"niter": 0, "calcres": False, "restoration": False},
    "no region": {"usemask": "user", "mask": ""},
    "mask image": {"mask": "mask.image"},
    "region file": {"mask": "region.crtf", "pbmask": 0.3},
    "mask and mask on disk": [{"mask": REGION}, {"mask": ""}],
    "several masks": {"mask": ["mask.image", "circle[[60pix,60pix],5pix]"]},
    "primary beam mask": {"usemask": "pb", "pbmask": 0.4},
    "automatic mask": {
        "usemask": "auto-multithresh", "sidelobethreshold": 2.0, "noisethreshold": 4.25,
        "minbeamfrac": 0.1, "fastnoise": False, "verbose": True,
    },
    "direction": {"phasecenter": CENTRE, "projection": "TAN"},
    "ICRS": {"phasecenter": "ICRS 10:00:28.7 -030.12.20", "projection": "NCP"},
    "field id": {"vis": "mosaic", "field": "1", "phasecenter": 1},
    "field name": {"vis": "mosaic", "field": "field2", "scan": "", "antenna": "0~20&"},
    "second window": {"vis": "line", "spw": "1"},
    "channels": {"vis": "line", "spw": "0:1~3,1:4~7", "reffreq": "230.4GHz"},
    "cont": {"vis": "line", "specmode": "cont", "spw": "*", "outframe": "BARY"},
    "selection": {"uvrange": "20~500m", "antenna": "!0", "observation": "0", "intent": ""},
    "pseudoI": {"stokes": "pseudoI"},
    "one correlation": {"stokes": "XX", "pbcor": True},
    "start model": {"startmodel": "start.model"},
    "numbered": [{}, {"restart": False}],
    "continued": [{}, {"niter": 10}],
    "wproject": {"gridder": "wproject", "wprojplanes": 4},
    "widefield": {"gridder": "widefield", "wprojplanes": 2, "facets": 2, "imsize": 128},
    "mosaic, flat sky": MOSAIC | {
        "normtype": "flatsky", "pblimit": 0.3, "phasecenter": 1, "niter": 0,
    },
    "mosaic, uniform": MOSAIC | {
        "weighting": "uniform", "mosweight": False, "psfphasecenter": CENTRE, "usepointing": True,
    },
    "one Taylor term": TAYLOR | {"nterms": 1},
    "three Taylor terms": TAYLOR | {"nterms": 3, "reffreq": "232GHz", "weighting": "briggs"},
    "dirty Taylor terms": TAYLOR | {"niter": 0, "specmode": "cont"},
    "continued Taylor terms": [TAYLOR | {"niter": 0, "restoration": False}, TAYLOR],
    "Taylor terms of a cube": TAYLOR | {"specmode": "mvc", "nchan": 4, "pbcor": True},
    "dirty Taylor terms of a cube": TAYLOR | {
        "specmode": "mvc", "niter": 0, "weighting": "briggs", "reffreq": "240GHz",
    },
    "continued Taylor terms of a cube": [
        TAYLOR | {"specmode": "mvc", "niter": 0}, TAYLOR | {"specmode": "mvc", "calcpsf": False},
    ],
    "mosaic of Taylor terms of a cube": MOSAIC | TAYLOR | {
        "vis": "mosaic", "phasecenter": CENTRE, "specmode": "mvc", "nchan": 3,
    },
    "mosaic of Taylor terms": MOSAIC | TAYLOR | {"vis": "mosaic", "phasecenter": CENTRE},
    "mosaic, masked": MOSAIC | {"usemask": "pb", "pbmask": 0.3, "restoringbeam": "common"},
}  # fmt: skip
CUBES = {
    "whole cube": LINE,
    "dirty cube": LINE | {"niter": 0, "nchan": 4},
    "velocities": LINE | VELOCITY | {
        "outframe": "BARY", "weighting": "briggsbwtaper", "restoringbeam": "common", "pbcor": True,
    },
    "frequencies": LINE | {
        "nchan": 3, "start": "230.1GHz", "width": "75MHz", "interpolation": "nearest",
        "veltype": "optical", "pblimit": -0.2,
    },
    "channel numbers": LINE | {"spw": "", "nchan": 2, "start": 3, "width": 2, "outframe": ""},
    "cubedata": LINE | {"specmode": "cubedata", "nchan": 3, "start": 1, "width": 1},
    "one density": LINE | {
        "nchan": 3, "weighting": "uniform", "perchanweightdensity": False, "pbcor": True,
    },
    "masked channels": LINE | {
        "nchan": 3, "mask": "circle[[32pix,32pix],10pix], range=[0chan,1chan]",
    },
    "masked cube": LINE | {"nchan": 3, "usemask": "pb", "pbmask": 0.4, "pblimit": 0.3},
    "automatic cube": LINE | {
        "nchan": 3, "usemask": "auto-multithresh", "minbeamfrac": 0.1, "restoringbeam": "common",
    },
    "one correlation of a cube": LINE | {"nchan": 2, "stokes": "YY", "spw": "1", "cell": 0.2},
    "explicit beam for a cube": LINE | {"nchan": 2, "restoringbeam": ["2arcsec"]},
    "mosaic cube": MOSAIC | {"specmode": "cube", "nchan": 2, "phasecenter": CENTRE, "pbcor": True},
    "cube of the pipeline": [
        LINE | VELOCITY | {"niter": 0, "restoration": False},
        LINE | VELOCITY | {"calcres": False, "calcpsf": False, "pbcor": True},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def data(small_ms, line_ms, tmp_path_factory):
    """Path or paths by name: one channel, a spectrum, pointings, a wide band; two together."""
    three = {"channels": 3, "width": "200MHz", "pointings": ((0, 0), (10, 0), (5, 8))}
    mosaic = simulate(tmp_path_factory.mktemp("parity") / "mosaic.ms", SOURCES, seed=3, **three)
    band = {"channels": 4, "width": "10GHz"}
    wide = simulate(tmp_path_factory.mktemp("wide") / "wide.ms", SOURCES, seed=4, **band)
    paths = {"small": small_ms, "line": line_ms, "mosaic": mosaic, "wide": wide}
    several = [small_ms.path, mosaic.path]
    return {name: one.path for name, one in paths.items()} | {"several": several}


@pytest.fixture
def folder(tmp_path, monkeypatch, data):
    """A current folder with a mask image, a region file and a model to start from."""
    from casatasks import immath, tclean

    monkeypatch.chdir(tmp_path)
    (tmp_path / "region.crtf").write_text(f"#CRTFv0\n{REGION}\n")
    tclean(imagename="earlier", **COMMON | {"vis": data["small"], "niter": 3})
    immath("earlier.pb", mode="evalexpr", expr="iif(IM0>0.7, 1.0, 0.0)", outfile="mask.image")
    Path("earlier.model").rename("start.model")
    for path in tmp_path.glob("earlier.*"):
        shutil.rmtree(path)
    return tmp_path


@pytest.mark.parametrize("name", FAST)
def test_same_products(data, folder, name):
    compare(data, FAST[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", CONTINUUM)
def test_same_continuum_products(data, folder, name):
    compare(data, CONTINUUM[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", CUBES)
def test_same_cube_products(data, folder, name):
    compare(data, CUBES[name])


@pytest.mark.parametrize("spw", ["1", "1:3", "0:2,1:5~6", ""])
def test_data_are_found_in_any_window(line_ms, tmp_path, spw):
    """Also where those of the first window are flagged."""
    from casatasks import flagdata

    from casa_ddpm import casa

    vis = str(tmp_path / "a.ms")
    shutil.copytree(line_ms.path, vis)
    flagdata(vis, mode="manual", spw="0", flagbackup=False)
    casa.check_data(casa.tclean_defaults() | {"vis": vis, "spw": spw})
    with pytest.raises(ValueError, match="not all flagged"):
        casa.check_data(casa.tclean_defaults() | {"vis": vis, "spw": "0"})


@pytest.mark.parametrize("savemodel", ["virtual", "modelcolumn"])
def test_same_place_of_the_model(data, folder, savemodel):
    """The MeasurementSet holds a model where tclean puts it, and nothing else is changed."""
    from casatasks import tclean

    stored = {}
    for prefix, task, extra in (("theirs", tclean, {}), ("ours", ddpmclean, QUICK)):
        vis = shutil.copytree(data["small"], f"{prefix}.ms")
        values = COMMON | extra | {"vis": str(vis), "mask": REGION}
        task(imagename=prefix, savemodel=savemodel, **values)
        stored[prefix] = stored_model(vis, data["small"])
    assert stored["ours"] == stored["theirs"]
    assert any(stored["ours"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["natural", "mosaic", "mosaic cube"])
def test_tclean_goes_on(data, folder, name):
    """From the products of ddpmclean, as from its own."""
    from casatasks import tclean

    values = COMMON | (FAST | CONTINUUM | CUBES)[name]
    values["vis"] = data[values["vis"]]
    ddpmclean(imagename="ours", **values | QUICK)
    before = read("ours.model")["pixels"].sum()
    result = tclean(imagename="ours", calcpsf=False, calcres=False, **values)
    assert result["iterdone"] > 0
    assert read("ours.model")["pixels"].sum() == pytest.approx(before, rel=0.2)


def compare(data, calls):
    """Call both tasks, and compare all that they have written."""
    from casatasks import tclean

    for parameters in calls if isinstance(calls, list) else [calls]:
        values = COMMON | parameters
        values["vis"] = data[values["vis"]]
        tclean(imagename="theirs", **values)
        ddpmclean(imagename="ours", **values | QUICK)
    theirs = {path.name.removeprefix("theirs") for path in Path().glob("theirs*")}
    ours = {path.name.removeprefix("ours") for path in Path().glob("ours*")}
    assert theirs <= ours
    if values["niter"] == 0:
        assert theirs == ours
    same = pixels_alike(values)
    for suffix in sorted(theirs):
        expected, found = read(f"theirs{suffix}"), read(f"ours{suffix}")
        where = f"{suffix} of {values}"
        assert_alike(found["header"], expected["header"], where)
        # A spectral index is masked where the image is faint, which is the deconvolver's.
        if values["niter"] == 0 or suffix not in (".alpha", ".alpha.error", ".beta"):
            assert_array_equal(found["good"], expected["good"], err_msg=f"mask of {where}")
        if same & {re.sub(r"\.tt\d$", "", suffix), "all"}:
            assert_allclose(found["pixels"], expected["pixels"], atol=1e-7, err_msg=where)


def pixels_alike(values):
    """Suffixes of the products with the same pixels; 'all' for a dirty image's."""
    same = {".psf", ".pb", ".sumwt", ".weight"}
    if values["niter"] == 0:
        return same | {"all"}
    # an automatic mask follows the residual of every cycle
    return same if values.get("usemask") == "auto-multithresh" else same | {".mask"}


def read(path):
    """Pixels, pixel mask and header of an image."""
    from casatools import image

    tool = image()
    tool.open(path)
    try:
        run = ("memavail", "memreq")
        header = {
            "shape": tool.shape(),
            "unit": tool.brightnessunit(),
            "beams": tool.restoringbeam(),
            "masks": tool.maskhandler("get"),
            "default mask": tool.maskhandler("default"),
            "information": {k: v for k, v in tool.miscinfo().items() if k not in run},
            "coordinates": tool.coordsys().torecord(),
        }
        return {
            "header": header, "pixels": tool.getchunk(), "good": tool.getchunk(getmask=True),
        }  # fmt: skip
    finally:
        tool.done()


def assert_alike(found, expected, where):
    """Compare records: numbers to rounding, all else exactly."""
    if isinstance(expected, dict):
        assert set(found) == set(expected), where
        for key in expected:
            assert_alike(found[key], expected[key], f"{key} in {where}")
    elif np.asarray(expected).dtype.kind in "iuf":
        assert_allclose(found, expected, rtol=1e-9, atol=1e-12, err_msg=where)
    else:
        assert np.asarray(found).tolist() == np.asarray(expected).tolist(), where


def stored_model(vis, original):
    """Whether MODEL_DATA is not the original's any more; the keywords of virtual models."""
    from casatools import table

    tool = table()
    columns = []
    for path in (vis, original):
        tool.open(str(path))
        columns.append(tool.getcol("MODEL_DATA"))
        tool.done()
    tool.open(f"{vis}/SOURCE")
    virtual = sorted(word for word in tool.keywordnames() if "model" in word)
    tool.done()
    return not np.array_equal(*columns), virtual
