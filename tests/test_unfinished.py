"""What a benchmark keeps until its report is written."""

import numpy as np
import pytest
from astropy.table import Table

from casa_ddpm.benchmark import tables, unfinished

#: Numbers that decimal digits must not change, words of other lengths, and nothing.
FOUND = {
    "one": Table({"x": [0.1 + 0.2, np.inf, np.nan], "name": ["a", "b c", "long enough"]}),
    "none": Table({"n": np.zeros(0, int), "name": np.zeros(0, "U24"), "x": np.zeros(0)}),
}


@pytest.fixture
def kept(tmp_path):
    with unfinished.folder(tmp_path / "new", {"seed": 1}) as folder:
        yield folder


def never():
    raise AssertionError("measured again")


def same(one, other):
    assert one.keys() == other.keys()
    for name, table in one.items():
        assert table.colnames == other[name].colnames and not table.has_masked_values
        for column in table.colnames:
            assert table[column].dtype.kind == other[name][column].dtype.kind
            np.testing.assert_array_equal(np.array(table[column]), np.array(other[name][column]))


def test_measured_once(kept):
    assert unfinished.once(kept, "sea 0", lambda: FOUND) is FOUND
    same(unfinished.once(kept, "sea 0", never), FOUND)
    with pytest.raises(AssertionError, match="measured again"):
        unfinished.once(kept, "sea 1", never)
    # Half of it is not there.
    assert sorted(path.name for path in kept.iterdir()) == ["account.json", "sea 0"]


def test_failures_are_kept_and_joined(kept):
    """Of two fields, one of them without any."""
    truth, found = tables.empty(tables.TRUTH), tables.empty(tables.DETECTIONS)
    images = Table({"protocol": ["sea"], "field": [0], "method": ["a"]})
    parts = []
    for k, failed in enumerate(([["b", "sea 0", "x | y: 'z'"]], [], [["b", "sea 2", "w"]])):
        own = images.copy()
        own.meta = {tables.FAILED: failed} if failed else {}
        made = {"truth": truth, "detections": found, "images": own}
        unfinished.once(kept, f"sea {k}", lambda made=made: made)
        parts.append(unfinished.once(kept, f"sea {k}", never))
    failures = tables.failures(tables.joined(parts)["images"])
    assert failures == [("b", "sea 0", "x | y: 'z'"), ("b", "sea 2", "w")]


def test_without_a_folder_nothing_is_kept():
    assert unfinished.once(None, "sea 0", lambda: FOUND) is FOUND


def test_a_write_that_fails_leaves_nothing(kept):
    class Full:
        def write(self, path):
            path.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        unfinished.once(kept, "sea 0", lambda: {"one": FOUND["one"], "two": Full()})
    assert [path.name for path in kept.iterdir()] == ["account.json"]


def test_what_was_refused_leaves_nothing(tmp_path):
    with (
        pytest.raises(ValueError, match="outside"),
        unfinished.folder(tmp_path / "new", {}),
    ):
        raise ValueError("outside")
    assert not list(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt), unfinished.folder(tmp_path / "new", {}) as folder:
        unfinished.once(folder, "sea 0", lambda: FOUND)
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["new.unfinished"]


def test_finish(tmp_path, kept):
    """A report that was cut off is written anew; in its place it is whole, and alone."""

    def half(folder):
        (folder / "half").write_text("")
        raise KeyboardInterrupt

    def whole(folder):
        (folder / "report.md").write_text("all of it")
        return 7

    out = tmp_path / "new"
    with pytest.raises(KeyboardInterrupt):
        unfinished.finish(kept, out, half)
    assert not out.exists() and kept.exists()
    assert unfinished.finish(kept, out, whole) == 7
    assert [path.name for path in out.iterdir()] == ["report.md"] and not kept.exists()
