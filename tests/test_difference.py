"""Images at a common beam: a point keeps its flux, and grids that differ are refused."""

import numpy as np
import pytest
from astropy.wcs import WCS
from restored import gaussian

from casa_ddpm.compare.difference import (
    check_grids,
    common_beam,
    convolved,
    difference,
    residual_rms,
)
from casa_ddpm.compare.products import Image, Product
from casa_ddpm.compare.source_list import source_list
from casa_ddpm.dirty import Beam

CELL, SHAPE = 0.2, (96, 80)
NONE = source_list({"ra": []})


def wcs(shift=0.0, cell=CELL):
    known = WCS(naxis=2)
    known.wcs.ctype, known.wcs.crval = ["RA---SIN", "DEC--SIN"], [150.0, -30.0]
    known.wcs.crpix, known.wcs.cdelt = [41 + shift, 49], [-cell / 3600, cell / 3600]
    return known


def seen(beam, flux=1.0, shift=0.0):
    """A point of `flux` [Jy] in the middle."""
    return Image(flux * gaussian(SHAPE, 40, 48, beam.covariance(CELL)), wcs(shift), beam)


FINE, LONG = Beam(1.0, 0.8, 20.0), Beam(1.6, 0.9, 100.0)


def test_common_beam():
    """One's own where both have it or it holds the other; else one that holds both."""
    assert common_beam(FINE, FINE) == FINE
    wide = Beam(3.0, 2.0, 0.0)
    found = common_beam(FINE, wide)
    assert (found.major, found.minor) == pytest.approx((3, 2), rel=1e-3)
    found = common_beam(FINE, LONG)
    for beam in (FINE, LONG):
        rest = found.covariance(CELL) - beam.covariance(CELL)
        assert np.linalg.eigvalsh(rest).min() > -1e-3


def test_a_point_keeps_its_flux():
    """It takes the common beam's shape, as narrow as the Gaussian between may be."""
    beam = common_beam(FINE, LONG)
    for own in (FINE, LONG):
        image = convolved(seen(own), beam)
        assert np.allclose(image, seen(beam).data, atol=2e-3)
        assert image.sum() == pytest.approx(beam.area(CELL), rel=1e-3)
    with pytest.raises(ValueError, match="beam must hold the image's own Beam"):
        convolved(seen(LONG), FINE)


def test_what_is_undefined_stays_so():
    image = seen(FINE)
    image.data[:5] = np.nan
    taken = convolved(image, Beam(2.0, 2.0, 0.0))
    assert np.isnan(taken[:5]).all() and np.isfinite(taken[5:]).all()


def test_difference_of_one_sky_at_two_beams_is_nothing():
    a, b = Product("a", NONE, seen(FINE)), Product("b", NONE, seen(LONG, 1.5))
    found = difference(a, Product("b", NONE, seen(LONG)))
    assert found is not None
    assert np.abs(found.image).max() < 4e-3
    found = difference(a, b)
    assert found is not None
    figures = found.figures(CELL)
    assert figures["highest"] == pytest.approx(0.5, abs=0.01)
    assert figures["flux"] == pytest.approx(0.5, abs=0.01)
    assert figures["correlation"] > 0.99
    assert figures["rms_b"] == pytest.approx(1.5 * figures["rms_a"], rel=0.01)
    assert difference(a, Product("c", NONE)) is None


def test_grids_that_differ_are_refused():
    a = seen(FINE)
    check_grids(a, seen(FINE, shift=0.05))
    with pytest.raises(ValueError, match="B must have the pixels of A within 0.1 pixel.* 3 pixels"):
        check_grids(a, seen(FINE, shift=3))
    with pytest.raises(ValueError, match="B must have the pixels of A"):
        check_grids(a, Image(a.data, wcs(cell=0.21), FINE))
    with pytest.raises(ValueError, match=r"B must have the shape of A \(96, 80\), got \(80, 80\)"):
        check_grids(a, Image(a.data[:80], wcs(), FINE))


def test_image_without_a_beam_is_refused():
    a, b = Product("a", NONE, seen(FINE)), Product("b", NONE, Image(np.zeros(SHAPE), wcs()))
    with pytest.raises(ValueError, match="B must have a restoring beam, 'b' has none"):
        difference(a, b)


def test_residual_rms():
    data = np.random.default_rng(0).normal(0, 2e-5, SHAPE)
    data[0] = np.nan
    data[50, 50] = 1e-3
    left = residual_rms(Product("a", NONE, None, Image(data, wcs())))
    assert left is not None
    assert left["robust_rms"] == pytest.approx(2e-5, rel=0.05)
    assert left["rms"] == pytest.approx(np.nanstd(data)) and left["peak"] == 1e-3
    assert residual_rms(Product("a", NONE)) is None
