"""What a network's probability of a source has to be corrected for."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from scipy import special

from casa_ddpm import logistic
from casa_ddpm.logistic import ANY, NONE, NOT_NEGATIVE

#: Least probability, and least of the opposite, that is told apart.
DOUBT = 0.0005
#: Of the weights of each state. What the S/N tells of points in noise the network's probability,
#: which orders them better, has taken into account.
_BOUNDS = (
    *(ANY, NOT_NEGATIVE, NONE),
    *(ANY, NOT_NEGATIVE, NOT_NEGATIVE),
    *(ANY, NOT_NEGATIVE, NOT_NEGATIVE),
)


@dataclass(frozen=True)
class Odds:
    """Log-odds that a candidate is a source, linear in what is known of it.

    Parameters
    ----------
    plain, structured, disturbed : tuple of three floats
        Offset, and weights of the log-odds of the network's probability and of log(S/N), where
        noise alone is left, of sources that are points or of resolved ones, and where much more
        than noise is left. The weights are not negative, so that more never means less; that of
        the S/N is 0 in a fitted `plain`.

    Raises
    ------
    ValueError
        If a number is missing or a weight is negative.
    """

    plain: tuple[float, ...]
    structured: tuple[float, ...]
    disturbed: tuple[float, ...]

    def __post_init__(self) -> None:
        for name, values in asdict(self).items():
            weights = tuple(float(value) for value in values)
            if len(weights) != 3 or min(weights[1:]) < 0:
                raise ValueError(f"{name} must be an offset and two weights from 0, got {values}")
            object.__setattr__(self, name, weights)

    def probability(
        self,
        prob: np.ndarray,
        snr: np.ndarray,
        structure: np.ndarray | float,
        disturbance: np.ndarray | float,
    ) -> np.ndarray:
        """Probability that a candidate is a source.

        Parameters
        ----------
        prob : ndarray, shape (n,)
            What the network says it is.
        snr : ndarray, shape (n,)
            S/N of its peak.
        structure : float or ndarray, shape (n,)
            From 0 to 1, see `circumstances.structure`.
        disturbance : float or ndarray, shape (n,)
            From 0 to 1, see `disturbance.Suspicion`.
        """
        weights = np.concatenate([self.plain, self.structured, self.disturbed])
        return special.expit(_features(prob, snr, structure, disturbance) @ weights)


def fit(
    prob: np.ndarray,
    snr: np.ndarray,
    structure: np.ndarray,
    disturbance: np.ndarray,
    true: np.ndarray,
) -> Odds:
    """Fit odds to candidates of which it is known whether they are sources.

    Parameters
    ----------
    prob, snr, structure, disturbance : ndarray, shape (n,)
        See `Odds.probability`.
    true : ndarray of bool, shape (n,)
    """
    weights = logistic.fit(_features(prob, snr, structure, disturbance), true, _BOUNDS)
    return Odds(*(tuple(part) for part in weights.reshape(3, 3)))


def _features(
    prob: np.ndarray,
    snr: np.ndarray,
    structure: np.ndarray | float,
    disturbance: np.ndarray | float,
) -> np.ndarray:
    """Three of each state, times its share: shape (n, 9)."""
    # No network is surer than it can have learned.
    odds = special.logit(np.clip(prob, DOUBT, 1 - DOUBT))
    known = np.stack([np.ones_like(odds), odds, np.log(np.maximum(snr, 0.5))], -1)
    quiet = 1 - np.asarray(disturbance)
    shares = quiet * (1 - np.asarray(structure)), quiet * structure, 1 - quiet
    return np.hstack([np.asarray(share)[..., None] * known for share in shares])
