"""Simulated fields as files."""

import argparse

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable
from astropy.wcs import WCS

from casa_ddpm import fields


def arguments(out, *more):
    parser = argparse.ArgumentParser()
    fields.add_arguments(parser)
    return parser.parse_args(["--out", str(out), "--number", "2", "--npix", "64", *more])


def test_files_hold_what_was_drawn(tmp_path):
    assert fields.run(arguments(tmp_path, "--array", "vla.a", "--noise", "1e-3")) == 0
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [
        f"field_0_000{i}.{kind}"
        for i in (0, 1)
        for kind in ("dirty.fits", "psf.fits", "truth.ecsv")
    ]
    data, header = fits.getdata(tmp_path / "field_0_0000.dirty.fits", header=True)
    psf = fits.getdata(tmp_path / "field_0_0000.psf.fits")
    assert data.shape == psf.shape == (64, 64)
    assert psf[32, 32] == psf.max() == 1
    assert header["BUNIT"] == "Jy/beam"
    assert np.sqrt(header["BMAJ"] * header["BMIN"]) * 3600 == pytest.approx(1)
    truth = QTable.read(tmp_path / "field_0_0000.truth.ecsv")
    x, y = WCS(header).world_to_pixel_values(truth["ra"], truth["dec"])
    assert np.allclose(x, truth["x"].value, atol=1e-3)
    assert np.allclose(y, truth["y"].value, atol=1e-3)


def test_nothing_is_overwritten(tmp_path):
    fields.run(arguments(tmp_path))
    (tmp_path / "field_0_0000.dirty.fits").unlink()
    before = set(tmp_path.iterdir())
    with pytest.raises(OSError, match="already exists"):
        fields.run(arguments(tmp_path))
    message = "out must be a folder without fields of this seed, got '.*': field_0_0000.psf.fits"
    with pytest.raises(FileExistsError, match=message):
        fields.run(arguments(tmp_path))
    assert set(tmp_path.iterdir()) == before
    with pytest.raises(FileExistsError, match="out must be a folder, got the file '.*fits'"):
        fields.run(arguments(tmp_path / "field_0_0000.psf.fits"))
    # Those of another seed may lie beside them.
    assert fields.run(arguments(tmp_path, "--seed", "1")) == 0


@pytest.mark.parametrize(
    ("option", "text"),
    [
        (("--number", "0"), "number must be positive, got 0"),
        (("--array", "x"), "array 'x' is not"),
        (("--seed", "-1"), "seed must be at least 0, got -1"),
    ],
)
def test_refused(tmp_path, option, text):
    with pytest.raises(ValueError, match=text):
        fields.run(arguments(tmp_path / "new", *option))
    assert not (tmp_path / "new").exists()
