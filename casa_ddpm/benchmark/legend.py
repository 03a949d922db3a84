"""What each figure of merit is called, its unit, its definition, and what is better."""

from __future__ import annotations

from dataclasses import dataclass

#: Shares of a Gaussian within one and two standard deviations.
ONE_SIGMA, TWO_SIGMA = 0.6827, 0.9545
HIGHER, LOWER = "higher", "lower"


@dataclass(frozen=True)
class Entry:
    """A figure of merit.

    Parameters
    ----------
    label, unit : str
        What tables and axes call it.
    text : str
        Its definition, in a line.
    goal : {'higher', 'lower'} or float, optional
        What is better: a value that is higher, lower or closer to a number; None: neither.
    scale : float
        What a value is multiplied with to be in `unit`.
    digits : int
        Digits after the decimal point.
    """

    label: str
    unit: str
    text: str
    goal: str | float | None = None
    scale: float = 1.0
    digits: int = 2

    def loss(self, value):
        """How far from the goal a value or array is; None without a goal."""
        if self.goal is None:
            return None
        if isinstance(self.goal, str):
            return value if self.goal == LOWER else -value
        return abs(value - self.goal)


def _share(label: str, text: str, goal: str | float = HIGHER) -> Entry:
    return Entry(label, "%", text, goal, scale=100, digits=1)


_AT = "at the largest completeness whose purity is at least {} %"
ENTRIES = {
    "f1": Entry("F1", "", "2 TP / (detections + true), best threshold", HIGHER, digits=3),
    "f1_purity": _share("Purity at best F1", "TP / detections"),
    "f1_completeness": _share("Completeness at best F1", "TP / true"),
    "f1_threshold": Entry("Threshold of best F1", "score", "in the method's own score", digits=3),
    "completeness_90": _share("Completeness at 90 % purity", "TP / true, " + _AT.format(90)),
    "threshold_90": Entry("Threshold of 90 % purity", "score", _AT.format(90), digits=3),
    "completeness_99": _share("Completeness at 99 % purity", "TP / true, " + _AT.format(99)),
    "threshold_99": Entry("Threshold of 99 % purity", "score", _AT.format(99), digits=3),
    "purity": _share(
        "Purity, default threshold",
        "TP / detections, at the threshold that its users lay: minprob of ddpmclean; source "
        "finders start far below any, and have none here",
    ),
    "completeness": _share("Completeness, default threshold", "TP / true, at that threshold"),
    "f1_default": Entry("F1, default threshold", "", "at that threshold", HIGHER, digits=3),
    "false": Entry(
        "False, default threshold", "per field", "unmatched detections at that threshold", LOWER
    ),
    "false_certain": Entry("False of prob >= 0.9", "per field", "unmatched detections", LOWER),
    "purity_90": _share("Purity", "TP / detections by measured flux, above the 90 % threshold"),
    "flux_ratio": Entry("Flux ratio", "", "median of measured / true", 1.0, digits=3),
    "flux_expected": Entry(
        "True / measured flux", "", "median, in bins of the measured S/N", 1.0, digits=3
    ),
    "flux_scatter": Entry(
        "Flux scatter / limit",
        "",
        "1.4826 MAD of (measured - true) / limit; the limit is 1 noise for a point, "
        "sqrt(3) flux / (peak S/N) for a Gaussian (shape free)",
        LOWER,
    ),
    "flux_std": Entry("Flux std / limit", "", "standard deviation of the same", LOWER),
    "flux_r": Entry("Flux correlation", "", "Pearson's r of measured and true", HIGHER, digits=4),
    "flux_r2": Entry(
        "Flux R²", "", "1 - sum (measured - true)² / sum (true - mean)²", HIGHER, digits=4
    ),
    "flux_within_10": _share("Flux within 10 %", "of the detected: within 10 % of truth"),
    "flux_within_1s": _share(
        "Flux within 1 sigma", "of the detected: own 68 % interval holds truth", ONE_SIGMA
    ),
    "flux_within_2s": _share(
        "Flux within 2 sigma", "of the detected: twice that interval holds truth", TWO_SIGMA
    ),
    "recovered_10": _share("Found, flux within 10 %", "share of all compact true sources"),
    "recovered_2s": _share("Found, flux within 2 sigma", "share of all compact true sources"),
    "position_rms": Entry(
        "Position rms / limit", "", "per axis; limit 0.425 beam / (peak S/N)", LOWER
    ),
    "position_scatter": Entry(
        "Position scatter / limit", "", "1.4826 median of abs(error) / limit, per axis", LOWER
    ),
    "position_within_1s": _share(
        "Position within 1 sigma", "share of coordinates within own error", ONE_SIGMA
    ),
    "position_within_2s": _share(
        "Position within 2 sigma", "share of coordinates within twice own error", TWO_SIGMA
    ),
    "shape_major": Entry(
        "Major axis ratio", "", "median of measured / true, true major > 0.7 beam", 1.0
    ),
    "shape_minor": Entry("Minor axis ratio", "", "likewise", 1.0),
    "shape_pa": Entry(
        "Position angle bias", "deg", "median error, true axis ratio < 0.8", 0.0, digits=1
    ),
    "shape_pa_error": Entry("Position angle error", "deg", "median of abs(error)", LOWER, digits=1),
    "prob_error": Entry(
        "Calibration error of prob",
        "",
        "expected calibration error: mean over detections of abs(share true - mean prob) "
        "of their decile",
        LOWER,
        digits=3,
    ),
    "prob_mean": Entry("Mean prob", "", "of the detections of a decile", digits=3),
    "prob_true": Entry("Share true", "", "of the detections of a decile", digits=3),
    "residual_rms": Entry("Residual rms", "noise", "mean over fields", 1.0, digits=3),
    "residual_power": Entry(
        "Residual power, large scales",
        "noise",
        "power of the residual on scales above 3 beams (inner uv plane) over that of noise with "
        "this PSF: 1 white, more: emission is left, less: noise is in the model; mean over fields",
        1.0,
        digits=3,
    ),
    "evaluations": Entry(
        "Network evaluations", "", "one realisation's state each, mean over fields", LOWER, digits=0
    ),
    "ser": Entry("Signal-to-error ratio", "dB", "20 log10(norm(truth) / norm(error))", HIGHER),
    "l2": Entry("L2", "1e-5 Jy/pixel", "root of the summed squared error", LOWER, 1e5, 3),
    "psnr": Entry("PSNR", "dB", "of root-normalised images, data range 1", HIGHER),
    "ssim": Entry("SSIM", "", "of root-normalised images, data range 1", HIGHER, digits=4),
}


def entry(figure: str) -> Entry:
    """The entry of a figure, with or without a bin: ``flux_ratio[4-5]`` is of ``flux_ratio``."""
    base = figure.split("[")[0]
    return ENTRIES.get(base, Entry(base, "", "mean over fields", digits=3))


def binned(figure: str, name: str) -> str:
    """The figure of a bin."""
    return f"{figure}[{name}]"
