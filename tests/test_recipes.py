"""tclean calls out of public recipes and pipelines, renamed to ddpmclean.

The parameters are those that the recipes give, but for what belongs to their data: vis, imagename
and the files of masks and outliers, which are made here. Where a pipeline takes a value from its
configuration or computes it (imsize, cell, niter, threshold ...) there is one of the usual size.
Left out is what tclean itself no longer has (chanchunks); the pipelines' interactive=0 is written
False, as tclean wants it by now.
"""

import shutil

import pytest

from casa_ddpm import ddpmclean
from casa_ddpm.tasks import effect, parameters

#: Automatic masks, https://casaguides.nrao.edu/index.php/Automasking_Guide
AUTOMASK_12M = {
    "usemask": "auto-multithresh", "noisethreshold": 4.25, "sidelobethreshold": 2.0,
    "lownoisethreshold": 1.5, "minbeamfrac": 0.3, "negativethreshold": 15.0, "verbose": True,
    "fastnoise": False,
}  # fmt: skip
AUTOMASK_7M = {
    "usemask": "auto-multithresh", "sidelobethreshold": 1.25, "noisethreshold": 5.0,
    "lownoisethreshold": 2.0, "negativethreshold": 0.0, "minbeamfrac": 0.1, "growiterations": 75,
    "dogrowprune": True, "minpercentchange": 1.0, "fastnoise": False,
}  # fmt: skip
#: TW Hya, https://casaguides.nrao.edu/index.php/First_Look_at_Imaging
TWHYA = {
    "field": "0", "spw": "", "specmode": "mfs", "gridder": "standard", "deconvolver": "hogbom",
    "imsize": [250, 250], "cell": ["0.1arcsec"], "weighting": "briggs", "robust": 0.5,
}  # fmt: skip
#: 3C 391, https://casaguides.nrao.edu/index.php/VLA_Continuum_Tutorial_3C391
MOSAIC_3C391 = {
    "field": "", "spw": "", "specmode": "mfs", "niter": 20000, "gain": 0.1, "threshold": "1.0mJy",
    "gridder": "mosaic", "deconvolver": "multiscale", "scales": [0, 5, 15, 45],
    "smallscalebias": 0.9, "imsize": [480, 480], "cell": ["2.5arcsec", "2.5arcsec"],
    "stokes": "I", "weighting": "briggs", "robust": 0.5, "pbcor": False,
}  # fmt: skip
#: AS 209, https://almascience.eso.org/almadata/lp/DSHARP/scripts/AS209_continuum.py
DSHARP = {
    "specmode": "mfs", "deconvolver": "multiscale", "scales": [0, 5, 30, 100, 200],
    "weighting": "briggs", "robust": -0.5, "gain": 0.2, "imsize": 3000, "cell": ".003arcsec",
    "niter": 50000, "threshold": "0.08mJy", "cycleniter": 300, "cyclefactor": 1,
    "uvtaper": [".037arcsec", ".01arcsec", "162deg"], "nterms": 1, "savemodel": "modelcolumn",
    "mask": "ellipse[[16h49m15.29s, -14.22.09.04], [1.3arcsec, 1.1arcsec], 86.0deg]",
}  # fmt: skip
#: hif_makeimages of the ALMA pipeline, as in CASA's stakeholder tests of tclean
#: (mosaic cube of E2E6.1.00034.S, briggsbwtaper)
PIPELINE = {
    "field": "SMIDGE_NWCloud", "spw": ["0"], "antenna": ["0,1,2,3,4,5,6,7,8"],
    "scan": ["8,12,16"], "intent": "OBSERVE_TARGET#ON_SOURCE", "datacolumn": "data",
    "imsize": [108, 108], "cell": ["1.1arcsec"], "phasecenter": "ICRS 00:45:54.3836 -073.15.29.413",
    "stokes": "I", "specmode": "cube", "nchan": 508, "start": "220.2526743594GHz",
    "width": "0.2441741MHz", "outframe": "LSRK", "perchanweightdensity": True,
    "gridder": "mosaic", "mosweight": True, "usepointing": False, "pblimit": 0.2,
    "deconvolver": "hogbom", "restoringbeam": "common", "weighting": "briggsbwtaper",
    "robust": 0.5, "npixels": 0, "interactive": False, "savemodel": "none", "parallel": False,
} | AUTOMASK_7M  # fmt: skip
#: uGMRT, https://github.com/ruta-k/CAPTURE-CASA6
CAPTURE = {
    "selectdata": True, "field": "0", "spw": "0", "imsize": 8000, "cell": "1.0arcsec",
    "robust": 0, "weighting": "briggs", "specmode": "mfs", "niter": 2000,
    "usemask": "auto-multithresh", "minbeamfrac": 0.1, "sidelobethreshold": 1.5,
    "smallscalebias": 0.6, "threshold": "0.1mJy", "aterm": True, "pblimit": -1,
    "gridder": "wproject", "wprojplanes": -1, "scales": [0, 5, 15], "wbawp": False,
    "restoration": True, "savemodel": "modelcolumn", "cyclefactor": 0.5, "parallel": False,
    "interactive": False,
}  # fmt: skip
#: A VLA field, https://casaguides.nrao.edu/index.php/VLA_Self-calibration_Tutorial
VLA_SELFCAL = {
    "datacolumn": "data", "imsize": 900, "cell": "0.2arcsec", "pblimit": -0.1,
    "gridder": "standard", "niter": 1000, "weighting": "briggs", "robust": 0,
    "savemodel": "modelcolumn",
}  # fmt: skip

#: What runs: parameters, and which of them have no effect, in the task's order.
RUNNING = {
    # First Look at Imaging, automatically masked
    "TW Hya, continuum": (
        TWHYA | AUTOMASK_12M | {
            "threshold": "0mJy", "niter": 5000, "interactive": False, "nmajor": 1,
        },
        ["deconvolver", "niter"],
    ),
    # First Look at Imaging, not interactive: a box, and a threshold of twice the noise
    "TW Hya, box": (
        TWHYA | {
            "mask": "box [ [ 100pix , 100pix] , [150pix, 150pix ] ]", "threshold": "15mJy",
            "niter": 5000, "interactive": False,
        },
        ["deconvolver", "niter"],
    ),
    # https://casaguides.nrao.edu/index.php/First_Look_at_Line_Imaging
    "TW Hya, N2H+": (
        TWHYA | AUTOMASK_12M | {
            "field": "5", "spw": "0", "specmode": "cube", "perchanweightdensity": True,
            "nchan": 15, "start": "0.0km/s", "width": "0.5km/s", "outframe": "LSRK",
            "restfreq": "372.67249GHz", "cell": "0.1arcsec", "weighting": "briggsbwtaper",
            "restoringbeam": "common", "niter": 5000, "interactive": False, "nmajor": 1,
        },
        ["deconvolver", "niter"],
    ),
    # the tutorial's call in CASA's own test of it, with the mask from a file
    "3C 391": (
        MOSAIC_3C391 | {"interactive": False, "mask": "3c391.mask", "savemodel": "modelcolumn"},
        ["deconvolver", "scales", "smallscalebias", "niter"],
    ),
    "DSHARP": (DSHARP, ["deconvolver", "scales", "nterms", "niter", "gain", "cycleniter"]),
    # reduction_utils.py of DSHARP, which saves the model with a second call
    "DSHARP, to save the model": (
        DSHARP | {"niter": 0, "mask": "", "calcres": False, "calcpsf": False},
        ["deconvolver", "scales", "nterms", "gain", "cycleniter"],
    ),
    "ALMA pipeline, iter0": (
        PIPELINE | {"niter": 0, "restoration": False, "pbcor": False, "threshold": "0.0mJy"},
        ["deconvolver"],
    ),
    "ALMA pipeline, iter1": (
        PIPELINE | {
            "niter": 20000, "restoration": True, "pbcor": True, "threshold": "0.354Jy",
            "nsigma": 0.0, "restart": True, "calcres": False, "calcpsf": False,
        },
        ["deconvolver", "niter"],
    ),
    # https://github.com/akleroy/phangs_imaging_scripts, phangs-alma_keys/cube_mosaic.clean
    "PHANGS-ALMA": (
        {
            "selectdata": True, "field": "", "observation": "", "imsize": [1000],
            "cell": ["0.25arcsec"], "phasecenter": "", "specmode": "cube", "reffreq": "",
            "start": "", "width": "", "restfreq": [], "gridder": "mosaic", "vptable": "",
            "pointingoffsetsigdev": [], "pblimit": 0.5, "deconvolver": "multiscale", "scales": [],
            "nterms": 1, "smallscalebias": 0.9, "restoringbeam": "common", "weighting": "briggs",
            "robust": 0.5, "noise": "1.0Jy", "uvtaper": [], "niter": 1, "gain": 0.1,
            "threshold": "0.0mJy/beam", "cycleniter": 200, "cyclefactor": 3.0,
            "minpsffraction": 0.5, "maxpsffraction": 0.8, "usemask": "user", "mask": "",
            "pbmask": 0.0, "growiterations": 75, "fastnoise": True, "parallel": False,
        },
        [
            "deconvolver", "nterms", "smallscalebias", "niter", "cycleniter", "cyclefactor",
            "minpsffraction",
        ],
    ),
    # the single-term call of CAPTURE
    "uGMRT, CAPTURE": (
        CAPTURE | {"nterms": 1},
        ["scales", "nterms", "smallscalebias", "niter", "cyclefactor"],
    ),
    # https://github.com/jradcliffe5/VLBI_pipeline, the initial image of a target
    "VLBI pipeline": (
        {
            "field": "J1229+0203", "datacolumn": "data", "stokes": "pseudoI",
            "cell": "0.000500arcsec", "imsize": [1024, 1024], "deconvolver": "clarkstokes",
            "niter": int(1e5), "weighting": "natural", "nsigma": 1.2,
            "usemask": "auto-multithresh", "noisethreshold": 4.0, "sidelobethreshold": 1.0,
            "parallel": False,
        },
        ["deconvolver", "niter"],
    ),
    # https://github.com/keflavich/W51_ALMA_2013.1.00308.S, self-calibration of W51
    "W51": (
        {
            "field": "", "spw": "", "specmode": "mfs", "deconvolver": "clark",
            "gridder": "mosaic", "outframe": "LSRK", "pblimit": 0.4, "interpolation": "linear",
            "interactive": False, "niter": 100000, "threshold": "15mJy", "imsize": [3072, 3072],
            "cell": "0.05arcsec", "phasecenter": "J2000 19:23:41.629000 +14.30.42.38000",
            "weighting": "briggs", "savemodel": "modelcolumn", "robust": -2.0,
        },
        ["deconvolver", "niter"],
    ),
    # https://github.com/jjtobin/auto_selfcal, selfcal_helpers.py
    "auto_selfcal": (
        {
            "field": ["TARGET"], "specmode": "mfs", "deconvolver": "mtmfs", "scales": [0],
            "gridder": "standard", "weighting": "briggs", "robust": 0.5, "gain": 0.1,
            "imsize": [320, 320], "cell": ["0.1arcsec"], "smallscalebias": 0.6, "niter": 50000,
            "interactive": False, "nsigma": 5.0, "cycleniter": -1, "cyclefactor": 1.0,
            "uvtaper": [], "savemodel": "none", "mask": "", "usemask": "auto-multithresh",
            "sidelobethreshold": 2.5, "noisethreshold": 5.0, "lownoisethreshold": 1.5,
            "smoothfactor": 1.0, "growiterations": 75, "negativethreshold": 0.0,
            "minbeamfrac": 0.3, "dogrowprune": True, "minpercentchange": 1.0, "fastnoise": False,
            "pbmask": 0.1, "pblimit": 0.1, "nterms": 1, "reffreq": "", "uvrange": "",
            "threshold": "0.0Jy", "parallel": False, "phasecenter": "", "startmodel": "",
            "datacolumn": "corrected", "spw": ["0,1"], "wprojplanes": 1, "verbose": True,
        },
        ["scales", "smallscalebias", "niter"],
    ),
    # VLASS single epoch continuum, as in CASA's stakeholder tests (J1302)
    "VLASS": (
        {
            "field": "", "spw": "", "uvrange": "<12km", "intent": "OBSERVE_TARGET#UNSPECIFIED",
            "datacolumn": "corrected", "imsize": 5250, "cell": "0.6arcsec", "reffreq": "3.0GHz",
            "deconvolver": "mtmfs", "gridder": "awproject", "uvtaper": [""], "restoringbeam": [],
            "wprojplanes": 32, "mosweight": False, "conjbeams": True, "usepointing": True,
            "rotatepastep": 5.0, "pblimit": 0.02, "scales": [0], "weighting": "briggs",
            "robust": 1.0, "nsigma": 2.0, "cycleniter": 5000, "cyclefactor": 3,
            "smallscalebias": 0.4, "pointingoffsetsigdev": [300, 30], "wbawp": True,
        },
        ["scales", "smallscalebias", "cycleniter", "cyclefactor"],
    ),
    "uGMRT, CAPTURE with Taylor terms": (
        CAPTURE | {"deconvolver": "mtmfs", "nterms": 2},
        ["scales", "smallscalebias", "niter", "cyclefactor"],
    ),
    # the guide, not interactive
    "VLA self-calibration, Taylor terms": (
        VLA_SELFCAL | {"deconvolver": "mtmfs", "nterms": 2, "interactive": False},
        ["niter"],
    ),
    # the same guide without Taylor terms
    "VLA self-calibration, one term": (
        VLA_SELFCAL | {"deconvolver": "hogbom", "interactive": False},
        ["deconvolver", "niter"],
    ),
}  # fmt: skip
#: What is refused: parameters, and what the error says of the feature and the way out.
REFUSED = {
    "VLA self-calibration": (
        VLA_SELFCAL | {"deconvolver": "mtmfs", "nterms": 2, "interactive": True},
        "interactive=True is not supported yet: use interactive=False",
    ),
    # IDIA's pipeline, https://github.com/mb010/IRISprocessMeerKAT, selfcal_part1.py
    "MeerKAT, processMeerKAT": (
        {
            "selectdata": False, "datacolumn": "corrected", "imsize": [6144, 6144],
            "cell": "1.5arcsec", "stokes": "IQUV", "gridder": "wproject", "wprojplanes": 512,
            "deconvolver": "multiscale", "restoration": True, "weighting": "briggs",
            "robust": -0.5, "niter": 10000, "scales": [0, 5, 10, 15], "threshold": 0.5e-3,
            "savemodel": "none", "pblimit": -1, "mask": "", "parallel": True,
        },
        "stokes='IQUV' is not supported yet: use one of 'I', 'pseudoI', .* or tclean",
    ),
    # https://casaguides.nrao.edu/index.php/3C286_Band6Pol_Imaging_for_CASA_5.1
    "3C 286, polarisation": (
        {
            "cell": ["0.1arcsec"], "imsize": [250, 250], "stokes": "IQUV",
            "deconvolver": "clarkstokes", "interactive": True, "weighting": "briggs",
            "robust": 0.5, "niter": 1000, "pbcor": True, "savemodel": "modelcolumn",
        },
        "stokes='IQUV' is not supported yet",
    ),
    "3C 391, interactive": (
        MOSAIC_3C391 | {"interactive": True, "savemodel": "modelcolumn"},
        "interactive=True is not supported yet: use interactive=False",
    ),
    # https://casaguides.nrao.edu/index.php/First_Look_at_Self_Calibration
    "TW Hya, self-calibration": (
        TWHYA | {
            "field": "5", "nterms": 1, "weighting": "natural", "threshold": "0mJy",
            "niter": 5000, "interactive": True, "savemodel": "modelcolumn",
        },
        "interactive=True is not supported yet",
    ),
    # https://casaguides.nrao.edu/index.php/VLA_high_frequency_Spectral_Line_tutorial_-_IRC+10216
    "IRC+10216": (
        {
            "spw": "0:7~58", "imsize": 300, "cell": ["0.4arcsec"], "specmode": "cube",
            "outframe": "LSRK", "restfreq": "36.39232GHz", "perchanweightdensity": True,
            "pblimit": -0.0001, "weighting": "briggs", "robust": 0, "niter": 100000,
            "threshold": "3.0mJy", "interactive": True, "savemodel": "modelcolumn",
        },
        "interactive=True is not supported yet",
    ),
    # https://casaguides.nrao.edu/index.php/VLA_CASA_Imaging, its outlier field
    "G55.7+3.4, outlier": (
        {
            "outlierfile": "outliers.txt", "imsize": 640, "cell": "8arcsec", "niter": 1000,
            "deconvolver": "multiscale", "scales": [0, 6, 10, 30, 60], "smallscalebias": 0.9,
            "pblimit": -0.01, "weighting": "briggs", "robust": 0, "stokes": "I",
            "threshold": "0.15mJy", "interactive": False, "savemodel": "modelcolumn",
        },
        "outlierfile='outliers.txt' is not supported yet: use outlierfile=''",
    ),
}  # fmt: skip

#: What an observation decides, and the simulated one decides otherwise.
OF_THE_DATA = (
    "imsize cell field spw antenna scan intent phasecenter nchan start width restfreq mask"
    " threshold scales"
).split()


LINE = {"spw": "0", "nchan": 2, "start": "-100km/s", "width": "-70km/s", "restfreq": "230GHz"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A current folder with what looks like a MeasurementSet and a mask."""
    for name in ("a.ms", "3c391.mask"):
        (tmp_path / name).mkdir()
    (tmp_path / "a.ms" / "table.dat").touch()
    (tmp_path / "outliers.txt").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", RUNNING)
def test_accepted(folder, name):
    values, idle = RUNNING[name]
    call = values | {"vis": "a.ms", "imagename": "out"}
    checked = parameters.validate(call)
    changed = {key for key in call if checked[key] != call[key]}
    # floats for whole numbers, nothing else
    assert all(checked[key] == pytest.approx(call[key]) for key in changed)
    assert effect.ineffective(checked) == idle


@pytest.mark.parametrize("name", REFUSED)
def test_refused(folder, name):
    values, text = REFUSED[name]
    before = sorted(folder.rglob("*"))
    with pytest.raises(ValueError, match=text):
        parameters.validate(values | {"vis": "a.ms", "imagename": "out"})
    assert sorted(folder.rglob("*")) == before


#: Recipes that are run, on what data, and their values that differ for those data.
RUN = {
    "TW Hya, continuum": ("small_ms", {}),
    "TW Hya, N2H+": ("line_ms", LINE),
    "3C 391": ("small_ms", {"mask": "circle[[40pix,40pix],15pix]"}),
    "uGMRT, CAPTURE": ("small_ms", {}),
    "VLBI pipeline": ("small_ms", {}),
}
#: Recipes of two calls, the second of which goes on with the products of the first.
RUN_IN_TURN = {
    "DSHARP": (
        "small_ms",
        ["DSHARP", "DSHARP, to save the model"],
        [{"mask": "ellipse[[40pix,40pix],[2arcsec,1arcsec],86deg]"}, {}],
    ),
    "ALMA pipeline": ("line_ms", ["ALMA pipeline, iter0", "ALMA pipeline, iter1"], [LINE, LINE]),
}


@pytest.mark.casa
@pytest.mark.parametrize("name", RUN)
def test_runs(request, tmp_path, name):
    """As in the recipe, but for what its data decide."""
    fixture, changes = RUN[name]
    run(request.getfixturevalue(fixture).path, tmp_path, RUNNING[name][0], changes)


@pytest.mark.casa
@pytest.mark.parametrize("name", RUN_IN_TURN)
def test_runs_in_turn(request, tmp_path, name):
    fixture, names, changes = RUN_IN_TURN[name]
    path = request.getfixturevalue(fixture).path
    for recipe, change in zip(names, changes, strict=True):
        run(path, tmp_path, RUNNING[recipe][0], change)


def run(path, folder, values, changes):
    """Run a recipe on a copy of an observation, quickly; look for what it makes."""
    vis = folder / "a.ms"
    if not vis.exists():
        shutil.copytree(path, vis)
    values = {n: v for n, v in values.items() if n not in OF_THE_DATA} | changes
    values |= {"vis": str(vis), "imagename": str(folder / "out"), "imsize": 80, "cell": "0.2arcsec"}
    result = ddpmclean(**values | {"nsamples": 2, "nsteps": 2, "nmajor": 1, "device": "cpu"})
    assert result["ddpm"]["imagename"] == str(folder / "out")
    assert (folder / "out.psf").is_dir()
    if values["niter"] != 0:
        assert (folder / "out.image").is_dir()
        assert (folder / "out.cat.ecsv").is_file()
