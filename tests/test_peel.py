"""The peel against scipy's convolution, point skies whose answer is known, and its own promises."""

import numpy as np
import pytest
import torch
from scipy.signal import fftconvolve

from casa_ddpm.dirty import Beam
from casa_ddpm.fourier import convolve
from casa_ddpm.peel import PATCH, _patch, hogbom, restore
from casa_ddpm.psf import gaussian


def psf(npix, seed=0, floor=0.1):
    """A lobe with noise-like, symmetric sidelobes, peak 1, shape (2 npix, 2 npix)."""
    random = torch.Generator().manual_seed(seed)
    lobe = gaussian(np.array([[3.0, 0.5], [0.5, 2.0]]), 2 * npix)
    ripple = torch.randn(2 * npix, 2 * npix, generator=random)
    ripple = convolve(ripple, lobe)
    ripple = ripple + ripple.flip((0, 1)).roll((1, 1), (0, 1))
    ripple = ripple / ripple.abs().max() * floor
    return (lobe + (1 - lobe) * ripple).clamp(max=1)


def points(npix, places, fluxes):
    model = torch.zeros(npix, npix)
    for (y, x), flux in zip(places, fluxes, strict=True):
        model[y, x] = flux
    return model


@pytest.mark.parametrize("npix", [64, 75, 128])
def test_points_are_found_again(npix):
    places, fluxes = [(20, 30), (40, 12), (50, 55)], [100.0, 30.0, -20.0]
    truth, beam = points(npix, places, fluxes), psf(npix)
    dirty = convolve(truth, beam)
    model, residual = hogbom(dirty[None], beam[None], torch.tensor([0.5]), 0.2, 3000)
    assert residual.abs().max() <= 0.5
    for (y, x), flux in zip(places, fluxes, strict=True):
        near = model[0, y - 2 : y + 3, x - 2 : x + 3].sum()
        assert float(near) == pytest.approx(flux, abs=0.6)
    assert float(model.sum()) == pytest.approx(110, abs=2)


def test_residual_is_exactly_what_the_model_leaves():
    random = torch.Generator().manual_seed(1)
    dirty, beam = 10 * torch.randn(1, 60, 50, generator=random), psf(64)[None]
    model, residual = hogbom(dirty, beam, torch.tensor([15.0]), iterations=50)
    assert model.any()
    for got, image, kernel in zip(residual, dirty, beam, strict=True):
        whole = fftconvolve(model[0].double().numpy(), kernel.double().numpy())
        expected = image.numpy() - whole[64 : 64 + 60, 64 : 64 + 50]
        np.testing.assert_allclose(got, expected, atol=1e-4)


def test_each_field_is_peeled_to_its_own_threshold():
    places = [(20, 30), (40, 12)]
    beams = torch.stack([psf(64, seed) for seed in range(3)])
    dirty = torch.stack([convolve(points(64, places, [50.0, 20.0]), b) for b in beams])
    threshold = torch.tensor([1.0, 10.0, 1e9])
    model, residual = hogbom(dirty, beams, threshold, 0.1)
    peak = residual.abs().amax((1, 2))
    assert (peak[:2] <= threshold[:2]).all()
    assert peak[1] > 5
    assert not model[2].any()
    torch.testing.assert_close(residual[2], dirty[2])


def test_a_field_does_not_depend_on_its_batch():
    """A crowded neighbour must not use up the iterations of a field."""
    rng = np.random.default_rng(3)
    beam, random = psf(64), torch.Generator().manual_seed(2)
    faint = convolve(points(64, [(20, 30), (44, 12)], [60.0, 40.0]), beam)
    faint = faint + 0.5 * torch.randn(64, 64, generator=random)
    places = [tuple(p) for p in rng.integers(2, 62, (200, 2))]
    crowded = convolve(points(64, places, rng.uniform(5, 100, 200)), beam)
    thresholds = torch.tensor([3.0, 3.0])
    alone, _ = hogbom(faint[None], beam[None], thresholds[:1], 0.2, 100, cycles=4)
    beams = torch.stack([beam, beam])
    both, _ = hogbom(torch.stack([faint, crowded]), beams, thresholds, 0.2, 100, cycles=4)
    torch.testing.assert_close(both[0], alone[0], rtol=0, atol=1e-3)


def test_no_iterations_leave_the_dirty_image():
    dirty = torch.randn(2, 32, 32, generator=torch.Generator().manual_seed(0))
    beams = torch.stack([psf(32)] * 2)
    model, residual = hogbom(dirty, beams, torch.zeros(2), iterations=0)
    assert not model.any()
    assert torch.equal(residual, dirty)


def test_inputs_are_left_alone():
    dirty, beam = 50 * psf(32)[None, 16:48, 16:48], psf(32)[None]
    before = dirty.clone()
    hogbom(dirty, beam, torch.tensor([1.0]))
    assert torch.equal(dirty, before)


def test_image_larger_than_the_patch():
    npix = 2 * PATCH + 70
    beam = psf(npix, floor=0.02)
    places = [(4, 5), (npix - 6, npix - 3), (90, 20)]
    dirty = convolve(points(npix, places, [40.0, 80.0, 20.0]), beam)
    model, residual = hogbom(dirty[None], beam[None], torch.tensor([0.5]), 0.2)
    assert residual.abs().max() <= 0.5
    for (y, x), flux in zip(places, [40, 80, 20], strict=True):
        assert float(model[0, max(0, y - 3) : y + 4, x - 3 : x + 4].sum()) == pytest.approx(
            flux, abs=1
        )


CLEAN = gaussian(np.array([[3.0, 0.4], [0.4, 2.0]]), 33)


def test_restore_below_the_cap_is_the_textbook_one():
    model = points(40, [(10, 10), (30, 22)], [50.0, 3.0])
    residual = torch.randn(40, 40, generator=torch.Generator().manual_seed(0))
    restored, held = restore(model, residual, CLEAN, 300.0)
    assert not held.any()
    torch.testing.assert_close(restored, convolve(model, CLEAN) + residual)


def test_restore_holds_back_what_is_above_the_cap():
    model = points(40, [(10, 10), (12, 11), (30, 22)], [500.0, 900.0, 30.0])
    residual = torch.randn(40, 40, generator=torch.Generator().manual_seed(0))
    restored, held = restore(model, residual, CLEAN, 300.0)
    whole = convolve(model, CLEAN) + residual
    torch.testing.assert_close(restored + convolve(held, CLEAN), whole, rtol=0, atol=1e-3)
    assert (held >= 0).all()
    assert (held <= model).all()
    assert float(held[30, 22]) == 0
    # Neighbours are scaled each by its own share: the sum may pass the cap a little.
    assert float((restored - residual).max()) < 1.15 * 300


def test_restore_of_one_bright_point_shows_the_cap():
    model = points(40, [(20, 20)], [3000.0])
    restored, held = restore(model, torch.zeros(40, 40), CLEAN, 300.0)
    assert float(restored.max()) == pytest.approx(300, rel=1e-4)
    assert float(held.sum()) == pytest.approx(2700, rel=1e-4)


def test_restore_of_a_batch_is_each():
    random = torch.Generator().manual_seed(5)
    model = 200 * torch.rand(3, 24, 24, generator=random)
    residual = torch.randn(3, 24, 24, generator=random)
    cleans = torch.stack([CLEAN, CLEAN.flip(0), CLEAN.flip(1)])
    restored, held = restore(model, residual, cleans, 300.0)
    for i in range(3):
        one, kept = restore(model[i], residual[i], cleans[i], 300.0)
        torch.testing.assert_close(restored[i], one, rtol=1e-4, atol=1e-2)
        torch.testing.assert_close(held[i], kept, rtol=1e-4, atol=1e-2)


def test_components_stay_where_they_may_be():
    """Outside of the mask only sidelobes are subtracted, however large the residual is there."""
    random = torch.Generator().manual_seed(3)
    psf = torch.zeros(127, 127)
    psf[63, 63] = 1
    psf[63, 33], psf[63, 93] = -0.3, -0.3
    model = torch.zeros(64, 64)
    model[32, 32], model[5, 5] = 1000.0, 500.0
    dirty = convolve(model, psf) + torch.randn(64, 64, generator=random)
    where = torch.zeros(64, 64, dtype=torch.bool)
    where[20:44, 20:44] = True
    found, left = hogbom(dirty[None], psf[None], torch.tensor([5.0]), where=where)
    assert not found[0][~where].any()
    assert float(found.sum()) == pytest.approx(1000, rel=0.02)
    torch.testing.assert_close(left[0], dirty - convolve(found[0], psf), rtol=0, atol=1e-2)
    assert float((left[0].abs() * where).max()) < 5


@pytest.mark.parametrize("widths", [(130.0, 130.0), (220.0, 70.0)])
def test_main_lobe_wider_than_the_patch_is_no_sidelobe(widths):
    covariance = Beam(*widths, 30).covariance(1)
    beam = gaussian(covariance, 320)
    dirty = convolve(points(160, [(70, 90)], [100.0]), beam)
    _, residual = hogbom(dirty[None], beam[None], torch.tensor([1.0]))
    assert residual.abs().max() <= 1


def test_patch_is_the_same_for_ordinary_beams():
    """However high their sidelobes are."""
    beam = psf(100)
    beam[100, 170] = beam[100, 30] = 0.9
    assert _patch(torch.stack([psf(100), beam])) == PATCH
    wide = gaussian(130.0**2 / 8 / np.log(2) * np.eye(2), 320)
    assert _patch(wide[None]) == pytest.approx(130, abs=2)
