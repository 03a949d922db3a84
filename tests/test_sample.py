"""Splitting the tables: who is matched with whom, and who has seen what."""

import numpy as np
import pytest
from astropy.table import Table, vstack
from crafted import METHODS, benchmark

from casa_ddpm.benchmark import tables
from casa_ddpm.benchmark.sample import samples


@pytest.fixture(scope="module")
def made():
    return benchmark(12, seed=2)


def test_partners_survive_any_order_of_rows(made):
    truth, found, images = made
    sample = samples(truth, found, images, number=0)["independent"]["peaks"]
    hit = sample.hit
    flux = np.asarray(sample.truth["flux"])[sample.partner[hit]]
    # Fields in another order; within a field the order is what `match` counts in.
    order = np.argsort(-np.asarray(truth["field"]), kind="stable")
    again = samples(truth[order], found[::-1], images[::-1], number=0)["independent"]["peaks"]
    other = np.asarray(again.truth["flux"])[again.partner[again.hit]]
    assert np.array_equal(flux, other[::-1])
    one = int(np.flatnonzero(hit)[3])
    row = sample.found[one]
    expected = truth[truth["field"] == row["field"]][row["match"]]["flux"]
    assert sample.truth["flux"][sample.partner[one]] == expected


def test_methods_share_resamples(made):
    parts = samples(*made, seed=4, number=20)["independent"]
    assert list(parts) == list(METHODS)
    first = parts[METHODS[0]]
    for part in parts.values():
        assert np.array_equal(part.truth_weight, first.truth_weight)
    assert first.fields == 12 and first.truth_weight.shape == (21, 72)


def test_fields_where_a_method_failed_do_not_count(made):
    truth, found, images = made
    failed = (images["method"] == "peaks") & (images["field"] == 3)
    gone = (found["method"] == "peaks") & (found["field"] == 3)
    parts = samples(truth, found[~gone], images[~failed], number=5)["independent"]
    assert parts["peaks"].fields == 11 and len(parts["peaks"].truth) == 66
    assert parts["ddpmclean"].fields == 12
    assert (parts["peaks"].partner < 66).all()
    both = samples(truth, found[~gone], images[~failed], methods=("ddpmclean", "peaks"))
    assert [part.fields for part in both["independent"].values()] == [11, 11]
    sample = both["independent"]["ddpmclean"]
    assert 3 not in sample.found["field"]
    true = sample.truth["x"][sample.partner[sample.hit]]
    assert np.max(np.abs(true - sample.found["x"][sample.hit])) < 5


def test_method_without_images_has_seen_all(made):
    truth, found, images = made
    rest = images[images["method"] != "peaks"]
    assert samples(truth, found, rest, number=0)["independent"]["peaks"].fields == 12


def test_fields_without_anything_count():
    _, _, images = benchmark(5, protocol="empty")
    nothing = tables.empty(tables.TRUTH), tables.empty(tables.DETECTIONS)
    parts = samples(*nothing, images, number=3)["empty"]
    assert parts["peaks"].fields == 5 and len(parts["peaks"].found) == 0
    assert samples(*nothing, Table()) == {}


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        ("match", 6, "match must be -1 or a row of the field's truth, got 6 in field 0, which"),
        ("match", -2, "got -2 in field 0"),
        ("score", np.nan, "detections must have a finite 'score' in every row"),
        ("field", 99, r"which has 0|ddpmclean has none for \[99\]"),
    ],
)
def test_refused(made, column, value, text):
    truth, found, images = made
    found = found.copy()
    found[column][0] = value
    with pytest.raises(ValueError, match=text):
        samples(truth, found, images)


def test_refuses_what_is_matched_twice(made):
    truth, found, images = made
    with pytest.raises(ValueError, match="match must be one to one, ddpmclean repeats"):
        samples(truth, vstack([found, found[:1]]), images)


def test_refuses_detections_without_image(made):
    truth, found, images = made
    gone = (images["method"] == "peaks") & (images["field"] == 3)
    with pytest.raises(ValueError, match=r"peaks has none for \[3\]"):
        samples(truth, found, images[~gone])


def test_checked_tables():
    table = Table({"protocol": ["a"], "field": [1], "method": ["m"], "extra": [2], "note": ["b"]})
    found = tables.checked(table, tables.IMAGES, "images")
    assert found.colnames[:4] == ["protocol", "field", "method", "residual_rms"]
    assert np.isnan(found["seconds"][0]) and found["extra"][0] == 2.0 and found["note"][0] == "b"
    assert "[dB]" in found["ser"].description
    with pytest.raises(ValueError, match="images must have the column 'method', it has"):
        tables.checked(table["protocol", "field"], tables.IMAGES, "images")
    # What one table of a stack lacks is masked.
    stacked = vstack([table, table["protocol", "field", "method"]])
    assert np.isnan(tables.checked(stacked, tables.IMAGES, "images")["extra"][1])
    stacked = Table(stacked, masked=True)
    stacked["method"].mask = [False, True]
    with pytest.raises(ValueError, match="images must have a finite 'method'"):
        tables.checked(stacked, tables.IMAGES, "images")
