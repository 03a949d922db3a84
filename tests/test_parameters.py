"""The parameters of ddpmclean: tclean's where tclean has them, and clear errors for bad values."""

import importlib.util
import inspect
import os
from pathlib import Path

import numpy as np
import pytest

from casa_ddpm.tasks import parameters, rules, schema

#: Where ddpmclean differs from tclean on purpose (DESIGN, section 2).
OTHER_DEFAULT = {"niter": -1, "nmajor": 2, "deconvolver": "ddpm"}
OTHER_ALLOWED = {"deconvolver"}
OWN = (
    "dirtyimage psfimage pbimage network nsamples aggregate conditioning sampler nsteps seed device"
    " precision batchsize minprob savesamples"
).split()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A current folder with what looks like a MeasurementSet, images and another table."""
    for name, kind in (("a.ms", "Measurement Set"), ("b.ms", "Measurement Set"), ("t", "Image")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "table.dat").touch()
        (tmp_path / name / "table.info").write_text(f"Type = {kind}\nSubType =\n")
    for name in ("dirty.fits", "psf.fits", "file"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def valid(**changes):
    """The least call, changed."""
    return {"vis": "a.ms", "imagename": "out", "cell": "0.1arcsec"} | changes


# --- against tclean ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tclean():
    """tclean's parameters, from the XML file that casatasks ships; CASA is not imported."""
    spec = importlib.util.find_spec("casatasks")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("casatasks is not installed")
    path = Path(spec.submodule_search_locations[0]) / "__xml__" / "tclean.xml"
    return schema.read(path).parameters


def test_names_and_order_are_tcleans(tclean):
    assert list(parameters.task().parameters) == [*tclean, *OWN]


def test_types_are_tcleans(tclean):
    ours = parameters.task().parameters
    assert {n: ours[n].types for n in tclean} == {n: p.types for n, p in tclean.items()}


def test_defaults_are_tcleans(tclean):
    expected = {name: p.default for name, p in tclean.items()} | OTHER_DEFAULT
    ours = {name: parameters.task().parameters[name].default for name in tclean}
    assert ours == expected
    assert {n: type(v) for n, v in ours.items()} == {n: type(v) for n, v in expected.items()}


def test_allowed_values_are_tcleans(tclean):
    ours = parameters.task().parameters
    for name, theirs in tclean.items():
        assert ours[name].bounds == theirs.bounds, name
        if name in OTHER_ALLOWED:
            assert set(theirs.allowed) < set(ours[name].allowed), name
        else:
            assert ours[name].allowed == theirs.allowed, name


def test_subparameters_are_tcleans(tclean):
    ours = parameters.task().parameters
    for name, theirs in tclean.items():
        # tclean.xml names some conditions twice
        conditions = theirs.subparameter_of
        expected = [c for n, c in enumerate(conditions) if c not in conditions[:n]]
        assert list(ours[name].subparameter_of) == expected, name


@pytest.mark.casa
def test_signature_is_tcleans(tmp_path, monkeypatch):
    if importlib.util.find_spec("casatasks") is None:
        pytest.skip("casatasks is not installed")
    monkeypatch.chdir(tmp_path)
    from casa_ddpm import measures

    measures.configure()
    import casatasks

    theirs = inspect.signature(type(casatasks.tclean).__call__).parameters
    expected = {n: p.default for n, p in theirs.items() if n != "self"} | OTHER_DEFAULT
    assert list(parameters.defaults().items())[: len(expected)] == list(expected.items())


# --- the XML itself ------------------------------------------------------------------------------


def test_every_parameter_is_described():
    for parameter in parameters.task().parameters.values():
        assert 5 < len(parameter.summary) <= 72, parameter.name


def test_conditions_name_parameters():
    known = parameters.task().parameters
    for parameter in known.values():
        for condition in parameter.subparameter_of:
            assert condition.parent in known
            allowed = known[condition.parent].allowed
            assert not allowed or condition.value in allowed


def test_lists_of_rules_name_parameters():
    known = set(parameters.task().parameters)
    assert set(rules.AT_LEAST) <= known
    assert known >= rules.CLEAN_ONLY
    assert known >= rules.VISIBILITIES_ONLY
    assert not rules.CLEAN_ONLY & set(OWN)


def test_defaults_are_the_callers_own():
    parameters.defaults()["imsize"].append(3)
    assert parameters.defaults()["imsize"] == [100]


def test_defaults_fit_their_types():
    for name, value in parameters.defaults().items():
        parameter = parameters.task().parameters[name]
        assert parameters._coerce(value, parameter) == value, name


# --- what is accepted ----------------------------------------------------------------------------


def test_validate_fills_in_defaults(folder):
    values = parameters.validate(valid(nsamples=5))
    assert list(values) == list(parameters.task().parameters)
    assert values == parameters.defaults() | valid(nsamples=5)


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("cell", 1, 1),
        ("cell", 0.5, 0.5),
        ("cell", ["1arcsec", "1arcsec"], ["1arcsec", "1arcsec"]),
        ("cell", ("20mas",), ["20mas"]),
        ("cell", '0.5"', '0.5"'),
        ("cell", np.array([0.1, 0.1]), [0.1, 0.1]),
        ("imsize", 512, 512),
        ("imsize", np.int64(512), 512),
        ("imsize", (512, 500), [512, 500]),
        ("threshold", "0.1mJy", "0.1mJy"),
        ("threshold", 1e-4, 1e-4),
        ("threshold", "", ""),
        ("robust", -2, -2.0),
        ("uvtaper", "5klambda", ["5klambda"]),
        ("scales", [0, 5], [0, 5]),
        ("pointingoffsetsigdev", [1, 2.5], [1.0, 2.5]),
        ("gain", np.float32(0.25), 0.25),
        ("pbcor", np.True_, True),
        ("vis", ["a.ms", "b.ms"], ["a.ms", "b.ms"]),
        ("field", np.str_("0"), "0"),
        ("phasecenter", 3, 3),
        ("restfreq", "230GHz", "230GHz"),
        ("niter", 10000, 10000),
        ("nmajor", -1, -1),
        ("specmode", "cont", "cont"),
        ("deconvolver", "multiscale", "multiscale"),
        ("device", "cuda:1", "cuda:1"),
        ("noise", "1.0Jy", "1.0Jy"),
        ("outframe", "bary", "bary"),
        ("wprojplanes", -1, -1),
        ("imagename", Path("new") / "out", os.path.join("new", "out")),
        ("stokes", "pseudoI", "pseudoI"),
        ("stokes", "XX", "XX"),
        ("pblimit", -1, -1.0),
        ("mask", ["t", "circle[[8pix,8pix],5pix]"], ["t", "circle[[8pix,8pix],5pix]"]),
        ("startmodel", ["t"], ["t"]),
    ],
)
def test_accepted(folder, name, given, expected):
    value = parameters.validate(valid(**{name: given}))[name]
    assert value == expected
    assert type(value) is type(expected)
    assert not (folder / "new").exists()


def test_home_is_expanded(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    assert parameters.validate(valid(vis="~/a.ms"))["vis"] == str(folder / "a.ms")


def test_dirty_image_needs_no_cell(folder):
    values = parameters.validate(
        {"dirtyimage": "dirty.fits", "psfimage": "psf.fits", "imagename": "out"}
    )
    assert values["cell"] == []


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"nsample": 5}, "ddpmclean has no parameter 'nsample'; did you mean 'nsamples'?"),
        ({"zzzz": 5}, "ddpmclean has no parameter 'zzzz'$"),
        ({"nsamples": "20"}, r"nsamples must be an int, got '20' \(str\)"),
        ({"nsamples": 2.5}, "nsamples must be an int, got 2.5"),
        ({"nsamples": True}, "nsamples must be an int, got True"),
        ({"minprob": "high"}, "minprob must be a number, got 'high'"),
        ({"pbcor": "yes"}, "pbcor must be a bool, got 'yes'"),
        ({"imsize": 12.5}, "imsize must be an int or a list of ints, got 12.5"),
        ({"scales": ["a"]}, "scales must be a list of ints or a list of numbers"),
        ({"vis": 3}, "vis must be a path or a list of paths, got 3"),
        ({"cell": ["1arcsec", 1]}, "cell must be an int or a number or"),
        ({"threshold": None}, "threshold must be a string, number or list, got None"),
        ({"seed": None}, "seed must be an int, got None"),
    ],
)
def test_wrong_type(folder, values, text):
    with pytest.raises(TypeError, match=text):
        parameters.validate(valid(**values))


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
            {"deconvolver": "mtmfs"},
            "deconvolver='mtmfs' is not supported yet: use deconvolver='ddpm'",
        ),
        ({"deconvolver": "mtmfs", "nterms": 3}, "deconvolver='mtmfs' is not supported yet"),
        ({"specmode": "mvc"}, "specmode='mvc' is not supported yet: use specmode='mfs'"),
        ({"stokes": "IQUV"}, "stokes='IQUV' is not supported yet: use one of 'I', 'pseudoI',"),
        ({"stokes": "V"}, "stokes='V' is not supported yet: .* or tclean"),
        ({"gridder": "imagemosaic"}, "gridder='imagemosaic' is not supported .* gridder='mosaic'"),
        ({"interactive": True}, "interactive=True is not supported yet: use interactive=False"),
        ({"outlierfile": "o.txt"}, "outlierfile='o.txt' is not supported yet"),
        (
            {"startmodel": "m.model", "dirtyimage": "dirty.fits", "vis": ""},
            "startmodel must name an existing model .* 'm.model': not found",
        ),
        # numbers
        ({"nsamples": 0}, "nsamples must be at least 1, got 0"),
        ({"nsteps": 1}, "nsteps must be at least 2, got 1"),
        ({"batchsize": -1}, "batchsize must be at least 0, got -1"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"nmajor": 0}, "nmajor must be at least 1, or -1 for no limit, got 0"),
        ({"nmajor": -2}, "nmajor must be at least -1, got -2"),
        ({"niter": -2}, "niter must be at least -1, got -2"),
        ({"minprob": 0}, "minprob must be between 0 and 1, got 0.0"),
        ({"minprob": 1.0}, "minprob must be between 0 and 1, got 1.0"),
        ({"minprob": float("nan")}, "minprob must be a finite number, got nan"),
        ({"nsigma": -3}, "nsigma must not be negative, got -3.0"),
        ({"robust": 3}, "robust must be between -2 and 2, got 3.0"),
        ({"threshold": -1.0}, "threshold must be a number in Jy/beam .* got -1.0"),
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
        ({"sampler": "euler"}, "sampler must be one of 'dpm\\+\\+', 'heun', .* got 'euler'"),
        ({"aggregate": "mode"}, "aggregate must be one of 'median', 'mean', 'medoid', got 'mode'"),
        ({"conditioning": "psf"}, "conditioning must be one of 'auto', 'dirty', 'uv', got 'psf'"),
        ({"precision": "fp8"}, "precision must be one of 'auto', 'fp32', 'bf16', got 'fp8'"),
        ({"weighting": "robust"}, "weighting must be one of 'natural', .* got 'robust'"),
        ({"deconvolver": "clean"}, "deconvolver must be one of 'ddpm', 'hogbom', .* got 'clean'"),
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
    ],
)
def test_refused(folder, values, text):
    before = sorted(folder.rglob("*"))
    with pytest.raises(ValueError, match=text):
        parameters.validate(valid(**values))
    assert sorted(folder.rglob("*")) == before


def test_folder_not_writable(folder, monkeypatch):
    # root may write anywhere, so the answer is simulated
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ValueError, match="imagename must lie in a folder .* is not writable"):
        parameters.validate(valid())


# --- what changes nothing ------------------------------------------------------------------------


def test_ineffective_of_a_recipe(folder):
    recipe = valid(
        niter=10000, gain=0.05, deconvolver="multiscale", scales=[0, 5, 15], cycleniter=500,
        threshold="0.1mJy", weighting="briggs", usemask="auto-multithresh", nsamples=10,
    )  # fmt: skip
    expected = ["deconvolver", "scales", "niter", "gain", "cycleniter"]
    assert parameters.ineffective(recipe) == expected
    assert parameters.ineffective(parameters.validate(recipe)) == expected


def test_ineffective_beside_a_dirty_image(folder):
    values = {"dirtyimage": "dirty.fits", "imagename": "out", "imsize": 512, "robust": 0.0}
    assert parameters.ineffective(values) == ["imsize", "robust"]


def test_defaults_are_not_ineffective():
    assert parameters.ineffective(parameters.defaults()) == []


def test_niter_0_has_an_effect():
    assert parameters.ineffective({"niter": 0, "gain": 0.2}) == ["gain"]
