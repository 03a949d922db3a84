"""Sky and image normalisation: what the network sees of brightnesses that span decades."""

from __future__ import annotations

from dataclasses import dataclass

import torch

#: Brightness that the published protocol normalises to 1 [Jy per pixel of 0.1 arcsec].
PUBLISHED_SCALE = 2.960064e-5


@dataclass(frozen=True)
class Normalisation:
    """An invertible compression of the sky brightness [noise of a point source per pixel].

    Parameters
    ----------
    kind : {'root', 'asinh', 'published'}
        'root': x^(1/gamma), the normalisation of Drozdova et al. (2024, A&A 683, A105);
        'asinh': asinh(gamma x) / gamma, linear below 1/gamma; 'published': the same root in
        their units, 2 (x / PUBLISHED_SCALE)^(1/gamma) - 1 [Jy per pixel of 0.1 arcsec].
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
        if self.kind not in ("root", "asinh", "published"):
            raise ValueError(
                f"normalisation must be 'root', 'asinh' or 'published', got {self.kind!r}"
            )
        if not self.gamma > 0:
            raise ValueError(f"gamma must be positive, got {self.gamma}")

    def forward(self, sky: torch.Tensor) -> torch.Tensor:
        """Normalised sky; negative brightness is cut to zero."""
        sky = sky.clamp(min=0)
        if self.kind == "root":
            return sky ** (1 / self.gamma)
        if self.kind == "published":
            return 2 * (sky / PUBLISHED_SCALE) ** (1 / self.gamma) - 1
        return torch.asinh(self.gamma * sky) / self.gamma

    def inverse(self, normalised: torch.Tensor) -> torch.Tensor:
        """Sky brightness of a normalised sky; never negative."""
        if self.kind == "published":
            return PUBLISHED_SCALE * ((normalised + 1) / 2).clamp(min=0) ** self.gamma
        normalised = normalised.clamp(min=0)
        if self.kind == "root":
            return normalised**self.gamma
        return torch.sinh(self.gamma * normalised) / self.gamma


def compress(image: torch.Tensor) -> torch.Tensor:
    """Condition images [noise], linear in the noise and logarithmic above: asinh."""
    return torch.asinh(image)
