"""How much more than noise is left of an image.

What errors of a bright source, or sources beyond the edge, leave in an image passes for
faint sources, and shifts and widens those that there are. Where the thermal noise is known it
shows: more is left than that. Elsewhere there are signs of it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from scipy import special

from casa_ddpm import logistic, noise
from casa_ddpm.dirty import DirtyImage

#: Times the thermal noise at which an image is disturbed as much as images are.
DISTURBED = 1.7
#: Weight of the squares of a suspicion's weights in its fit.
_SHRINK = 0.3


@dataclass(frozen=True)
class Signs:
    """What tells how disturbed an image is.

    Parameters
    ----------
    sidelobe : float
        The PSF's highest.
    peak : float
        Greatest absolute value of what is left of the image, over what is to be expected of noise.
    known : float
        The disturbance, from 0 to 1, where it is known; else NaN.
    """

    sidelobe: float
    peak: float
    known: float = float("nan")

    @property
    def is_known(self) -> bool:
        """Whether the disturbance is."""
        return not np.isnan(self.known)

    @classmethod
    def of(cls, dirty: DirtyImage, left: np.ndarray, beams: float, sigma: float) -> Signs:
        """Those of a dirty image.

        Parameters
        ----------
        dirty : DirtyImage
        left : ndarray
            What realisations leave of it [Jy/beam].
        beams : float
            Beam areas that these pixels are.
        sigma : float
            Noise of what is left [Jy/beam].

        Returns
        -------
        Signs
        """
        peak = float(np.abs(left).max(initial=0)) / (sigma * noise.highest(beams))
        return cls(dirty.sidelobe, peak, _known(dirty, sigma))


def _known(dirty: DirtyImage, sigma: float) -> float:
    """Disturbance of an image of which noise `sigma` is left; NaN where nothing tells."""
    # Sidelobes so high disturb an image as much as images are.
    if dirty.tangled:
        return 1.0
    if dirty.thermal is None:
        return float("nan")
    return float(np.clip(np.log(sigma / dirty.thermal) / np.log(DISTURBED), 0, 1))


@dataclass(frozen=True)
class Suspicion:
    """Log-odds that an image is disturbed, linear in what tells of it.

    Parameters
    ----------
    offset : float
    sidelobe, peak : float
        Weights of the logarithms of both signs, not negative.

    Raises
    ------
    ValueError
        If a weight is negative.
    """

    offset: float
    sidelobe: float
    peak: float

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            object.__setattr__(self, name, float(value))
        if min(self.sidelobe, self.peak) < 0:
            raise ValueError(
                "weights of a suspicion must not be negative, got "
                f"sidelobe={self.sidelobe} and peak={self.peak}"
            )

    def disturbance(self, signs: Signs) -> float:
        """How disturbed an image is, from 0 to 1: known, or expected of its signs."""
        if signs.is_known:
            return signs.known
        return float(self.expected(signs.sidelobe, signs.peak))

    def expected(self, sidelobe: np.ndarray | float, peak: np.ndarray | float) -> np.ndarray:
        """Expected disturbance of images, of the shape of their signs, from 0 to 1; see `Signs`."""
        weights = np.array([self.offset, self.sidelobe, self.peak])
        return special.expit(_features(sidelobe, peak) @ weights)


def fit(sidelobe: np.ndarray, peak: np.ndarray, disturbance: np.ndarray) -> Suspicion:
    """Fit a suspicion to images of which it is known how disturbed they are.

    Parameters
    ----------
    sidelobe, peak, disturbance : ndarray, shape (n,)
        See `Signs`.

    Returns
    -------
    Suspicion
    """
    bounds = [logistic.ANY, logistic.NOT_NEGATIVE, logistic.NOT_NEGATIVE]
    shrink = _SHRINK * np.array([0, 1, 1])
    return Suspicion(*logistic.fit(_features(sidelobe, peak), disturbance, bounds, shrink))


def _features(sidelobe: np.ndarray | float, peak: np.ndarray | float) -> np.ndarray:
    """Of each image, shape (..., 3)."""
    # No PSF is without sidelobes, and no noise without peaks.
    sidelobe, peak = np.maximum(sidelobe, 0.01), np.maximum(peak, 0.5)
    return np.stack([np.ones_like(peak), np.log(sidelobe), np.log(peak)], -1)
