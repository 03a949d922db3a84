"""The published protocol's law: its lattice, its fluxes, its one noise vector, its images."""

import math

import numpy as np
import pytest
import torch

from casa_ddpm import pointing, published
from casa_ddpm.pointing import ARCSEC, BLOCK, CELL, NPIX, WINDOW
from casa_ddpm.published import Settings, simulate
from casa_ddpm.uv import dirty

ONE = Settings(pointings=1)


def skies(stream, n, seed=0):
    return [published.draw_sky(np.random.default_rng([seed, stream, k])) for k in range(n)]


def test_sources_are_on_the_lattice_within_the_primary_beam():
    drawn = skies(0, 60)
    places = np.concatenate([s.position for s in drawn])
    np.testing.assert_array_equal(places, np.round(places))
    assert np.hypot(*places.T).max() <= pointing.PRIMARY_BEAM / 2
    assert all(len(np.unique(s.position, axis=0)) == len(s) for s in drawn)
    assert {len(s) for s in drawn} == {0, 1, 2, 3, 4, 5}


def test_fluxes_and_axes():
    drawn = skies(1, 400)
    flux = np.concatenate([s.flux for s in drawn])
    assert 5e-5 <= flux.min() < 6e-5
    assert 4.9e-4 < flux.max() <= 5e-4
    assert np.mean(flux) == pytest.approx(2.75e-4, rel=0.04)
    variance = np.linalg.eigvalsh(np.concatenate([s.covariance for s in drawn]))
    axes = np.sqrt(8 * math.log(2) * variance)
    assert 0.4 <= axes.min() < 0.42
    assert 0.78 < axes.max() <= 0.8


def test_sky_image_holds_the_flux_where_it_is():
    sky = next(s for s in skies(2, 9) if len(s) == 1)
    image = published.image(sky)
    assert image.shape == (NPIX, NPIX)
    assert image.sum() == pytest.approx(sky.flux.sum(), rel=1e-6)
    axis = (np.arange(NPIX) - NPIX // 2) * CELL
    centroid = [(image.sum(1) * axis).sum(), (image.sum(0) * axis).sum()] / image.sum()
    np.testing.assert_allclose(centroid, sky.position[0], atol=1e-6)


def test_noise_correlates_as_in_the_public_samples():
    images = []
    for k in range(12):
        where = published.pointing(0, "train", k)
        white = where.white(pointing.NOISE) / len(where.uv)
        images.append(dirty(where.uv, white, CELL * ARCSEC, NPIX).flatten().numpy())
    pairs = np.corrcoef(images)[np.triu_indices(len(images), 1)]
    assert 0.5 < pairs.min() < 0.7
    assert 0.96 < pairs.max() < 1


@pytest.mark.parametrize("conditioning", ["dirty", "uv"])
def test_one_noise_vector_or_one_for_each_field(conditioning):
    def noise(independent):
        kind = Settings(conditioning, independent, pointings=1)
        fields = simulate([0, 1], kind, 4, "test")
        where = published.pointing(4, "test", 0)
        seen = [where.sky(c, conditioning) for c in fields.components]
        return fields.condition[:, 1] * pointing.RMS - torch.stack(seen)

    shared, own = noise(False), noise(True)
    torch.testing.assert_close(shared[0], shared[1], rtol=0, atol=1e-9)
    # Standard deviation 0.05: the inner image has some 400 independent values
    assert abs(np.corrcoef(own.flatten(1))[0, 1]) < 0.2
    assert float(own.std()) == pytest.approx(float(shared.std()), rel=0.1)
    torch.testing.assert_close(noise(True), own, rtol=0, atol=0)


def test_conditions_and_target():
    fields = simulate([0, 1, 2], ONE, 0, "validation")
    assert fields.condition.shape == (3, 2, WINDOW, WINDOW)
    assert fields.target.shape == (3, WINDOW, WINDOW)
    seen = fields.condition[:, 1] * pointing.RMS
    torch.testing.assert_close(fields.condition[:, 0], 2 * seen / 5e-4 - 1)
    for target, components in zip(fields.target, fields.components, strict=True):
        assert float(target.sum()) * BLOCK**2 == pytest.approx(components.flux.sum(), rel=1e-4)


def test_streams_have_nothing_in_common():
    """Whatever the seeds: the benchmark's test fields are in nobody's training."""
    places, fluxes = set(), []
    for seed in (0, 11):
        for stream in ("train", "validation", "test"):
            for k in range(5):
                where = published.pointing(seed, stream, k)
                places.add(float(where.uv[1, 0]))
            sky = simulate(range(3), Settings("uv", pointings=1), seed, stream).components
            fluxes += [float(f) for c in sky for f in c.flux]
    assert len(places) == 30
    assert len(set(fluxes)) == len(fluxes)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"conditioning": "restored"}, "conditioning must be 'dirty' or 'uv', got 'restored'"),
        ({"pointings": 0}, "pointings must be at least 1, got 0"),
    ],
)
def test_wrong_settings(values, text):
    with pytest.raises(ValueError, match=text):
        Settings(**values)
