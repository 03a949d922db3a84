"""Sky and image normalisation: what the network sees of brightnesses that span decades."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Normalisation:
    """An invertible compression of the sky brightness [noise of a point source per pixel].

    Parameters
    ----------
    kind : {'root', 'asinh'}
        'root': x^(1/gamma), the normalisation of Drozdova et al. (2024, A&A 683, A105);
        'asinh': asinh(gamma x) / gamma, linear below 1/gamma.
    gamma : float
        Power of the root or steepness of asinh, positive.

    Raises
    ------
    ValueError
        If kind is unknown or gamma not positive.
    """

    kind: str = "root"
    gamma: float = 2.0

    def __post_init__(self) -> None:
        if self.kind not in ("root", "asinh"):
            raise ValueError(f"normalisation must be 'root' or 'asinh', got {self.kind!r}")
        if not self.gamma > 0:
            raise ValueError(f"gamma must be positive, got {self.gamma}")

    def forward(self, sky: torch.Tensor) -> torch.Tensor:
        """Normalised sky; negative brightness is cut to zero."""
        sky = sky.clamp(min=0)
        if self.kind == "root":
            return sky ** (1 / self.gamma)
        return torch.asinh(self.gamma * sky) / self.gamma

    def inverse(self, normalised: torch.Tensor) -> torch.Tensor:
        """Sky brightness of a normalised sky; never negative."""
        normalised = normalised.clamp(min=0)
        if self.kind == "root":
            return normalised**self.gamma
        return torch.sinh(self.gamma * normalised) / self.gamma


def compress(image: torch.Tensor) -> torch.Tensor:
    """Condition images [noise], linear in the noise and logarithmic above: asinh."""
    return torch.asinh(image)
