"""The selection of realisations, steps and aggregate: what is measured, and its page."""

import argparse
import json

import numpy as np
import pytest
from matplotlib.image import imread

from casa_ddpm import benchmark
from casa_ddpm.benchmark import command, selection, selection_page
from casa_ddpm.benchmark.selection import Setting
from casa_ddpm.options import Options
from casa_ddpm.posterior import Posterior, Sampling
from casa_ddpm.reconstruction import reconstruct

BASE = Setting(2, 3, "median")
OPTIONS = Options(nmajor=1, sampling=Sampling(nsamples=2, nsteps=3, seed=9, device="cpu"))
FIELDS = [("independent", 0), ("independent", 1), ("structure", 0)]


@pytest.fixture(scope="module", autouse=True)
def few():
    """Fewer values than a user's run has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection, "NSAMPLES", (1, 2, 3))
        patch.setattr(selection, "NSTEPS", (2,))
        yield


@pytest.fixture(scope="module")
def measured():
    return selection.measure(FIELDS, OPTIONS, seed=5, npix=48)


def parse(words):
    parser = argparse.ArgumentParser()
    benchmark.add_arguments(parser)
    return parser.parse_args(words.split())


def test_curves_go_through_the_base():
    curves = selection.curves(BASE)
    assert [one.nsamples for one in curves["nsamples"]] == [1, 2, 3]
    assert [one.nsteps for one in curves["nsteps"]] == [2, 3]
    assert {one.aggregate for one in curves["aggregate"]} == {"mean", "median", "medoid"}
    assert all(BASE in settings for settings in curves.values())
    # One is in all three, and is reconstructed once.
    assert len(selection.distinct(curves)) == 3 + 1 + 2
    assert Setting.of(OPTIONS) == BASE and BASE.name == "2 x 3, median"


def test_options():
    """The field's seed for every setting, so that realisation k is the same one."""
    given = Setting(7, 8, "mean").options(OPTIONS, 4)
    sampling = given.sampling
    assert (sampling.nsamples, sampling.nsteps, sampling.seed) == (7, 8, 4)
    assert given.aggregate == "mean" and given.nmajor == 1 and sampling.device == "cpu"


def test_every_field_under_every_setting(measured):
    truth, found, images = measured.tables
    names = [one.name for one in selection.distinct(measured.curves)]
    assert len(images) == len(FIELDS) * len(names)
    assert list(dict.fromkeys(images["method"])) == names
    assert set(found["method"]) <= set(names) and set(truth["protocol"]) == {
        "independent", "structure",
    }  # fmt: skip
    assert np.isfinite(images["ser"]).all() and (images["seconds"] > 0).all()
    own = images[images["method"] == "3 x 3, median"]
    assert own["evaluations"].tolist() == [10.0] * 3


def test_evaluations_are_those_of_the_network(monkeypatch):
    """Counted state by state in two passes."""
    counted = []
    original = Posterior.denoise

    def denoise(self, x, sigma):
        counted.append(len(x))
        return original(self, x, sigma)

    monkeypatch.setattr(Posterior, "denoise", denoise)
    from casa_ddpm.benchmark.field import simulated

    field = simulated("bright", 0, 5, 48)
    setting = Setting(3, 4, "mean")
    options = setting.options(Options(nmajor=2, sampling=Sampling(device="cpu")), 0)
    found = reconstruct(field.dirty, options, field.major_cycle)
    assert sum(counted) == selection.evaluations(setting, len(found.cycles))


def test_page(measured, tmp_path):
    account = {"network": "default", "npix": 48}
    selection_page.write(tmp_path / "new", measured, account)
    assert {path.name for path in (tmp_path / "new").iterdir()} == {
        "selection.md", "selection.json", "selection.png",
    }  # fmt: skip
    page = (tmp_path / "new" / "selection.md").read_text()
    assert "one parameter is varied at a time from 2 x 3, median" in page
    assert "nan" not in page and page.count("### nsteps") == 2
    one, other = page.split("## Protocol: structure")
    assert "| nsamples | F1 |" in one and "F1" not in other
    assert "| nsamples | Signal-to-error ratio [dB] |" in other
    assert (
        "Less 2, over the same fields; **bold**: better:" in one and "## Seconds per field" in page
    )
    kept = json.loads((tmp_path / "new" / "selection.json").read_text())
    assert kept["settings"] == account
    # Two fields have intervals, one has none.
    known = kept["figures"]["independent"][BASE.name]["ser"]
    assert known["low"] <= known["value"] <= known["high"] and known["n"] == 2
    assert kept["figures"]["structure"][BASE.name]["ser"]["low"] is None
    difference = kept["differences"]["1 x 3, median"]["independent"]["evaluations"]
    assert difference["value"] == -3 and difference["better"] == "1 x 3, median"
    image = imread(tmp_path / "new" / "selection.png")
    assert min(image.shape[:2]) > 500


def test_same_bytes_but_for_the_seconds(measured, tmp_path):
    again = selection.measure(FIELDS[:1], OPTIONS, seed=5, npix=48)
    for name in ("one", "two"):
        selection_page.write(tmp_path / name, again, {})
    assert (tmp_path / "one" / "selection.png").read_bytes() == (
        tmp_path / "two" / "selection.png"
    ).read_bytes()
    # A field is the same whatever others are measured.
    first = measured.tables[2][: len(again.tables[2])]
    for name in ("method", "ser", "residual_rms", "evaluations"):
        assert list(first[name]) == list(again.tables[2][name])


def test_plan_and_route():
    args = parse("--out new --select")
    assert command._route(args) == "image"
    plan = command._plan(args)
    assert plan == [(name, k) for name in selection.PROTOCOLS for k in range(selection.FIELDS)]
    plan = command._plan(parse("--out new --select --protocols empty --fields 1"))
    assert plan == [("empty", 0)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--select --route ms", "route must be 'image' with select, got 'ms'"),
        ("--select --quick", "select must not be given with quick, got True"),
        ("--select --vis some.ms", "vis must not be given with select, got 'some.ms'"),
        ("--select --rivals peaks", "rivals must be 'none' with route 'image', got 'peaks'"),
        ("--select --record new.json", "record must come with quick, got 'new.json' alone"),
        ("--select --protocols sea", "protocols must be of .* got .'sea'."),
    ],
)
def test_refused(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        benchmark.run(parse(f"--out new {words}"))
    assert not list(tmp_path.iterdir())


def test_command(tmp_path, capsys):
    words = f"--out {tmp_path / 'new'} --select --protocols empty --fields 1 --npix 48"
    assert benchmark.run(parse(f"{words} --nsamples 2 --nmajor 1 --device cpu")) == 0
    assert "1 fields; the page is" in capsys.readouterr().out
    page = (tmp_path / "new" / "selection.md").read_text()
    assert "from 2 x 4, median" in page and "noise alone" in page


def test_goes_on_where_it_was_cut_off(tmp_path, monkeypatch):
    """What was measured is not measured again, and the figures are those without a break."""
    original, fields = selection._measure, []

    def words(out, nsamples=2):
        size = f"--npix 48 --fields 1 --nsamples {nsamples} --nmajor 1 --device cpu"
        return parse(f"--out {tmp_path / out} --select --protocols independent,structure {size}")

    def cut_off(*given):
        fields.append(given[-2:])
        if fields == [("independent", 0), ("structure", 0)]:
            raise KeyboardInterrupt
        return original(*given)

    assert benchmark.run(words("whole")) == 0
    monkeypatch.setattr(selection, "_measure", cut_off)
    with pytest.raises(KeyboardInterrupt):
        benchmark.run(words("new"))
    with pytest.raises(FileExistsError, match="other settings or code has begun: remove"):
        benchmark.run(words("new", nsamples=3))
    assert benchmark.run(words("new")) == 0
    assert fields == [("independent", 0), ("structure", 0), ("structure", 0)]
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "new"}
    for name in ("selection.json", "selection.png"):
        one, other = (tmp_path / out / name for out in ("whole", "new"))
        assert one.read_bytes() == other.read_bytes(), name
