"""Realisations of the sky, drawn in batches and tiles from p(sky | condition)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from casa_ddpm import device
from casa_ddpm.checkpoint import Settings
from casa_ddpm.diffusion import BLIND, Denoiser
from casa_ddpm.samplers import SAMPLERS, schedule


@dataclass(frozen=True)
class Sampling:
    """How realisations are drawn.

    Parameters
    ----------
    nsamples : int
        Realisations.
    sampler : {'dpm++', 'heun', 'ddim', 'ddpm'}
    nsteps : int
        Noise levels, at least 2.
    seed : int
        What is drawn for realisation k of a field depends on (seed, k) alone, whatever the batch.
    device : str
        'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'.
    precision : {'auto', 'fp32', 'bf16'}
    batchsize : int
        Realisations at a time; 0: as many as fit.
    tile : int
        About the side of the tiles of large images, without their overlap [canonical pixel].

    Raises
    ------
    ValueError
        If a value breaks these rules or the device is not there.
    """

    nsamples: int = 20
    sampler: str = "dpm++"
    nsteps: int = 4
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    batchsize: int = 0
    tile: int = 512

    def __post_init__(self) -> None:
        for name, least in (("nsamples", 1), ("nsteps", 2), ("seed", 0), ("batchsize", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.sampler not in SAMPLERS:
            raise ValueError(f"sampler must be one of {list(SAMPLERS)}, got {self.sampler!r}")
        if self.precision not in ("auto", "fp32", "bf16"):
            raise ValueError(f"precision must be auto, fp32 or bf16, got {self.precision!r}")


#: Which of the first realisation's noise fields the posterior mean is drawn with.
_BLIND_NOISE = 2**30


def noise_field(
    seed: int | Sequence[int], realisation: int, shape: Sequence[int], part: int = 0
) -> torch.Tensor:
    """White noise of one realisation, the same on every device, shape (1, ny, nx).

    It depends on the seed (or seeds: of the run and of its pass), the realisation and
    which of its noise fields it is, on nothing else.
    """
    words = np.random.SeedSequence(
        [*np.atleast_1d(seed).tolist(), realisation, part]
    ).generate_state(1, np.uint64)
    generator = torch.Generator().manual_seed(int(words[0] >> np.uint64(1)))
    return torch.randn((1, *shape), generator=generator)


def tiles(size: int, tile: int, reach: int, stride: int) -> Iterator[tuple[slice, slice, slice]]:
    """Cut an axis into tiles whose overlap is so wide that no result depends on it.

    They are of about equal size, up to half as large again as `tile`: a small rest
    would be nearly all overlap.

    Yields
    ------
    core, outer, within : slice
        The part that a tile answers for, the part it has to see, and the first
        relative to the second.
    """
    number = max(1, round(size / tile))
    step = -(-size // (number * stride)) * stride
    overlap = -(-reach // stride) * stride
    for start in range(0, size, step):
        stop = min(start + step, size)
        low, high = max(0, start - overlap), min(size, stop + overlap)
        yield slice(start, stop), slice(low, high), slice(start - low, stop - low)


class Posterior:
    """A trained network on a device, ready to draw skies for one field.

    Parameters
    ----------
    denoiser : Denoiser
    settings : checkpoint.Settings
    condition : Tensor, shape (channels, ny, nx)
        Sides a multiple of the network's stride.
    shape : sequence of float
        The beam's ellipticity.
    sampling : Sampling
    seed : int or sequence of int, optional
        In place of the sampling's, for one of several passes of a run.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        settings: Settings,
        condition,
        shape,
        sampling: Sampling,
        seed=None,
    ) -> None:
        self.settings, self.sampling = settings, sampling
        self.seed = sampling.seed if seed is None else seed
        self.device = device.choose_device(sampling.device)
        self.dtype = device.choose_precision(sampling.precision, self.device)
        self.denoiser = device.settle(denoiser, self.device)
        self.condition = condition.to(self.device)[None]
        self.shape = torch.tensor([list(shape)], dtype=torch.float32, device=self.device)

    @torch.inference_mode()
    def denoise(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        """Expected clean skies of states x, shape (batch, 1, ny, nx), tile by tile."""
        # A CPU gains nothing from a batch, and alone each state gives the same bits in any.
        together = 1 if self.device.type == "cpu" else len(x)
        with device.arithmetic(self.device, self.dtype):
            return torch.cat([self._tiled(part, sigma) for part in x.split(together)])

    def _tiled(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        n, clean = len(x), torch.empty_like(x)
        cut = self.sampling.tile, self.denoiser.reach, self.denoiser.stride
        level, shape = x.new_full((n,), sigma), self.shape.expand(n, -1)
        for core_y, outer_y, in_y in tiles(x.shape[-2], *cut):
            for core_x, outer_x, in_x in tiles(x.shape[-1], *cut):
                condition = self.condition[..., outer_y, outer_x].expand(n, -1, -1, -1)
                part = self.denoiser(x[..., outer_y, outer_x], level, condition, shape)
                clean[..., core_y, core_x] = part[..., in_y, in_x]
        return clean

    def mean(self) -> torch.Tensor:
        """Posterior mean of the normalised sky in one evaluation, shape (1, 1, ny, nx)."""
        # Noise so high that it tells nothing, as the network has been trained to expect there.
        extent = (self.condition.shape[-2], self.condition.shape[-1])
        white = noise_field(self.seed, 0, extent, _BLIND_NOISE)[None].to(self.device)
        return self.denoise(BLIND * white, BLIND)

    def batchsize(self) -> int:
        """Realisations at a time: the caller's choice, or what a quarter of the memory holds."""
        if self.sampling.batchsize:
            return self.sampling.batchsize
        # Widest feature maps: about 12 times the first width on patches of 2 x 2 pixels.
        side = int(1.5 * self.sampling.tile) + 2 * self.denoiser.reach
        pixels = min(self.condition.shape[-2] * self.condition.shape[-1], side**2)
        each = pixels * self.settings.widths[0] * 12
        fits = max(1, int(device.free_memory(self.device) / 4 / each))
        return min(fits, 4 if self.device.type == "cpu" else 64)

    def draw(self, progress: Callable[[int], None] = lambda done: None) -> torch.Tensor:
        """All realisations, on the CPU.

        Parameters
        ----------
        progress : callable
            Told how many realisations have been finished since it was last told.

        Returns
        -------
        Tensor, shape (nsamples, ny, nx)
            Skies at the network's resolution [noise of a point source per canonical pixel].
        """
        mean = self.mean()
        size = self.batchsize()
        everything = range(self.sampling.nsamples)
        drawn = []
        for start in range(0, len(everything), size):
            batch = everything[start : start + size]
            drawn.append(self._batch(mean, batch))
            progress(len(batch))
        return torch.cat(drawn)

    @torch.inference_mode()
    def _batch(self, mean: torch.Tensor, realisations: range) -> torch.Tensor:
        settings, sampling = self.settings, self.sampling
        extent = (mean.shape[-2], mean.shape[-1])
        steps = 0

        def noise() -> torch.Tensor:
            nonlocal steps
            fields = [noise_field(self.seed, k, extent, steps) for k in realisations]
            steps += 1
            return torch.stack(fields).to(self.device)

        sigmas = schedule(sampling.nsteps, settings.sigma_max, settings.sigma_min)
        # The mean already holds what is certain, so that noise well above the
        # posterior's own spread is enough of a start.
        start = mean + settings.temperature * sigmas[0] * noise()
        *_, last = SAMPLERS[sampling.sampler](self.denoise, start, sigmas, noise)
        return settings.normalisation.inverse(last[:, 0]).cpu()
