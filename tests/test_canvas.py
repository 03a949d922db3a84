"""The canonical plane: what it takes for data, and when births are left to the network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from casa_ddpm import checkpoint, fields, noise, reconstruct, simulator, sky
from casa_ddpm.arrays import load
from casa_ddpm.gaussians import Gaussians
from casa_ddpm.posterior import Sampling
from casa_ddpm.reconstruction import Options
from casa_ddpm.scene import Scene
from casa_ddpm.uv import Observation

NPIX, NOISE = 128, 5e-5
FAST = Options(sampling=Sampling(nsamples=6, nsteps=6, device="cpu"))


@pytest.fixture(scope="module")
def optics():
    """ALMA 5.3, 20 minutes at transit, natural weighting."""
    uv = Observation(load("alma.cycle5.3"), 2.2, 0.0, 1200.0, 30.0).uv()
    return simulator.make_optics(torch.tensor(uv), NPIX)


def observe(optics, *sources):
    """Dirty image of points (y, x [beam], S/N), with noise."""
    truth = sky.points(
        np.array([s[:2] for s in sources]).reshape(-1, 2), np.array([s[2] for s in sources])
    )
    _, seen = simulator.draw_sky(truth, optics.scale, NPIX)
    data = simulator.convolve(seen, optics.psf) + simulator.draw_noise(optics, NPIX, 3)
    return fields.as_dirty(data.numpy(), optics, 0.25, NOISE)


def blanked(dirty, radius):
    """The same image, as CASA writes that of a mosaic: 0 where the primary beam is low."""
    y, x = np.indices(dirty.data.shape) - NPIX // 2
    away = np.hypot(y, x)
    pb = np.where(away < radius, np.exp(-((away / 80) ** 2)), 0)
    return replace(dirty, data=np.where(pb > 0, dirty.data, 0), pb=pb)


def canvas(dirty):
    _, settings = checkpoint.load("default")
    return Scene(dirty, settings, 8).canvas


def residual_noise(dirty):
    """Noise of what an empty sky leaves."""
    plane = canvas(dirty)
    empty = torch.zeros(2, *plane.frame.canonical)
    shown = plane.shown(np.zeros_like(dirty.data), dirty.data)
    return plane.noise(empty, shown)


@pytest.mark.parametrize("radius", [25, 40, 60])
def test_noise_of_an_image_that_is_blanked(optics, radius):
    dirty = replace(observe(optics), thermal=None)
    whole, part = residual_noise(dirty), residual_noise(blanked(dirty, radius))
    # A hundred beams tell it to some per cent.
    assert part == pytest.approx(whole, rel=0.15)


def test_the_visibilities_tell_the_noise_that_sources_are_drawn_in(optics):
    """But where they can only be an upper bound the image has a say."""
    dirty = replace(observe(optics), thermal=1.0)
    plane = canvas(dirty)
    left = np.random.default_rng(0).normal(size=plane.good.shape) * plane.good
    rms = left[plane.good].std()
    for share, most, expected in ((0.96, 0.95, 1.0), (0.8, 5.0, 0.92), (0.8, 0.9, 0.9), (2, 3, 2)):
        assert plane._noise_of(share / rms * left, most) == pytest.approx(expected, rel=0.01)


def test_good_pixels_are_a_beam_from_blanked_ones(optics):
    dirty = observe(optics)
    plane = canvas(dirty)
    assert (plane.good == (plane.inside.numpy() > 0)).all()
    some = canvas(blanked(dirty, 40)).good
    inner, outer = (canvas(blanked(dirty, radius)).frame.canonical for radius in (40, 40))
    assert inner == outer and 0 < some.sum() < 0.5 * plane.good.sum()
    # The smallest primary beam still has pixels.
    assert canvas(blanked(dirty, 3)).good.any()


def test_a_blanked_image_has_the_sources_of_the_whole_one(optics):
    dirty = observe(optics, (2.0, -3.0, 20.0), (-4.0, 1.0, 10.0))
    found = reconstruct(blanked(dirty, 40), FAST)
    assert found.noise == pytest.approx(NOISE, rel=0.15)
    certain = found.sources[found.sources["prob"] > 0.9]
    assert len(certain) == 2
    assert certain["flux"].value / NOISE == pytest.approx([20, 10], abs=3)


def births(optics, *sources, psf=None):
    """Whether new sources are looked for."""
    dirty = observe(optics, *sources)
    if psf is not None:
        dirty = replace(dirty, psf=psf(dirty))
    plane = canvas(dirty)
    sigma = noise.rms(observe(optics).data)
    model = np.zeros_like(dirty.data)
    for y, x, snr in sources:
        row, column = (round(v * optics.scale) + NPIX // 2 for v in (y, x))
        model[row, column] = snr * NOISE
    skies = plane._drawn(torch.from_numpy(model))[None]
    shown = plane.shown(
        model, dirty.data - simulator.convolve(torch.from_numpy(model), optics.psf).numpy()
    )
    regions = np.zeros(plane.frame.canonical, int)
    return plane._sweep(skies, shown, sigma, sigma, regions, sites=True).area > 0


def test_births_are_left_to_the_network_beside_what_is_very_bright(optics):
    assert births(optics, (1.0, 2.0, 10.0))
    assert births(optics, (1.0, 2.0, 300.0))
    assert not births(optics, (1.0, 2.0, 3000.0))


def test_births_are_left_to_the_network_where_sidelobes_are_very_high(optics):
    def tangled(dirty):
        high = dirty.psf.copy()
        high[NPIX // 2 + 20, NPIX // 2] = high[NPIX // 2 - 20, NPIX // 2] = 0.5
        return high

    assert not births(optics, (1.0, 2.0, 10.0), psf=tangled)


def test_signs(optics):
    """An empty sky leaves noise, whose highest peak is about what is expected of it."""
    dirty = observe(optics)
    for thermal, known in ((NOISE, 0.0), (None, np.nan), (NOISE / 3, 1.0)):
        plane = canvas(replace(dirty, thermal=thermal))
        empty = torch.zeros(2, *plane.frame.canonical)
        shown = plane.shown(np.zeros_like(dirty.data), dirty.data)
        signs = plane.signs(empty, shown, NOISE)
        assert signs.known == pytest.approx(known, abs=0.1, nan_ok=True)
        assert signs.peak == pytest.approx(1, abs=0.25)
        assert signs.sidelobe == dirty.sidelobe


def test_gaussians_are_made_once(optics, monkeypatch):
    """They are those of the PSF, whatever realisations leave."""
    made = []

    def make(*given):
        made.append(Gaussians(*given))
        return made[-1]

    monkeypatch.setattr("casa_ddpm.canvas.Gaussians", make)
    dirty = observe(optics)
    plane = canvas(dirty)
    skies, regions = torch.zeros(2, *plane.frame.canonical), np.zeros(plane.frame.canonical, int)
    shown = plane.shown(np.zeros_like(dirty.data), dirty.data)
    sweeps = [plane._sweep(skies, shown, most, NOISE, regions) for most in (NOISE, 2 * NOISE)]
    assert len(made) == 1
    assert all(sweep.gaussians is made[0] for sweep in sweeps)
