"""What a network's probability of a source has to be corrected for."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from scipy import optimize, special

from casa_ddpm.dirty import DirtyImage

#: Least probability, and least of the opposite, that is told apart.
DOUBT = 0.0005
#: Times the thermal noise at which an image is disturbed as much as images are.
DISTURBED = 1.35


@dataclass(frozen=True)
class Odds:
    """Log-odds that a candidate is a source, linear in what is known of it.

    What errors of a bright source, or sources beyond the edge, leave in an image passes for
    faint sources. Where the thermal noise is known it shows: more is left than that.

    Parameters
    ----------
    quiet, disturbed, blind : tuple of four floats
        Offset, and weights of the log-odds of the network's probability, of -log(1 + shadow)
        and of log(S/N), where only noise is left, where much more is, and where that is
        not known. The weights are not negative, so that more never means less.

    Raises
    ------
    ValueError
        If a number is missing or a weight is negative.
    """

    quiet: tuple[float, ...]
    disturbed: tuple[float, ...]
    blind: tuple[float, ...]

    def __post_init__(self) -> None:
        for name, values in asdict(self).items():
            weights = tuple(float(value) for value in values)
            if len(weights) != 4 or min(weights[1:]) < 0:
                raise ValueError(f"{name} must be an offset and three weights from 0, got {values}")
            object.__setattr__(self, name, weights)

    def probability(
        self,
        prob: np.ndarray,
        shadow: np.ndarray,
        snr: np.ndarray,
        disturbance: np.ndarray | float,
    ) -> np.ndarray:
        """Probability that a candidate is a source.

        Parameters
        ----------
        prob : ndarray, shape (n,)
            What the network says it is.
        shadow : ndarray, shape (n,)
            See `calibration.shadows`.
        snr : ndarray, shape (n,)
            S/N of its peak.
        disturbance : float or ndarray, shape (n,)
            See `disturbance`.
        """
        features = _features(prob, shadow, snr)
        quiet, disturbed, blind = (
            features @ np.array(getattr(self, name)) for name in ("quiet", "disturbed", "blind")
        )
        return special.expit(between(disturbance, quiet, disturbed, blind))


def between(
    disturbance: np.ndarray | float, quiet: np.ndarray, disturbed: np.ndarray, blind: np.ndarray
) -> np.ndarray:
    """What lies between two states by the disturbance, and a third where that is not known."""
    share = np.nan_to_num(disturbance)
    return np.where(np.isnan(disturbance), blind, (1 - share) * quiet + share * disturbed)


def disturbance(dirty: DirtyImage, noise: float) -> float:
    """How much more than thermal noise is left of an image: 0 nothing, 1 from DISTURBED on.

    Sidelobes that are so high that sources are told apart only together are no less than that.

    Parameters
    ----------
    dirty : DirtyImage
    noise : float
        Of what is left [Jy/beam].

    Returns
    -------
    float
        NaN where the thermal noise is not known.
    """
    if dirty.thermal is None:
        return float("nan")
    if dirty.tangled:
        return 1.0
    return float(np.clip(np.log(noise / dirty.thermal) / np.log(DISTURBED), 0, 1))


def fit(
    prob: np.ndarray,
    shadow: np.ndarray,
    snr: np.ndarray,
    disturbance: np.ndarray,
    true: np.ndarray,
) -> Odds:
    """Fit odds to candidates of which it is known whether they are sources.

    Parameters
    ----------
    prob, shadow, snr, disturbance : ndarray, shape (n,)
        See `Odds.probability`; each disturbance is known.
    true : ndarray of bool, shape (n,)
    """
    features, share = _features(prob, shadow, snr), disturbance[:, None]
    # Where only noise is left, what the S/N tells is in the network's probability already, which
    # orders candidates better.
    both = _logistic(np.hstack([(1 - share) * features, share * features]), true, without=3)
    return Odds(both[:4], both[4:], _logistic(features, true))


def _features(prob: np.ndarray, shadow: np.ndarray, snr: np.ndarray) -> np.ndarray:
    # No network is surer than it can have learned.
    odds = special.logit(np.clip(prob, DOUBT, 1 - DOUBT))
    bright = np.log(np.maximum(snr, 0.5))
    return np.stack([np.ones_like(odds), odds, -np.log1p(shadow), bright], -1)


def _logistic(
    features: np.ndarray, true: np.ndarray, without: int | None = None
) -> tuple[float, ...]:
    """Weights of a logistic regression, none but the offsets', of each four the first, below 0.

    That of the feature `without` is 0.
    """
    sign = np.where(true, 1.0, -1.0)
    number = features.shape[1]

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (features @ weights)
        gradient = -(features * (sign * special.expit(-margin))[:, None]).sum(0)
        return float(np.logaddexp(0, -margin).sum()), gradient

    bounds: list = [(None, None) if k % 4 == 0 else (0, None) for k in range(number)]
    if without is not None:
        bounds[without] = (0, 0)
    found = optimize.minimize(loss, np.zeros(number), jac=True, bounds=bounds, method="L-BFGS-B").x
    return tuple(float(weight) for weight in found)
