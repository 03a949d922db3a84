"""Samplers: generators of states, from noise to a sky.

Each takes ``denoise(x, sigma) -> expected clean sky``, the starting state
x = sky + sigmas[0] noise, the falling noise levels that end in 0, and yields
the state after every step; the last one is the sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch

Denoise = Callable[[torch.Tensor, float], torch.Tensor]


def schedule(nsteps: int, sigma_max: float, sigma_min: float, rho: float = 7.0) -> list[float]:
    """Noise levels of `nsteps` steps, the last to 0 (EDM eq. 5); length nsteps + 1."""
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    steps = torch.linspace(0, 1, nsteps, dtype=torch.float64)
    return [*((high + steps * (low - high)) ** rho).tolist(), 0.0]


def euler(denoise: Denoise, x: torch.Tensor, sigmas: list[float], noise=None) -> Iterator:
    """First-order deterministic steps (EDM eq. 3): DDIM (Song et al. 2021) with eta = 0."""
    for now, after in zip(sigmas[:-1], sigmas[1:], strict=True):
        clean = denoise(x, now)
        x = clean + after / now * (x - clean)
        yield x


def heun(denoise: Denoise, x: torch.Tensor, sigmas: list[float], noise=None) -> Iterator:
    """Second-order deterministic steps (EDM algorithm 1), two evaluations each."""
    for now, after in zip(sigmas[:-1], sigmas[1:], strict=True):
        slope = (x - denoise(x, now)) / now
        ahead = x + (after - now) * slope
        if after > 0:
            slope = (slope + (ahead - denoise(ahead, after)) / after) / 2
            ahead = x + (after - now) * slope
        x = ahead
        yield x


def dpm(denoise: Denoise, x: torch.Tensor, sigmas: list[float], noise=None) -> Iterator:
    """DPM-Solver++(2M) (Lu et al. 2022, arXiv:2211.01095, algorithm 2), in EDM's variables."""
    previous, last = None, sigmas[0]
    for now, after in zip(sigmas[:-1], sigmas[1:], strict=True):
        clean = denoise(x, now)
        guess = clean
        if previous is not None and after > 0:
            ratio = math.log(now / after) / math.log(last / now)
            guess = clean + ratio / 2 * (clean - previous)
        x = guess + after / now * (x - guess)
        previous, last = clean, now
        yield x


def ancestral(
    denoise: Denoise, x: torch.Tensor, sigmas: list[float], noise: Callable[[], torch.Tensor]
) -> Iterator:
    """Ancestral DDPM steps (Ho et al. 2020, eq. 6 and 7, in variance-exploding variables).

    `noise` returns fresh white noise of the shape of x.
    """
    for now, after in zip(sigmas[:-1], sigmas[1:], strict=True):
        clean = denoise(x, now)
        fresh = after * (1 - (after / now) ** 2) ** 0.5
        x = clean + (after / now) ** 2 * (x - clean)
        if fresh > 0:
            x = x + fresh * noise()
        yield x


SAMPLERS = {"dpm++": dpm, "heun": heun, "ddim": euler, "ddpm": ancestral}
