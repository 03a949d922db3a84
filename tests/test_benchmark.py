"""The benchmark's arithmetic on crafted tables, and a run of two fields."""

import argparse
import json

import numpy as np
import pytest
from astropy.table import Table

from casa_ddpm import benchmark


def test_best_f1_by_hand():
    nan = np.nan
    table = Table({"score": [0.9, 0.8, 0.7, 0.6], "truth": [5.0, nan, 4.0, nan]})
    # One hit of one: 2/(1+4); two of three: 4/(3+4) is the best.
    best = benchmark.best_f1(table, ntrue=4)
    assert best == pytest.approx(
        {"F1": 4 / 7, "purity": 2 / 3, "completeness": 0.5, "threshold": 0.7}
    )


def test_peaks_of_an_image():
    image = np.zeros((20, 30))
    image[4, 7], image[4, 8], image[15, 20], image[10, 10] = 5, 4, 3, 2
    x, y, value = benchmark.peaks(image)
    assert list(zip(x, y, value, strict=True)) == [(7, 4, 5), (20, 15, 3)]


def test_flux_rows_by_hand():
    table = Table(
        {
            "prob": [1.0, 1.0, 0.5, 1.0],
            "truth": [8.0, 8.0, 8.0, np.nan],
            "flux": [8.0, 12.0, 99.0, 99.0],
            "flux_err": [1.0, 1.0, 1.0, 1.0],
        }
    )
    [row] = benchmark.flux_rows(table)
    assert row["S/N"] == "7-10" and row["sources"] == 2
    assert row["median ratio"] == 1.25 and row["within error"] == 0.5
    assert row["scatter [noise]"] == 2


def test_probability_rows_by_hand():
    table = Table({"prob": [0.1, 0.2, 0.9, 1.0], "truth": [np.nan, 3.0, 4.0, 5.0]})
    assert benchmark.probability_rows(table) == [
        {"prob": "0.0-0.2", "candidates": 2, "true": 0.5},
        {"prob": "0.8-1.0", "candidates": 2, "true": 1.0},
    ]


def test_fields_are_those_of_their_number():
    one, same, other = (benchmark.observe("independent", i, 3, "vla.b", 64) for i in (0, 0, 1))
    assert np.array_equal(one.dirty.data, same.dirty.data)
    assert not np.array_equal(one.dirty.data, other.dirty.data)
    explained = one.major_cycle(np.zeros_like(one.dirty.data))
    assert np.array_equal(explained, one.dirty.data)


def test_run(tmp_path, capsys):
    parser = argparse.ArgumentParser()
    benchmark.add_arguments(parser)
    words = f"--out {tmp_path} --fields 2 --empty 1 --npix 64 --nsamples 2 --device cpu"
    assert benchmark.run(parser.parse_args(words.split())) == 0
    figures = json.loads((tmp_path / "benchmark.json").read_text())
    assert figures == json.loads(capsys.readouterr().out)
    assert figures["independent"]["fields"] == 2 and figures["empty"]["sources"] == 0
    assert 0.9 < figures["empty"]["residual rms"]["mean"] < 1.1


@pytest.mark.parametrize(
    ("words", "text"),
    [("--fields 0", "fields must be at least 1"), ("--array x", "array 'x' is not in the library")],
)
def test_refused(tmp_path, words, text):
    parser = argparse.ArgumentParser()
    benchmark.add_arguments(parser)
    with pytest.raises(ValueError, match=text):
        benchmark.run(parser.parse_args(f"--out {tmp_path / 'new'} {words}".split()))
    assert not (tmp_path / "new").exists()
