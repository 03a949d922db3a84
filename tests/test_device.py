"""Where a network runs: what is there, what is fastest, and the same numbers everywhere."""

import ctypes
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from casa_ddpm import device
from casa_ddpm.device import arithmetic, choose_device, choose_precision, settle


@pytest.mark.parametrize("name", ["abacus", "cuda:77", "", "cpu:x", "meta"])
def test_devices_that_are_not_there(name):
    with pytest.raises(ValueError, match=f"device '{name}' is not available"):
        choose_device(name)


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(True, False, "cuda"), (False, True, "mps"), (False, False, "cpu"), (True, True, "cuda")],
)
def test_auto_is_the_fastest_that_is_there(monkeypatch, cuda, mps, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_device("auto") == torch.device(chosen)


def test_device_and_precision():
    cpu = choose_device("cpu")
    assert cpu.type == "cpu"
    assert choose_precision("fp32", cpu) == torch.float32
    assert choose_precision("bf16", cpu) == torch.bfloat16


@pytest.mark.parametrize(("units", "chosen"), [(True, torch.bfloat16), (False, torch.float32)])
def test_precision_is_what_the_processor_has_units_for(monkeypatch, units, chosen):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: units)
    assert choose_precision("auto", choose_device("cpu")) == chosen


@pytest.mark.parametrize(
    ("capability", "chosen"), [((7, 5), torch.float32), ((9, 0), torch.bfloat16)]
)
def test_precision_is_what_the_gpu_has_units_for(monkeypatch, capability, chosen):
    """Not what it imitates: torch calls bfloat16 supported on every GPU of NVIDIA's."""
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda where: capability)
    assert choose_precision("auto", torch.device("cuda")) == chosen


def test_arithmetic_on_a_gpu_leaves_the_settings_of_others_alone(monkeypatch):
    cudnn = torch.backends.cudnn
    monkeypatch.setattr(cudnn, "benchmark", True)
    with arithmetic(torch.device("cuda"), torch.float32):
        assert cudnn.benchmark
        if hasattr(cudnn, "conv"):
            assert cudnn.conv.fp32_precision == "ieee"
        else:
            assert not cudnn.allow_tf32
    assert cudnn.allow_tf32


_NEWER = """
import torch
from casa_ddpm import device
from casa_ddpm.device import arithmetic

torch.backends.fp32_precision = "ieee"
for name in ("cpu", "cuda"):
    with arithmetic(torch.device(name), torch.float32):
        pass
"""


@pytest.mark.skipif(not hasattr(torch.backends, "fp32_precision"), reason="for newer torch")
def test_arithmetic_where_a_session_has_set_its_own():
    subprocess.run([sys.executable, "-c", _NEWER], check=True)


def test_settled_weights_are_the_same_in_another_order():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Conv2d(8, 4, 1))
    image = torch.randn(2, 3, 20, 16)
    expected = model(image)
    before = [p.clone() for p in model.parameters()]
    settled = settle(model, torch.device("cpu"))
    assert settled is model
    assert settled[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert all(torch.equal(p, q) for p, q in zip(before, settled.parameters(), strict=True))
    torch.testing.assert_close(settled(image), expected)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="for glibc")
def test_free_memory_is_kept_for_the_next_images(monkeypatch):
    """The C library is told so, once, and takes both: the numbers are those of its malloc.h."""
    real, told = ctypes.CDLL(None), []

    def mallopt(parameter: int, value: int) -> int:
        told.append((parameter, value, real.mallopt(parameter, value)))
        return told[-1][-1]

    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=mallopt))
    device._keep_memory.cache_clear()
    for _ in range(2):
        settle(torch.nn.Conv2d(1, 1, 1), torch.device("cpu"))
    assert told == [(-3, 32 * 2**20, 1), (-1, 256 * 2**20, 1)]
