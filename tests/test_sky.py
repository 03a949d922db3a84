"""The sky prior: exact rendering, fluxes, orientation, and the range of what is drawn."""

import math

import numpy as np
import pytest

from casa_ddpm import sky
from casa_ddpm.dirty import Beam


def brute(components, kernel, scale, npix):
    """Every component at every pixel, in double precision."""
    y, x = np.indices((npix, npix))
    image = np.zeros((npix, npix))
    unit = kernel**2 / (8 * math.log(2)) * np.eye(2)
    for place, flux, shape in zip(
        components.position, components.flux, components.covariance, strict=True
    ):
        covariance = (shape + unit) * scale**2
        offset = np.stack([y, x], -1) - place * scale - npix // 2
        form = np.einsum("yxi,ij,yxj->yx", offset, np.linalg.inv(covariance), offset)
        image += flux * np.exp(-form / 2) / (2 * np.pi * math.sqrt(np.linalg.det(covariance)))
    return image


@pytest.mark.parametrize("npix", [96, 97])
def test_render_is_the_brute_force_sum(npix):
    rng = np.random.default_rng(0)
    # From points to a Gaussian wider than the image, inside, across the edge and far outside.
    major = np.array([0, 0, 0.3, 1, 2, 4, 9, 1, 0, 3])
    position = rng.uniform(-12, 12, (10, 2))
    position[7:] = [[12.2, 0], [40, 40], [-13, 11]]
    shapes = sky.gaussians(
        position, rng.uniform(1, 9, 10), major, major * 0.5, rng.uniform(0, 3, 10)
    )
    expected = brute(shapes, 0.5, 4.0, npix)
    got = sky.render(shapes, 0.5, 4.0, npix).numpy()
    # Stamps end at 4.5 standard deviations, where a Gaussian has fallen to 4e-5.
    np.testing.assert_allclose(got, expected, atol=1e-4 * expected.max())


def test_render_with_another_flux():
    shapes = sky.points(np.array([[0.0, 0], [3, 3]]), np.array([5.0, 7]))
    got = sky.render(shapes, 0.5, 4.0, 64, flux=np.array([0.0, 2])).numpy()
    only = sky.points(np.array([[3.0, 3]]), np.array([2.0]))
    np.testing.assert_allclose(got, brute(only, 0.5, 4.0, 64), atol=1e-4)


def test_render_of_nothing():
    empty = sky.Components.join([])
    assert len(empty) == 0
    assert not sky.render(empty, 0.5, 4.0, 16).any()


@pytest.mark.parametrize("pa", [0, 25, 90, 150])
def test_gaussians_have_the_beams_orientation(pa):
    one = sky.gaussians([[0, 0]], [1.0], [2.0], [0.7], np.radians([pa]))
    np.testing.assert_allclose(one.covariance[0], Beam(2.0, 0.7, pa).covariance(1.0), atol=1e-12)


@pytest.mark.parametrize("shape", [sky.ring, sky.disc, sky.galaxy, sky.diffuse])
@pytest.mark.parametrize("seed", range(8))
def test_shapes_conserve_flux(shape, seed):
    one = shape(np.random.default_rng(seed), 123.0)
    assert one.flux.sum() == pytest.approx(123.0, rel=1e-9)
    assert (one.flux >= 0).all()
    assert (one.source == 0).all()
    assert np.linalg.eigvalsh(one.covariance).min() >= 0


@pytest.mark.parametrize("shape", [sky.ring, sky.disc, sky.galaxy, sky.diffuse])
def test_shapes_conserve_flux_when_drawn(shape):
    one = shape(np.random.default_rng(3), 50.0)
    extent = np.abs(one.position).max() + 4 * math.sqrt(one.covariance.max())
    npix = 2 * math.ceil(4 * extent + 12)
    image = sky.render(one, 0.5, 4.0, npix)
    assert float(image.sum()) == pytest.approx(50.0, rel=1e-3)


def test_join_numbers_the_sources_through():
    rng = np.random.default_rng(1)
    parts = [sky.points(np.zeros((2, 2)), np.ones(2)), sky.ring(rng, 1.0), sky.diffuse(rng, 2.0)]
    whole = sky.Components.join(parts)
    assert len(whole) == sum(len(p) for p in parts)
    fluxes = np.bincount(whole.source, whole.flux)
    np.testing.assert_allclose(fluxes, [1, 1, 1, 2])


def test_draw_spans_empty_to_crowded():
    fields = [sky.draw(np.random.default_rng(i), 24.0) for i in range(300)]
    counts = np.array([len(np.unique(f.source)) for f in fields])
    assert (counts == 0).any()
    assert counts.max() <= 24**2 / 1.133 / 10 + 4
    assert np.median(counts) < 15
    assert counts.max() > 30
    for one in fields:
        assert (one.flux >= 0).all()
        assert np.isfinite(one.position).all()
        assert np.linalg.eigvalsh(one.covariance).min(initial=0) >= -1e-9


def test_draw_covers_the_promised_fluxes_and_sizes():
    fields = [sky.draw(np.random.default_rng(1000 + i), 24.0) for i in range(300)]
    points = np.concatenate([f.flux[f.covariance[:, 0, 0] == 0] for f in fields])
    wide = np.concatenate([f.covariance[:, 0, 0] for f in fields])
    assert np.quantile(points, 0.02) < 1.5
    assert np.quantile(points, 0.999) > 200
    assert wide.max() * 8 * math.log(2) > 4**2
    # Positions are continuous: no lattice (FACTS 2).
    place = np.concatenate([f.position for f in fields]) * 4
    assert abs(np.exp(2j * np.pi * place).mean()) < 0.03


def test_sources_beyond_the_edge_are_drawn():
    place = np.concatenate([sky.draw(np.random.default_rng(i), 24.0).position for i in range(50)])
    assert (np.abs(place) > 12).any()


def test_draw_depends_on_the_generator_alone():
    one, two = (sky.draw(np.random.default_rng(5), 24.0) for _ in range(2))
    np.testing.assert_array_equal(one.position, two.position)
    np.testing.assert_array_equal(one.flux, two.flux)
