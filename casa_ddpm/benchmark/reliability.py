"""Whether a detection probability is the fraction of detections that are true."""

from __future__ import annotations

import numpy as np

from casa_ddpm.benchmark.resampling import Estimate, mean, ratio, total
from casa_ddpm.benchmark.sample import Sample

#: Edges of the deciles of probability; the last one is closed.
EDGES = np.arange(11) / 10


def deciles() -> list[str]:
    """Name of each decile."""
    return [f"{low:.1f}-{high:.1f}" for low, high in zip(EDGES[:-1], EDGES[1:], strict=True)]


def figures(sample: Sample) -> dict[str, Estimate]:
    """Reliability of `prob` over all detections that have one, without a threshold.

    Returns
    -------
    dict of Estimate
        - prob_mean[decile], prob_true[decile]: mean probability, and share of true ones,
          among the detections of a decile; they should agree.
        - prob_error: the expected calibration error, the mean over detections of
          abs(prob_true - prob_mean) of their decile (Naeini et al. 2015, AAAI, 2901).
          Finite numbers alone make it positive.
    """
    prob = np.asarray(sample.found["prob"])
    given = np.isfinite(prob)
    prob, hit, weight = prob[given], sample.hit[given], sample.weight[:, given]
    part = np.digitize(prob, EDGES[1:-1])
    result = {}
    lost = np.zeros(len(weight))
    for k, name in enumerate(deciles()):
        inside = part == k
        n, share = int(inside.sum()), weight[:, inside]
        result[f"prob_mean[{name}]"] = Estimate(mean(share, prob[inside]), n)
        result[f"prob_true[{name}]"] = Estimate(mean(share, hit[inside]), n)
        lost += np.abs(total(share, hit[inside]) - total(share, prob[inside]))
    result["prob_error"] = Estimate(ratio(lost, total(weight)), len(prob))
    return result
