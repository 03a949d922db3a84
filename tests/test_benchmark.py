"""The benchmark's command: what it refuses, and what it writes."""

from __future__ import annotations

import argparse
import fcntl
import json

import numpy as np
import pytest
from astropy.table import Table

from casa_ddpm import benchmark, checkpoint, measures
from casa_ddpm.benchmark import (
    campaign,
    command,
    document,
    gallery,
    metrics,
    outcome,
    recorded,
    report,
    rivals,
    tables,
)
from casa_ddpm.benchmark.protocols import PROTOCOLS
from casa_ddpm.benchmark.resampling import ROBUST

SMALL = "--route image --npix 64 --nsamples 2 --nmajor 1 --device cpu"


def parse(words):
    parser = argparse.ArgumentParser()
    benchmark.add_arguments(parser)
    return parser.parse_args(words.split())


@pytest.fixture
def known(tmp_path, monkeypatch):
    """Files that the words of refused options name, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some.ms").mkdir()
    columns = {"ra": [150.0], "dec": [-30.0], "flux": [1.0]}
    Table(columns).write("truth.csv")
    Table({name: columns[name] for name in ("ra", "dec")}).write("fluxless.csv")
    return {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("--nsamples 0", "nsamples must be at least 1, got 0"),
        ("--npix 16", "npix must be at least 32, got 16"),
        ("--fields -1", "fields must be at least 0, got -1"),
        ("--nmajor 0", "nmajor must be at least 1, got 0"),
        ("--workers -1", "workers must be at least 0, got -1"),
        ("--seed -1", "seed must be at least 0, got -1"),
        ("--seed -1 --route image", "seed must be at least 0, got -1"),
        ("--protocols empty,sea", r"protocols must be of \['independent', .*got \['sea'\]"),
        ("--rivals peaks,eye", r"rivals must be all, none or of \['peaks', .*got \['eye'\]"),
        ("--truth truth.csv", "truth must come with vis, got 'truth.csv' alone"),
        ("--cell 1arcsec", "cell must come with vis, got '1arcsec' alone"),
        ("--vis some.ms --cell 1arcsec", "truth must be given with vis, got vis='some.ms' alone"),
        ("--vis some.ms --truth truth.csv", "cell must be given with vis"),
        (
            "--vis some.ms --truth truth.csv --cell 1arcsec --protocols empty",
            "protocols must not be given with vis, got 'empty'",
        ),
        ("--vis some.ms --truth truth.csv --cell 1arcsec --fields 2", "fields must not be given"),
        ("--vis some.ms --truth truth.csv --cell 1arcsec --quick", "vis must not be given"),
        (
            "--vis some.ms --truth truth.csv --cell 1arcsec --route image",
            "route must be 'ms' with vis, got 'image'",
        ),
        ("--quick --protocols empty", "protocols must not be given with quick, got 'empty'"),
        ("--quick --scale 5", "scale must not be given with quick, got 5.0"),
        ("--quick --fields 1", "fields must not be given with quick, got 1"),
        (
            "--quick --nsamples 2",
            "nsamples must be 20 with quick, as for the recorded figures, got",
        ),
        ("--quick --nmajor 1", "nmajor must be 2 with quick, as for the recorded figures, got 1"),
        ("--quick --npix 64", "npix must be 160 with quick, as for the recorded figures, got 64"),
        ("--quick --seed 1", "seed must be 11 with quick, as for the recorded figures, got 1"),
        ("--quick --record new.json --seed 1", "seed must be 11 with quick"),
        ("--scale 2", "scale must be from 2.5 to 20 pixels a beam, got 2"),
        ("--quick --route ms", "route must be 'image' with quick, got 'ms'"),
        ("--quick --rivals peaks", "rivals must be 'none' with route 'image', got 'peaks'"),
        ("--quick --rivals all", "rivals must be 'none' with route 'image', got 'all'"),
        ("--route image --rivals peaks", "rivals must be 'none' with route 'image', got 'peaks'"),
        ("--record new.json", "record must come with quick, got 'new.json' alone"),
        ("--vis some.ms --truth fluxless.csv --cell 1arcsec", r"has no \['flux'\]"),
        ("--vis some.ms --truth truth.csv --cell 1", "cell must be an angle"),
    ],
)
def test_refused(known, tmp_path, monkeypatch, words, text):
    monkeypatch.setattr(measures, "installed", lambda name: True)
    with pytest.raises(ValueError, match=text):
        benchmark.run(parse(f"--out new {words}"))
    assert {path.name for path in tmp_path.iterdir()} == known


def test_without_casa_there_are_images_only(tmp_path, monkeypatch):
    monkeypatch.setattr(measures, "installed", lambda name: False)
    with pytest.raises(ValueError, match="route must be 'image' where casatasks is not installed"):
        benchmark.run(parse(f"--out {tmp_path / 'new'}"))
    assert not (tmp_path / "new").exists()


def test_what_exists_is_not_overwritten(tmp_path):
    (tmp_path / "mine").touch()
    with pytest.raises(FileExistsError, match="is not empty and is not overwritten"):
        benchmark.run(parse(f"--out {tmp_path} {SMALL}"))
    with pytest.raises(FileExistsError, match="is not empty and is not overwritten"):
        benchmark.run(parse(f"--out {tmp_path / 'mine'} {SMALL}"))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_wrong_network_is_refused(tmp_path):
    with pytest.raises((ValueError, FileNotFoundError), match="nowhere"):
        benchmark.run(parse(f"--out {tmp_path / 'new'} --network nowhere {SMALL}"))
    assert not (tmp_path / "new").exists()


def test_plan():
    """By default every protocol with its own number of fields, or with one number for all."""
    plan = command._plan(parse("--out new"))
    assert len(plan) == sum(law.fields for law in PROTOCOLS.values()) == len(set(plan))
    plan = command._plan(parse("--out new --protocols empty,arrays --fields 2"))
    assert plan == [("empty", 0), ("empty", 1), ("arrays", 0), ("arrays", 1)]
    quick = command._plan(parse("--out new --quick"))
    assert len(quick) == sum(command.QUICK.values()) and command.QUICK.keys() <= PROTOCOLS.keys()


def test_rivals_are_those_that_are_asked_for():
    def names(words):
        return [rival.name for rival in command._rivals(parse(f"--out new {words}"))]

    assert names("") == [rival.name for rival in rivals.RIVALS]
    assert names("--rivals none") == names("--route image") == []
    assert names("--rivals tclean+imfit,peaks") == ["tclean+imfit", "peaks"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of one field with sources and one without, of the same seed."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("one", "two"):
        words = f"--out {folder / name} {SMALL} --protocols independent,empty --fields 1"
        assert benchmark.run(parse(words)) == 0
    return folder


def test_everything_is_written(runs):
    written = {path.name for path in (runs / "one").iterdir()}
    pictures = {f"{kind}_independent.png" for kind in ("curves", "snr", "flux", "gallery")}
    tables = {"truth.ecsv", "detections.ecsv", "images.ecsv"}
    assert written >= tables | pictures | {"figures.json", "timing.json", "report.md"}
    read = report.read(runs / "one")
    assert list(read.figures) == ["independent", "empty"]
    assert {metrics.OURS, metrics.PEAKS} <= set(read.figures["independent"])
    assert set(read.truth["protocol"]) == {"independent"}
    assert read.settings["protocols"]["empty"] == "noise alone"
    assert read.settings["network"] == checkpoint.digest("default")
    assert (read.images["seconds"] >= 0).all()
    page = (runs / "one" / "report.md").read_text()
    assert "## Protocol: empty" in page and "nan" not in page
    # Each picture stands with its protocol.
    own, other = page.split("## Protocol: empty")
    assert "![gallery_empty.png](gallery_empty.png)" in other
    for name in pictures:
        assert f"![{name}]({name})" in own


def test_one_field_has_no_intervals_and_nobody_is_better(runs):
    """How fields differ is not known from one."""
    read = report.read(runs / "one")
    for figure in read.figures["independent"][metrics.OURS].values():
        assert figure["low"] is None and figure["high"] is None
    pairs = read.comparisons["independent"][metrics.OURS][metrics.PEAKS]
    assert {figure["better"] for figure in pairs.values()} == {None}


def test_same_seed_same_bytes(runs):
    for path in (runs / "one").iterdir():
        if path.name != "timing.json":
            assert path.read_bytes() == (runs / "two" / path.name).read_bytes(), path.name


def test_goes_on_where_it_was_cut_off(runs, tmp_path, monkeypatch):
    """What was measured is not measured again; the report is that of a run without a break."""
    words = f"--out {tmp_path / 'three'} {SMALL} --protocols independent,empty --fields 1"
    measured = []

    def cut_off(protocol, *others, **scale):
        measured.append(protocol)
        if measured == ["independent", "empty"]:
            raise KeyboardInterrupt
        return outcome.from_image(protocol, *others, **scale)

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr(campaign, "from_image", cut_off)
    with pytest.raises(KeyboardInterrupt):
        benchmark.run(parse(words))
    with pytest.raises(FileExistsError, match="other settings or code has begun: remove"):
        benchmark.run(parse(f"{words} --seed 5"))
    assert [path.name for path in tmp_path.iterdir()] == ["three.unfinished"]
    with (tmp_path / "three.unfinished" / "account.json").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(RuntimeError, match="one that no other benchmark is at work on"):
            benchmark.run(parse(words))
    with monkeypatch.context() as patch:
        patch.setattr(gallery, "write", full)
        with pytest.raises(OSError, match="disk full"):
            benchmark.run(parse(words))
    assert [path.name for path in tmp_path.iterdir()] == ["three.unfinished"]
    assert benchmark.run(parse(words)) == 0
    assert measured == ["independent", "empty", "empty"]
    assert [path.name for path in tmp_path.iterdir()] == ["three"]
    for path in (tmp_path / "three").iterdir():
        if path.name != "timing.json":
            assert path.read_bytes() == (runs / "one" / path.name).read_bytes(), path.name


def test_only_ours_has_figures_at_a_default_threshold(runs):
    """What others list starts far below any threshold of theirs."""
    figures = report.read(runs / "one").figures["independent"]
    names = {"purity", "completeness", "f1_default", "false"}
    assert names <= set(figures[metrics.OURS])
    for method in figures.keys() - {metrics.OURS}:
        assert not names & set(figures[method]), method
    page = (runs / "one" / "report.md").read_text()
    overall = page[: page.index("## Protocol: empty")]
    (row,) = (line for line in overall.splitlines() if line.startswith("| False, default"))
    assert row.count(document.EMPTY) == len(figures) - 1
    assert "threshold that its users lay: minprob of ddpmclean; source finders start far" in page


def test_what_has_failed_is_said(runs, tmp_path, monkeypatch):
    """A method counts in the fields that it has seen; that it failed is told with its error."""

    def one_fails(protocol, *others, **scale):
        found = outcome.from_image(protocol, *others, **scale)
        if protocol == "empty":
            images = found["images"]
            found["images"] = images[images["method"] == metrics.OURS]
            found["images"].meta[tables.FAILED] = [[metrics.PEAKS, "empty 0", "no | luck"]]
            found["detections"] = found["detections"][found["detections"]["method"] == metrics.OURS]
        return found

    monkeypatch.setattr(campaign, "from_image", one_fails)
    words = f"--out {tmp_path / 'new'} {SMALL} --protocols independent,empty --fields 1"
    assert benchmark.run(parse(words)) == 0
    read = report.read(tmp_path / "new")
    assert read.missing == {
        "peaks": "failed in 1 field, not counted there, first in empty 0: no | luck"
    }
    assert (
        metrics.PEAKS in read.figures["independent"] and metrics.PEAKS not in read.figures["empty"]
    )
    page = (tmp_path / "new" / "report.md").read_text()
    assert "| peaks | failed in 1 field" in page and "no \\| luck |" in page


@pytest.mark.usefixtures("known")
def test_another_truth_is_another_benchmark(tmp_path, monkeypatch):
    """Of the same name: what was measured with the one is not mixed with the other."""
    monkeypatch.setattr(measures, "installed", lambda name: True)

    def cut_off(plan):
        (plan.kept / "user 0").mkdir(exist_ok=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(campaign, "measure", cut_off)
    words = parse("--out new --vis some.ms --truth truth.csv --cell 1arcsec --rivals none")
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            benchmark.run(words)
    Table({"ra": [150.0], "dec": [-30.0], "flux": [2.0]}).write("truth.csv", overwrite=True)
    with pytest.raises(FileExistsError, match="other settings or code has begun: remove"):
        benchmark.run(words)


# The quick variant


def figures(**values):
    """Figures of our method in one protocol, with intervals of half width 0.1."""
    made = {
        name: {"value": v, "low": v - 0.1, "high": v + 0.1, "n": 9} for name, v in values.items()
    }
    return {"independent": {metrics.OURS: made}}


def kept(**values):
    return {"independent": figures(**values)["independent"][metrics.OURS]}


def test_worsened_by_hand():
    """Less completeness, more scatter, or a ratio that is farther from 1; beyond 0.2."""
    old = kept(completeness_90=0.8, flux_scatter=1.0, flux_ratio=1.05)
    old["independent"]["flux_scatter"]["n"] = 1000

    def worse(**values):
        return list(recorded.worsened(figures(**values), old))

    assert worse(completeness_90=0.61, flux_scatter=1.19, flux_ratio=0.77) == []
    assert worse(completeness_90=0.95, flux_scatter=0.5, flux_ratio=1.0) == []
    assert worse(completeness_90=0.59, flux_scatter=1.0, flux_ratio=1.0) == [
        "independent completeness_90: 0.59, recorded 0.8"
    ]
    assert len(worse(completeness_90=0.9, flux_scatter=1.21, flux_ratio=0.74)) == 2


def test_a_scatter_of_few_is_known_roughly():
    """Of 18 coordinates by 1.16 / sqrt(18) = 0.27 of itself, whatever the interval says."""
    old = kept(position_scatter=1.0)
    assert list(recorded.worsened(figures(position_scatter=1.54), old)) == []
    assert len(list(recorded.worsened(figures(position_scatter=1.56), old))) == 1
    # And by simulation, of errors that are Gaussian.
    errors = np.random.default_rng(4).standard_normal((4000, 100))
    scatters = ROBUST * np.median(np.abs(errors), axis=1)
    assert scatters.std() == pytest.approx(recorded.ROUGH / 10, rel=0.05)


def test_what_is_not_known_is_not_worse():
    old = kept(f1=0.9, flux_ratio=1.0)
    old["independent"]["f1"] |= {"low": None, "high": None}
    new = figures(f1=0.1, flux_ratio=1.0)
    new["independent"][metrics.OURS]["flux_ratio"]["value"] = None
    assert list(recorded.worsened(new, old)) == []


@pytest.mark.parametrize(("completeness", "code"), [(1.0, 1), (0.0, 0)])
def test_quick(tmp_path, monkeypatch, capsys, completeness, code):
    """Fails where what is recorded is better."""
    best = {"value": completeness, "low": completeness, "high": completeness, "n": 20}
    old = {
        "network": checkpoint.digest("default"),
        "figures": {"independent": {"completeness_90": best}},
    }
    monkeypatch.setattr(recorded, "read", lambda: old)
    monkeypatch.setattr(command, "QUICK", {"independent": 2})
    small = {"nsamples": 2, "nmajor": 1, "seed": 11, "npix": 64}
    monkeypatch.setattr(command, "SETTINGS", small)
    words = f"--out {tmp_path / 'new'} --device cpu --quick"
    assert benchmark.run(parse(words)) == code
    said = capsys.readouterr().out
    assert ("worse than recorded: independent completeness_90" in said) == bool(code)
    seen = json.loads((tmp_path / "new" / "figures.json").read_text())["figures"]["independent"]
    assert np.isfinite(seen[metrics.OURS]["completeness_90"]["value"])


def test_recorded_figures_are_of_one_network(monkeypatch, capsys):
    old = {"network": "another", "figures": {}}
    monkeypatch.setattr(recorded, "read", lambda: old)
    assert recorded.watch("default", {}) == 1
    assert "another network's" in capsys.readouterr().out
    # A checkpoint of one's own is compared with the shipped network's figures.
    assert recorded.watch("mine", {}) == 0
