"""From realisations to one image, its uncertainty and the probability of a source."""

from __future__ import annotations

import torch

from casa_ddpm.fourier import convolve

#: Pixels whose realisations are sorted at a time: that takes three times their memory.
_BLOCK = 2**18


def mean(samples: torch.Tensor) -> torch.Tensor:
    """Mean over realisations (n, ...)."""
    return samples.mean(0)


def median(samples: torch.Tensor) -> torch.Tensor:
    """Median over realisations (n, ...), the mean of the middle two where n is even."""
    return quantiles(samples, [0.5])[0]


def medoid(samples: torch.Tensor) -> torch.Tensor:
    """The realisation with the least sum of distances to the others."""
    flat = samples.flatten(1)
    return samples[torch.cdist(flat, flat).sum(1).argmin()]


AGGREGATES = {"median": median, "mean": mean, "medoid": medoid}


def std(samples: torch.Tensor) -> torch.Tensor:
    """Standard deviation over realisations (n, ...); 0 for a single one."""
    return samples.std(0, correction=min(1, len(samples) - 1))


def quantiles(samples: torch.Tensor, levels) -> torch.Tensor:
    """Quantiles over realisations (n, ...), shape (len(levels), ...)."""
    place = torch.as_tensor(levels, dtype=torch.float64) * (len(samples) - 1)
    low = place.long()
    high = (low + 1).clamp(max=len(samples) - 1)
    share = (place - low).to(samples)[:, None]
    found = []
    for part in samples.flatten(1).split(_BLOCK, 1):
        ordered = part.sort(0).values
        found.append(torch.lerp(ordered[low], ordered[high], share))
    return torch.cat(found, 1).view(-1, *samples.shape[1:])


def probability(samples: torch.Tensor, area: float, least: float) -> torch.Tensor:
    """Fraction of realisations with more than `least` flux in a patch around each pixel.

    Parameters
    ----------
    samples : Tensor, shape (n, ny, nx)
        Flux per pixel.
    area : float
        Area of the round patch, one beam [pixel].
    least : float
        Flux.

    Returns
    -------
    Tensor, shape (ny, nx)
        0 to 1.
    """
    radius = (area / torch.pi) ** 0.5
    half = int(radius + 1)
    axis = torch.arange(-half, half + 1, dtype=samples.dtype)
    # Soft edges: a pixel counts by the part of it that is inside.
    disc = (radius + 0.5 - torch.hypot(axis[:, None], axis)).clamp(0, 1)
    total = torch.zeros_like(samples[0])
    for sample in samples:
        total += convolve(sample, disc) > least
    return total / len(samples)
