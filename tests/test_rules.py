"""What the rules of ddpmclean's parameters refuse: clear errors, and nothing is written."""

import os

import pytest
from call import valid

from casa_ddpm.tasks import parameters
from casa_ddpm.tasks.rules import numbers


def test_counts_are_parameters():
    assert set(numbers.AT_LEAST) <= set(parameters.task().parameters)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        # inputs
        ({"vis": ""}, "exactly one of vis and dirtyimage must be given, got neither"),
        ({"vis": []}, "exactly one of vis and dirtyimage must be given, got neither"),
        ({"dirtyimage": "dirty.fits"}, "exactly one of vis and dirtyimage .* vis='a.ms' and"),
        ({"psfimage": "psf.fits"}, "psfimage must be given beside dirtyimage only, got psfimage="),
        ({"pbimage": "psf.fits"}, "pbimage must be given beside dirtyimage only"),
        ({"vis": "none.ms"}, "vis must name an existing MeasurementSet, got 'none.ms': not found"),
        ({"vis": ["a.ms", "none.ms"]}, "got 'none.ms': not found"),
        (
            {"vis": ["a.ms", "a.ms"]},
            "vis must name every MeasurementSet once, got .*'a.ms', 'a.ms'",
        ),
        ({"vis": "file"}, "vis must name a MeasurementSet, got 'file': not a CASA table"),
        ({"vis": "t"}, "vis must name a MeasurementSet, got 't': not a CASA table of that type"),
        ({"vis": "", "dirtyimage": "no.fits"}, "dirtyimage must name an existing .* 'no.fits'"),
        ({"vis": "", "dirtyimage": "dirty.fits", "psfimage": "no"}, "psfimage must name an exist"),
        # output
        ({"imagename": ""}, "imagename must be a name, not empty nor only a folder, got ''"),
        (
            {"imagename": "out/"},
            "imagename must be a name, not empty nor only a folder, got 'out/'",
        ),
        ({"imagename": ".."}, "imagename must be a name, not empty nor only a folder, got '..'"),
        ({"imagename": "x" * 300}, "imagename must be a name of at most 230 bytes that a file can"),
        ({"imagename": "x\0y"}, "imagename must be a name of at most 230 bytes that a file can"),
        ({"imagename": ["a"]}, r"imagename must be one string, got \['a'\]"),
        ({"imagename": "no/such/out"}, "imagename must lie in a folder .* there is no folder"),
        ({"imagename": "file/out"}, "imagename must lie in a folder .* is not a folder"),
        # what does not work yet
        (
            {"deconvolver": "mtmfs", "dirtyimage": "dirty.fits", "vis": ""},
            "deconvolver='mtmfs' with dirtyimage is not supported yet: use vis",
        ),
        (
            {"deconvolver": "mtmfs", "gridder": "mosaic", "psfphasecenter": "J2000 1h 2d"},
            "deconvolver='mtmfs' with psfphasecenter='J2000 1h 2d' is not supported yet",
        ),
        ({"deconvolver": "mtmfs", "nterms": 6}, "nterms must be 1 to 5 with .*'mtmfs', got 6"),
        ({"deconvolver": "mtmfs", "nterms": 0}, "nterms must be 1 to 5 with .*'mtmfs', got 0"),
        (
            {"deconvolver": "mtmfs", "specmode": "cube"},
            "deconvolver='mtmfs' must have specmode='mfs' or 'mvc', .* got 'cube'",
        ),
        ({"specmode": "mvc"}, "specmode='mvc' must have deconvolver='mtmfs' and nterms from 2 on"),
        (
            {"specmode": "mvc", "deconvolver": "mtmfs", "nterms": 1},
            "specmode='mvc' must have .* got deconvolver='mtmfs' and nterms=1",
        ),
        ({"stokes": "IQUV"}, "stokes='IQUV' is not supported yet: use one of 'I', 'pseudoI',"),
        ({"stokes": "V"}, "stokes='V' is not supported yet: .* or tclean"),
        ({"gridder": "imagemosaic"}, "gridder='imagemosaic' is not supported .* gridder='mosaic'"),
        ({"interactive": True}, "interactive=True is not supported yet: use interactive=False"),
        ({"outlierfile": "o.txt"}, "outlierfile='o.txt' is not supported yet"),
        (
            {"startmodel": "m.model", "dirtyimage": "dirty.fits", "vis": ""},
            "startmodel must name an existing model .* 'm.model': not found",
        ),
        (
            {"startmodel": ["dirty.fits", "dirty.fits"], "dirtyimage": "dirty.fits", "vis": ""},
            "startmodel must be one image beside dirtyimage, got",
        ),
        # numbers
        ({"nsamples": 0}, "nsamples must be at least 1, got 0"),
        ({"nsteps": 1}, "nsteps must be at least 2, got 1"),
        ({"batchsize": -1}, "batchsize must be at least 0, got -1"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"nmajor": 0}, "nmajor must be at least 1, or -1 for 10, got 0"),
        ({"nmajor": -2}, "nmajor must be at least -1, got -2"),
        ({"niter": -2}, "niter must be at least -1, got -2"),
        ({"minprob": 0}, "minprob must be between 0 and 1, got 0.0"),
        ({"minprob": 1.0}, "minprob must be between 0 and 1, got 1.0"),
        ({"nsigma": -3}, "nsigma must not be negative, got -3.0"),
        ({"threshold": -1.0}, "threshold must be a number in Jy/beam .* got -1.0"),
        ({"thermalnoise": 0}, "thermalnoise must be a number in Jy/beam .*, above 0, or '', got 0"),
        ({"thermalnoise": "-1mJy"}, "thermalnoise must be a number in Jy/beam .* got '-1mJy'"),
        ({"thermalnoise": "1mK"}, "thermalnoise must be a number in Jy/beam .* got '1mK'"),
        ({"threshold": "3mK"}, "threshold must be a number in Jy/beam .* got '3mK'"),
        ({"imsize": 0}, "imsize must be one or two positive numbers of pixels, got 0"),
        ({"imsize": [64, -1]}, r"imsize must be one or two positive .* got \[64, -1\]"),
        ({"imsize": [64, 64, 1]}, "imsize must be one or two positive"),
        ({"imsize": [64, 6]}, r"imsize must be at least 10 pixels .* facets=1 .* got \[64, 6\]"),
        ({"imsize": 64, "facets": 9}, "imsize must be at least 10 .* facets=9 on a side, got 64"),
        ({"psfcutoff": 0.0}, "psfcutoff must be between 0.01 and 0.99, got 0.0"),
        ({"psfcutoff": 1.5}, "psfcutoff must be between 0.01 and 0.99, got 1.5"),
        ({"pblimit": 1}, "pblimit must be below 1, got 1.0"),
        ({"pbmask": 1.0}, "pbmask must be at least 0 and below 1, got 1.0"),
        ({"pbmask": -0.2}, "pbmask must be at least 0 and below 1, got -0.2"),
        ({"seed": 2**63}, r"seed must be below 2\*\*63, got 9223372036854775808"),
        ({"nchan": 0}, "nchan must be at least 1, or -1 for all channels of the data, got 0"),
        ({"wprojplanes": 0}, "wprojplanes must be at least 1, or -1 .* got 0"),
        ({"wprojplanes": 10**7}, "wprojplanes must be at most 4096, got 10000000"),
        ({"npixels": -3}, "npixels must be at least 0, got -3"),
        ({"npixels": 10**12}, "npixels must be at most 2147483647, got 1000000000000"),
        ({"growiterations": -1}, "growiterations must be at least 0, got -1"),
        ({"usemask": "auto-multithresh", "smoothfactor": 1e30}, "smoothfactor must be .* 1e\\+30"),
        ({"usemask": "auto-multithresh", "smoothfactor": -1.0}, "smoothfactor must be .* got -1.0"),
        ({"imsize": 10**6}, "imsize must make planes that fit into memory, got 1000000"),
        (
            {"nchan": 10**9},
            r"imsize and nchan must make images .* disk, got \[100\] and 1000000000",
        ),
        ({"noise": "rubbish", "weighting": "briggsabs"}, "noise must be a flux density above 0 .*"),
        ({"noise": 1.0, "weighting": "briggsabs"}, "noise must be a flux density .* got 1.0"),
        ({"noise": "-1Jy", "weighting": "briggsabs"}, "noise must be a flux .* got '-1Jy'"),
        ({"threshold": "3xJy"}, "threshold must be a number in Jy/beam .* got '3xJy'"),
        ({"cell": ""}, "cell must be given with vis, such as cell='0.1arcsec', got ''"),
        ({"cell": []}, r"cell must be given with vis, .* got \[\]"),
        ({"cell": "-0.1arcsec"}, "cell must be one or two positive angles .* got '-0.1arcsec'"),
        ({"cell": 0}, "cell must be one or two positive angles .* got 0"),
        ({"cell": "5km"}, "cell must be one or two positive angles .* got '5km'"),
        ({"cell": "small"}, "cell must be one or two positive angles .* got 'small'"),
        ({"cell": "5"}, "cell must be one or two positive angles .* got '5'"),
        ({"cell": ["1arcsec", "0arcsec"]}, "cell must be one or two positive angles"),
        # choices
        ({"normtype": "flat"}, "normtype must be one of 'flatnoise', 'flatsky', .* got 'flat'"),
        (
            {"weighting": "briggsbwtaper", "specmode": "cube", "npixels": 3},
            "npixels must be 0 with weighting='briggsbwtaper', got 3",
        ),
        ({"weighting": "briggsbwtaper"}, "weighting must not be 'briggsbwtaper' with specmode='mf"),
        ({"outframe": "MOON"}, "outframe must be '' or one of LSRK, .* got 'MOON'"),
        ({"veltype": "fast"}, "veltype must be one of 'radio', 'optical', .* got 'fast'"),
        ({"datacolumn": "model"}, "datacolumn must be one of 'corrected', .* got 'model'"),
        # files
        ({"mask": "no.mask"}, "mask must name an existing image or .* got 'no.mask': not found"),
        ({"mask": ["t", "no.mask"]}, "mask must name an existing .* got 'no.mask': not found"),
        ({"startmodel": "no.model"}, "startmodel must name an existing model .* 'no.model': not"),
        ({"startmodel": {}}, "startmodel must name an existing model image, got {}: not found"),
        ({"vptable": "no.vp"}, "vptable must name an existing table .* got 'no.vp': not found"),
        ({"device": "gpu"}, "device must be 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps', got 'gpu'"),
        (
            {"mask": "out.crtf"},
            "mask must not be a file that the products of imagename='out' replace, got 'out.crtf'",
        ),
        (
            {"vis": "", "dirtyimage": "dirty.fits", "mask": "circle[[8pix,8pix],5pix]"},
            "mask must be '' beside dirtyimage, got 'circle.*: the pixel mask of dirtyimage",
        ),
        (
            {"vis": "", "dirtyimage": "dirty.fits", "usemask": "pb"},
            "usemask must be 'user' beside dirtyimage, got 'pb'",
        ),
        (
            {"vis": "", "dirtyimage": "dirty.fits", "restoringbeam": "2arcsec"},
            "restoringbeam must be '' beside dirtyimage, got '2arcsec': smooth the .image",
        ),
        (
            {"gridder": "ftmosaic", "normtype": "pbsquare"},
            "normtype='pbsquare' with gridder='ftmosaic' is not supported yet",
        ),
        (
            {"gridder": "mosaic", "normtype": "flatsky"},
            "normtype='flatsky' with gridder='mosaic' is not supported yet: use normtype='flatnoi",
        ),
    ],
)
def test_refused(folder, values, text):
    (folder / "out.crtf").touch()
    before = sorted(folder.rglob("*"))
    with pytest.raises(ValueError, match=text):
        parameters.validate(valid(**values))
    assert sorted(folder.rglob("*")) == before


def test_visibilities_not_writable(folder, monkeypatch):
    """Known before the imaging, and only where a model is to be written."""
    monkeypatch.setattr(os, "access", lambda path, mode: "a.ms" not in str(path))
    parameters.validate(valid())
    for savemodel in ("modelcolumn", "virtual"):
        with pytest.raises(ValueError, match=f"savemodel='{savemodel}' must have a .* vis='a.ms'"):
            parameters.validate(valid(savemodel=savemodel))


def test_folder_not_writable(folder, monkeypatch):
    # root may write anywhere, so the answer is simulated
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ValueError, match="imagename must lie in a folder .* is not writable"):
        parameters.validate(valid())
