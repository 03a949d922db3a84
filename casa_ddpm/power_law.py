"""Power laws over a band, as the straight line through them tells of them."""

from __future__ import annotations

import numpy as np

#: Steepest spectral index, either way, and the number of those in between.
_STEEPEST, _NUMBER = 8.0, 1601
#: Frequencies over the band, and the most that it may reach to either side of its middle.
_CHANNELS, _WIDEST = 201, 0.9


class PowerLaws:
    """Power laws over a band that is evenly filled.

    Parameters
    ----------
    width : float
        Standard deviation of the frequencies over their mean.
    """

    def __init__(self, width: float) -> None:
        half = min(np.sqrt(3) * width, _WIDEST)
        # In the middle of the channels.
        away = half * ((2 * np.arange(_CHANNELS) + 1) / _CHANNELS - 1)
        self._index = np.linspace(-_STEEPEST, _STEEPEST, _NUMBER)
        spectra = (1 + away) ** self._index[:, None]
        self._mean = spectra.mean(1)
        self._slope = spectra @ away / (away @ away) / self._mean

    def index(self, slope: np.ndarray) -> np.ndarray:
        """Spectral index of the power law with a slope over its mean, per unit of frequency."""
        return np.interp(slope, self._slope, self._index)

    def stretch(self, index: np.ndarray) -> np.ndarray:
        """How much an index changes with that slope."""
        return np.interp(index, self._index, 1 / np.gradient(self._slope, self._index))

    def mean(self, index: np.ndarray) -> np.ndarray:
        """Mean over the band, in units of the value at its middle."""
        return np.interp(index, self._index, self._mean)

    def steepness(self, index: np.ndarray) -> np.ndarray:
        """How much the mean's logarithm changes with the index."""
        return np.interp(index, self._index, np.gradient(np.log(self._mean), self._index))
