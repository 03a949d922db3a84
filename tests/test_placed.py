"""A network that knows where it is: through a checkpoint, and nowhere else than asked for."""

from dataclasses import replace

import pytest
import torch

from casa_ddpm import checkpoint
from casa_ddpm.checkpoint import Settings
from casa_ddpm.network import UNet
from casa_ddpm.normalisation import Normalisation
from casa_ddpm.options import Options
from casa_ddpm.placed import PlacedDenoiser, PlacedUNet
from casa_ddpm.reconstruction import load_network

SETTINGS = Settings(
    widths=(4, 8), depth=1, sigma_data=0.1, normalisation=Normalisation("published"),
    conditioning="dirty", position=3, npix=16, history={"law": "published"},
)  # fmt: skip


def lively(settings, seed=0):
    torch.manual_seed(seed)
    denoiser = settings.build()
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter.normal_(std=0.3)
    return denoiser


def test_embedding_round_trip(tmp_path):
    denoiser = lively(SETTINGS)
    checkpoint.save(tmp_path / "a.safetensors", denoiser, SETTINGS)
    got, settings = checkpoint.load(tmp_path / "a.safetensors")
    assert settings == SETTINGS
    assert isinstance(got, PlacedDenoiser)
    assert got.network.position.shape == (1, 3, 16, 16)
    assert torch.equal(got.network.position, denoiser.network.position)
    x, condition = torch.randn(2, 1, 16, 16), torch.randn(2, 2, 16, 16)
    arguments = (x, torch.tensor([0.5, 3.0]), condition, torch.zeros(2, 2))
    assert torch.equal(got(*arguments), denoiser(*arguments))


def test_memory_round_trip(tmp_path):
    settings = replace(SETTINGS, memory=5)
    denoiser = lively(settings)
    denoiser.network.remember(torch.randn(2, 5, 16, 16))
    checkpoint.save(tmp_path / "a.safetensors", denoiser, settings)
    got, read = checkpoint.load(tmp_path / "a.safetensors")
    assert read == settings
    assert got.network.memory.any()
    assert torch.equal(got.network.memory, denoiser.network.memory)


def test_memory_is_shown_as_skies_are(monkeypatch):
    """The network sees the signed root of the estimate, as its own part of the sky is a root."""
    network = replace(SETTINGS, memory=2).build().network
    network.remember(torch.randn(2, 2, 16, 16))
    condition = torch.randn(1, 2, 16, 16)
    monkeypatch.setattr(UNet, "forward", lambda self, x, shown, noise, shape: shown)
    shown = network(torch.randn(1, 1, 16, 16), condition, torch.zeros(1), torch.zeros(1, 2))
    sky = network.recalled(condition[:, 1:2])
    assert (sky < 0).any() and (sky > 0).any()
    torch.testing.assert_close(shown[:, -1:], torch.sign(sky) * torch.sqrt(torch.abs(sky)))


def test_memory_is_a_linear_estimate():
    network = replace(SETTINGS, memory=5).build().network
    factors = torch.randn(2, 5, 16, 16)
    network.remember(factors)
    image = torch.randn(3, 1, 16, 16)
    want = torch.einsum("byx,ryx,rvu->bvu", image[:, 0], *factors)
    torch.testing.assert_close(network.recalled(image)[:, 0], want, rtol=1e-4, atol=1e-3)


def test_network_sees_what_it_recalls():
    network = lively(replace(SETTINGS, memory=5)).network
    condition = torch.randn(1, 3, 16, 16)
    arguments = (torch.zeros(1, 1, 16, 16), condition, torch.zeros(1), torch.zeros(1, 2))
    without = network(*arguments)
    network.remember(torch.randn(2, 5, 16, 16))
    assert float((network(*arguments) - without).detach().abs().max()) > 0.1


def test_output_depends_on_the_place():
    same = torch.zeros(1, 1, 16, 16)
    network = lively(SETTINGS).network
    arguments = (torch.cat([same, same, same], 1), torch.zeros(1), torch.zeros(1, 2))
    out = network(same, *arguments)
    assert float(out[..., 4:12, 4:12].detach().std()) > 0.01
    with torch.no_grad():
        network.position.zero_()
    moved = network(same, *arguments)[..., 8:10, 8:10]
    torch.testing.assert_close(moved[..., 0, 0], network(same, *arguments)[..., 8, 8])


def test_no_embedding_by_default():
    assert not isinstance(Settings().build().network, PlacedUNet)
    _, settings = checkpoint.load("default")
    assert settings.position == 0


def test_an_empty_sky_is_where_the_normalisation_puts_it():
    """An untrained network says that there is nothing: -1, not 0."""
    denoiser = SETTINGS.build()
    empty = -torch.ones(1, 1, 16, 16)
    clean = denoiser(empty, torch.tensor([80.0]), torch.zeros(1, 2, 16, 16), torch.zeros(1, 2))
    torch.testing.assert_close(clean, empty)


def test_it_reconstructs_nothing_else(tmp_path):
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, lively(SETTINGS), SETTINGS)
    with pytest.raises(ValueError, match="network must work anywhere on an image, got '.*a.safet"):
        load_network(Options(network=str(path)))
