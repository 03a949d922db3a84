"""Where a network runs, and with which arithmetic."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TypeVar

import torch

#: Memory that is assumed where the system does not tell [byte].
_SOME_MEMORY = 4e9

#: Parameters of mallopt(3) in glibc, and what they become [byte].
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT, _MAPPED = 256 << 20, 32 << 20

Model = TypeVar("Model", bound=torch.nn.Module)


def choose_device(device: str) -> torch.device:
    """The torch device of a name.

    Raises
    ------
    ValueError
        If the name is unknown or no such device is there.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        # Also where it could be named, but not computed with.
        torch.ones(1, device=chosen).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {device!r} is not available: {reason}") from None
    return chosen


def choose_precision(precision: str, device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies it fast, else float32."""
    if precision == "auto":
        fast = {
            "cuda": _bf16_on_gpu,
            "cpu": _bf16_on_cpu,
        }.get(device.type, lambda device: False)
        return torch.bfloat16 if fast(device) else torch.float32
    return torch.bfloat16 if precision == "bf16" else torch.float32


def _bf16_on_gpu(device: torch.device) -> bool:
    """Whether this GPU multiplies bfloat16 itself; older ones than Ampere only imitate it."""
    if torch.version.hip:
        return torch.cuda.is_bf16_supported()
    return torch.cuda.get_device_capability(device) >= (8, 0)


def _bf16_on_cpu(device: torch.device) -> bool:
    """Whether this processor has units for bfloat16 matrices; others are slower with them."""
    try:
        return bool(torch.cpu._is_amx_tile_supported())
    except (AttributeError, RuntimeError):  # a torch that does not know
        return False


def settle(model: Model, device: torch.device) -> Model:
    """A network on a device, its weights in the order in which that multiplies them fastest.

    Parameters
    ----------
    model : Module
        Is moved there itself.
    device : torch.device
    """
    model = model.to(device)
    if device.type == "cpu":
        _keep_memory()
    if device.type in ("cpu", "cuda"):
        # Their convolutions want the channels of a pixel side by side.
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


@lru_cache
def _keep_memory() -> None:
    """Have the C library keep up to 256 MiB that are free, for the next images.

    An evaluation of a network takes and leaves some hundred MiB. glibc gives them back to the
    system at once, which pages them in anew, zeroed, for the next: a tenth of all time.
    Elsewhere nothing is done.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # macOS, musl, Windows
        return
    # Either alone would fix the other at its start, which is worse.
    mallopt(_MMAP_THRESHOLD, _MAPPED)
    mallopt(_TRIM_THRESHOLD, _KEPT)


@contextmanager
def arithmetic(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """bfloat16 products, or float32 ones that a GPU does not shorten to TF32."""
    if dtype == torch.bfloat16:
        with torch.autocast(device.type, torch.bfloat16):
            yield
        return
    if device.type != "cuda":
        yield
        return
    cudnn = torch.backends.cudnn
    # The older of the two cannot be read where a session has set the newer. Neither can be
    # unset: convolutions no longer follow what is set for all of torch later.
    place, name, exact = (
        (cudnn.conv, "fp32_precision", "ieee")
        if hasattr(cudnn, "conv")
        else (cudnn, "allow_tf32", False)
    )
    before = getattr(place, name)
    setattr(place, name, exact)
    try:
        yield
    finally:
        setattr(place, name, before)


def free_memory(device: torch.device) -> float:
    """Bytes free on a device."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES"))
    except (ValueError, OSError):  # macOS
        return _SOME_MEMORY
