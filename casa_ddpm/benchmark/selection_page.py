"""The selection of realisations, steps and aggregate as a page, figures and a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from casa_ddpm.benchmark import document, legend, metrics
from casa_ddpm.benchmark.look import plain_numbers, style
from casa_ddpm.benchmark.protocols import PROTOCOLS
from casa_ddpm.benchmark.selection import Selection, Setting, distinct

PAGE, FIGURES, PICTURE = "selection.md", "selection.json", "selection.png"
#: Figures of sources, and those of images; the latter alone where the truth is structure.
SOURCES = (
    "f1", "flux_ratio[>=5]", "flux_scatter[>=5]", "flux_within_1s[>=5]", "position_scatter[>=5]",
)  # fmt: skip
IMAGES = ("ser", "residual_rms", "residual_power", "evaluations")
#: Those that are drawn.
DRAWN = ("f1", "flux_scatter[>=5]", "flux_within_1s[>=5]", "ser", "evaluations")
DPI = 110


def write(folder: str | Path, selection: Selection, account: Mapping[str, Any]) -> None:
    """Write the page, the figures and the picture; all but the page's seconds are repeatable.

    Parameters
    ----------
    folder : str or path
        Made if it is not there; files of its names are replaced.
    selection : Selection
    account : mapping
        What it was measured with: plain values.
    """
    folder = Path(folder)
    figures = metrics.figures(*selection.tables, selection.seed)
    differences = {
        one.name: metrics.compare(*selection.tables, one.name, selection.base.name, selection.seed)
        for one in distinct(selection.curves)
        if one != selection.base
    }
    content = {"settings": dict(account), "figures": figures, "differences": differences}
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FIGURES).write_text(text + "\n", encoding="utf-8")
    draw(selection, figures).savefig(folder / PICTURE, dpi=DPI)
    page = markdown(selection, figures, differences, account)
    (folder / PAGE).write_text(page, encoding="utf-8")


def shown(protocol: str) -> tuple[str, ...]:
    """The figures that a protocol has."""
    return IMAGES if PROTOCOLS[protocol].structure else SOURCES + IMAGES


def markdown(
    selection: Selection,
    figures: metrics.Figures,
    differences: Mapping[str, Mapping],
    account: Mapping[str, Any],
) -> str:
    """The page: for each protocol and parameter what the values give, and what they gain."""
    lines = ["# Realisations, steps and aggregate", ""]
    lines += [
        "Value (68 % bootstrap interval over fields); one parameter is varied at a time from "
        f"{selection.base.name} (realisations x steps, aggregate).",
        "",
    ]
    lines += document.table(
        ["setting", "value"], [[name, document.plain(value)] for name, value in account.items()]
    )
    for protocol, known in figures.items():
        names = [name for name in shown(protocol) if any(_known(known, name))]
        lines += [f"## Protocol: {protocol}", ""]
        for parameter, settings in selection.curves.items():
            rows = [
                [_value(one, parameter), *(document.cell(n, known[one.name].get(n)) for n in names)]
                for one in settings
            ]
            header = [parameter, *map(document.title, names)]
            lines += [f"### {parameter}", "", *document.table(header, rows)]
            parts = {name: part.get(protocol, {}) for name, part in differences.items()}
            lines += _gains(selection, parameter, names, parts)
    return "\n".join([*lines, *_seconds(selection), f"![{PICTURE}]({PICTURE})"]) + "\n"


def _gains(
    selection: Selection, parameter: str, names: Sequence[str], parts: Mapping[str, Mapping]
) -> list[str]:
    """What the other values of a parameter gain over the base's."""
    names = [name for name in names if name != "evaluations"]
    settings = selection.curves[parameter]
    values = {one.name: _value(one, parameter) for one in settings}
    rows = []
    for one in settings:
        if known := parts.get(one.name):
            found = [known.get(name) for name in names]
            # The value alone: nothing else differs.
            told = [f and f | {"better": values.get(f["better"])} for f in found]
            pairs = zip(names, told, strict=True)
            rows.append([values[one.name], *(document.outcome(*pair) for pair in pairs)])
    if not rows:
        return []
    heading = f"Less {_value(selection.base, parameter)}, over the same fields; **bold**: better:"
    return [heading, "", *document.table([parameter, *map(document.title, names)], rows)]


def _known(known: Mapping[str, Mapping], name: str) -> list[bool]:
    """Whether each setting has a value of a figure."""
    return [part.get(name, {}).get("value") is not None for part in known.values()]


def _value(one: Setting, parameter: str) -> str:
    return str(getattr(one, parameter))


def _seconds(selection: Selection) -> list[str]:
    """Mean wall clock of each setting."""
    images = selection.tables[2]
    protocols = list(dict.fromkeys(images["protocol"]))
    rows = []
    for one in distinct(selection.curves):
        row = [one.name]
        for protocol in protocols:
            own = (images["method"] == one.name) & (images["protocol"] == protocol)
            row.append(f"{np.mean(images['seconds'][own]):.1f}")
        rows.append(row)
    return ["## Seconds per field", "", *document.table(["", *protocols], rows)]


def draw(selection: Selection, figures: metrics.Figures) -> Figure:
    """A row of panels for each figure, a column for each parameter, a line for each protocol."""
    columns = selection.curves
    figure = Figure(figsize=(4.2 * len(columns), 2.35 * len(DRAWN) + 0.6), layout="constrained")
    panels = figure.subplots(len(DRAWN), len(columns), sharey="row", sharex="col")
    for row, name in zip(panels, DRAWN, strict=True):
        for panel, (parameter, settings) in zip(row, columns.items(), strict=True):
            _panel(panel, selection, figures, name, parameter, settings)
        row[0].set_ylabel(document.title(name).replace(" [", "\n["), fontsize=9)
    for panel, parameter in zip(panels[-1], columns, strict=True):
        panel.set_xlabel(parameter)
        panel.set_yscale("log")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    more, names = panels[DRAWN.index("ser"), 0].get_legend_handles_labels()
    every = dict(zip([*labels, *names], [*handles, *more], strict=True))
    figure.legend(every.values(), every.keys(), loc="outside upper center", ncols=len(every))
    return figure


def _panel(
    panel: Axes,
    selection: Selection,
    figures: metrics.Figures,
    name: str,
    parameter: str,
    settings: Sequence[Setting],
) -> None:
    """One figure over one parameter; the base is marked."""
    scale = legend.entry(name).scale
    values = [getattr(one, parameter) for one in settings]
    number = parameter != "aggregate"
    places = np.array(values if number else range(len(values)), float)
    for position, (protocol, known) in enumerate(figures.items()):
        if name not in shown(protocol) or not any(_known(known, name)):
            continue
        rows = [known[one.name].get(name, {}) for one in settings]
        value, low, high = (
            np.array([np.nan if row.get(k) is None else row[k] for row in rows], float) * scale
            for k in ("value", "low", "high")
        )
        # The percentile interval need not hold the value; a single field has none.
        bars = np.nan_to_num(np.clip([value - low, high - value], 0, None))
        look = style(position) | ({} if number else {"linestyle": ""})
        # Side by side, so that bars do not hide each other.
        shift = 0.04 * (position - (len(figures) - 1) / 2)
        x = places * (1 + shift) if number else places + shift * 2
        panel.errorbar(x, value, bars, **look, markersize=5, elinewidth=1, label=protocol)
    base = values.index(getattr(selection.base, parameter))
    panel.axvline(places[base], color="0.85", zorder=0, linewidth=4)
    panel.grid(color="0.93")
    if number:
        panel.set_xscale("log")
        plain_numbers(panel.xaxis)
    panel.xaxis.set_major_locator(FixedLocator(list(places)))
    panel.xaxis.set_minor_locator(NullLocator())
    if not number:
        panel.set_xticks(places, values)
        panel.set_xlim(-0.5, len(values) - 0.5)
