"""Checkpoints: what is written is what is read, and what is not one of ours is refused."""

import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from casa_ddpm import checkpoint
from casa_ddpm.checkpoint import Settings
from casa_ddpm.normalisation import Normalisation

SETTINGS = Settings(
    widths=(4, 8), depth=1, sigma_data=0.3, normalisation=Normalisation("asinh", 1.5),
    conditioning="dirty", scale=3.5, kernel=0.4, cap=100.0, sigma_max=7.0, sigma_min=0.01,
    calibration={"flux": [0.0, 0.5, 1.0]}, history={"step": 12, "validation_loss": None},
)  # fmt: skip


def saved(path, seed=0, settings=SETTINGS):
    torch.manual_seed(seed)
    denoiser = settings.build()
    with torch.no_grad():
        for p in denoiser.parameters():
            p.normal_()
    checkpoint.save(path, denoiser, settings)
    return denoiser


def test_round_trip(tmp_path):
    denoiser = saved(tmp_path / "a.safetensors")
    got, settings = checkpoint.load(tmp_path / "a.safetensors")
    assert settings == SETTINGS
    assert got.sigma_data == 0.3
    assert not got.training
    expected = denoiser.state_dict()
    assert got.state_dict().keys() == expected.keys()
    for name, value in got.state_dict().items():
        assert torch.equal(value, expected[name])


def test_loaded_network_gives_the_same_sky(tmp_path):
    denoiser = saved(tmp_path / "a.safetensors")
    got, _ = checkpoint.load(str(tmp_path / "a.safetensors"))
    x, condition = torch.randn(1, 1, 16, 16), torch.randn(1, 2, 16, 16)
    arguments = (x, torch.tensor([0.5]), condition, torch.zeros(1, 2))
    assert torch.equal(got(*arguments), denoiser(*arguments))


def test_the_file_is_whole_or_absent(tmp_path):
    saved(tmp_path / "a.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_saving_replaces_and_is_reproducible(tmp_path):
    path = tmp_path / "a.safetensors"
    saved(path, 0)
    one = checkpoint.digest(path)
    saved(path, 1)
    assert checkpoint.digest(path) != one
    for _ in range(8):  # the same network is the same file
        saved(path, 0)
        assert checkpoint.digest(path) == one


def test_digest(tmp_path):
    path = tmp_path / "a.safetensors"
    saved(path)
    assert checkpoint.digest(path) == hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def test_parameters():
    count = sum(parameter.numel() for parameter in Settings().build().parameters())
    assert 100_000 < count <= 4_000_000


@pytest.mark.parametrize("function", [checkpoint.load, checkpoint.find, checkpoint.digest])
@pytest.mark.parametrize("name", ["resnet", "", "/nowhere/network.safetensors", "."])
def test_unknown_name(function, name):
    with pytest.raises(ValueError, match=r"network must be one of \[.*\] or the path of a .safet"):
        function(name)


@pytest.mark.parametrize("kept", [0, 5, 40, 0.5, 0.99])
def test_truncated(tmp_path, kept):
    path = tmp_path / "a.safetensors"
    saved(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: kept if isinstance(kept, int) else int(kept * len(whole))])
    with pytest.raises(ValueError, match=r"network '.*a.safetensors' is not a whole safetensors"):
        checkpoint.load(path)


def test_not_safetensors(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_text("a text that is none of ours, long enough for a header")
    with pytest.raises(ValueError, match="is not a whole safetensors file"):
        checkpoint.load(path)


def rewrite(path, change=lambda tensors: tensors, **header):
    """A copy of a checkpoint with other tensors or another header."""
    saved(path)
    good = json.dumps({"format": "casa_ddpm 2", "settings": plain(SETTINGS)} | header)
    save_file(change(load_file(path)), path, {"casa_ddpm": good})


def plain(settings, **changes):
    from dataclasses import asdict

    return {**asdict(settings), **changes}


def test_someone_elses_safetensors(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"weight": torch.ones(3)}, path)
    with pytest.raises(ValueError, match=r"network '.*' is not a casa_ddpm checkpoint"):
        checkpoint.load(path)
    rewrite(path, format="casa_ddpm 999")
    with pytest.raises(
        ValueError, match="cannot be read: format 'casa_ddpm 999', not 'casa_ddpm 2'"
    ):
        checkpoint.load(path)


def test_header_that_cannot_be_read(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"weight": torch.ones(3)}, path, {"casa_ddpm": "{not json"})
    with pytest.raises(ValueError, match="has settings that cannot be read"):
        checkpoint.load(path)


def test_rewriting_alone_does_no_harm(tmp_path):
    rewrite(tmp_path / "a.safetensors")
    assert checkpoint.load(tmp_path / "a.safetensors")[1] == SETTINGS


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: {k: v for k, v in tensors.items() if "stem" not in k},
        lambda tensors: {**tensors, "more": torch.ones(2)},
        lambda tensors: {k: v.flatten() for k, v in tensors.items()},
    ],
)
def test_weights_that_do_not_fit(tmp_path, change):
    path = tmp_path / "a.safetensors"
    rewrite(path, change)
    with pytest.raises(ValueError, match=r"network '.*' does not fit its settings"):
        checkpoint.load(path)


@pytest.mark.parametrize("settings", ["not settings", {}, plain(SETTINGS, from_the_future=1)])
def test_settings_that_cannot_be_read(tmp_path, settings):
    path = tmp_path / "a.safetensors"
    rewrite(path, settings=settings)
    with pytest.raises(ValueError, match=r"network '.*a.safetensors' has settings that"):
        checkpoint.load(path)


def test_names_are_found():
    for name in checkpoint.names():
        assert checkpoint.find(name).is_file()
