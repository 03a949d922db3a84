"""The bootstrap over fields, and statistics of rows that count more than once.

Sources of one field share its noise, its sidelobes and its crowding, so that fields are
what is independent and what is drawn with replacement (the cluster bootstrap; Davison &
Hinkley 1997, sec. 3.8). A resample is how often each row counts; every statistic here
takes such weights for all resamples at once. The first resample is the data themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

#: Number of resamples, and the percentiles between which 68 % of them lie.
NUMBER, LOW, HIGH = 300, 16.0, 84.0
#: What turns a median absolute deviation of Gaussian errors into their standard deviation.
ROBUST = 1.4826

#: A figure of merit: value, low and high (None where it cannot be computed) and n.
Figure = dict[str, float | int | None]


class Estimate(NamedTuple):
    """A figure of merit over the resamples.

    Attributes
    ----------
    values : ndarray, shape (R,)
        The figure of the data, then of each resample; NaN where it is not defined.
    n : int
        Number of sources, detections or fields that the figure of the data rests on.
    """

    values: np.ndarray
    n: int

    def summary(self) -> Figure:
        """Value, the ends of its 68 % interval, and n; None instead of what is not finite.

        The interval is the percentile bootstrap's, and None where the figure is not
        defined for half of the resamples, or there are none. Its width is 0 where all
        fields agree, as for a fraction of 1; n says then what that is worth
        (1 - 0.16^(1/n) below 1).
        """
        value, resampled = self.values[0], self.values[1:]
        known = resampled[np.isfinite(resampled)]
        low, high = None, None
        if np.isfinite(value) and len(known) and 2 * len(known) >= len(resampled):
            low, high = (_rounded(end) for end in np.percentile(known, [LOW, HIGH]))
        return {"value": _rounded(value), "low": low, "high": high, "n": int(self.n)}


def summaries(estimates: Mapping[str, Estimate]) -> dict[str, Figure]:
    """The summary of each figure."""
    return {name: estimate.summary() for name, estimate in estimates.items()}


def _rounded(value: float) -> float | None:
    """Six digits and 12 decimals: the order in which rows are summed cannot show."""
    return round(float(f"{value:.6g}"), 12) + 0.0 if np.isfinite(value) else None


@dataclass(frozen=True)
class Resamples:
    """How often each field is drawn.

    Parameters
    ----------
    fields : ndarray of int, shape (F,)
        Numbers of the fields, ascending.
    counts : ndarray, shape (R, F)
        Row 0 is the data: every field once.
    """

    fields: np.ndarray
    counts: np.ndarray

    @classmethod
    def draw(cls, fields: ArrayLike, seed: int, number: int = NUMBER) -> Resamples:
        """Draw as many fields as there are, with replacement, `number` times.

        A single field is not resampled: how fields differ cannot be known from one.

        Parameters
        ----------
        fields : array_like of int
            Numbers of the fields; a number that is repeated counts once.
        seed : int
            The same fields and seed give the same resamples.
        number : int
            Number of resamples; 0: only the data.

        Raises
        ------
        ValueError
            If `number` is negative.
        """
        if number < 0:
            raise ValueError(f"number must be at least 0, got {number}")
        unique = np.unique(np.asarray(fields, int))
        number = number if len(unique) > 1 else 0
        counts = np.ones((number + 1, len(unique)))
        if len(unique):
            share = np.full(len(unique), 1 / len(unique))
            rng = np.random.default_rng(seed)
            counts[1:] = rng.multinomial(len(unique), share, size=number)
        return cls(unique, counts)

    def restricted(self, fields: ArrayLike) -> Resamples:
        """The same resamples, in which only these fields count."""
        kept = np.isin(self.fields, np.asarray(fields, int))
        return Resamples(self.fields[kept], self.counts[:, kept])

    def weights(self, field: ArrayLike) -> np.ndarray:
        """How often rows of these fields (n,) count in each resample; shape (R, n)."""
        return self.counts[:, np.searchsorted(self.fields, np.asarray(field, int))]


def total(weight: np.ndarray, values: ArrayLike = 1.0) -> np.ndarray:
    """Sum of values (n,) or (R, n) under weights (R, n); shape (R,)."""
    values = np.asarray(values, float)
    if values.ndim == 1:
        return weight @ values
    return (weight * values).sum(axis=1)


def ratio(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    """Quotient, NaN where the denominator is 0."""
    return np.divide(over, under, out=np.full(np.shape(over), np.nan), where=np.asarray(under) > 0)


def mean(weight: np.ndarray, values: ArrayLike) -> np.ndarray:
    """Mean of values (n,) or (R, n); shape (R,)."""
    return ratio(total(weight, values), total(weight))


def std(weight: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Standard deviation of values (n,) about their mean, divisor n; shape (R,)."""
    centre = mean(weight, values)
    return np.sqrt(mean(weight, (values[None] - centre[:, None]) ** 2))


def median(weight: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Median of values (n,) or (R, n), the mean of the middle two of an even number; (R,)."""
    if values.shape[-1] == 0:
        return np.full(len(weight), np.nan)
    order = np.argsort(values, axis=-1, kind="stable")
    if values.ndim == 1:
        weight, values = weight[:, order], np.broadcast_to(values[order], weight.shape)
    else:
        weight = np.take_along_axis(weight, order, axis=-1)
        values = np.take_along_axis(values, order, axis=-1)
    rank = np.cumsum(weight, axis=-1)
    middle = rank[:, -1:] / 2
    rows = np.arange(len(weight))
    below = values[rows, np.argmax(rank >= middle, axis=-1)]
    above = values[rows, np.argmax(rank > middle, axis=-1)]
    return np.where(middle[:, 0] > 0, (below + above) / 2, np.nan)


def spread(weight: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Robust standard deviation, 1.4826 times the median distance from the median; (R,)."""
    centre = median(weight, values)
    return ROBUST * median(weight, np.abs(values[None] - np.nan_to_num(centre)[:, None]))


def correlation(weight: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson's correlation coefficient of a and b (n,); NaN where either is constant; (R,)."""
    da = a[None] - mean(weight, a)[:, None]
    db = b[None] - mean(weight, b)[:, None]
    norm = np.sqrt(mean(weight, da**2) * mean(weight, db**2))
    # Of a single source what is left is rounding.
    scale = 1e-12 * (mean(weight, np.abs(a)) + mean(weight, np.abs(b))) ** 2
    return np.where(norm > scale, ratio(mean(weight, da * db), norm), np.nan)


def determination(weight: np.ndarray, measured: np.ndarray, true: np.ndarray) -> np.ndarray:
    """R^2 = 1 - sum (measured - true)^2 / sum (true - mean true)^2; NaN for equal truths; (R,)."""
    about = std(weight, true) ** 2
    lost = ratio(mean(weight, (measured - true) ** 2), about)
    return np.where(about > 1e-12 * mean(weight, true**2), 1 - lost, np.nan)
