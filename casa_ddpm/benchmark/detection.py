"""Purity, completeness and F1 over a threshold on the score of a detection.

At a threshold t, of the detections with score >= t, `found` are all, `hits` those that are
matched with a true source, and `true` is the number of true sources:
purity (precision) = hits / found, completeness (recall) = hits / true, and their harmonic
mean F1 = 2 hits / (found + true). Matching is one to one and done once, over all detections.
Figures at a threshold that is chosen on the same fields are optimistic by about the
threshold's own noise, for all methods alike; each resample chooses its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from casa_ddpm.benchmark.resampling import Estimate, mean, ratio, total
from casa_ddpm.benchmark.sample import Sample

#: Purities at which completeness is compared.
PURITIES = (0.9, 0.99)
#: Peak S/N bins; the last one is open.
BINS = (3, 4, 5, 6, 7, 10, 20, 50, np.inf)
#: Probability of a certain detection, the default `minprob` of ddpmclean.
CERTAIN = 0.9


def certainty(prob: np.ndarray, snr: np.ndarray) -> np.ndarray:
    """The score of detections that have a probability; of equal ones by their S/N."""
    return prob + 1e-9 * np.clip(snr, 0, 500)


@dataclass(frozen=True)
class Curve:
    """Detections above each threshold, for each resample.

    Attributes
    ----------
    threshold : ndarray, shape (T,)
        The scores that occur, descending, after infinity, above which nothing is.
    found, hits : ndarray, shape (R, T)
        Detections, and true ones among them, with a score of at least the threshold.
    true : ndarray, shape (R,)
        True sources.
    """

    threshold: np.ndarray
    found: np.ndarray
    hits: np.ndarray
    true: np.ndarray

    @property
    def purity(self) -> np.ndarray:
        """hits / found, NaN where nothing is found; shape (R, T)."""
        return ratio(self.hits, self.found)

    @property
    def completeness(self) -> np.ndarray:
        """hits / true, NaN where nothing is there; shape (R, T)."""
        return ratio(self.hits, np.broadcast_to(self.true[:, None], self.hits.shape))

    @property
    def f1(self) -> np.ndarray:
        """2 hits / (found + true), NaN where nothing is there; shape (R, T)."""
        true = np.broadcast_to(self.true[:, None], self.hits.shape)
        return np.where(true > 0, ratio(2 * self.hits, self.found + true), np.nan)

    def best(self) -> np.ndarray:
        """Position of the highest F1, the highest such threshold; int, shape (R,)."""
        return np.argmax(np.nan_to_num(self.f1), axis=1)

    def at_purity(self, purity: float) -> np.ndarray:
        """Position of the lowest threshold at which purity is that high; int, shape (R,).

        Purity is no monotonic function of the threshold: the lowest threshold at which it
        is reached again is the one of the largest completeness. Where none is, it is
        infinity, at which nothing is found.
        """
        reached = (self.hits >= purity * self.found - 1e-9) & (self.found > 0)
        reached[:, 0] = True
        return reached.shape[1] - 1 - np.argmax(reached[:, ::-1], axis=1)

    def above(self, score: float) -> np.ndarray:
        """Position of the lowest threshold not below a score; int, shape (R,)."""
        position = int(np.searchsorted(-self.threshold, -score, "right")) - 1
        return np.full(len(self.true), max(position, 0))


def curve(score: ArrayLike, hit: ArrayLike, weight: np.ndarray, true: np.ndarray) -> Curve:
    """Purity and completeness over the threshold.

    Parameters
    ----------
    score : array_like, shape (K,)
        Higher is surer. Equal scores are above a threshold together.
    hit : array_like of bool, shape (K,)
        Whether a detection is a true source.
    weight : ndarray, shape (R, K)
        How often each detection counts in each resample.
    true : ndarray, shape (R,)
        True sources of each resample.
    """
    score = np.asarray(score, float)
    order = np.argsort(-score, kind="stable")
    score, weight = score[order], weight[:, order]
    last = np.flatnonzero(np.append(score[1:] != score[:-1], [True] * (len(score) > 0)))
    none = np.zeros((len(weight), 1))
    found = np.cumsum(weight, axis=1)[:, last]
    hits = np.cumsum(weight * np.asarray(hit)[order], axis=1)[:, last]
    return Curve(
        threshold=np.append(np.inf, score[last]),
        found=np.hstack([none, found]),
        hits=np.hstack([none, hits]),
        true=np.asarray(true, float),
    )


def curve_of(sample: Sample) -> Curve:
    """The curve of a method."""
    return curve(sample.found["score"], sample.hit, sample.weight, total(sample.truth_weight))


def selected(sample: Sample, purity: float = PURITIES[0]) -> tuple[np.ndarray, np.ndarray]:
    """Threshold of a purity, and how often each detection counts that is above it.

    Returns
    -------
    threshold : ndarray, shape (R,)
        Each resample has its own; infinite where the purity is not reached.
    weight : ndarray, shape (R, K)
    """
    known = curve_of(sample)
    threshold = known.threshold[known.at_purity(purity)]
    score = np.asarray(sample.found["score"])
    return threshold, sample.weight * (score[None] >= threshold[:, None])


def bins() -> list[tuple[str, float, float]]:
    """Name, lower and upper end of each S/N bin."""
    ends = zip(BINS[:-1], BINS[1:], strict=True)
    return [(f"{low}-" + (f"{high}" if high < np.inf else ""), low, high) for low, high in ends]


def figures(sample: Sample, default: float | None = -np.inf) -> dict[str, Estimate]:
    """Purity, completeness and F1 of a method.

    Parameters
    ----------
    sample : Sample
        The method in a protocol.
    default : float, optional
        Threshold that its users lay on `prob`, if there is one, or else on the score;
        everything it lists by default. None: they lay none that is known.

    Returns
    -------
    dict of Estimate
        - f1, f1_threshold, f1_purity, f1_completeness: at the threshold of the best F1.
        - completeness_90, threshold_90 (and _99): largest completeness among the
          thresholds at which purity is at least 90 (99) per cent, and that threshold.
        - purity, completeness, f1_default, and false detections per field: at `default`, if any.
        - completeness_90[bin]: by true peak S/N; purity_90[bin]: by measured flux [noise],
          both at threshold_90.
        - false_certain: false detections per field of `prob` >= 0.9, if there is a `prob`.
    """
    known = curve_of(sample)
    best = _at(known, known.best(), sample)
    result = {
        "f1": best["f1"],
        "f1_threshold": best["threshold"],
        "f1_purity": best["purity"],
        "f1_completeness": best["completeness"],
    }
    for purity in PURITIES:
        chosen = _at(known, known.at_purity(purity), sample)
        for name in ("completeness", "threshold"):
            result[f"{name}_{100 * purity:.0f}"] = chosen[name]
    if default is not None:
        result |= _by_default(sample, default)
    return result | _by_snr(sample) | _false_certain(sample)


def _by_default(sample: Sample, default: float) -> dict[str, Estimate]:
    """Purity, completeness, F1 and false detections at the threshold that users lay."""
    prob = np.asarray(sample.found["prob"])
    score = prob if np.isfinite(prob).all() else sample.found["score"]
    known = curve(score, sample.hit, sample.weight, total(sample.truth_weight))
    given = _at(known, known.above(default), sample)
    return {
        "purity": given["purity"],
        "completeness": given["completeness"],
        "f1_default": given["f1"],
        "false": given["false"],
    }


def _at(known: Curve, place: np.ndarray, sample: Sample) -> dict[str, Estimate]:
    """The curve's figures at one position of each resample."""
    rows = np.arange(len(place))
    true, found = len(sample.truth), int(known.found[0, place[0]])
    false = known.found[rows, place] - known.hits[rows, place]
    return {
        "f1": Estimate(known.f1[rows, place], true),
        "completeness": Estimate(known.completeness[rows, place], true),
        "purity": Estimate(known.purity[rows, place], found),
        "threshold": Estimate(known.threshold[place], found),
        "false": Estimate(false / max(sample.fields, 1), sample.fields),
    }


def _by_snr(sample: Sample) -> dict[str, Estimate]:
    """Completeness and purity in bins, at 90 % purity."""
    _, weight = selected(sample)
    snr, flux = np.asarray(sample.truth["snr"]), np.asarray(sample.found["flux"])
    # A false detection has no true S/N; its row of `snr` is never looked at.
    true_snr = np.where(sample.hit, np.append(snr, np.nan)[sample.partner], np.nan)
    result = {}
    for name, low, high in bins():
        there = (snr >= low) & (snr < high)
        hits = total(weight[:, (true_snr >= low) & (true_snr < high)])
        result[f"completeness_90[{name}]"] = Estimate(
            ratio(hits, total(sample.truth_weight[:, there])), int(there.sum())
        )
    for name, low, high in bins():
        part = (flux >= low) & (flux < high)
        result[f"purity_90[{name}]"] = Estimate(
            mean(weight[:, part], sample.hit[part]), int(weight[0, part].sum())
        )
    return result


def _false_certain(sample: Sample) -> dict[str, Estimate]:
    """False detections per field that a method is certain of; nothing without probabilities."""
    prob = np.asarray(sample.found["prob"])
    if len(prob) and not np.isfinite(prob).any():
        return {}
    false = sample.weight[:, ~sample.hit & (prob >= CERTAIN)]
    return {"false_certain": Estimate(total(false) / max(sample.fields, 1), sample.fields)}
