"""A report is read back as it was written, twice the same, and says what there is."""

import json
import shutil

import numpy as np
import pytest
from astropy.table import Table, vstack
from crafted import METHODS, benchmark

from casa_ddpm.benchmark import document, metrics, report, tables

SETTINGS = {"seed": 3, "fields": {"independent": 20}, "network": "default", "γ": [1, 2.5]}
MISSING = {"WSClean + PyBDSF": "wsclean is not on PATH | see\nthe guide"}


@pytest.fixture(scope="module")
def made():
    parts = [benchmark(20, seed=1), benchmark(5, seed=2, protocol="crowded")]
    truth, found, images = (vstack(list(pair)) for pair in zip(*parts, strict=True))
    figures = metrics.figures(truth, found, images, seed=3, number=40)
    pairs = metrics.comparisons(truth, found, images, "ddpmclean", seed=3, number=40)
    return report.Report(truth, found, images, figures, pairs, SETTINGS, MISSING)


@pytest.fixture(scope="module")
def page(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    report.write(folder, made, ["curves_independent.png"])
    return (folder / "report.md").read_text(encoding="utf-8")


def same(one, other):
    """Whether a table has the other's columns and values; what is masked there is NaN here."""
    for name in one.colnames:
        number = one[name].dtype.kind == "f"
        values = np.ma.filled(one[name], np.nan) if number else one[name]
        assert np.array_equal(values, other[name], equal_nan=number), name


def test_round_trip(made, tmp_path):
    report.write(tmp_path / "new" / "folder", made)
    again = report.read(tmp_path / "new" / "folder")
    for name in ("figures", "comparisons", "settings", "missing"):
        assert getattr(again, name) == getattr(made, name)
    for name in ("truth", "detections", "images"):
        same(getattr(made, name), getattr(again, name))
    assert again.truth["compact"].dtype == bool and again.detections["match"].dtype.kind == "i"
    # What is read gives the same figures.
    assert metrics.figures(again.truth, again.detections, again.images, 3, number=40) == (
        made.figures
    )


def test_only_timing_differs(made, tmp_path):
    report.write(tmp_path / "one", made)
    slower = made.images.copy()
    slower["seconds"] *= 2
    fields = {name: getattr(made, name) for name in ("figures", "comparisons", "settings")}
    other = report.Report(made.truth, made.detections, slower, missing=MISSING, **fields)
    report.write(tmp_path / "two", other)
    names = {path.name for path in (tmp_path / "one").iterdir()}
    assert names == {
        "truth.ecsv", "detections.ecsv", "images.ecsv", "figures.json", "timing.json", "report.md",
    }  # fmt: skip
    for name in names - {"timing.json"}:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    timing = [json.loads((tmp_path / n / "timing.json").read_text()) for n in ("one", "two")]
    first = [part["independent"]["peaks"]["7"] for part in timing]
    assert first[1] == 2 * first[0]
    assert np.array_equal(report.read(tmp_path / "two").images["seconds"], slower["seconds"])


def test_without_timing(made, tmp_path):
    report.write(tmp_path, made)
    (tmp_path / "timing.json").unlink()
    assert np.isnan(report.read(tmp_path).images["seconds"]).all()


def test_columns_say_what_they_are(made, tmp_path):
    report.write(tmp_path, made)
    again = Table.read(tmp_path / "detections.ecsv", format="ascii.ecsv")
    assert again["flux"].description == "[noise] integrated"
    assert "seconds" not in Table.read(tmp_path / "images.ecsv", format="ascii.ecsv").colnames


def test_nothing_is_a_report_too(tmp_path):
    empty = [tables.empty(kind) for kind in (tables.TRUTH, tables.DETECTIONS, tables.IMAGES)]
    report.write(tmp_path, report.Report(*empty, figures={}))
    again = report.read(tmp_path)
    assert again.figures == {} and len(again.truth) == 0
    assert "Nothing: every method has run." in (tmp_path / "report.md").read_text()


def test_refused(made, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no report of a benchmark: no truth\.ecsv"):
        report.read(tmp_path)
    for value in (np.nan, np.float32(1), {1, 2}):
        bad = report.Report(made.truth, made.detections, made.images, {}, settings={"x": value})
        with pytest.raises(ValueError, match="figures and settings must be plain and finite"):
            report.write(tmp_path / "bad", bad)
    assert not (tmp_path / "bad").exists()
    report.write(tmp_path / "cut", made)
    (tmp_path / "cut" / "figures.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no figures\.json"):
        report.read(tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut")


def rows(page, begin, end):
    """Rows of the tables between two headings, as lists of cells."""
    part = page[page.index(begin) : page.index(end)] if end else page[page.index(begin) :]
    lines = [line for line in part.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_page_has_all_methods_with_intervals(page, made):
    table = rows(page, "## Protocol: independent", "### Completeness at 90 %")
    assert table[0][1:] == [*METHODS, metrics.EXPECTED]
    f1 = next(row for row in table if row[0] == "F1")
    figure = made.figures["independent"]["peaks"]["f1"]
    expected = f"{figure['value']:.3f} ({figure['low']:.3f}, {figure['high']:.3f})"
    assert f1[2] == expected and f1[4] == document.EMPTY
    bias = next(row for row in table if row[0] == "Flux ratio, S/N ≥ 5")
    value = made.figures["independent"]["peaks"]["flux_ratio[>=5]"]["value"]
    assert bias[2].startswith(f"{value:.3f} (")


def test_page_has_bins_differences_and_what_is_missing(page):
    assert "## Protocol: crowded" in page
    assert "### Flux ratio, by true peak S/N" in page
    assert "### Purity [%], by measured flux [noise]" in page
    assert "### Reliability of prob" in page
    assert "### ddpmclean minus each of the others" in page
    assert "**ddpmclean**" in page
    assert "![curves_independent.png](curves_independent.png)" in page
    assert "wsclean is not on PATH \\| see the guide" in page
    assert "| γ | 1, 2.5 |" in page and "| fields | independent: 20 |" in page
    defined = [row[0] for row in rows(page, "## Definitions", None)]
    assert "F1" in defined and "Calibration error of prob" in defined
    assert "PSNR" not in defined and "nan" not in page
    for line in page.splitlines():
        assert line == line.rstrip()


def test_protocol_without_figures_says_so():
    nothing = {"value": None, "low": None, "high": None, "n": 0}
    same = {"value": 1.0, "low": 1.0, "high": 1.0, "n": 3}
    figures = {
        "empty": {"a": {"f1": nothing}, "b": {"f1": nothing}},
        "full": {"a": {"f1": nothing, "purity": same}, "b": {"f1": same, "prob_error": same}},
    }
    pairs = {"empty": {"a": {"b": {"f1": nothing | {"better": None}}}}}
    page = document.markdown(figures, pairs, {}, {})
    empty = page[page.index("## Protocol: empty") : page.index("## Protocol: full")]
    assert empty.split("\n\n")[1:] == ["No method has a figure here.", ""]
    full = page[page.index("## Protocol: full") : page.index("## Missing")]
    assert "| F1 | – | 1.000 (1.000, 1.000) |" in full
    # No decile has a value, and no row of one is there.
    assert "Reliability" not in full and "| 0.9-1.0" not in full


@pytest.mark.parametrize(
    ("name", "figure", "text"),
    [
        ("f1", {"value": 0.5, "low": 0.4, "high": 0.6, "n": 3}, "0.500 (0.400, 0.600)"),
        ("purity", {"value": 0.5, "low": None, "high": None, "n": 3}, "50.0"),
        ("purity", {"value": None, "low": None, "high": None, "n": 0}, "–"),
        ("l2", {"value": 1.7e-5, "low": 1e-5, "high": 2e-5, "n": 9}, "1.700 (1.000, 2.000)"),
        ("shape_pa", {"value": -0.01, "low": -1.0, "high": 0.0, "n": 9}, "0.0 (-1.0, 0.0)"),
        ("unheard_of", {"value": 2.0, "low": None, "high": None, "n": 9}, "2.000"),
    ],
)
def test_cells(name, figure, text):
    assert document.cell(name, figure) == text
    if figure["value"] is not None:
        assert document.cell(name, figure, number=True) == f"{text} [{figure['n']}]"
