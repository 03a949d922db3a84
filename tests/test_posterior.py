"""Realisations: reproducible, whatever the batch and the tile; nonsense is refused."""

import pytest
import torch

from casa_ddpm import checkpoint
from casa_ddpm.checkpoint import Settings
from casa_ddpm.diffusion import BLIND
from casa_ddpm.posterior import (
    Posterior,
    Sampling,
    noise_field,
    tiles,
)

CPU = {"device": "cpu", "precision": "fp32"}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A small network with no weight at zero, through a file."""
    settings = Settings(widths=(8, 8), depth=1, sigma_max=4.0)
    torch.manual_seed(0)
    denoiser = settings.build()
    with torch.no_grad():
        for p in denoiser.parameters():
            p.copy_(torch.randn_like(p) * 0.5 / max(1, p[0].numel()) ** 0.5)
    path = tmp_path_factory.mktemp("posterior") / "small.safetensors"
    checkpoint.save(path, denoiser, settings)
    return checkpoint.load(path)


def condition(ny=48, nx=32, seed=1):
    return torch.randn(2, ny, nx, generator=torch.Generator().manual_seed(seed))


def posterior(network, size=(48, 32), **sampling):
    options = {**CPU, "nsteps": 3, "nsamples": 4, **sampling}
    return Posterior(*network, condition(*size), [0.1, -0.2], Sampling(**options))


@pytest.mark.parametrize("sampler", ["dpm++", "heun", "ddim", "ddpm"])
def test_same_seed_is_bit_identical(network, sampler):
    one, two = (posterior(network, seed=5, sampler=sampler).draw() for _ in range(2))
    assert one.shape == (4, 48, 32)
    assert torch.isfinite(one).all()
    assert (one >= 0).all()
    assert torch.equal(one, two)


@pytest.mark.parametrize("sampler", ["dpm++", "heun", "ddim", "ddpm"])
def test_batchsize_changes_rounding_only(network, sampler):
    options = {"nsamples": 8, "seed": 3, "sampler": sampler}
    one, eight, three = (posterior(network, batchsize=b, **options).draw() for b in (1, 8, 3))
    allowed = 1e-5 * float(one.max())
    torch.testing.assert_close(eight, one, rtol=0, atol=allowed)
    torch.testing.assert_close(three, one, rtol=0, atol=allowed)


@pytest.mark.parametrize("sampler", ["dpm++", "ddpm"])
def test_first_realisations_of_a_longer_run_are_the_same(network, sampler):
    short = posterior(network, nsamples=2, batchsize=1, sampler=sampler).draw()
    long = posterior(network, nsamples=5, batchsize=1, sampler=sampler).draw()
    assert torch.equal(long[:2], short)


def test_realisations_and_seeds_differ(network):
    one, other = posterior(network, seed=1).draw(), posterior(network, seed=2).draw()
    everything = torch.cat([one, other]).flatten(1)
    distance = torch.cdist(everything, everything) + torch.eye(8) * 1e9
    assert distance.min() > 1e-2


@pytest.mark.parametrize("tile", [8, 20, 32, 64])
@pytest.mark.parametrize("sigma", [BLIND, 1.0, 0.05])
def test_tiles_are_the_whole_image(network, tile, sigma):
    size = (120, 92)
    state = torch.randn(2, 1, *size, generator=torch.Generator().manual_seed(2))
    whole = posterior(network, size, tile=1024).denoise(state, sigma)
    tiled = posterior(network, size, tile=tile).denoise(state, sigma)
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5 * float(whole.abs().max()))


def test_tiled_realisations_are_the_whole_images(network):
    size, options = (96, 64), {"nsamples": 2, "seed": 9}
    whole = posterior(network, size, tile=1024, **options).draw()
    tiled = posterior(network, size, tile=24, **options).draw()
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5 * float(whole.max()))


@pytest.mark.parametrize(
    ("size", "tile", "reach", "stride"), [(96, 32, 24, 4), (100, 30, 5, 4), (8, 512, 60, 8)]
)
def test_tiles_cover_the_axis_once(size, tile, reach, stride):
    covered = []
    for core, outer, within in tiles(size, tile, reach, stride):
        covered += range(core.start, core.stop)
        assert outer.start % stride == outer.stop % stride == 0
        assert outer.start == 0 or core.start - outer.start >= reach
        assert outer.stop == size or outer.stop - core.stop >= reach
        assert list(range(outer.start, outer.stop))[within] == list(range(core.start, core.stop))
    assert covered == list(range(size))


def test_bf16_is_near_fp32(network):
    fine = posterior(network, seed=1).draw()
    coarse = posterior(network, seed=1, precision="bf16").draw()
    torch.testing.assert_close(coarse, fine, rtol=0, atol=0.05 * float(fine.max()))


def test_batchsize_in_bf16(network):
    one, eight = (
        posterior(network, nsamples=8, precision="bf16", batchsize=b).draw() for b in (1, 8)
    )
    torch.testing.assert_close(eight, one, rtol=0, atol=1e-3 * float(one.max()))


def test_mean_is_one_blind_evaluation(network):
    denoiser, _ = network
    one = posterior(network)
    white = noise_field(one.seed, 0, (48, 32), 2**30)[None]
    with torch.no_grad():
        expected = denoiser(
            BLIND * white, torch.tensor([BLIND]), condition()[None], torch.tensor([[0.1, -0.2]])
        )
    torch.testing.assert_close(one.mean(), expected)


def test_progress_adds_up(network):
    told = []
    posterior(network, nsamples=7, batchsize=3).draw(told.append)
    assert told == [3, 3, 1]


def test_batchsize_fits(network):
    assert posterior(network, batchsize=5).batchsize() == 5
    assert 1 <= posterior(network).batchsize() <= 64


def test_noise_field():
    one = noise_field(3, 7, (64, 48))
    assert one.shape == (1, 64, 48)
    assert torch.equal(one, noise_field(3, 7, (64, 48)))
    fields = [noise_field(s, k, (64, 48), p) for s in (0, 3) for k in (0, 7) for p in (0, 1, 2)]
    flat = torch.stack(fields).flatten(1)
    coefficient = torch.corrcoef(flat)[torch.triu_indices(12, 12, 1).unbind()]
    assert coefficient.abs().max() < 5 / (64 * 48) ** 0.5
    assert float(flat.mean()) == pytest.approx(0, abs=5 / flat.numel() ** 0.5)
    assert float(flat.std()) == pytest.approx(1, abs=5 / (2 * flat.numel()) ** 0.5)


def test_large_seeds():
    assert not torch.equal(noise_field(2**63, 0, (4, 4)), noise_field(2**63 + 1, 0, (4, 4)))


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"nsamples": 0}, "nsamples must be at least 1, got 0"),
        ({"nsteps": 1}, "nsteps must be at least 2, got 1"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"batchsize": -2}, "batchsize must be at least 0, got -2"),
        ({"sampler": "euler"}, r"sampler must be one of \['dpm\+\+', .*\], got 'euler'"),
        ({"precision": "fp64"}, "precision must be auto, fp32 or bf16, got 'fp64'"),
    ],
)
def test_refused(values, text):
    with pytest.raises(ValueError, match=text):
        Sampling(**values)


def test_passes_of_a_run_have_noise_of_their_own():
    one, other = (noise_field((3, cycle), 0, (8, 8)) for cycle in (0, 1))
    assert not torch.equal(one, other)
    assert torch.equal(one, noise_field((3, 0), 0, (8, 8)))


def test_systems_that_do_not_tell_their_memory(network, monkeypatch):
    """macOS has no SC_AVPHYS_PAGES."""

    def refuse(name):
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr("casa_ddpm.device.os.sysconf", refuse)
    assert posterior(network).batchsize() >= 1
