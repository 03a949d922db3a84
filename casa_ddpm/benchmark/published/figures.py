"""Figures of merit of the published protocol, each with its 68 % bootstrap interval over fields."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from astropy.table import Table

from casa_ddpm.benchmark import resampling
from casa_ddpm.benchmark.published.localisation import LOWEST, RADIUS
from casa_ddpm.benchmark.published.measurement import (
    FIGURES,
    METHODS,
    RESAMPLED,
    TRUTH,
    Measured,
)
from casa_ddpm.benchmark.resampling import Estimate, Figure, Resamples
from casa_ddpm.matching import match

#: Thresholds on the peak of a detection that are tried [Jy/pixel].
THRESHOLDS = LOWEST * 1.1 ** np.arange(30)

#: conditioning -> noise -> method -> figure.
Figures = dict[str, dict[str, dict[str, dict[str, Figure]]]]


def figures(found: Measured, seed: int) -> Figures:
    """All figures on the test fields, at thresholds that are chosen on the validation fields.

    The true sky stands under the conditioning 'none' and the noise 'none'; its threshold is
    LOWEST.

    Parameters
    ----------
    found : Measured
    seed : int
        Of the resamples.
    """
    fields = np.unique(found.images["field"][found.images["stream"] == "test"])
    resamples = Resamples.draw(fields, seed)
    result: Figures = {}
    for conditioning, noise in _parts(found):
        part: dict[str, dict[str, Figure]] = {}
        for method in METHODS:
            cut = threshold(found, conditioning, method)
            chosen = _of(found, conditioning, noise, "test", method)
            part[method] = {
                **resampling.summaries(_method(chosen, cut, resamples)),
                "threshold": {"value": float(f"{cut:.4g}"), "low": None, "high": None, "n": 0},
            }
        result.setdefault(conditioning, {})[noise] = part
    conditioning = next(iter(result))
    result["none"] = {
        "none": {
            method: resampling.summaries(
                _method(_of(found, conditioning, "shared", "test", method), LOWEST, resamples)
            )
            for method in (TRUTH, RESAMPLED)
        }
    }
    return result


def threshold(found: Measured, conditioning: str, method: str) -> float:
    """The threshold of the highest F1 on the validation fields, the lowest of equal ones."""
    chosen = _of(found, conditioning, "shared", "validation", method)
    fields = np.unique(chosen.images["field"]) if len(chosen.images) else np.zeros(0, int)
    alone = Resamples.draw(fields if len(fields) else chosen.truth["field"], 0, 0)
    values = [_detection(chosen, cut, alone)["f1"].values[0] for cut in THRESHOLDS]
    return float(THRESHOLDS[int(np.argmax(np.nan_to_num(values)))])


def _parts(found: Measured) -> Iterator[tuple[str, str]]:
    """Conditionings and noises of the test fields, in their order."""
    test = found.images[found.images["stream"] == "test"]
    yield from dict.fromkeys(zip(test["conditioning"], test["noise"], strict=True))


def _of(found: Measured, conditioning: str, noise: str, stream: str, method: str) -> Measured:
    """The rows of one method."""
    tables = []
    for table in (found.images, found.detections):
        keep = (table["conditioning"] == conditioning) & (table["noise"] == noise)
        tables.append(table[keep & (table["stream"] == stream) & (table["method"] == method)])
    return Measured(found.truth[found.truth["stream"] == stream], *tables)


def _method(chosen: Measured, cut: float, resamples: Resamples) -> dict[str, Estimate]:
    """Figures of a method at a threshold."""
    return {
        **_images(chosen.images, resamples),
        **_detection(chosen, cut, resamples),
        **_fluxes(chosen, cut, resamples),
    }


def _images(images: Table, resamples: Resamples) -> dict[str, Estimate]:
    """Means over fields; those of an infinite PSNR, where nothing is and nothing is drawn, left."""
    result = {}
    for name in FIGURES:
        good = np.isfinite(images[name])
        weight = resamples.weights(images["field"][good])
        value = resampling.mean(weight, np.asarray(images[name][good]))
        result[name] = Estimate(value, int(good.sum()))
    return result


def pairs(chosen: Measured, cut: float) -> tuple[Table, np.ndarray]:
    """Detections above a threshold, and the row of the truth that each is matched with, or -1."""
    kept = chosen.detections[chosen.detections["peak"] >= cut]
    row = np.full(len(kept), -1)
    for field in np.unique(kept["field"]):
        mine = np.flatnonzero(kept["field"] == field)
        true = np.flatnonzero(chosen.truth["field"] == field)
        one, other = kept[mine], chosen.truth[true]
        first, second = match(one["x"], one["y"], other["x"], other["y"], RADIUS)
        row[mine[first]] = true[second]
    return kept, row


def _detection(chosen: Measured, cut: float, resamples: Resamples) -> dict[str, Estimate]:
    kept, row = pairs(chosen, cut)
    found = resampling.total(resamples.weights(kept["field"]))
    hits = resampling.total(resamples.weights(kept["field"]), row >= 0)
    true = resampling.total(resamples.weights(chosen.truth["field"]))
    return {
        "purity": Estimate(resampling.ratio(hits, found), len(kept)),
        "completeness": Estimate(resampling.ratio(hits, true), len(chosen.truth)),
        "f1": Estimate(resampling.ratio(2 * hits, found + true), len(chosen.truth)),
    }


def _fluxes(chosen: Measured, cut: float, resamples: Resamples) -> dict[str, Estimate]:
    """Of the detections that are matched."""
    kept, row = pairs(chosen, cut)
    hit, n = kept[row >= 0], int((row >= 0).sum())
    true = np.asarray(chosen.truth["flux"][row[row >= 0]], float)
    flux, error = (np.asarray(hit[name], float) for name in ("flux", "flux_err"))
    weight = resamples.weights(hit["field"])
    off = np.abs(flux - true)
    squares = resampling.ratio(resampling.mean(weight, off**2), resampling.mean(weight, error**2))
    values = {
        "flux_correlation": resampling.correlation(weight, flux, true),
        "flux_r2": resampling.determination(weight, flux, true),
        "flux_ratio": resampling.median(weight, flux / true),
        "flux_scatter": resampling.spread(weight, flux / true),
        "within_1s": resampling.mean(weight, off <= error),
        "within_2s": resampling.mean(weight, off <= 2 * error),
        "error_ratio": np.sqrt(squares),
        "error_correlation": resampling.correlation(weight, error, off),
    }
    return {name: Estimate(value, n) for name, value in values.items()}
