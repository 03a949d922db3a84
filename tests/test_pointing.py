"""A pointing of the published protocol: its images against explicit transforms."""

import math

import numpy as np
import pytest
import torch

from casa_ddpm import pointing, published
from casa_ddpm.pointing import ARCSEC, BLOCK, CELL, NPIX, WINDOW, Pointing
from casa_ddpm.psf import fit_beam
from casa_ddpm.uv import dirty


def a_sky():
    return published.draw_sky(np.random.default_rng([0, 3, 0]))


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


def test_noise_of_the_dirty_image_and_its_beam():
    where = Pointing(2.2, 0.0)
    image = dirty(where.uv, where.white(3) / len(where.uv), CELL * ARCSEC, NPIX)
    # About 1500 independent values in the image: 2 per cent
    assert float(image.std()) == pytest.approx(pointing.RMS, rel=0.06)
    psf = dirty(where.uv, torch.full((len(where.uv),), 1 / len(where.uv)), CELL * ARCSEC, 64)
    beam = fit_beam(psf.numpy(), CELL)
    np.testing.assert_allclose((beam.major, beam.minor), (0.89, 0.82), atol=0.015)


def test_dirty_image_is_that_of_the_visibilities():
    where = some_visibilities(300)
    sky = a_sky()
    visibilities = pointing.spectrum(sky, where.axes)
    expected = explicit(where.axes, visibilities / len(where.uv))
    got = where.sky(sky, "dirty")
    assert float((got - expected).abs().max()) < 1e-3 * float(expected.abs().max())
    noise = explicit(where.axes, where.white(5) / len(where.uv))
    torch.testing.assert_close(where.noise(5, "dirty").double(), noise, rtol=0, atol=1e-9)


def test_uv_image_against_an_explicit_transform():
    """Visibilities and their conjugates, averaged cell by cell; every cell counts once."""
    where = some_visibilities(2500)
    values = pointing.spectrum(a_sky(), where.axes) + where.white(1)
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
