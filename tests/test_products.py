"""What lies under a name is found and read, whoever has written it."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from restored import BEAM, CELL, gaussian, write_image

from casa_ddpm.compare import products, source_list
from casa_ddpm.dirty import Beam

SHAPE = (64, 80)
#: Two points: x, y [pixel] and flux [Jy].
POINTS = ((30, 20, 1.0), (50, 44, 0.5))


def field(noise=1e-3, seed=0):
    """A restored image of the points."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0, noise, SHAPE)
    for x, y, flux in POINTS:
        image += flux * gaussian(SHAPE, x, y, BEAM.covariance(CELL))
    return image


def catalogue(path, x, y, **columns):
    """A list of sources at pixels of `write_image`."""
    header = fits.Header({"NAXIS": 2, "NAXIS1": SHAPE[1], "NAXIS2": SHAPE[0]})
    header.update(fits.getheader(path))
    ra, dec = WCS(header).celestial.pixel_to_world_values(x, y)
    return Table({"ra": ra, "dec": dec, **columns}, meta={"RADESYS": "FK5", "noise": 2e-3})


@pytest.fixture
def run(tmp_path):
    """tclean's products of a run as FITS."""
    write_image(tmp_path / "a.image.fits", field())
    write_image(tmp_path / "a.residual.fits", field() * 0 + np.tile([1e-3, -1e-3], (64, 40)))
    return str(tmp_path / "a")


def test_image_name_with_a_residual_and_no_catalogue(run):
    """The sources are looked for; the noise is the residual's."""
    found = products.read(run)
    assert found.found and found.noise == pytest.approx(1e-3, rel=0.01)
    assert found.beam is not None
    assert (found.beam.major, found.beam.minor, found.beam.pa) == pytest.approx(
        (BEAM.major, BEAM.minor, BEAM.pa)
    )
    bright = found.sources[found.sources["snr"] > 20]
    assert np.sort(bright["flux"].to_value(u.Jy)) == pytest.approx([0.5, 1], rel=0.05)
    x, y = found.image.wcs.world_to_pixel(source_list.places(bright))
    assert sorted(x) == pytest.approx([30, 50], abs=0.2)
    assert sorted(y) == pytest.approx([20, 44], abs=0.2)


def test_primary_beam_corrects_what_is_found(run, tmp_path):
    pb = np.full(SHAPE, 0.5)
    pb[44] = 0
    write_image(tmp_path / "a.pb.fits", pb)
    corrected, seen = products.read(run), products.read(run, apparent=True)
    bright = [part.sources["flux"].max().to_value(u.Jy) for part in (corrected, seen)]
    assert bright[0] == pytest.approx(2 * bright[1])
    # Outside of the primary beam there is no corrected flux.
    assert len(corrected.sources) < len(seen.sources)


@pytest.mark.parametrize("ending", ["", ".image.fits"])
def test_catalogue_beside_the_image(run, tmp_path, ending):
    table = catalogue(tmp_path / "a.image.fits", [30], [20], flux=[1.1], prob=[0.99])
    table.write(tmp_path / "a.cat.ecsv")
    found = products.read(run + ending)
    assert not found.found and found.image is not None and found.residual is not None
    assert found.sources["flux"].to_value(u.Jy).tolist() == [1.1]
    x, y = found.image.wcs.world_to_pixel(source_list.places(found.sources))
    assert (x[0], y[0]) == pytest.approx((30, 20), abs=1e-3)


def test_list_alone(run, tmp_path):
    table = catalogue(tmp_path / "a.image.fits", [30], [20], flux=[1.1])
    for name in ("list.fits", "list.csv"):
        table.write(tmp_path / name)
        found = products.read(str(tmp_path / name))
        assert found.image is None and not found.found and found.beam is None
    # CSV keeps no metadata.
    assert products.read(str(tmp_path / "list.fits")).noise == 2e-3 and found.noise is None


def test_image_of_another_name(run, tmp_path):
    """It stands alone, whatever lies beside it; WSClean's residual belongs to its image."""
    (tmp_path / "a.image.fits").rename(tmp_path / "mine.fits")
    found = products.read(str(tmp_path / "mine.fits"))
    assert found.residual is None and found.found
    assert found.noise == pytest.approx(1e-3, rel=0.05)
    (tmp_path / "mine.fits").rename(tmp_path / "w-image.fits")
    (tmp_path / "a.residual.fits").rename(tmp_path / "w-residual.fits")
    for name in ("w", "w-image.fits"):
        assert products.read(str(tmp_path / name)).residual is not None


def test_refused(run, tmp_path):
    with pytest.raises(ValueError, match="B must be an image name, image or list .* '.*nowhere'"):
        products.read(str(tmp_path / "nowhere"), parameter="B")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "table.info").write_text("Type = Measurement Set\n")
    with pytest.raises(ValueError, match="A must be a CASA or FITS image, got '.*folder'"):
        products.read(str(tmp_path / "folder"))
    Table({"ra": [1.0], "dec": [1.0], "flux": [1.0]}).write(tmp_path / "b.cat.ecsv")
    with pytest.raises(ValueError, match="has no image, give '.*b.cat.ecsv'"):
        products.read(str(tmp_path / "b"))
    fits.writeto(tmp_path / "cube.fits", np.zeros((3, 8, 8)))
    with pytest.raises(ValueError, match=r"A must have a single plane, .* has \(3, 8, 8\)"):
        products.read(str(tmp_path / "cube.fits"))
    header = fits.getheader(tmp_path / "a.image.fits")
    for key in ("BMAJ", "BMIN", "BPA"):
        del header[key]
    fits.writeto(tmp_path / "beamless.fits", field()[None, None], header)
    with pytest.raises(ValueError, match="A must have a beam where it has no catalogue, got"):
        products.read(str(tmp_path / "beamless.fits"))


@pytest.mark.casa
def test_beams_of_planes(tmp_path):
    """That of the only plane is the image's; where there are more it is they that are too many."""
    from casatools import image

    def make(name, shape):
        tool = image()
        tool.fromshape(str(tmp_path / name), [16, 16, *shape])
        for stokes, channel in np.ndindex(*shape):
            tool.setrestoringbeam(
                "2arcsec", f"{1 + channel / 10}arcsec", "10deg", channel=channel,
                polarization=stokes,
            )  # fmt: skip
        tool.close()
        return str(tmp_path / name)

    assert products.read_image(make("i.image", (4, 1))).beam == Beam(2, 1, 10)
    with pytest.raises(ValueError, match=r"B must have a single plane, .* has \(3, 16, 16\)"):
        products.read_image(make("cube.image", (1, 3)), "B")


@pytest.mark.casa
def test_casa_images_are_the_same(run, tmp_path):
    """spectral-cube's reading of a CASA image and astropy's of FITS: pixels, places, beam."""
    from casatasks import importfits

    importfits(f"{run}.image.fits", str(tmp_path / "b.image"))
    paths = f"{run}.image.fits", str(tmp_path / "b.image")
    one, other = (products.read_image(path) for path in paths)
    assert np.allclose(one.data, other.data, atol=1e-7)
    assert other.cell == pytest.approx(CELL)
    assert one.beam is not None and other.beam is not None
    assert vars(other.beam) == pytest.approx(vars(one.beam), rel=1e-5)
    places = [image.wcs.pixel_to_world(10, 50).icrs for image in (one, other)]
    assert places[0].separation(places[1]) < 1e-6 * u.arcsec
    assert products.read(str(tmp_path / "b")).noise == pytest.approx(1e-3, rel=0.05)
