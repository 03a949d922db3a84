"""What the sources of a realisation tell of their field, and so of each other.

Whether the counts of a field are steep and how many of its sources are extended nobody
knows beforehand, but most sources show it. What is thought of one source before its own
data are asked is the mean over the fields that the others may be from (a hierarchical
prior, Gelman et al. 2013, Bayesian Data Analysis, ch. 5).
"""

from __future__ import annotations

import numpy as np
from scipy import special

from casa_ddpm.population import (
    COUNTS,
    MAJOR,
    WIDE,
    Population,
    count_densities,
    count_shares,
    size_share,
)

#: Shares of extended sources that are equally probable beforehand: of a beta distribution with
#: the mean and the variance of the shares that fields are drawn with. On the sky it can be any.
_MEAN, _VARIANCE = float(np.mean(WIDE)), float(np.var(WIDE))
_WEIGHT = _MEAN * (1 - _MEAN) / _VARIANCE - 1
_SHARES = special.betaincinv(_MEAN * _WEIGHT, (1 - _MEAN) * _WEIGHT, (np.arange(64) + 0.5) / 64)
#: How sure one source can be of its being extended [log].
_SUREST = 30.0


class Census:
    """The single sources that a realisation holds.

    Parameters
    ----------
    noise : float
        Of a point source [flux].
    least : float
        Least flux of a source.
    """

    def __init__(self, noise: float, least: float) -> None:
        self.noise, self.least = noise, least
        #: What each source tells of the counts and of the share of extended ones [log].
        self._known: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._counts, self._shares = np.log(COUNTS), np.zeros(len(_SHARES))

    def record(
        self, k: int, flux: float, area: float, favour: float, widest: float = MAJOR[1]
    ) -> None:
        """Take down source k, again if need be.

        Parameters
        ----------
        k : int
        flux : float
        area : float
            Product of the axes' FWHM [beam^2].
        favour : float
            Log evidence that it is extended, over that it is a point.
        widest : float
            Greatest FWHM that was thought of [beam].
        """
        self.discard(k)
        snr, least = max(flux, self.least) / self.noise, self.least / self.noise
        counts = np.log(count_densities(np.array(snr), area) / count_shares(least, area))
        odds = np.exp(np.clip(favour, -_SUREST, _SUREST))
        # That it is no wider than that is nothing that it tells.
        possible = 1 - _SHARES + _SHARES * size_share(widest)
        shares = np.log((1 - _SHARES + _SHARES * odds) / possible)
        self._known[k] = counts, shares
        self._counts, self._shares = self._counts + counts, self._shares + shares

    def discard(self, k: int) -> None:
        """Forget source k, if there is one."""
        if k in self._known:
            counts, shares = self._known.pop(k)
            self._counts, self._shares = self._counts - counts, self._shares - shares

    def others(self, k: int) -> Population:
        """What all sources but k tell."""
        counts, shares = self._known.get(k, (0.0, 0.0))
        kinds, share = _weights(self._counts - counts), _weights(self._shares - shares)
        return Population(self.noise, self.least, tuple(kinds), float(share @ _SHARES))


def _weights(logs: np.ndarray) -> np.ndarray:
    """Probabilities of relative logarithms."""
    found = np.exp(logs - logs.max())
    return found / found.sum()
