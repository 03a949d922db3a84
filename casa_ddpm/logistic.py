"""Logistic regression whose weights keep to bounds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

#: Bounds of a weight that may be any, that is not negative, and that is 0.
ANY, NOT_NEGATIVE, NONE = (None, None), (0, None), (0, 0)


def fit(
    features: np.ndarray,
    share: np.ndarray,
    bounds: Sequence[tuple[float | None, float | None]],
    shrink: ArrayLike = 0.0,
) -> np.ndarray:
    """Weights of the log-odds that make shares most likely, shape (k,).

    Parameters
    ----------
    features : ndarray, shape (n, k)
    share : ndarray, shape (n,)
        From 0 to 1, or whether it is so.
    bounds : sequence of k pairs
        Of the weights; None where there is none.
    shrink : array_like, shape (k,)
        How much the square of each weight counts beside the negative log likelihood.
    """
    share, number = np.asarray(share, float), features.shape[1]

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        odds, pull = features @ weights, shrink * weights
        return (
            float((np.logaddexp(0, odds) - share * odds).sum() + pull @ weights),
            (special.expit(odds) - share) @ features + 2 * pull,
        )

    start = np.zeros(number)
    return optimize.minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B").x
