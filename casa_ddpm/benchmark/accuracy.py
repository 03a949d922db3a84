"""Accuracy of fluxes, positions and shapes of the compact sources that a method detects.

A source counts if it is a point or Gaussian, matched, and detected above the method's own
threshold of 90 % purity. That selection biases: what is detected of faint sources is what
noise has lifted (at a threshold of 4 noise a mean factor of 1.21 at S/N 4 and 1.08 at 5;
a posterior can undo it, a fit cannot), and a method that finds less is judged on easier
sources. Figures are therefore given in bins of the *true* S/N, in which the second effect
is small, and beside them the share of *all* true sources that are found and right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.table import Table

from casa_ddpm.benchmark.detection import bins, selected
from casa_ddpm.benchmark.resampling import (
    ROBUST,
    Estimate,
    correlation,
    determination,
    mean,
    median,
    ratio,
    spread,
    std,
    total,
)
from casa_ddpm.benchmark.sample import Sample

#: S/N from which fluxes are compared as a whole, and its name.
BRIGHT = (">=5", 5.0, np.inf)
#: True FWHM [beam] above which a source is resolved; highest axis ratio with a position angle.
RESOLVED, ELONGATED = 0.7, 0.8
#: Position error per axis [beam] at S/N 1 (Condon 1997, PASP 109, 166): 1 / sqrt(8 ln 2).
POSITION = 0.425


@dataclass(frozen=True)
class Matches:
    """Compact sources that are detected, and all that are there.

    Attributes
    ----------
    found, truth : Table, n rows
        The detections and the true sources that they are.
    weight : ndarray, shape (R, n)
        How often each pair counts.
    all_snr : ndarray, shape (M,)
        Peak S/N of all compact true sources.
    all_weight : ndarray, shape (R, M)
        How often each counts.
    """

    found: Table
    truth: Table
    weight: np.ndarray
    all_snr: np.ndarray
    all_weight: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> Matches:
        """Only these pairs."""
        return Matches(
            self.found[rows], self.truth[rows], self.weight[:, rows], self.all_snr, self.all_weight
        )

    @property
    def n(self) -> int:
        """Number of pairs of the data."""
        return int(np.count_nonzero(self.weight[:1]))

    def values(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """A column's measured and true values; shape (n,) each."""
        return np.asarray(self.found[name]), np.asarray(self.truth[name])

    def finite(self, *names: str) -> Matches:
        """Only pairs for which the method gives all of these."""
        good = [np.isfinite(np.asarray(self.found[name])) for name in names]
        return self[np.logical_and.reduce(good)]


def matches(sample: Sample) -> Matches:
    """The compact sources that a method detects at 90 % purity."""
    compact = np.asarray(sample.truth["compact"], bool)
    pairs = np.flatnonzero(sample.hit)
    pairs = pairs[compact[sample.partner[pairs]]]
    _, weight = selected(sample)
    return Matches(
        found=sample.found[pairs],
        truth=sample.truth[sample.partner[pairs]],
        weight=weight[:, pairs],
        all_snr=np.asarray(sample.truth["snr"])[compact],
        all_weight=sample.truth_weight[:, compact],
    )


def flux_limit(truth: Table) -> np.ndarray:
    """Smallest error of an integrated flux [noise] without prior knowledge; shape (n,).

    1 for a point, whose shape is known; sqrt(3) flux / snr for a Gaussian whose shape is
    fitted too. A prior on sizes can beat the latter.
    """
    flux, snr, major = (np.asarray(truth[name]) for name in ("flux", "snr", "major"))
    return np.where(major > 0, np.sqrt(3) * flux / snr, 1.0)


def flux_figures(sample: Sample) -> dict[str, Estimate]:
    """Accuracy of integrated fluxes, in S/N bins and from S/N 5 up ([>=5]).

    Returns
    -------
    dict of Estimate
        - flux_ratio[bin]: median of measured / true.
        - flux_scatter[bin], flux_std[bin]: of (measured - true) / `flux_limit`,
          1.4826 times the median deviation from the median, and the standard deviation.
        - flux_expected[bin]: median of true / measured, in bins of the *measured* S/N: what
          one may expect who has the catalogue alone.
        - flux_within_10[bin]: share with abs(measured / true - 1) <= 0.1.
        - flux_within_1s[bin], flux_within_2s[bin]: share whose own interval holds the
          truth, of those with one: flux_lo to flux_hi, or where these are not given flux
          +- flux_err; twice as wide on each side for 2 sigma.
        - recovered_10[bin], recovered_2s[bin]: share of all compact true sources that are
          detected and within 10 %, or within their 2-sigma interval.
        - flux_r[>=5], flux_r2[>=5]: Pearson's r, and R^2 about measured = true; the
          brightest sources decide both.
    """
    pairs = matches(sample).finite("flux")
    snr = np.asarray(pairs.truth["snr"])
    errors = bool(_within(pairs)[1].any())
    result = {}
    for name, low, high in [*bins(), BRIGHT]:
        there = (pairs.all_snr >= low) & (pairs.all_snr < high)
        part = pairs[(snr >= low) & (snr < high)]
        everything = total(pairs.all_weight[:, there]), int(there.sum())
        for figure, estimate in _fluxes(part, *everything).items():
            # Without errors there is no interval that truth could be within.
            if errors or not figure.endswith("s"):
                result[f"{figure}[{name}]"] = estimate
    result |= _expected(pairs)
    bright = pairs[snr >= BRIGHT[1]]
    measured, true = bright.values("flux")
    result["flux_r[>=5]"] = Estimate(correlation(bright.weight, measured, true), bright.n)
    result["flux_r2[>=5]"] = Estimate(determination(bright.weight, measured, true), bright.n)
    return result


def _expected(pairs: Matches) -> dict[str, Estimate]:
    """What fluxes are in truth, by what they are in the catalogue.

    In bins of the true S/N faint sources that are found at all are too bright, as it is noise
    that has lifted them; who reads a catalogue does not know the true S/N. A posterior
    promises nothing of the former and everything of the latter.
    """
    measured, true = pairs.values("flux")
    beams = np.asarray(pairs.truth["flux"]) / np.asarray(pairs.truth["snr"])
    claimed = measured / beams
    result = {}
    for name, low, high in [*bins(), BRIGHT]:
        part = (claimed >= low) & (claimed < high)
        value = median(pairs.weight[:, part], true[part] / measured[part])
        result[f"flux_expected[{name}]"] = Estimate(value, pairs[part].n)
    return result


def _fluxes(pairs: Matches, there: np.ndarray, n_there: int) -> dict[str, Estimate]:
    """Figures of one bin, in which `there` (R,) compact sources are."""
    measured, true = pairs.values("flux")
    weight, n = pairs.weight, pairs.n
    error = (measured - true) / flux_limit(pairs.truth)
    close = np.abs(measured - true) <= 0.1 * true
    within, given = _within(pairs)
    n_given = int(np.count_nonzero(weight[0, given]))
    result = {
        "flux_ratio": Estimate(median(weight, measured / true), n),
        "flux_scatter": Estimate(spread(weight, error), n),
        "flux_std": Estimate(std(weight, error), n),
        "flux_within_10": Estimate(mean(weight, close), n),
        "recovered_10": Estimate(ratio(total(weight, close), there), n_there),
    }
    for factor in (1, 2):
        share = mean(weight[:, given], within[factor][given])
        result[f"flux_within_{factor}s"] = Estimate(share, n_given)
    recovered = ratio(total(weight, within[2]), there)
    result["recovered_2s"] = Estimate(recovered, n_there)
    return result


def _within(pairs: Matches) -> tuple[dict[int, np.ndarray], np.ndarray]:
    """Whether truth is within 1 and 2 sigma of the flux, and whether there is an interval."""
    measured, true = pairs.values("flux")
    error, low, high = (
        np.asarray(pairs.found[name]) for name in ("flux_err", "flux_lo", "flux_hi")
    )
    interval = np.isfinite(low) & np.isfinite(high)
    down = np.where(interval, measured - low, error)
    up = np.where(interval, high - measured, error)
    given = np.isfinite(down) & np.isfinite(up)
    within = {
        k: given & (true >= measured - k * down) & (true <= measured + k * up) for k in (1, 2)
    }
    return within, given


def position_figures(sample: Sample) -> dict[str, Estimate]:
    """Accuracy of positions, both axes taken together: of all, in S/N bins, and from S/N 5 up.

    The limit per axis is 0.425 beam / snr, a point's; a resolved source's is larger in
    proportion to its size. A match ends at the matching radius, which cuts the wings of
    faint sources' errors.

    Returns
    -------
    dict of Estimate
        - position_rms, position_scatter: of the errors over the limit, root mean square,
          and 1.4826 times the median of their absolute values.
        - position_within_1s, position_within_2s: share of coordinates within x_err, y_err.
    """
    pairs = matches(sample)
    snr = np.asarray(pairs.truth["snr"])
    result = _positions(pairs)
    for name, low, high in [*bins(), BRIGHT]:
        for figure, estimate in _positions(pairs[(snr >= low) & (snr < high)]).items():
            result[f"{figure}[{name}]"] = estimate
    return result


def _positions(pairs: Matches) -> dict[str, Estimate]:
    """Figures of positions of one bin."""
    weight = np.hstack([pairs.weight, pairs.weight])
    limit = POSITION * np.asarray(pairs.truth["beam"]) / np.asarray(pairs.truth["snr"])
    offset = np.hstack([np.subtract(*pairs.values(axis)) for axis in "xy"])
    error = np.hstack([np.asarray(pairs.found[f"{axis}_err"]) for axis in "xy"])
    over = offset / np.hstack([limit, limit])
    given = np.isfinite(error)
    n_given = int(np.count_nonzero(weight[0, given])) // 2
    result = {
        "position_rms": Estimate(np.sqrt(mean(weight, over**2)), pairs.n),
        "position_scatter": Estimate(ROBUST * median(weight, np.abs(over)), pairs.n),
    }
    for factor in (1, 2):
        held = np.abs(offset[given]) <= factor * error[given]
        result[f"position_within_{factor}s"] = Estimate(mean(weight[:, given], held), n_given)
    return result


def shape_figures(sample: Sample) -> dict[str, Estimate]:
    """Accuracy of the shapes of resolved sources, of a true major axis above 0.7 beam.

    Returns
    -------
    dict of Estimate
        - shape_major, shape_minor: median of measured / true deconvolved FWHM.
        - shape_pa, shape_pa_error: median, and median absolute value, of the position
          angle's error [deg] within +-90, where true minor / major < 0.8.
    """
    pairs = matches(sample).finite("major", "minor")
    pairs = pairs[np.asarray(pairs.truth["major"]) > RESOLVED]
    result = {}
    for name in ("major", "minor"):
        measured, true = pairs.values(name)
        positive = true > 0
        value = median(pairs.weight[:, positive], measured[positive] / true[positive])
        result[f"shape_{name}"] = Estimate(value, pairs[positive].n)
    long = np.asarray(pairs.truth["minor"]) < ELONGATED * np.asarray(pairs.truth["major"])
    pairs = pairs[long].finite("pa")
    measured, true = pairs.values("pa")
    error = (measured - true + 90) % 180 - 90
    result["shape_pa"] = Estimate(median(pairs.weight, error), pairs.n)
    result["shape_pa_error"] = Estimate(median(pairs.weight, np.abs(error)), pairs.n)
    return result
