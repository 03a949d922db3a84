"""Figures of merit of all methods from tables of truth, detections and images.

>>> all_figures = figures(truth, detections, images, seed=11)
>>> all_figures["independent"]["ddpmclean"]["completeness_90[5-6]"]
{'value': 0.9, 'low': 0.88, 'high': 0.92, 'n': 240}
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from astropy.table import Table

from casa_ddpm.benchmark import accuracy, detection, legend, matched_filter, reliability
from casa_ddpm.benchmark.resampling import NUMBER, Estimate, Figure, mean, summaries
from casa_ddpm.benchmark.sample import Sample, samples

#: What our own method is called.
OURS = "ddpmclean"
#: The method whose score is the peak S/N of the dirty image: the matched filter.
PEAKS = "peaks"
#: What a matched filter finds that knows all other sources.
LIMIT = "oracle"
#: Stands beside the methods: what a matched filter of that threshold finds in theory.
EXPECTED = "matched filter (theory)"

#: protocol -> method -> figure; protocol -> one -> other -> figure of their difference.
Figures = dict[str, dict[str, dict[str, Figure]]]
Comparisons = dict[str, dict[str, dict[str, dict[str, dict]]]]


def figures(
    truth: Table,
    detections: Table,
    images: Table,
    seed: int = 0,
    defaults: Mapping[str, float] | None = None,
    number: int = NUMBER,
) -> Figures:
    """All figures of merit, each with its 68 % bootstrap interval.

    Parameters
    ----------
    truth, detections, images : Table
        Columns as in `casa_ddpm.benchmark.tables`. `images` names every field that a method has
        seen; its numerical columns become figures of their name, the mean over fields.
    seed : int
        Of the resamples of fields.
    defaults : mapping, optional
        Method -> threshold that its users lay on its probability, or else on its score. Others
        have no figures at such a threshold.
    number : int
        Number of resamples.

    Returns
    -------
    dict
        protocol -> method -> figure -> {value, low, high, n}. What cannot be computed is
        None. The names are explained in `casa_ddpm.benchmark.legend`; those in S/N bins end in
        ``[5-6]``. Where there is the method `PEAKS`, `EXPECTED` stands beside it: what
        its 90 % threshold finds of isolated sources.

    Raises
    ------
    ValueError
        As `casa_ddpm.benchmark.sample.samples`.
    """
    defaults = defaults or {}
    result: Figures = {}
    for protocol, methods in samples(truth, detections, images, seed, number).items():
        part = {
            name: summaries(estimates(sample, defaults.get(name)))
            for name, sample in methods.items()
        }
        if PEAKS in methods:
            threshold, _ = detection.selected(methods[PEAKS])
            part[EXPECTED] = summaries(matched_filter.figures(methods[PEAKS], threshold))
        result[protocol] = part
    return result


def estimates(sample: Sample, default: float | None = None) -> dict[str, Estimate]:
    """All figures of a method in a protocol, over the resamples."""
    return {
        **detection.figures(sample, default),
        **accuracy.flux_figures(sample),
        **accuracy.position_figures(sample),
        **accuracy.shape_figures(sample),
        **reliability.figures(sample),
        **image_figures(sample),
    }


def image_figures(sample: Sample) -> dict[str, Estimate]:
    """Mean over fields of each numerical column of the images but seconds.

    Values that are not finite are left out: the PSNR of a field that is perfect has no mean.
    """
    result = {}
    for name in sample.images.colnames:
        values = np.asarray(sample.images[name])
        if name == "seconds" or values.dtype.kind != "f":
            continue
        good = np.isfinite(values)
        value = mean(sample.image_weight[:, good], values[good])
        result[name] = Estimate(value, int(good.sum()))
    return result


def compare(
    truth: Table,
    detections: Table,
    images: Table,
    one: str,
    other: str,
    seed: int = 0,
    defaults: Mapping[str, float] | None = None,
    number: int = NUMBER,
) -> dict[str, dict[str, dict]]:
    """Paired differences of two methods, over the same resamples of the fields both have seen.

    The noise of a field moves both methods alike; their difference is therefore known
    better than either, and whether its interval holds 0 is the test, not whether two
    intervals overlap.

    Parameters
    ----------
    truth, detections, images, seed, defaults, number
        As for `figures`.
    one, other : str
        Methods.

    Returns
    -------
    dict
        protocol -> figure -> {value, low, high, n, better}: `one` minus `other`, the
        smaller n, and the method that is better. One is, if the 68 % intervals of the
        difference and of the difference in what is lost (against the goal in
        `casa_ddpm.benchmark.legend`, as the distance of a flux ratio from 1) both exclude 0; else
        None. Protocols without both methods are left out.

    Raises
    ------
    ValueError
        As `casa_ddpm.benchmark.sample.samples`.
    """
    defaults = defaults or {}
    result = {}
    pair = (one, other)
    for protocol, methods in samples(truth, detections, images, seed, number, pair).items():
        if len(methods) == 2:
            a, b = (estimates(methods[name], defaults.get(name)) for name in pair)
            result[protocol] = {
                name: _difference(name, pair, a[name], b[name]) for name in a if name in b
            }
    return result


def comparisons(
    truth: Table,
    detections: Table,
    images: Table,
    one: str,
    seed: int = 0,
    defaults: Mapping[str, float] | None = None,
    number: int = NUMBER,
) -> Comparisons:
    """`compare` one method with each of the others.

    Returns
    -------
    dict
        protocol -> one -> other -> figure -> {value, low, high, n, better}.
    """
    others = dict.fromkeys(str(name) for table in (images, detections) for name in table["method"])
    result: Comparisons = {}
    for other in others:
        if other != one:
            found = compare(truth, detections, images, one, other, seed, defaults, number)
            for protocol, part in found.items():
                result.setdefault(protocol, {}).setdefault(one, {})[other] = part
    return result


def _difference(figure: str, pair: tuple[str, str], a: Estimate, b: Estimate) -> dict:
    """One figure of two methods."""
    n = min(a.n, b.n)
    goal = legend.entry(figure)
    # Thresholds that nothing exceeds are infinite: the difference of two is not defined.
    with np.errstate(invalid="ignore"):
        difference = Estimate(a.values - b.values, n).summary()
        lost = None if goal.goal is None else goal.loss(a.values) - goal.loss(b.values)
    better = None
    if lost is not None:
        loss = Estimate(lost, n).summary()
        # Two that are equally far from 1 on one side differ in nothing, whatever is lost.
        if _excludes_zero(difference) and _excludes_zero(loss):
            better = pair[0] if loss["high"] < 0 else pair[1]  # type: ignore[operator]
    return {**difference, "better": better}


def _excludes_zero(figure: Figure) -> bool:
    low, high = figure["low"], figure["high"]
    return low is not None and high is not None and not low <= 0 <= high
