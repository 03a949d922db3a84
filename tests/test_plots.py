"""The pictures are written, say what they show, and have units on their axes."""

import numpy as np
import pytest
from astropy.table import vstack
from crafted import METHODS, benchmark
from matplotlib.image import imread

from casa_ddpm.benchmark import metrics, plots, tables
from casa_ddpm.benchmark.flux_plot import fluxes
from casa_ddpm.benchmark.sample import samples


@pytest.fixture(scope="module")
def made():
    return benchmark(30, seed=1)


@pytest.fixture(scope="module")
def known(made):
    return metrics.figures(*made, number=30)


@pytest.fixture(scope="module")
def parts(made):
    return samples(*made, number=0)["independent"]


def texts(figure):
    """All texts of a figure's legends."""
    boxes = [*figure.legends, *(axes.get_legend() for axes in figure.axes)]
    return [text.get_text() for box in boxes if box for text in box.get_texts()]


def test_written(made, known, tmp_path):
    names = plots.write(tmp_path / "new", *made, known)
    kinds = ("curves", "snr", "flux", "reliability")
    assert names == [f"{kind}_independent.png" for kind in kinds]
    for name in names:
        image = imread(tmp_path / "new" / name)
        assert min(image.shape[:2]) > 500
        assert 0.02 < np.mean(image[..., :3].min(axis=2) < 0.95) < 0.5  # neither empty nor full


def test_same_tables_same_bytes(made, known, tmp_path, coarse):
    names = plots.write(tmp_path / "one", *made, known)
    assert plots.write(tmp_path / "two", *made, known) == names
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_protocol_without_sources_has_no_picture(made, tmp_path):
    _, found, images = benchmark(3, protocol="empty")
    nothing = tables.empty(tables.TRUTH)
    found = found[found["match"] < 0]
    known = metrics.figures(nothing, found, images, number=5)
    # The probabilities of false detections can still be shown.
    assert plots.write(tmp_path, nothing, found, images, known) == ["reliability_empty.png"]
    none = tables.empty(tables.DETECTIONS)
    known = metrics.figures(nothing, none, images, number=5)
    assert plots.write(tmp_path, nothing, none, images, known) == []


@pytest.fixture
def coarse(monkeypatch):
    """Pictures of few pixels, which are fast."""
    monkeypatch.setattr(plots, "DPI", 40)


def test_methods_that_find_nothing_are_drawn(made, tmp_path, coarse):
    truth, found, images = made
    some = found[found["method"] == "ddpmclean"]
    known = metrics.figures(truth, some, images, number=5)
    assert len(plots.write(tmp_path, truth, some, images, known)) == 4
    none = tables.empty(tables.DETECTIONS)
    known = metrics.figures(truth, none, images, number=5)
    assert len(plots.write(tmp_path, truth, none, images, known)) == 3


def test_curves(parts, known):
    figure = plots.purity_completeness(parts, "independent")
    [axes] = figure.axes
    assert axes.get_xlabel() == "Completeness: true sources found [%]"
    assert axes.get_ylabel() == "Purity: detections that are true [%]"
    assert axes.get_title() == "independent"
    f1 = [known["independent"][name]["f1"]["value"] for name in METHODS]
    expected = [f"{name} ({value:.3f})" for name, value in zip(METHODS, f1, strict=True)]
    assert texts(figure) == expected
    best = known["independent"]["peaks"]
    where = (100 * best["f1_completeness"]["value"], 100 * best["f1_purity"]["value"])
    marks = [line.get_xydata()[0] for line in axes.lines if line.get_marker() == "s"]
    np.testing.assert_allclose(marks, [where], rtol=1e-4)


def test_against_snr(known):
    figure = plots.against_snr(known["independent"], "independent")
    left, right = figure.axes
    assert (left.get_xlabel(), right.get_xlabel()) == ("True peak S/N", "Measured flux [noise]")
    assert left.get_ylabel() == "True sources found [%]"
    assert sorted(texts(figure)) == sorted([*METHODS, metrics.EXPECTED])
    assert "independent: each at its threshold" in figure.get_suptitle()


def test_fluxes(parts):
    figure = fluxes(parts, "independent")
    shown = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title().split(" (")[0] for axes in shown] == list(METHODS)
    assert {axes.get_xlabel() for axes in shown} == {"True flux [noise]"}
    assert shown[0].get_ylabel() == "Measured flux [noise]"
    assert texts(figure) == [
        "points", "Gaussians", "truth", "±1 noise: limit, point", "±√3: shape fitted",
    ]  # fmt: skip
    number = sum(len(dots.get_offsets()) for dots in shown[0].collections[:2])
    assert shown[0].get_title() == f"ddpmclean ({number})"
    assert any("ratio" in text.get_text() for text in shown[0].texts)


def test_reliability(known):
    figure = plots.reliability_diagram(known["independent"], "independent")
    upper, lower = figure.axes
    assert texts(figure) == ["as it should be", "ddpmclean"]
    assert upper.get_ylabel() == "Share of detections that are true"
    assert (lower.get_xlabel(), lower.get_ylabel()) == ("Detection probability", "Detections")
    points = lower.lines[0].get_xydata()
    assert points[-1][1] == known["independent"]["ddpmclean"]["prob_true[0.9-1.0]"]["n"]


def test_more_methods_than_colours_differ():
    looks = [tuple(map(str, plots.style(k).values())) for k in range(8)]
    assert len(set(looks)) == 8 and plots.style(8) == plots.style(0)


def test_protocols_have_pictures_of_their_own(tmp_path, coarse):
    parts = [benchmark(4, methods=("peaks",), protocol=name) for name in ("one", "other")]
    both = [vstack(list(pair)) for pair in zip(*parts, strict=True)]
    names = plots.write(tmp_path, *both, metrics.figures(*both, number=5))
    assert len(names) == 6 and "flux_other.png" in names
