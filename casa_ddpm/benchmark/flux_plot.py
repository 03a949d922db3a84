"""Measured over true fluxes, a panel a method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from casa_ddpm.benchmark import accuracy, legend
from casa_ddpm.benchmark.look import plain_numbers, style
from casa_ddpm.benchmark.sample import Sample


def fluxes(methods: Mapping[str, Sample], title: str = "") -> Figure:
    """Measured over true flux, a panel a method, with the error to expect.

    Parameters
    ----------
    methods : mapping of Sample
        Compact sources that each detects at 90 % purity are shown.
    title : str
        Above the figure.
    """
    columns = min(4, len(methods))
    rows = -(-len(methods) // columns)
    size = (3.7 * columns + 0.6, 3.7 * rows + 0.9)
    figure = Figure(figsize=size, layout="compressed")
    panels = figure.subplots(rows, columns, squeeze=False)
    pairs = {name: accuracy.matches(sample).finite("flux") for name, sample in methods.items()}
    pairs = {name: part[part.weight[0] > 0] for name, part in pairs.items()}
    limits = _range([np.concatenate(part.values("flux")) for part in pairs.values()])
    for position, (name, sample) in enumerate(methods.items()):
        panel = panels.flat[position]
        _flux_panel(panel, pairs[name], position, limits)
        panel.set_title(f"{name} ({len(pairs[name].found)})", fontsize=11)
        _bias(panel, sample)
        if position % columns == 0:
            panel.set_ylabel("Measured flux [noise]")
        if position + columns >= len(methods):
            panel.set_xlabel("True flux [noise]")
    for panel in panels.flat[len(pairs) :]:
        panel.remove()
    figure.suptitle(title)
    panels[0, 0].legend(handles=_flux_handles(), loc="upper left", fontsize=8, framealpha=0.9)
    return figure


def _flux_handles() -> list:
    """The legend of all panels, in grey."""
    dot: dict[str, Any] = {"linestyle": "", "marker": "o", "color": "0.3", "markersize": 5}
    return [
        Line2D([], [], **dot, label="points"),
        Line2D([], [], **dot, markerfacecolor="none", label="Gaussians"),
        Line2D([], [], color="black", linewidth=1, label="truth"),
        Patch(color="0.5", alpha=0.3, linewidth=0, label="±1 noise: limit, point"),
        Line2D([], [], color="0.3", linestyle="--", linewidth=0.8, label="±√3: shape fitted"),
    ]


def _bias(panel: Axes, sample: Sample) -> None:
    """Ratio and scatter from S/N 5 up, as text."""
    known = accuracy.flux_figures(sample)
    ratio, scatter = (
        known[legend.binned(name, accuracy.BRIGHT[0])].values[0]
        for name in ("flux_ratio", "flux_scatter")
    )
    if np.isfinite(ratio):
        text = f"S/N ≥ 5: ratio {ratio:.3f}\nscatter {scatter:.2f} × limit"
        panel.text(0.97, 0.04, text, transform=panel.transAxes, ha="right", fontsize=9)


def _range(values: Sequence[np.ndarray]) -> tuple[float, float]:
    """Limits of a logarithmic axis that holds all positive values."""
    positive = np.concatenate([np.asarray(part)[np.asarray(part) > 0] for part in values])
    if not positive.size:
        return 1.0, 100.0
    return max(float(positive.min()) / 1.2, 0.3), float(positive.max()) * 1.2


def _flux_panel(
    panel: Axes, pairs: accuracy.Matches, position: int, limits: tuple[float, float]
) -> None:
    """One method; what is measured below the axis lies on its edge."""
    measured, true = pairs.values("flux")
    colour = style(position)["color"]
    point = np.asarray(pairs.truth["major"]) == 0
    for rows, face in ((point, colour), (~point, "none")):
        panel.scatter(
            true[rows], np.maximum(measured[rows], limits[0]), s=13, linewidths=0.7, alpha=0.6,
            facecolors=face, edgecolors=colour,
        )  # fmt: skip
    x = np.geomspace(*limits, 200)
    panel.plot(x, x, color="black", linewidth=1)
    least = limits[0] / 10
    panel.fill_between(x, np.maximum(x - 1, least), x + 1, color="0.5", alpha=0.3, linewidth=0)
    for sign in (-1, 1):
        edge = np.maximum(x + sign * np.sqrt(3), least)
        panel.plot(x, edge, color="0.3", linestyle="--", linewidth=0.8)
    panel.set(xscale="log", yscale="log", xlim=limits, ylim=limits, aspect="equal")
    for axis in (panel.xaxis, panel.yaxis):
        plain_numbers(axis)
