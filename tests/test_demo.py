"""The demonstration: its table, and (slow) all of it."""

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable, Table

from casa_ddpm import demo


def test_sky_depends_on_the_seed_alone():
    one, same, other = demo.sky(1), demo.sky(1), demo.sky(2)
    assert np.array_equal(one["ra"], same["ra"]) and not np.array_equal(one["ra"], other["ra"])
    assert (np.diff(one["flux"]) < 0).all()


def test_comparison_matches_one_to_one():
    truth = demo.sky(1)
    found = truth["ra", "dec", "flux"][[2, 0]]
    found["flux_err"] = 0.1 * u.mJy
    found["prob"] = 1.0
    found["flux"] *= 2
    extra = QTable(truth["ra", "dec", "flux"][[1]])
    extra["dec"] += 5 * u.arcsec
    table = demo.compare(truth, found, extra)
    assert list(table["ddpmclean"][:4]) == ["10.000", "", f"{2 * truth['flux'][2].value:.3f}", ""]
    assert list(table["tclean"][:-1]) == [""] * len(truth)
    assert list(table[-1]["ddpmclean", "tclean"]) == ["0", "1"]


def test_out_must_be_new(tmp_path):
    (tmp_path / "file").touch()
    for taken in (tmp_path, tmp_path / "file"):
        with pytest.raises(FileExistsError, match="out must be a new or empty folder"):
            demo.run(str(taken))


def test_seed_must_not_be_negative(tmp_path):
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        demo.run(str(tmp_path / "new"), seed=-1)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.casa
def test_demo(tmp_path, capsys):
    assert demo.run(str(tmp_path / "demo"), seed=1) == 0
    assert "not in truth" in capsys.readouterr().out
    table = Table.read(tmp_path / "demo" / "comparison.ecsv")
    for method in ("ddpmclean", "tclean"):
        assert "" not in list(table[method][:4])
    assert int(table["ddpmclean"][-1]) <= 1
    for name in ("ddpmclean.png", "comparison.png", "ddpmclean.cl", "tclean.image", "truth.ecsv"):
        assert (tmp_path / "demo" / name).exists()
