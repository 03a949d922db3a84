"""What errors that realisations claim have to be multiplied with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from scipy import optimize, sparse

#: Share that a 68 % interval has to hold.
ONE_SIGMA = 0.6827
#: S/N at which factors are told, and between which they change with it.
SNR, _SPAN = 10.0, (3.0, 150.0)
#: Weight of a slope beside the residuals: one that gains hardly more than that is 0.
_SLIGHT = 2.0


@dataclass(frozen=True)
class Factor:
    """What errors of a kind are to be multiplied with: its logarithm, linear in `features`.

    Parameters
    ----------
    level : float
        Of a source of a S/N of `SNR` by itself, among points, where noise alone is left.
    snr, crowding, structure, disturbance : float
        What is added for each of these.
    """

    level: float
    snr: float
    crowding: float
    structure: float
    disturbance: float

    def at(self, features: np.ndarray) -> np.ndarray:
        """The factor (n,) for features (n, 5), see `features`."""
        return np.exp(features @ np.array(astuple(self)))


def features(
    snr: np.ndarray,
    crowding: np.ndarray,
    structure: np.ndarray | float,
    disturbance: np.ndarray | float,
) -> np.ndarray:
    """What the logarithm of a factor is linear in, shape (n, 5).

    Parameters
    ----------
    snr : ndarray, shape (n,)
        Peak S/N.
    crowding : ndarray, shape (n,)
        See `circumstances.crowding`.
    structure, disturbance : float or ndarray, shape (n,)
        From 0 to 1, see `circumstances.structure` and `disturbance.Suspicion`.
    """
    bright = np.log(np.clip(snr, *_SPAN) / SNR)
    return np.stack(np.broadcast_arrays(1.0, bright, crowding, structure, disturbance), -1)


@dataclass(frozen=True)
class Errors:
    """Factors of a kind of sources: of errors of their fluxes and of their positions."""

    flux: Factor
    position: Factor

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Errors:
        """What a checkpoint has stored."""
        return cls(**{name: Factor(**factor) for name, factor in stored.items()})


def fit(features: np.ndarray, errors: np.ndarray) -> Factor:
    """What claimed errors lack, so that a share ONE_SIGMA of them is within it everywhere.

    Linear quantile regression (Koenker & Bassett 1978, Econometrica 46, 33) of the logarithm of
    the errors, as a linear program in the parts of weights and residuals above and below 0.

    Parameters
    ----------
    features : ndarray, shape (n, 5)
        See `features`.
    errors : ndarray, shape (n,)
        True errors over the claimed ones.

    Returns
    -------
    Factor

    Raises
    ------
    ValueError
        If they are not finite.
    RuntimeError
        If the program has no solution.
    """
    if not np.isfinite(errors).all():
        raise ValueError("errors must be finite, got NaN or infinite ones")
    n, k = features.shape
    logs = np.log(np.maximum(np.abs(errors), 1e-6))
    slopes = np.where(np.arange(k), _SLIGHT, 0.0)
    cost = np.concatenate([slopes, slopes, np.full(n, ONE_SIGMA), np.full(n, 1 - ONE_SIGMA)])
    rows = sparse.hstack([features, -features, sparse.eye_array(n), -sparse.eye_array(n)])
    found = optimize.linprog(cost, A_eq=rows.tocsc(), b_eq=logs, method="highs")
    if not found.success:
        raise RuntimeError(f"factors of errors cannot be fitted: {found.message}")
    weights = found.x
    return Factor(*(weights[:k] - weights[k : 2 * k]).tolist())
