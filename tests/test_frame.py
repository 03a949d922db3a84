"""The canonical frame: flux and positions survive the round trip, resampling is exact."""

import numpy as np
import pytest
import torch

from casa_ddpm.dirty import Beam
from casa_ddpm.frame import Frame

#: Image shape, beam [arcsec], cell [arcsec]: odd, even, not square, fine, coarse, elongated.
CASES = [
    ((128, 128), Beam(0.89, 0.82, 30.0), 0.1),
    ((101, 144), Beam(0.89, 0.60, 80.0), 0.13),
    ((200, 90), Beam(1.2, 1.0, 10.0), 0.1),
    ((97, 75), Beam(0.5, 0.45, 0.0), 0.12),
    ((150, 151), Beam(2.0, 0.9, 130.0), 0.21),
]


def sources(shape, beam, cell, sizes=1.0):
    """Restored image of three sources and their pixels (y, x) and fluxes, in double precision."""
    rng = np.random.default_rng(0)
    inverse = np.linalg.inv(beam.covariance(cell) * sizes)
    places = rng.uniform(0.3, 0.7, (3, 2)) * shape
    places[1:] = (
        [0.22 * shape[0] + 0.37, 0.25 * shape[1]],
        [0.75 * shape[0], 0.77 * shape[1] + 0.61],
    )
    y, x = np.indices(shape)
    images = [
        np.exp(-0.5 * np.einsum("...i,ij,...j", d := np.stack([y - p, x - q], -1), inverse, d))
        for p, q in places
    ]
    return np.array(images), places


def centroid(image, window=None):
    """Centre of light (y, x), in a square of half side `window` about the peak."""
    y, x = np.indices(image.shape)
    if window:
        row, column = np.unravel_index(image.argmax(), image.shape)
        image = image * ((abs(y - row) <= window) & (abs(x - column) <= window))
    return (image * y).sum() / image.sum(), (image * x).sum() / image.sum()


@pytest.mark.parametrize(("shape", "beam", "cell"), CASES)
@pytest.mark.parametrize("stride", [8, 16])
def test_round_trip_conserves_flux_and_position(shape, beam, cell, stride):
    frame = Frame.of(shape, beam, cell, 4.0, stride)
    images, places = sources(shape, beam, cell)
    # Brightness per beam in, flux per canonical pixel between, flux per pixel out.
    area = beam.area(cell) * np.prod(frame.canonical) / np.prod(frame.padded)
    canonical = frame.forward(torch.tensor(images))
    assert canonical.shape == (3, *frame.canonical)
    back = frame.backward(canonical / area).numpy()
    assert back.shape == images.shape
    for image, place in zip(back, places, strict=True):
        assert image.sum() == pytest.approx(1, rel=1e-3)
        np.testing.assert_allclose(centroid(image), place, atol=0.01)
    np.testing.assert_allclose(back * beam.area(cell), images, atol=2e-3)


@pytest.mark.parametrize(("shape", "beam", "cell"), CASES)
def test_positions_in_both_frames(shape, beam, cell):
    frame = Frame.of(shape, beam, cell, 4.0, 8)
    images, places = sources(shape, beam, cell)
    for image, (y, x) in zip(frame.forward(torch.tensor(images)).numpy(), places, strict=True):
        row, column = centroid(image, 8)  # without the mirror image in the margin
        got = frame.pixel(column, row)
        np.testing.assert_allclose(got, (x, y), atol=0.01)


@pytest.mark.parametrize(("shape", "beam", "cell"), CASES)
@pytest.mark.parametrize("stride", [8, 16])
def test_canonical_pixels_per_beam(shape, beam, cell, stride):
    frame = Frame.of(shape, beam, cell, 4.0, stride)
    assert all(n % stride == 0 for n in frame.canonical)
    assert all(p >= n for p, n in zip(frame.padded, shape, strict=True))
    for c, p in zip(frame.canonical, frame.padded, strict=True):
        assert beam.fwhm / cell * c / p == pytest.approx(4.0, rel=0.01)
    assert beam.fwhm / cell * frame.zoom() == pytest.approx(4.0, rel=0.01)


def test_forward_keeps_the_image_inside():
    shape, beam, cell = CASES[0]
    frame = Frame.of(shape, beam, cell, beam.fwhm / cell, 8)
    image = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (y, x), (ny, nx) = frame.before, shape
    assert frame.canonical == frame.padded
    got = frame.forward(image)[y : y + ny, x : x + nx]
    # Only the Nyquist row and column, which have no partner, are left out.
    assert float((got - image).square().mean()) < 0.03


def test_margin_fades_to_zero():
    shape, beam, cell = CASES[0]
    frame = Frame.of(shape, beam, cell, beam.fwhm / cell, 8)
    got = frame.forward(torch.ones(shape, dtype=torch.float64))
    assert got[0].abs().max() < 0.02
    assert got.max() < 1.02
    assert got.min() > -0.02


def test_tiny_images_have_a_frame():
    frame = Frame.of((7, 60), Beam(0.8, 0.8, 0), 0.1, 4.0, 8)
    assert torch.isfinite(frame.forward(torch.ones(7, 60))).all()


def test_too_coarse_a_cell_is_refused():
    with pytest.raises(
        ValueError, match=r"cell must be at most half of the beam \(0.5 arcsec\), got 0.3"
    ):
        Frame.of((64, 64), Beam(0.5, 0.5, 0.0), 0.3, 4.0, 8)
