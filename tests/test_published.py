"""The published protocol's law: its lattice, its fluxes, its one noise vector, its images."""

import math

import numpy as np
import pytest
import torch

from casa_ddpm import pointing, published
from casa_ddpm.pointing import ARCSEC, BLOCK, CELL, NPIX, WINDOW, Pointing
from casa_ddpm.psf import fit_beam
from casa_ddpm.published import Settings, simulate
from casa_ddpm.uv import dirty

ONE = Settings(pointings=1)


def skies(stream, n, seed=0):
    return [published.draw_sky(np.random.default_rng([seed, stream, k])) for k in range(n)]


def some_visibilities(step):
    """A pointing with a part of its visibilities."""
    where = Pointing(2.0, 0.1)
    where.uv = where.uv[::step]
    return where


def explicit(frequencies, values, npix=BLOCK * WINDOW):
    """Re sum values exp(2 pi i f x) over pixels of CELL, then means over blocks."""
    axis = (torch.arange(npix, dtype=torch.float64) - npix // 2) * CELL
    f = frequencies.double()
    y, x = (torch.exp(2j * math.pi * f[:, i, None] * axis) for i in (0, 1))
    image = torch.einsum("ka,kb,k->ab", y, x, values.to(torch.complex128)).real
    return pointing.block_mean(image)


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


def test_noise_of_the_dirty_image_and_its_beam():
    where = Pointing(2.2, 0.0)
    image = dirty(where.uv, where.white(3) / len(where.uv), CELL * ARCSEC, NPIX)
    # About 1500 independent values in the image: 2 per cent
    assert float(image.std()) == pytest.approx(pointing.RMS, rel=0.06)
    psf = dirty(where.uv, torch.full((len(where.uv),), 1 / len(where.uv)), CELL * ARCSEC, 64)
    beam = fit_beam(psf.numpy(), CELL)
    np.testing.assert_allclose((beam.major, beam.minor), (0.89, 0.82), atol=0.015)


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


def test_dirty_image_is_that_of_the_visibilities():
    where = some_visibilities(300)
    sky = skies(3, 1)[0]
    visibilities = pointing.spectrum(sky, where.axes)
    expected = explicit(where.axes, visibilities / len(where.uv))
    got = where.sky(sky, "dirty")
    assert float((got - expected).abs().max()) < 1e-3 * float(expected.abs().max())
    noise = explicit(where.axes, where.white(5) / len(where.uv))
    torch.testing.assert_close(where.noise(5, "dirty").double(), noise, rtol=0, atol=1e-9)


def test_uv_image_against_an_explicit_transform():
    """Visibilities and their conjugates, averaged cell by cell; every cell counts once."""
    where = some_visibilities(2500)
    values = pointing.spectrum(skies(3, 1)[0], where.axes) + where.white(1)
    cells: dict[tuple[int, int], list[complex]] = {}
    for (v, u), value in zip((where.axes * NPIX * CELL).tolist(), values.tolist(), strict=True):
        cells.setdefault((round(v), round(u)), []).append(value)
        cells.setdefault((-round(v), -round(u)), []).append(value.conjugate())
    frequencies = torch.tensor(list(cells), dtype=torch.float64) / (NPIX * CELL)
    means = torch.tensor([sum(values) / len(values) for values in cells.values()])
    expected = explicit(frequencies, means / len(cells))
    got = where.averaged(values).double()
    torch.testing.assert_close(got, expected, rtol=0, atol=2e-5 * float(expected.abs().max()))


def test_primary_beam_attenuates_what_is_seen_alone():
    half = np.array([[0, pointing.PRIMARY_BEAM / 2], [0, 0]])
    np.testing.assert_allclose(pointing.attenuation(half), [0.5, 1])


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
