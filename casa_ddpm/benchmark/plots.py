"""The benchmark's pictures, one function each; all return a matplotlib Figure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from astropy.stats import binom_conf_interval
from astropy.table import Table
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator

from casa_ddpm.benchmark import detection, legend, reliability
from casa_ddpm.benchmark.flux_plot import fluxes
from casa_ddpm.benchmark.look import plain_numbers, style
from casa_ddpm.benchmark.metrics import EXPECTED, Figures
from casa_ddpm.benchmark.sample import Sample, samples

#: Highest S/N of an axis, where the last bin is open.
TOP = 100.0
DPI = 130


def write(
    folder: str | Path, truth: Table, detections: Table, images: Table, figures: Figures
) -> list[str]:
    """Write all pictures that tables and figures make, those of its names are replaced.

    Parameters
    ----------
    folder : str or path
        Made if it is not there.
    truth, detections, images : Table
        Columns as in `casa_ddpm.benchmark.tables`.
    figures : dict
        protocol -> method -> figure -> {value, low, high, n}.

    Returns
    -------
    list of str
        Names of the files. A protocol without true sources has none, and there is a
        reliability diagram only where a method gives probabilities.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    drawn: dict[str, Figure] = {}
    for protocol, methods in samples(truth, detections, images, number=0).items():
        if any(len(sample.truth) for sample in methods.values()):
            drawn[f"curves_{protocol}.png"] = purity_completeness(methods, protocol)
            drawn[f"snr_{protocol}.png"] = against_snr(figures[protocol], protocol)
            drawn[f"flux_{protocol}.png"] = fluxes(methods, protocol)
        if any(_known(known, "prob_error") for known in figures[protocol].values()):
            drawn[f"reliability_{protocol}.png"] = reliability_diagram(figures[protocol], protocol)
    for name, figure in drawn.items():
        figure.savefig(folder / name, dpi=DPI)
    return list(drawn)


def purity_completeness(methods: Mapping[str, Sample], title: str = "") -> Figure:
    """Purity over completeness of all methods as the threshold falls.

    Parameters
    ----------
    methods : mapping of Sample
        By name, in the order in which they have colours. The marker is where F1 is best.
    title : str
        Above the axes.
    """
    figure = Figure(figsize=(9.5, 6), layout="constrained")
    axes = figure.subplots()
    handles, corners = [], [(60.0, 60.0)]
    for position, (name, sample) in enumerate(methods.items()):
        curve, look = detection.curve_of(sample), style(position)
        x, y = 100 * curve.completeness[0], 100 * curve.purity[0]
        best = int(curve.best()[0])
        axes.plot(x, y, color=look["color"], linestyle=look["linestyle"], linewidth=1.8)
        axes.plot(x[best], y[best], **look, markersize=10, markeredgecolor="white")
        label = f"{name} ({curve.f1[0, best]:.3f})"
        handles.append(Line2D([], [], **look, linewidth=1.8, label=label))
        if len(x) > 1:
            corners.append((min(x[best], x[curve.at_purity(0.99)[0]]), min(y[best], y[-1])))
    # From a round number left of where purity starts to fall.
    left, bottom = (
        max(0, 10 * np.floor(np.nanmin(ends) / 10) - 10) for ends in np.transpose(corners)
    )
    axes.set(xlim=(left, 101), ylim=(bottom, 101), title=title)
    axes.axhline(90, color="0.6", linewidth=0.8)
    _equal_f1(axes)
    axes.set_xlabel("Completeness: true sources found [%]")
    axes.set_ylabel("Purity: detections that are true [%]")
    figure.legend(
        handles=handles, title="Method (best F1, at the marker)", loc="outside right upper",
        fontsize=10, handlelength=4,
    )  # fmt: skip
    return figure


def _equal_f1(axes: Axes) -> None:
    """Lines of equal F1, labelled where they leave the axes on the right."""
    x = np.linspace(1, 101, 400)
    for f1 in (0.5, 0.6, 0.7, 0.8, 0.9):
        with np.errstate(divide="ignore"):
            y = 100 / (2 / f1 - 100 / x)
        inside = (y > 0) & (y < 102)
        axes.plot(x[inside], y[inside], color="0.85", linewidth=0.8, zorder=0)
        if y[-1] > axes.get_ylim()[0]:
            axes.annotate(
                f"F1 {f1:g}", (101, y[-1]), xytext=(3, 0), textcoords="offset points",
                color="0.45", fontsize=8, va="center",
            )  # fmt: skip


def against_snr(methods: Mapping[str, Mapping[str, Mapping]], title: str = "") -> Figure:
    """Completeness over true S/N, and purity over measured flux, at 90 % purity.

    Parameters
    ----------
    methods : mapping
        method -> figure -> {value, low, high, n}. `metrics.EXPECTED` is drawn as a line.
    title : str
        Above the figure.
    """
    figure = Figure(figsize=(12.5, 5.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    names = [name for name in methods if name != EXPECTED]
    for position, name in enumerate(names):
        shift = 1 + 0.016 * (position - (len(names) - 1) / 2)
        for axes, base in ((left, "completeness_90"), (right, "purity_90")):
            _binned(axes, methods[name], base, shift, style(position), name)
    if EXPECTED in methods:
        look = {"color": "0.75", "linestyle": "-", "marker": "", "zorder": 0}
        _binned(left, methods[EXPECTED], "completeness_90", 1, look, EXPECTED, width=6)
    left.set(title="Completeness", ylabel="True sources found [%]")
    left.set_xlabel("True peak S/N")
    right.set(title="Purity", ylabel="Detections that are true [%]")
    right.set_xlabel("Measured flux [noise]")
    for axes in (left, right):
        _snr_axis(axes, detection.BINS[0], TOP)
        axes.set_ylim(-3, 104)
        axes.grid(color="0.92")
    heading = "each at its threshold of 90 % purity; bars: 68 % intervals"
    figure.suptitle(f"{title}: {heading}" if title else heading)
    figure.legend(*left.get_legend_handles_labels(), loc="outside right upper", fontsize=10)
    return figure


def _binned(
    axes: Axes,
    figures: Mapping,
    base: str,
    shift: float,
    look: dict,
    name: str,
    width: float = 1.5,
) -> None:
    """One figure of one method over its bins, with error bars."""
    rows = []
    for label, low, high in detection.bins():
        figure = figures.get(legend.binned(base, label))
        if figure and figure["value"] is not None:
            middle = np.sqrt(low * min(high, TOP)) * shift
            ends = [figure["value"] if figure[e] is None else figure[e] for e in ("low", "high")]
            rows.append((middle, figure["value"], *ends))
    x, value, lower, upper = np.array(rows).T if rows else np.empty((4, 0))
    # The percentile interval need not hold the value of a skewed figure.
    bars = 100 * np.clip([value - lower, upper - value], 0, None)
    axes.errorbar(
        x, 100 * value, bars, **look, linewidth=width, elinewidth=1, markersize=6, label=name
    )


def _snr_axis(axes: Axes, low: float, high: float) -> None:
    """A logarithmic axis with plain numbers."""
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator([3, 4, 5, 7, 10, 20, 50, 100]))
    plain_numbers(axes.xaxis)


def reliability_diagram(methods: Mapping[str, Mapping[str, Mapping]], title: str = "") -> Figure:
    """Share of true detections over their probability, and how many there are of each.

    Parameters
    ----------
    methods : mapping
        method -> figure -> {value, low, high, n}; those without probabilities are left out.
    title : str
        Above the figure. Bars are 68 % binomial intervals (Wilson 1927).
    """
    figure = Figure(figsize=(6.4, 7.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], color="0.5", linewidth=1, label="as it should be")
    having = {name: known for name, known in methods.items() if _known(known, "prob_error")}
    for position, (name, known) in enumerate(methods.items()):
        if name in having:
            _reliability(upper, lower, known, position, name)
    upper.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), title=title)
    upper.set_ylabel("Share of detections that are true")
    upper.legend(loc="upper left", fontsize=10)
    upper.grid(color="0.92")
    lower.set(yscale="log", ylabel="Detections", xlabel="Detection probability")
    plain_numbers(lower.yaxis)
    return figure


def _known(figures: Mapping[str, Mapping], name: str) -> bool:
    return name in figures and figures[name]["value"] is not None


def _reliability(upper: Axes, lower: Axes, figures: Mapping, position: int, name: str) -> None:
    rows = []
    for decile in reliability.deciles():
        true = figures[legend.binned("prob_true", decile)]
        if true["value"] is not None:
            probability = figures[legend.binned("prob_mean", decile)]["value"]
            rows.append((probability, true["value"], true["n"]))
    x, share, n = np.array(rows).T
    hits = np.round(share * n).astype(int)
    ends = binom_conf_interval(hits, n.astype(int), confidence_level=0.68, interval="wilson")
    bars = np.clip([share - ends[0], ends[1] - share], 0, None)
    look = style(position)
    upper.errorbar(x, share, bars, **look, linewidth=1.5, elinewidth=1, markersize=6, label=name)
    lower.plot(x, n, **look, linewidth=1.5, markersize=5)
