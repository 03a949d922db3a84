from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import QTable
from astropy.wcs import WCS
from matplotlib.figure import Figure
from regions import Regions

from casa_ddpm import catalogue, picture
from casa_ddpm.dirty import Beam, DirtyImage
from casa_ddpm.sources import UNITS

NY, NX, CELL, NOISE = 100, 120, 0.2, 1e-4

#: DESIGN, section 2.
ORDER = (
    "name ra dec ra_err dec_err flux flux_err flux_lo flux_hi flux_app peak rms snr prob major "
    "minor pa major_err minor_err pa_err resolved freq x y flags"
).split()


def header(system="ICRS", ra=150.1, dec=-0.002):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---SIN", "DEC--SIN"]
    wcs.wcs.crval, wcs.wcs.crpix = [ra, dec], [NX // 2 + 1, NY // 2 + 1]
    wcs.wcs.cdelt, wcs.wcs.radesys = [-CELL / 3600, CELL / 3600], system
    return wcs


@pytest.mark.parametrize("turn", [0, 40, 170, 250])
@pytest.mark.parametrize("dec", [-0.002, 60, 89.999])
def test_angles_are_from_the_north_at_each_source(dirty, sources, turn, dec):
    """Astropy's position angle of a step along the major axis, wherever north is."""
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    wcs = header("FK5", dec=dec)
    wcs.wcs.pc = [[c, -s], [s, c]]
    turned = dataclasses.replace(dirty, wcs=wcs)
    sources["ra_err"], sources["dec_err"] = 3 * u.arcsec, 1 * u.arcsec
    table = catalogue.build(sources, turned, NOISE)
    x, y, pa = (sources[name].value for name in ("x", "y", "pa"))
    step = 0.01 * np.array([-np.sin(np.radians(pa)), np.cos(np.radians(pa))])
    here, there = wcs.pixel_to_world(x, y), wcs.pixel_to_world(x + step[0], y + step[1])
    want = here.position_angle(there).deg
    away = (table["pa"].value - want + 90) % 180 - 90
    assert np.abs(away).max() < 0.02
    # The beam's is from the north at the reference pixel.
    x, y = wcs.wcs.crpix - 1
    step = 0.01 * np.array([-np.sin(np.radians(dirty.beam.pa)), np.cos(np.radians(dirty.beam.pa))])
    here, there = wcs.pixel_to_world(x, y), wcs.pixel_to_world(x + step[0], y + step[1])
    want = here.position_angle(there).deg
    assert abs((table.meta["BPA"] - want + 90) % 180 - 90) < 0.02
    assert -90 <= table.meta["BPA"] <= 90
    errors = np.hypot(table["ra_err"], table["dec_err"]).to_value(u.arcsec)
    np.testing.assert_allclose(errors, np.sqrt(10))
    if turn == 250 and dec < 80:
        assert table["ra_err"][0].value == pytest.approx(np.hypot(3 * c, s), rel=1e-3)


def test_ellipses_of_the_picture_lie_in_the_image(dirty, sources):
    """Wherever north is, a source is drawn as it lies on the pixels."""
    wcs = header("FK5", dec=40)
    c, s = np.cos(0.7), np.sin(0.7)
    wcs.wcs.pc = [[c, -s], [s, c]]
    drawn = []
    for one in (dirty, dataclasses.replace(dirty, wcs=wcs)):
        axes = Figure().add_subplot()
        picture._mark(axes, catalogue.build(sources, one, NOISE), one, 0.5)
        drawn.append([(*ellipse.center, ellipse.angle % 180) for ellipse in axes.patches])
    assert len(drawn[0]) == len(sources)
    np.testing.assert_allclose(drawn[1], drawn[0], atol=0.01)


@pytest.fixture
def dirty():
    y, x = np.mgrid[-(NY // 2) : NY - NY // 2, -(NX // 2) : NX - NX // 2]
    pb = np.exp(-(x**2 + y**2) / 2 / 30**2)
    pb[pb < 0.1] = np.nan
    psf = np.exp(-(x**2 + y**2) / 2 / 1.7**2)
    return DirtyImage(np.zeros((NY, NX)), psf, Beam(0.9, 0.7, 30), CELL, pb, 2.3e11, header())


@pytest.fixture
def sources():
    """A point at the centre, an extended one, faint ones at low pb, outside it, at the rim."""
    x = np.array([60.0, 80.0, 114.0, 119.0, 60.0])
    number = len(x)
    columns = {name: np.linspace(1, 2, number) for name in UNITS}
    columns |= {
        "x": x,
        "y": np.array([50.0, 50.0, 60.0, 98.0, 1.0]),
        "flux": np.array([10.0, 8.0, 1.0, 1.0, 1.0]) * NOISE,
        "flux_lo": np.array([9.0, 7.0, 0.5, 0.5, 0.5]) * NOISE,
        "major": np.array([0.1, 2.0, 0.1, 0.1, 0.1]),
        "minor": np.array([0.0, 0.3, 0.0, 0.0, 0.0]),
        "pa": np.array([10.0, 120.0, 0.0, 0.0, 0.0]),
        "resolved": np.arange(number) == 1,
        "blended": np.arange(number) == 1,
        "count": np.array([20, 20, 5, 6, 20]),
    }
    table = QTable(columns)
    for name, unit in UNITS.items():
        if unit is not None:
            table[name].unit = unit
    return QTable(table)


@pytest.fixture
def built(sources, dirty):
    return catalogue.build(sources, dirty, NOISE, meta={"network": "default", "seed": 3})


def test_columns_are_the_contract(built):
    assert built.colnames == ORDER
    for name in ORDER:
        unit, description = catalogue.COLUMNS[name]
        assert built[name].info.description == description
        assert getattr(built[name], "unit", None) == unit
    assert built["flags"].dtype == np.int32 and built["resolved"].dtype == bool
    assert (built["freq"] == 230 * u.GHz).all()
    assert built.meta["noise"] == NOISE and built.meta["seed"] == 3


def test_primary_beam_corrects_fluxes_and_noise_alike(built, sources):
    pb = np.exp(-(20**2) / 2 / 30**2)
    row = built[1]
    for name in ("flux", "flux_err", "flux_lo", "flux_hi", "peak"):
        assert row[name].value == pytest.approx(sources[name][1].value / pb)
    assert row["flux_app"] == sources["flux"][1]
    assert row["rms"].value == pytest.approx(NOISE / pb)
    assert row["snr"] == sources["snr"][1]
    assert built["flux"][0].value == pytest.approx(built["flux_app"][0].value)


def test_flags(built):
    low = catalogue.LOW_PB | catalogue.FEW_REALISATIONS
    outside = catalogue.EDGE | catalogue.NO_PB
    assert list(built["flags"][:4]) == [0, catalogue.BLENDED, low, outside]
    assert built["flags"][4] & catalogue.EDGE
    assert np.isnan(built["flux"][3]) and built["flux_app"][3] == NOISE * u.Jy


def test_without_a_primary_beam_fluxes_are_apparent(sources, dirty):
    table = catalogue.build(sources, dataclasses.replace(dirty, pb=None), NOISE)
    assert (table["flux"] == table["flux_app"]).all()
    assert (table["rms"].value == NOISE).all()


def test_frame_takes_positions_to_the_image(sources, dirty):
    table = catalogue.build(sources, dirty, NOISE, frame=lambda x, y: (x / 2 + 1, y / 4))
    assert list(table["x"].value) == list(sources["x"].value / 2 + 1)
    assert list(table["y"].value) == list(sources["y"].value / 4)
    assert (table["ra_err"] == sources["ra_err"]).all()


@pytest.mark.parametrize("system", ["ICRS", "FK5"])
def test_positions_are_those_of_the_wcs(sources, dirty, system):
    """A SIN projection by hand: 20 pixels west of the centre."""
    dirty = dataclasses.replace(dirty, wcs=header(system))
    table = catalogue.build(sources, dirty, NOISE)
    assert table.meta["RADESYS"] == system
    centre = SkyCoord(150.1 * u.deg, -0.002 * u.deg)
    here = SkyCoord(table["ra"], table["dec"])
    assert centre.separation(here[0]).arcsec < 1e-6
    east, north = centre.spherical_offsets_to(here[1])
    assert east.arcsec == pytest.approx(-4) and north.arcsec == pytest.approx(0, abs=1e-3)


def test_a_galactic_image_gives_icrs(sources, dirty):
    wcs = header()
    wcs.wcs.ctype, wcs.wcs.radesys = ["GLON-SIN", "GLAT-SIN"], ""
    table = catalogue.build(sources, dataclasses.replace(dirty, wcs=wcs), NOISE)
    place = SkyCoord(150.1, -0.002, unit="deg", frame="galactic").icrs
    assert table["ra"][0].value == pytest.approx(place.ra.deg)
    assert table.meta["RADESYS"] == "ICRS"


@pytest.mark.parametrize(
    ("ra", "dec", "name"),
    [
        ("12h34m56.789s", "+01d23m45.67s", "DDPM J123456.78+012345.6"),
        ("00h00m00.00s", "-00d00m10.00s", "DDPM J000000.00-000010.0"),
        ("23h59m59.999s", "-89d59m59.99s", "DDPM J235959.99-895959.9"),
        ("12h34m34.20s", "+10d00m34.20s", "DDPM J123434.20+100034.2"),
    ],
)
def test_names_are_truncated(sources, dirty, ra, dec, name):
    place = SkyCoord(ra, dec)
    wcs = header(ra=place.ra.deg, dec=place.dec.deg)
    table = catalogue.build(sources[:1], dataclasses.replace(dirty, wcs=wcs), NOISE)
    assert table["name"][0] == name


def test_equal_names_get_letters(sources, dirty):
    sources["x"][:2], sources["y"][:2] = [60.30, 60.31] * u.pix, [50.20, 50.21] * u.pix
    names = list(catalogue.build(sources[:3], dirty, NOISE)["name"])
    assert [name[-1] for name in names[:2]] == ["a", "b"] and names[0][:-1] == names[1][:-1]
    assert names[2][-1].isdigit()


def test_without_a_wcs_pixels_are_left(sources, dirty, tmp_path):
    dirty = dataclasses.replace(dirty, wcs=None, freq=None)
    table = catalogue.build(sources, dirty, NOISE)
    assert np.isnan(table["ra"]).all() and np.isnan(table["freq"]).all()
    assert table["name"][0] == "DDPM x60.00y50.00"
    assert [path.rsplit(".", 1)[1] for path in catalogue.write(table, tmp_path / "a")] == [
        "ecsv",
        "fits",
    ]


@pytest.mark.parametrize("ending", ["cat.ecsv", "cat.fits"])
def test_tables_round_trip(built, tmp_path, ending):
    built.meta["calibration"] = "isotonic"  # longer than a FITS keyword
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        catalogue.write(built, tmp_path / "field")
        table = QTable.read(tmp_path / f"field.{ending}")
    assert table.colnames == ORDER
    for name in ORDER:
        assert getattr(table[name], "unit", None) == getattr(built[name], "unit", None)
        assert table[name].info.description == built[name].info.description
        np.testing.assert_array_equal(table[name], built[name])
    meta = {str(key).upper(): value for key, value in table.meta.items()}
    assert meta["SEED"] == 3 and meta["NETWORK"] == "default" and meta["NOISE"] == NOISE
    assert "calibration = isotonic" in meta.get("COMMENTS", "calibration = isotonic")


def test_an_empty_catalogue_is_written_as_well(sources, dirty, tmp_path):
    paths = catalogue.write(catalogue.build(sources[:0], dirty, NOISE), tmp_path / "empty")
    assert len(paths) == 4
    assert QTable.read(paths[1]).colnames == ORDER


@pytest.mark.parametrize(("ending", "form"), [("crtf", "crtf"), ("reg", "ds9")])
@pytest.mark.parametrize("system", ["ICRS", "FK5"])
def test_regions_are_ellipses_of_the_right_shape(sources, dirty, tmp_path, ending, form, system):
    table = catalogue.build(sources, dataclasses.replace(dirty, wcs=header(system)), NOISE)
    catalogue.write(table, tmp_path / "field")
    point, extended, *others = Regions.read(tmp_path / f"field.{ending}", format=form)
    assert len(others) == 3
    assert point.center.frame.name == system.lower()
    place = SkyCoord(table["ra"][0], table["dec"][0], frame=system.lower())
    assert point.center.separation(place).arcsec < 1e-6
    # The packages' ellipses have their height along the position angle.
    shape = [point.height.to_value("arcsec"), point.width.to_value("arcsec"), point.angle.value]
    assert shape == pytest.approx([0.9, 0.7, 30], rel=1e-5)
    assert extended.height.to_value("arcsec") == pytest.approx(2.0, rel=1e-5)
    assert extended.width.to_value("arcsec") == pytest.approx(0.7, rel=1e-5)
    assert extended.angle.value == pytest.approx(120)
    assert table["name"][1] in (extended.meta.get("label"), extended.meta.get("text"))


@pytest.mark.parametrize(("ending", "dashed"), [("crtf", "linestyle=--"), ("reg", "dash=1")])
def test_improbable_sources_have_dashed_regions(built, tmp_path, ending, dashed):
    built["prob"] = [0.95, 0.5, 0.9, 0.89, 0.99]
    catalogue.write(built, tmp_path / "field", minprob=0.9)
    lines = (tmp_path / f"field.{ending}").read_text().splitlines()
    shapes = [line for line in lines if line.startswith("ellipse")]
    assert [dashed in line for line in shapes] == [False, True, False, True, False]


@pytest.mark.casa
@pytest.mark.parametrize("system", ["ICRS", "J2000"])
def test_casa_reads_the_crtf(sources, dirty, tmp_path, system):
    """CASA's mask has the area, the place and the angle of the ellipse."""
    casatools = pytest.importorskip("casatools")
    wcs = header("FK5" if system == "J2000" else system, 150.1, 20.0)
    sources["major"][1], sources["minor"][1] = 6 * u.arcsec, 2 * u.arcsec
    table = catalogue.build(sources[1:2], dataclasses.replace(dirty, wcs=wcs), NOISE)
    catalogue.write(table, tmp_path / "field", minprob=1.0)
    image, systems = casatools.image(), casatools.coordsys()
    try:
        axes = systems.newcoordsys(direction=True)
        axes.setreferencecode(system, "direction", False)
        axes.setunits(["deg", "deg"])
        axes.setprojection("SIN")
        axes.setreferencepixel([NX // 2, NY // 2], "direction")
        axes.setreferencevalue([150.1, 20.0], "direction")
        axes.setincrement([-CELL / 3600, CELL / 3600], "direction")
        image.fromshape(str(tmp_path / "field.im"), [NX, NY], csys=axes.torecord())
        region = str(tmp_path / "field.crtf")
        # Without stretch CASA returns the bounding box; its corner is in the statistics.
        mask = image.getregion(region=region, getmask=True).T
        corner = image.statistics(region=region)["blc"]
    finally:
        image.done()
        systems.done()
    y, x = np.nonzero(mask)
    assert len(x) == pytest.approx(np.pi * 3 * 1 / CELL**2, rel=0.03)
    assert x.mean() + corner[0] == pytest.approx(80, abs=0.3)
    assert y.mean() + corner[1] == pytest.approx(50, abs=0.3)
    drawn = Beam.from_covariance(np.cov(y, x), CELL)
    assert drawn.pa == pytest.approx(120, abs=1.5)
    assert drawn.major / drawn.minor == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize("ending", ["cat.ecsv", "cat.fits", "crtf", "reg"])
def test_nothing_is_overwritten_unasked(built, tmp_path, ending):
    existing = tmp_path / f"field.{ending}"
    existing.write_text("precious")
    with pytest.raises(FileExistsError, match=rf"field\.{ending} exists; overwrite=True"):
        catalogue.write(built, tmp_path / "field")
    assert [path.name for path in tmp_path.iterdir()] == [existing.name]
    assert existing.read_text() == "precious"
    catalogue.write(built, tmp_path / "field", overwrite=True)
    assert existing.read_bytes() != b"precious"


def test_noise_is_checked(sources, dirty):
    with pytest.raises(ValueError, match=r"noise must be positive \[Jy/beam\], got -1"):
        catalogue.build(sources, dirty, -1)


def test_spectral_indices_have_columns_where_there_are_some(sources, dirty, tmp_path):
    sources["alpha"], sources["alpha_err"] = np.linspace(-1, 1, 5), np.full(5, 0.1)
    table = catalogue.build(sources, dirty, NOISE)
    assert table.colnames == [*catalogue.COLUMNS]
    place = table.colnames.index("flux_app")
    assert table.colnames[place + 1 : place + 4] == ["alpha", "alpha_err", "alpha_app"]
    catalogue.write(table, tmp_path / "x")
    again = QTable.read(tmp_path / "x.cat.fits")
    assert np.allclose(again["alpha_app"], sources["alpha"])
    # The primary beam is a Gaussian of deviation 30 pixels about the image's middle.
    radius = np.hypot(sources["x"].value - 60, sources["y"].value - 50)
    seen = np.isfinite(table["flux"])
    expected = sources["alpha"] + radius**2 / 30**2
    assert np.allclose(table["alpha"][seen], expected[seen], atol=0.03)
    flat = catalogue.build(sources, dataclasses.replace(dirty, pb=None), NOISE)
    alike = catalogue.build(sources, dirty, NOISE, narrowing=False)
    assert np.allclose(flat["alpha"], sources["alpha"]) and np.allclose(
        alike["alpha"], flat["alpha"]
    )
    unknown = catalogue.build(sources, dirty, NOISE, narrowing=None)
    assert np.isnan(unknown["alpha"]).all() and np.allclose(unknown["alpha_app"], sources["alpha"])
