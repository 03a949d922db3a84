"""The parameters of ddpmclean: tclean's where tclean has them, and clear errors for bad values."""

import importlib.util
import inspect
import os
from pathlib import Path

import numpy as np
import pytest
from call import valid

from casa_ddpm.tasks import parameters, schema

#: Where ddpmclean differs from tclean on purpose (DESIGN, section 2).
OTHER_DEFAULT = {"niter": -1, "nmajor": 2, "deconvolver": "ddpm"}
OTHER_ALLOWED = {"deconvolver"}
OWN = (
    "dirtyimage psfimage pbimage network nsamples aggregate conditioning sampler nsteps seed device"
    " precision batchsize minprob savesamples thermalnoise"
).split()


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
        ("thermalnoise", "20uJy", "20uJy"),
        ("thermalnoise", 2e-5, 2e-5),
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
    (folder / "m.im").touch()
    checked = parameters.validate(valid(imagename="~/x", mask=["~/m.im"], network="default"))
    assert checked["imagename"] == str(folder / "x") and checked["network"] == "default"
    assert checked["mask"] == [str(folder / "m.im")]


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
        ({"minprob": float("nan")}, "minprob must be a finite number, got nan"),
        ({"robust": 3}, "robust must be between -2 and 2, got 3.0"),
        ({"sampler": "euler"}, "sampler must be one of 'dpm\\+\\+', 'heun', .* got 'euler'"),
        ({"aggregate": "mode"}, "aggregate must be one of 'median', 'mean', 'medoid', got 'mode'"),
        ({"conditioning": "psf"}, "conditioning must be one of 'auto', 'dirty', 'uv', got 'psf'"),
        ({"precision": "fp8"}, "precision must be one of 'auto', 'fp32', 'bf16', got 'fp8'"),
        ({"weighting": "robust"}, "weighting must be one of 'natural', .* got 'robust'"),
        ({"deconvolver": "clean"}, "deconvolver must be one of 'ddpm', 'hogbom', .* got 'clean'"),
    ],
)
def test_not_allowed(folder, values, text):
    with pytest.raises(ValueError, match=text):
        parameters.validate(valid(**values))
