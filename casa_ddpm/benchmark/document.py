"""The benchmark's report as a page of markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from casa_ddpm.benchmark import detection, legend, reliability
from casa_ddpm.benchmark.accuracy import BRIGHT
from casa_ddpm.benchmark.metrics import Comparisons, Figures
from casa_ddpm.benchmark.resampling import Figure

#: Figures that have a table of their own, over bins of S/N.
BINNED = (
    "completeness_90",
    "purity_90",
    "flux_ratio",
    "flux_expected",
    "flux_scatter",
    "flux_within_1s",
    "flux_within_2s",
    "flux_within_10",
    "recovered_2s",
    "recovered_10",
    "position_scatter",
    "position_within_1s",
    "position_within_2s",
)
EMPTY = "–"


def markdown(
    figures: Figures,
    comparisons: Comparisons,
    settings: Mapping[str, Any],
    missing: Mapping[str, str],
    pictures: Sequence[str] = (),
) -> str:
    """Tables of all figures with their 68 % intervals, and what they mean.

    Parameters
    ----------
    figures : dict
        protocol -> method -> figure -> {value, low, high, n}.
    comparisons : dict
        protocol -> one -> other -> figure -> {value, low, high, n, better}.
    settings : mapping
        What the benchmark was run with.
    missing : mapping
        Method -> why it is not there.
    pictures : sequence of str
        File names of PNG pictures, relative to the page; those whose names end in
        _<protocol>.png stand with their protocol.
    """
    lines = ["# Benchmark", "", "Value (68 % bootstrap interval over fields) [number].", ""]
    lines += table(["setting", "value"], [[name, plain(v)] for name, v in settings.items()])
    for protocol, methods in figures.items():
        lines += [f"## Protocol: {protocol}", ""]
        lines += overall(methods)
        for figure in BINNED:
            lines += _by_snr(figure, methods)
        lines += _reliability(methods)
        lines += _comparison(comparisons.get(protocol, {}))
        own = [name for name in pictures if name.endswith(f"_{protocol}.png")]
        lines += _pictures(own)
    shown = tuple(f"_{protocol}.png" for protocol in figures)
    lines += _pictures([name for name in pictures if not name.endswith(shown)])
    lines += ["## Missing", ""]
    if missing:
        lines += table(["method", "why"], [[name, why] for name, why in missing.items()])
    else:
        lines += ["Nothing: every method has run.", ""]
    return "\n".join(lines + _definitions(figures)).rstrip() + "\n"


def _pictures(names: Sequence[str]) -> list[str]:
    return [line for name in names for line in (f"![{name}]({name})", "")]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A markdown table as lines, with an empty one after it; nothing without rows."""
    if not rows:
        return []
    escaped = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    lines = ["| " + " | ".join(cells) + " |" for cells in [list(header), *escaped]]
    lines.insert(1, "|" + "---|" * len(header))
    return [*lines, ""]


def cell(name: str, figure: Mapping | None, number: bool = False) -> str:
    """A figure as text: value (low, high) [n]."""
    if figure is None or figure["value"] is None:
        return EMPTY
    entry = legend.entry(name)
    value, low, high = (
        None if figure[key] is None else _digits(entry.scale * figure[key], entry.digits)
        for key in ("value", "low", "high")
    )
    text = str(value) if low is None else f"{value} ({low}, {high})"
    return f"{text} [{figure['n']}]" if number else text


def _digits(value: float, digits: int) -> str:
    """A number without the sign of a zero."""
    text = f"{value:.{digits}f}"
    return text if float(text) else text.lstrip("-")


def plain(value: Any) -> str:
    """A setting as text; a mapping as its items."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {plain(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value)
    return str(value)


def title(name: str) -> str:
    """What a figure is called, with its unit."""
    entry = legend.entry(name)
    bright = f", S/N ≥ {BRIGHT[1]:g}" if name.endswith(f"[{BRIGHT[0]}]") else ""
    return entry.label + bright + (f" [{entry.unit}]" if entry.unit else "")


def _names(methods: Mapping[str, Mapping[str, Figure]]) -> list[str]:
    """Figures that some method has a value of, in the legend's order."""
    known = {
        name
        for figures in methods.values()
        for name, figure in figures.items()
        if figure["value"] is not None
    }
    return sorted(known, key=_place)


def _place(name: str) -> tuple[int, str]:
    """Where a figure stands in the legend, unknown ones last."""
    order = list(legend.ENTRIES)
    base = name.split("[")[0]
    return (order.index(base) if base in order else len(order)), name


def overall(methods: Mapping[str, Mapping[str, Figure]]) -> list[str]:
    """A table of the figures of everything, as lines: a column a method."""
    rows = [
        [title(name), *(cell(name, figures.get(name)) for figures in methods.values())]
        for name in _names(methods)
        if _whole(name)
    ]
    return table(["", *methods], rows) or ["No method has a figure here.", ""]


def _whole(name: str) -> bool:
    """Whether a figure is not of a narrow bin but of everything, or of all from S/N 5 up."""
    return "[" not in name or name.endswith(f"[{BRIGHT[0]}]")


def _by_snr(name: str, methods: Mapping[str, Mapping[str, Figure]]) -> list[str]:
    """One figure over bins of S/N: a row a method."""
    known = _names(methods)
    bins = [b for b, _, _ in detection.bins() if legend.binned(name, b) in known]
    rows = []
    for method, figures in methods.items():
        cells = [figures.get(legend.binned(name, b)) for b in bins]
        if any(figure and figure["value"] is not None for figure in cells):
            rows.append([method, *(cell(name, figure, number=True) for figure in cells)])
    by = "measured flux [noise]" if name == "purity_90" else "true peak S/N"
    return [f"### {title(name)}, by {by}", "", *table(["", *bins], rows)] if rows else []


def _reliability(methods: Mapping[str, Mapping[str, Figure]]) -> list[str]:
    """Mean probability and share of true ones, a row a decile."""
    having = [name for name, figures in methods.items() if _value(figures, "prob_error")]
    if not having:
        return []
    rows = []
    for decile in reliability.deciles():
        row = [decile]
        for method in having:
            given, true = (
                methods[method].get(legend.binned(name, decile))
                for name in ("prob_mean", "prob_true")
            )
            row += [cell("prob_mean", given).split(" ")[0], cell("prob_true", true, number=True)]
        if any(text != EMPTY for text in row[1:]):
            rows.append(row)
    if not rows:
        return []
    header = [text for name in having for text in (f"{name}: mean prob", f"{name}: share true")]
    return ["### Reliability of prob", "", *table(["decile", *header], rows)]


def _value(figures: Mapping[str, Figure], name: str) -> bool:
    figure = figures.get(name)
    return figure is not None and figure["value"] is not None


def _comparison(pairs: Mapping[str, Mapping[str, Mapping[str, Mapping]]]) -> list[str]:
    """Differences of one method to others; which is better where the interval decides."""
    lines = []
    for one, others in pairs.items():
        known = {name for figures in others.values() for name in figures if _whole(name)}
        rows = []
        for name in sorted(known, key=_place):
            cells = [outcome(name, figures.get(name)) for figures in others.values()]
            if legend.entry(name).goal is not None and any(text != EMPTY for text in cells):
                rows.append([title(name), *cells])
        if not rows:
            continue
        lines += [f"### {one} minus each of the others", ""]
        lines += ["Over the same resampled fields; **bold**: better beyond the interval.", ""]
        lines += table(["", *others], rows)
    return lines


def outcome(name: str, figure: Mapping | None) -> str:
    """The difference of two methods, and which one is better beyond its interval."""
    text = cell(name, figure)
    return f"{text} **{figure['better']}**" if figure and figure["better"] else text


def _definitions(figures: Figures) -> list[str]:
    """The legend of all figures that occur."""
    known = {name.split("[")[0] for methods in figures.values() for name in _names(methods)}
    rows = [
        [legend.entry(name).label, legend.entry(name).unit, legend.entry(name).text]
        for name in [*legend.ENTRIES, *sorted(known - set(legend.ENTRIES))]
        if name in known
    ]
    return [
        "## Definitions",
        "",
        "TP: detections matched one to one with a true source. Flux, position and shape are of",
        "matched compact sources above the method's own threshold of 90 % purity, in bins of the",
        "true S/N: a method that finds less is judged on easier sources, and faint ones are those",
        "that noise has lifted; the shares of all compact true sources have no such selection.",
        "Oracle: the matched filter of each source in the dirty image without all others, where",
        "all are points; the limit.",
        "Intervals: 16th to 84th percentile over resampled fields, each with its own threshold; a",
        "width of 0 says that all fields agree, and a single field has none. Matched filter",
        "(theory): chance that a peak at a free position exceeds t, Phi(S/N - t) and what the",
        "position adds, if all sources were isolated points; t is the threshold of 90 % purity of",
        "the dirty image's peaks.",
        "",
        *table(["figure", "unit", "definition"], rows),
    ]
