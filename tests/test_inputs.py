"""The inputs of a session: filled in, judged, and shown as tclean's inp shows tclean's."""

import importlib
import importlib.util
import re

import numpy as np
import pytest

from casa_ddpm import measures
from casa_ddpm.tasks import inputs, parameters

#: The parameters that have another default here; recipes set them.
RECIPE = {"niter": 100, "nmajor": -1, "deconvolver": "hogbom"}
#: What ddpmclean finds wrong where tclean runs into an error later, or is not supported here.
STRICTER = {"imagename", "cell", "specmode", "stokes", "gridder", "deconvolver", "weighting"}

VALUE = re.compile(r"\x1b\[(34|91)m(.*)\x1b\[0m$")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A current folder with what looks like a MeasurementSet."""
    (tmp_path / "a.ms").mkdir()
    (tmp_path / "a.ms" / "table.dat").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def listed(text):
    """Name to (the line left of the description, the value's colour), in the order shown."""
    found = {}
    for line in text.splitlines()[1:]:
        if not line.startswith(" " * 50):
            left = line.split(" #")[0]
            colour = VALUE.search(left)
            name = re.search(r"[a-z]\w+", re.sub(r"\x1b\[\d+m", "", left))[0]
            found[name] = (VALUE.sub(r"\2", left), colour[1] if colour else "")
    return found


def ours(given, width=250):
    return listed(inputs.screen(given, width))


def value(given, name):
    return inputs.fill(given)[name]


# --- against tclean's screen ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def tclean():
    """tclean as CASA's shell has it."""
    if not measures.installed("casashell"):
        pytest.skip("casashell is not installed")
    measures.configure()
    return importlib.import_module("casashell.private.tclean").tclean


@pytest.fixture
def theirs(tclean, monkeypatch, capsys):
    """Function: what tclean's inp shows for some globals, in a terminal of some width."""

    def show(given, width=250):
        monkeypatch.setattr(tclean, "_tclean__root_frame_", dict(given))
        monkeypatch.setenv("COLUMNS", str(width))
        tclean.inp()
        return listed(capsys.readouterr().out)

    return show


SETTINGS = [
    {},
    {"vis": "a.ms", "imagename": "x", "cell": "0.1arcsec", "imsize": [64, 64]},
    {"vis": "none.ms"},
    *({"specmode": s} for s in ("mfs", "cont", "cube", "cubedata", "cubesource", "mvc")),
    *({"gridder": g} for g in ("standard", "widefield", "wproject", "mosaic", "mosaicft")),
    *({"gridder": g} for g in ("ftmosaic", "imagemosaic", "awproject", "awphpg", "awp2")),
    *({"weighting": w} for w in ("uniform", "briggs", "briggsabs", "briggsbwtaper", "radial")),
    *({"usemask": m} for m in ("user", "pb", "auto-multithresh")),
    *({"deconvolver": d} for d in ("clark", "multiscale", "mtmfs", "asp")),
    {"usemask": "user", "noisethreshold": 3.0, "pbmask": 0.2},  # hidden ones may be set
    {"usemask": "pb", "pbmask": 0.2},  # the default of the condition
    {"weighting": "briggs", "robust": -2, "uvtaper": "5klambda", "gridder": "mosaic"},
    {"restart": False, "savemodel": "modelcolumn", "calcpsf": False, "calcres": False},
    {"restoration": False},
    {"selectdata": False, "spw": "0:3~9"},
    {"niter": 0},
    {"niter": 0.5},
    {"gridder": "nonsense", "weighting": "nonsense", "pbcor": "yes", "imsize": "many"},
    {"weighting": "briggs", "robust": 3.0},
    {"imagename": "a_name_that_is_longer_than_the_column", "scales": [0, 5, 15]},
]


@pytest.mark.casa
@pytest.mark.parametrize("given", SETTINGS, ids=str)
def test_shows_what_tclean_shows(theirs, given):
    expected = theirs(RECIPE | given)
    shown = {n: v for n, v in ours(RECIPE | given).items() if n in _tcleans()}
    assert list(shown) == list(expected)
    assert {n: left for n, (left, _) in shown.items()} == {n: v[0] for n, v in expected.items()}
    for name, (_, colour) in shown.items():
        stricter = name in STRICTER and colour == "91"
        other_default = name in RECIPE and {colour, expected[name][1]} == {"", "34"}
        assert colour == expected[name][1] or stricter or other_default, name


@pytest.mark.casa
def test_differs_by_default_in_niter_only(theirs):
    shown, expected = ours({}), theirs({})
    other = {n for n, v in expected.items() if shown[n] != v}
    assert other == {"niter", "nmajor", "deconvolver", "imagename", "cell"}
    more = [n for n in shown if n not in expected and n in _tcleans()]
    assert more == [p.name for p in _children("niter")]


@pytest.mark.casa
@pytest.mark.parametrize("width", [80, 100])
def test_descriptions_keep_to_the_columns(tclean, monkeypatch, capsys, width):
    monkeypatch.setattr(tclean, "_tclean__root_frame_", {})
    monkeypatch.setenv("COLUMNS", str(width))
    tclean.inp()
    for text in (capsys.readouterr().out, inputs.screen({}, width)):
        lines = [re.sub(r"\x1b\[\d+m", "", line) for line in text.splitlines()[1:]]
        assert {line.index("#") for line in lines} == {50}
        assert width - 12 < max(map(len, lines)) <= width


def _tcleans():
    """The names that tclean has too: they come first, up to its last."""
    names = list(parameters.task().parameters)
    return names[: names.index("parallel") + 1]


def _children(parent):
    known = parameters.task().parameters.values()
    return [p for p in known if any(c.parent == parent for c in p.subparameter_of)]


# --- our own parameters --------------------------------------------------------------------------


def test_psf_is_shown_with_a_dirty_image():
    assert not {"psfimage", "pbimage"} & set(ours({}))
    assert {"psfimage", "pbimage"} <= set(ours({"dirtyimage": "dirty.fits"}))


def test_first_line_names_the_task():
    first = inputs.screen({}, 80).splitlines()[0]
    assert first == f"# ddpmclean -- {parameters.task().summary}"


@pytest.mark.parametrize(
    ("given", "red"),
    [
        ({}, {"vis", "dirtyimage", "imagename", "cell"}),
        ({"vis": "a.ms", "imagename": "x", "cell": 1}, set()),
        ({"vis": "none.ms", "imagename": "x", "cell": 1}, {"vis"}),
        ({"vis": "a.ms", "imagename": "x", "cell": "small"}, {"cell"}),
        ({"vis": "a.ms", "imagename": "x", "cell": 1, "nsamples": 0}, {"nsamples"}),
        ({"vis": "a.ms", "imagename": "x", "cell": 1, "nsamples": "20"}, {"nsamples"}),
        ({"vis": "a.ms", "imagename": "x", "cell": 1, "sampler": "euler"}, {"sampler"}),
        ({"vis": "a.ms", "imagename": "x", "cell": 1, "seed": print}, {"seed"}),
        ({"dirtyimage": "mask.fits", "imagename": "x"}, {"dirtyimage"}),
        ({"vis": "a.ms", "imagename": ["x"], "cell": 1}, {"imagename"}),
        ({"vis": "a.ms", "imagename": "x", "cell": 1, "imsize": []}, {"imsize"}),
        ({"vis": "a.ms", "imagename": "x", "cell": 1, "gridder": "imagemosaic"}, {"gridder"}),
        ({"vis": "a.ms", "imagename": "x", "cell": 1, "imsize": 10**6}, {"imsize"}),
        ({"vis": "a.ms", "imagename": "none/such/mask", "cell": 1}, {"imagename"}),
    ],
    # a set's own order changes from run to run
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value),
)
def test_what_is_wrong_is_red(given, red):
    assert inputs.bad(inputs.fill(given)) == red
    assert {name for name, (_, colour) in ours(given).items() if colour == "91"} == red


def test_what_is_changed_is_blue():
    text = inputs.screen({"nsamples": 5, "seed": 0}, 80)
    assert "nsamples                = \033[34m5" in text
    assert "seed                    = 0 " in text


def test_numpy_values():
    given = {"imsize": np.array([64, 64]), "robust": np.float32(0.5), "restoration": np.False_}
    assert "imsize                  = \033[34m[64, 64]" in inputs.screen(given, 80)
    assert "pbcor" not in ours(given)


# --- values --------------------------------------------------------------------------------------


def test_fill_without_anything():
    assert list(inputs.fill({})) == list(parameters.task().parameters)
    conditional = {"uvtaper": []}  # natural weighting; tclean too has [''] in a Python call
    assert inputs.fill({}) == parameters.defaults() | conditional


@pytest.mark.parametrize(
    ("given", "name", "expected"),
    [
        ({"usemask": "pb"}, "pbmask", 0.2),
        ({"usemask": "user"}, "pbmask", 0.0),
        ({"usemask": "pb", "pbmask": 0.5}, "pbmask", 0.5),
        ({"specmode": "cubedata"}, "perchanweightdensity", False),
        ({"specmode": "cubesource"}, "outframe", "REST"),
        ({"gridder": "awproject"}, "mosweight", False),
        ({"gridder": "mosaic"}, "mosweight", True),
    ],
)
def test_fill_takes_the_default_of_the_condition(given, name, expected):
    assert value(given, name) == expected


def test_fill_leaves_out_other_names():
    assert "get_ipython" not in inputs.fill({"get_ipython": print})


def test_fill_gives_lists_of_the_callers_own():
    value({"restoration": True}, "restoringbeam").append("common")
    assert value({"restoration": True}, "restoringbeam") == []


def test_saved_and_loaded(tmp_path):
    values = inputs.fill({"vis": ["a.ms"], "cell": "0.1'", "nsamples": 3, "mask": "größer"})
    inputs.save(tmp_path / "a.last", values)
    assert inputs.load(tmp_path / "a.last") == values


def test_saved_call_is_the_same_call(tmp_path):
    inputs.save(tmp_path / "a.last", inputs.fill({"vis": "a.ms", "nsamples": 3}))
    last = (tmp_path / "a.last").read_text().splitlines()[-1]
    assert last.startswith("#ddpmclean( vis='a.ms',selectdata=True,")
    assert eval(last[1:], {"ddpmclean": dict})["nsamples"] == 3


def test_what_is_no_value_is_not_saved(tmp_path):
    inputs.save(tmp_path / "a.last", inputs.fill({"seed": print, "nsteps": 4}))
    loaded = inputs.load(tmp_path / "a.last")
    assert "seed" not in loaded
    assert loaded["nsteps"] == 4


def test_load_takes_a_file_of_tclean(tmp_path):
    path = tmp_path / "tclean.last"
    path.write_text("vis = 'a.ms'\nniter = 1000\nother = 3\n#tclean( vis='a.ms',niter=1000 )\n")
    assert inputs.load(path) == {"vis": "a.ms", "niter": 1000}
