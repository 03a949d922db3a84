"""The command that compares: what it measures, writes and refuses."""

import argparse
import json

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import Table, vstack
from astropy.wcs import WCS
from restored import BEAM, CELL, gaussian, write_image

from casa_ddpm import cli, compare
from casa_ddpm.compare import comparison, products

SHAPE = (96, 96)
#: x, y [pixel] and flux [Jy] of the true points.
TRUE = ((20, 20, 0.1), (70, 30, 0.05), (40, 60, 0.02), (75, 75, 0.01))
NOISE = 2e-4


def parse(words):
    parser = argparse.ArgumentParser()
    compare.add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


def sky(path, x, y):
    """Places of pixels, ICRS [deg]."""
    with fits.open(path) as opened:
        world = WCS(opened[0].header).celestial.pixel_to_world(x, y).icrs
    return {"ra": world.ra.deg, "dec": world.dec.deg}


def image(flux, seed):
    noise = np.random.default_rng(seed).normal(0, NOISE, SHAPE)
    points = (f * gaussian(SHAPE, x, y, BEAM.covariance(CELL)) for x, y, f in TRUE)
    return noise + flux * sum(points)


@pytest.fixture
def runs(tmp_path):
    """A has a catalogue of three sources and a false one; B, 10 % brighter, has none."""
    write_image(tmp_path / "a.image.fits", image(1.0, 1))
    write_image(tmp_path / "a.residual.fits", np.random.default_rng(3).normal(0, NOISE, SHAPE))
    write_image(tmp_path / "b.image.fits", image(1.1, 2))
    path = tmp_path / "a.image.fits"
    x, y, flux = (np.array(column, float) for column in zip(*TRUE, strict=True))
    columns = {"flux": [*flux[:3], 0.03], "flux_err": np.full(4, 1e-3), "snr": [99, 50, 20, 6]}
    columns |= {"prob": [1.0, 0.99, 0.95, 0.3], "ra_err": np.full(4, 0.01), "dec_err": [0.01] * 4}
    places = sky(path, np.append(x[:3], 10.0), np.append(y[:3], 90.0))
    Table(places | columns).write(tmp_path / "a.cat.ecsv")
    Table(sky(path, x, y) | {"flux": flux}).write(tmp_path / "truth.csv")
    return tmp_path


def test_everything_is_said_and_written(runs, capsys):
    words = [
        "compare",
        runs / "a",
        runs / "b",
        "--truth",
        runs / "truth.csv",
        "--out",
        runs / "new",
    ]
    assert cli.main([str(word) for word in words]) == 0
    page = (runs / "new" / "comparison.md").read_text()
    said = capsys.readouterr().out
    assert page.split("![")[0].strip() in said
    written = {path.name for path in (runs / "new").iterdir()}
    assert written == {
        "comparison.md", "comparison.json", "sources.ecsv", "images.png", "fluxes.png",
    }  # fmt: skip
    kept = json.loads((runs / "new" / "comparison.json").read_text())
    # The one of prob 0.3 does not count, the fourth is B's alone.
    assert (kept["matched"], kept["only_a"], kept["only_b"]) == (3, 0, 1)
    assert kept["sources"]["ratio"] == pytest.approx(1.1, abs=0.03)
    assert kept["sources"]["separation"] < 0.05
    assert set(kept["residuals"]) == {"A"}
    assert kept["residuals"]["A"]["rms"] == pytest.approx(NOISE, rel=0.05)
    assert kept["difference"]["highest"] == pytest.approx(0.01, rel=0.1)
    truth = kept["truth"]
    assert truth["A"]["completeness"]["value"] == pytest.approx(0.75)
    assert truth["A"]["purity"]["value"] == truth["B"]["f1_default"]["value"] == 1
    assert truth["A"]["flux_within_1s[>=5]"]["value"] == 1
    assert truth["B"]["flux_ratio[>=5]"]["value"] == pytest.approx(1.1, abs=0.05)
    assert truth["A"]["flux_scatter[>=5]"]["value"] == pytest.approx(0, abs=1e-3)
    assert "| matched | 3 |" in page and "Only in B:" in page and "nan" not in page
    table = Table.read(runs / "new" / "sources.ecsv")
    assert table["in"].tolist() == ["both"] * 3 + ["B"]


def test_printed_alone_without_a_folder(runs, capsys):
    before = set(runs.iterdir())
    assert compare.run(parse([runs / "a.cat.ecsv", runs / "truth.csv", "--beam", "0.9arcsec"])) == 0
    assert set(runs.iterdir()) == before
    said = capsys.readouterr().out
    assert "| matched | 3 |" in said and "| only in B | 1 |" in said
    assert "Images" not in said and "truth" not in said.split("## Sources")[1]


def test_minprob(runs, capsys):
    words = [runs / "a", runs / "truth.csv", "--minprob", "0.2"]
    assert compare.run(parse(words)) == 0
    assert "| only in A | 1 |" in capsys.readouterr().out


def test_truth_outside_of_the_images_does_not_count(runs):
    truth = Table.read(runs / "truth.csv")
    truth.add_row([10.0, 10.0, 1.0])
    columns = {name: np.asarray(truth[name]) for name in truth.colnames}
    columns |= {name: np.zeros(5) for name in ("major", "minor", "pa")}
    a = products.read(str(runs / "a"))
    assert len(comparison.within(columns, [a])["ra"]) == 4
    assert len(comparison.within(columns, [])["ra"]) == 5
    with pytest.raises(ValueError, match="truth must have a source within the images, got 1 out"):
        comparison.within({name: values[4:] for name, values in columns.items()}, [a])


def test_empty_lists_and_images(runs, capsys):
    """Nothing in A, nothing in B: a page all the same."""
    noise = np.random.default_rng(5).normal(0, NOISE, SHAPE)
    for name in "cd":
        write_image(runs / f"{name}.image.fits", noise.clip(-2 * NOISE, 2 * NOISE))
    words = [runs / "c", runs / "d", "--truth", runs / "truth.csv", "--out", runs / "new"]
    assert compare.run(parse(words)) == 0
    assert "| matched | 0 |" in capsys.readouterr().out
    assert not (runs / "new" / "fluxes.png").exists()
    assert json.loads((runs / "new" / "comparison.json").read_text())["sources"]["ratio"] is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--minprob 1.5", "minprob must be within 0 and 1, got 1.5"),
        ("--noise 0", r"noise must be positive \[Jy/beam\], got 0"),
        ("--beam fine", "beam must be an angle such as '0.8arcsec', got 'fine'"),
        ("--beam 0arcsec", "beam must be positive, got '0arcsec'"),
        ("--truth nowhere.csv", "truth must be an existing file, got 'nowhere.csv'"),
    ],
)
def test_refused(runs, words, message):
    before = set(runs.iterdir())
    with pytest.raises(ValueError, match=message):
        compare.run(parse([runs / "a", runs / "b", "--out", runs / "new", *words.split()]))
    assert set(runs.iterdir()) == before


def test_what_is_not_known_must_be_given(runs):
    lists = [runs / "truth.csv", runs / "truth.csv"]
    with pytest.raises(ValueError, match="beam must be given where neither image nor catalogue"):
        compare.run(parse(lists))
    words = [*lists, "--beam", "1arcsec", "--truth", runs / "truth.csv"]
    with pytest.raises(ValueError, match="noise must be given where neither image nor catalogue"):
        compare.run(parse(words))
    assert compare.run(parse([*words, "--noise", "1e-4"])) == 0


def test_cubes_are_compared_by_their_catalogues(runs, capsys):
    """Channel by channel, and the images are left out; there is no truth of several channels."""
    table = Table.read(runs / "a.cat.ecsv")
    channels = [table.copy() for _ in range(2)]
    for k, one in enumerate(channels):
        one["freq"] = np.full(len(one), 1e9 * (k + 1)) * u.Hz
        one["flux"] *= k + 1
    for name in "cd":
        fits.writeto(runs / f"{name}.image.fits", np.zeros((2, *SHAPE)))
        vstack(channels[:: 1 if name == "c" else -1]).write(runs / f"{name}.cat.ecsv")
    words = [runs / "c", runs / "d", "--beam", "1arcsec", "--out", runs / "new"]
    assert compare.run(parse(words)) == 0
    page = capsys.readouterr().out
    assert f"A: sources alone, '{runs / 'c.image.fits'}' has several planes." in page
    assert f"B: sources alone, '{runs / 'd.image.fits'}' has several planes." in page
    kept = json.loads((runs / "new" / "comparison.json").read_text())
    assert kept["matched"] == 6 and kept["sources"]["ratio_scatter"] == 0
    assert kept["difference"] is None and kept["residuals"] == {}
    with pytest.raises(ValueError, match="A must be of one channel where a truth is given, got 2"):
        compare.run(parse([*words[:4], "--noise", "1e-4", "--truth", runs / "truth.csv"]))
    (runs / "c.cat.ecsv").unlink()
    with pytest.raises(ValueError, match=r"A must have a single plane, .* has \(2, 96, 96\)"):
        compare.run(parse(words[:4]))


def test_other_grids_are_refused(runs):
    write_image(runs / "c.image.fits", np.zeros((64, 64)) + image(1, 4)[:64, :64])
    with pytest.raises(ValueError, match=r"B must have the shape of A \(96, 96\), got \(64, 64\)"):
        compare.run(parse([runs / "a", runs / "c", "--out", runs / "new"]))
    assert not (runs / "new").exists()


def test_nothing_is_overwritten(runs):
    with pytest.raises(FileExistsError, match="out '.*' is not empty and is not overwritten"):
        compare.run(parse([runs / "a", runs / "b", "--out", runs]))
