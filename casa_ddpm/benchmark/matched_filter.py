"""What a matched filter, which nothing beats, finds of isolated point sources.

On a naturally weighted dirty image it is the list of its peaks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_ndtr, ndtr

from casa_ddpm.benchmark.detection import bins
from casa_ddpm.benchmark.resampling import Estimate, mean
from casa_ddpm.benchmark.sample import Sample


def chance(snr: ArrayLike, threshold: ArrayLike) -> np.ndarray:
    """Chance that the peak of an isolated point source in the dirty image exceeds a threshold.

    With nu the S/N and a = nu - t, it is Phi(a) where the position is known. The highest
    pixel near the source is higher by chi^2 / (2 nu), of the two coordinates that are
    free, which makes it Phi(a) + integral over v of phi(a + v) exp(-nu v) from 0 to nu,
    where v = nu is 0.6 beam off, the end of a match. The peak's shape is taken as known.

    Parameters
    ----------
    snr : array_like
        Peak S/N nu; above about 2.5 the result is within 0.03 of simulated peaks on fine
        pixels, below it is too high.
    threshold : array_like
        Threshold t of the dirty image [noise], broadcast against `snr`.
    """
    nu = np.asarray(snr, float)
    a = nu - np.asarray(threshold, float)
    # The integral's factor overflows for bright sources before the tails have made it small.
    factor = nu * a + nu**2 / 2
    near, far = (np.exp(factor + log_ndtr(-(a + k * nu))) for k in (1, 2))
    return ndtr(a) + near - far


def figures(sample: Sample, threshold: np.ndarray) -> dict[str, Estimate]:
    """Mean over the true sources of `chance`, as if all were isolated.

    Parameters
    ----------
    sample : Sample
        Any method that has seen all fields; only its truth matters.
    threshold : ndarray, shape (R,)
        For each resample [noise]; where it is infinite nothing is expected.

    Returns
    -------
    dict of Estimate
        completeness_90 and completeness_90[bin], named as the figures of a method.
    """
    snr = np.asarray(sample.truth["snr"])
    found = chance(snr[None], threshold[:, None])
    result = {}
    for suffix, low, high in [("", -np.inf, np.inf)] + [(f"[{n}]", a, b) for n, a, b in bins()]:
        part = (snr >= low) & (snr < high)
        result[f"completeness_90{suffix}"] = Estimate(
            mean(sample.truth_weight[:, part], found[:, part]), int(part.sum())
        )
    return result
