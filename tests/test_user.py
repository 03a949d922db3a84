"""A user's own simulation: its table of sources, and a run with CASA."""

from __future__ import annotations

import json

import numpy as np
import pytest
from astropy import units as u
from astropy.table import MaskedColumn, QTable, Table
from astropy.wcs import WCS
from conftest import _offset, checksum

from casa_ddpm import cli
from casa_ddpm.benchmark import report, tables
from casa_ddpm.benchmark.field import Field
from casa_ddpm.benchmark.metrics import OURS, PEAKS
from casa_ddpm.benchmark.outcome import from_user
from casa_ddpm.benchmark.rivals import RIVALS
from casa_ddpm.benchmark.user import USER, Simulation
from casa_ddpm.dirty import Beam, DirtyImage
from casa_ddpm.options import Options
from casa_ddpm.posterior import Sampling

CENTRE = (150.0, -30.0)


@pytest.fixture
def of(tmp_path):
    """Makes the simulation of a table."""
    (tmp_path / "some.ms").mkdir()

    def make(table, name="truth.ecsv", cell="0.25arcsec"):
        if table is not None:
            table.write(tmp_path / name, overwrite=True)
        return Simulation(str(tmp_path / "some.ms"), str(tmp_path / name), cell, 80)

    return make


@pytest.fixture
def plane():
    """An image of 80 x 60 pixels of 0.25 arcsec and a beam of 1 arcsec."""
    psf = np.zeros((60, 80))
    psf[30, 40] = 1
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---SIN", "DEC--SIN"]
    wcs.wcs.crval, wcs.wcs.crpix = CENTRE, [41, 31]
    wcs.wcs.cdelt = [-0.25 / 3600, 0.25 / 3600]
    return DirtyImage(np.zeros((60, 80)), psf, Beam(1, 1, 0), 0.25, wcs=wcs)


def places(*offsets):
    """ra, dec [deg] of offsets east and north [arcsec]."""
    return np.array([_offset(*CENTRE, *offset) for offset in offsets]).T


@pytest.mark.parametrize("name", ["truth.ecsv", "truth.fits", "truth.csv"])
def test_truth_of_a_table(of, plane, name):
    ra, dec = places((0, 0), (2, 3))
    columns = {"ra": ra, "dec": dec, "flux": [0.01, 0.02]}
    columns |= {"major": [0.0, 2.0], "minor": [0.0, 1.0], "pa": [0.0, 40.0]}
    simulation = of(Table(columns), name)
    truth = Field(USER, 0, plane, simulation.components(plane)).truth()
    np.testing.assert_allclose(truth["x"], [40, 32], atol=1e-3)
    np.testing.assert_allclose(truth["y"], [30, 42], atol=1e-3)
    np.testing.assert_allclose(truth["flux"], [0.01, 0.02])
    np.testing.assert_allclose(truth["major"], [0, 2], atol=1e-9)
    np.testing.assert_allclose(truth["minor"], [0, 1], atol=1e-9)
    assert truth["pa"][1] == pytest.approx(40)
    assert truth["snr"][1] == pytest.approx(0.02 / np.sqrt(10))
    assert simulation.imaging["imsize"] == [80, 80]
    assert simulation.imaging["cell"] == ["0.25arcsec"]


def test_units_of_the_table_count(of):
    ra, dec = places((0, 0))
    table = QTable({"ra": (ra / 15) * u.hourangle, "dec": dec * u.deg, "flux": [10] * u.mJy})
    columns = of(table).columns
    assert columns["ra"] == pytest.approx(ra) and columns["flux"] == pytest.approx(0.01)
    assert columns["major"] == 0


def test_sizes_that_are_absent(of):
    """Without a minor axis a source is round; without a size, or a masked one, a point."""
    ra, dec = places((0, 0), (1, 0), (2, 0))
    major = MaskedColumn([2.0, 3.0, np.nan], mask=[False, True, False])
    columns = of(Table({"ra": ra, "dec": dec, "flux": [1.0, 1, 1], "major": major})).columns
    assert columns["major"].tolist() == columns["minor"].tolist() == [2, 0, 0]
    assert columns["pa"].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flux": None}, r"truth must have the columns \['ra', 'dec', 'flux'\].*no \['flux'\]"),
        ({"ra": [np.nan]}, "truth must have a finite 'ra' in every row"),
        ({"flux": [-1.0]}, "truth must have positive fluxes, got -1 Jy"),
        ({"flux": ["much"]}, r"truth must have numbers \[Jy\] as 'flux'"),
        ({"flux": [1.0] * u.K}, r"truth must have numbers \[Jy\] as 'flux'"),
        ({"major": [1.0], "minor": [2.0]}, "truth must have sizes with 0 <= minor <= major"),
        ({"major": [-1.0]}, "truth must have sizes with 0 <= minor <= major"),
    ],
)
def test_refused_tables(of, change, message):
    ra, dec = places((0, 0))
    columns = {"ra": ra, "dec": dec, "flux": [0.01]} | change
    with pytest.raises(ValueError, match=message):
        of(Table({name: values for name, values in columns.items() if values is not None}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vis": "nowhere.ms"}, "vis must be a MeasurementSet, got '.*nowhere.ms'"),
        ({"cell": "0.2"}, "cell must be an angle such as '0.2arcsec', got '0.2'"),
        ({"cell": "fine"}, "cell must be an angle such as '0.2arcsec', got 'fine'"),
        ({"cell": "-1arcsec"}, "cell must be positive, got '-1arcsec'"),
        ({"truth": "nowhere.csv"}, "truth must be an existing file, got 'nowhere.csv'"),
        ({"truth": __file__}, "truth must be a table that astropy reads, got '.*test_user.py'"),
    ],
)
def test_refused_values(of, change, message):
    ra, dec = places((0, 0))
    good = vars(of(Table({"ra": ra, "dec": dec, "flux": [0.01]})))
    given = {name: good[name] for name in ("vis", "truth", "cell", "npix")}
    with pytest.raises(ValueError, match=message):
        Simulation(**given | change)


def test_sources_outside_of_the_image_are_refused(of, plane):
    for offset in ((12, 0), (0, 8), (-10.5, 0)):
        ra, dec = places((0, 0), offset)
        simulation = of(Table({"ra": ra, "dec": dec, "flux": [1.0, 1.0]}))
        with pytest.raises(ValueError, match="image of 80 x 60 pixels.*1 outside, .* in row 1"):
            simulation.components(plane)
    # On the other side of the sky the projection has no place at all.
    simulation = of(Table({"ra": [330.0], "dec": [30.0], "flux": [1.0]}))
    with pytest.raises(ValueError, match="1 outside"):
        simulation.components(plane)


def test_content_tells_of_what_has_changed(of, tmp_path):
    """Of the truth its values, of the MeasurementSet its tables; not what reading touches."""
    ra, dec = places((0, 0))
    files = {name: tmp_path / "some.ms" / name for name in ("table.dat", "table.f1", "table.lock")}
    for path in files.values():
        path.write_text("data")

    def content(flux=0.01):
        return of(Table({"ra": ra, "dec": dec, "flux": [flux]}), "truth.csv").content

    first = content()
    assert content() == first == json.loads(json.dumps(first))
    assert content(0.02)["truth"] != first["truth"]
    files["table.lock"].write_text("other")
    assert content() == first
    files["table.f1"].write_text("more data")
    assert content()["vis"] != first["vis"] and content()["truth"] == first["truth"]


@pytest.mark.casa
def test_small_observation(small_ms, tmp_path):
    """Its three points, attenuated by the primary beam, at the noise that the task measures."""
    from casa_ddpm import casa
    from casa_ddpm.casa import clean

    imaging = {"imsize": [128, 128], "cell": ["0.12arcsec"], "pblimit": -0.1}
    dirty = clean.dirty(small_ms.path, str(tmp_path / "d"), imaging)
    pb = casa.read_plane(str(tmp_path / "d.pb"))
    rows = []
    for east, north, flux in small_ms.sources:
        ra, dec = _offset(small_ms.ra, small_ms.dec, east, north)
        x, y = (int(round(float(v))) for v in dirty.wcs.world_to_pixel_values(ra, dec))
        rows.append((ra, dec, flux * pb[y, x]))
    Table(rows=rows, names=["ra", "dec", "flux"]).write(tmp_path / "truth.csv")
    simulation = Simulation(small_ms.path, str(tmp_path / "truth.csv"), "0.12arcsec", 128)
    before = checksum(small_ms.path)
    (tmp_path / "scratch").mkdir()
    options = Options(nmajor=1, sampling=Sampling(nsamples=4, nsteps=6, device="cpu"))
    peaks = [rival for rival in RIVALS if rival.name == PEAKS]
    content = simulation.content
    found = from_user(simulation, tmp_path / "scratch", options, peaks)
    assert simulation.content == content and len(content["vis"]) > 1
    truth, detections, images = (found[name] for name in tables.COLUMNS)
    assert checksum(small_ms.path) == before
    assert set(truth["protocol"]) == {USER} and list(images["method"]) == [OURS, PEAKS]
    np.testing.assert_allclose(truth["flux"] * small_ms.noise, [r[2] for r in rows], rtol=0.1)
    for method in (OURS, PEAKS):
        hits = detections[(detections["method"] == method) & (detections["match"] >= 0)]
        assert sorted(hits["match"]) == [0, 1, 2]
        true = truth[hits["match"]]
        assert (np.abs(hits["flux"] - true["flux"]) < 4 + 0.03 * true["flux"]).all()
    assert images[0]["residual_rms"] == pytest.approx(1, abs=0.2)

    words = f"--vis {small_ms.path} --truth {simulation.truth} --cell 0.12arcsec --imsize 128"
    words += f" --out {tmp_path / 'new'} --rivals none --nsamples 2 --nmajor 1 --device cpu"
    assert cli.main(["benchmark", *words.split()]) == 0
    written = report.read(tmp_path / "new")
    assert list(written.figures) == [USER] and len(written.truth) == 3
    assert written.figures[USER][OURS]["completeness"]["value"] == 1
    assert (tmp_path / "new" / "report.md").is_file()


@pytest.mark.casa
def test_sources_outside_end_the_command_early(small_ms, tmp_path, capsys):
    table = {"ra": [small_ms.ra + 0.1], "dec": [small_ms.dec], "flux": [1.0]}
    Table(table).write(tmp_path / "truth.csv")
    words = f"--vis {small_ms.path} --truth {tmp_path / 'truth.csv'} --cell 0.12arcsec"
    assert cli.main(["benchmark", "--out", str(tmp_path / "new"), *words.split()]) == 2
    assert "truth must lie within the image of 160 x 160 pixels" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["truth.csv"]
