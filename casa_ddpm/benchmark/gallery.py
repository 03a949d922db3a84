"""What the methods make of a few fields: dirty, true and reconstructed images in rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import AsinhNorm, Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from casa_ddpm import scales, sky_panel
from casa_ddpm.benchmark.panels import ERROR, RESIDUAL, Panels

#: Colours; of the sky where none is said.
SKY, COLOURS = "inferno", {"residual": "RdBu_r", "error": "RdBu_r", "std": "viridis"}
DPI = 110


def write(folder: str | Path, kept: str | Path, fields: Sequence[tuple[str, int]]) -> list[str]:
    """Draw a gallery of each protocol whose images have been kept.

    Parameters
    ----------
    folder : str or path
        Where the pictures go.
    kept : str or path
        Where `Panels` have been saved.
    fields : sequence of (str, int)
        Protocols and numbers of those that are drawn if they have been.

    Returns
    -------
    list of str
        Names of the files, gallery_<protocol>.png.
    """
    shown: dict[str, list[Panels]] = {}
    for protocol, index in fields:
        path = Path(kept, f"{protocol} {index}.npz")
        if path.is_file():
            shown.setdefault(protocol, []).append(Panels.load(path))
    names = {protocol: f"gallery_{protocol}.png" for protocol in shown}
    for protocol, panels in shown.items():
        gallery(panels, protocol).savefig(Path(folder) / names[protocol], dpi=DPI)
    return list(names.values())


def gallery(fields: Sequence[Panels], title: str = "") -> Figure:
    """The images of each field, in their lines.

    Parameters
    ----------
    fields : sequence of Panels
        Truth, mean, median and models of a field share one colour scale, their errors another.
    title : str
        Above the figure.

    Raises
    ------
    ValueError
        If there is no field.
    """
    if not fields:
        raise ValueError("fields must hold at least one field, got none")
    columns = max(len(line) for field in fields for line in field.lines)
    heights = [2.4 * len(field.lines) + 0.65 for field in fields]
    size = (2.95 * columns + 0.3, sum(heights) + 0.4)
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.05))
    parts = figure.subfigures(len(fields), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, field in zip(parts, fields, strict=True):
        _field(part, field, columns)
    note = "all but dirty images and residuals at half the clean beam"
    figure.suptitle(f"{title}: {note}" if title else note)
    return figure


def _field(part: SubFigure, field: Panels, columns: int) -> None:
    """All panels of a field."""
    part.suptitle(field.name, fontsize=11, x=0.01, ha="left", weight="bold")
    panels = part.subplots(len(field.lines), columns, squeeze=False)
    norms = _norms(field)
    for row, line in zip(panels, field.lines, strict=True):
        for panel, (name, image) in zip(row, line.items(), strict=False):
            _show(panel, name, image, norms[name], field.cell)
            panel.tick_params(labelleft=panel is row[0], labelbottom=row is panels[-1])
        for panel in row[len(line) :]:
            panel.set_axis_off()
        row[0].set_ylabel("Dec offset [arcsec]", fontsize=9)
    for panel in panels[-1][: len(field.lines[-1])]:
        panel.set_xlabel("RA offset [arcsec]", fontsize=9)
        panel.tick_params(labelbottom=True)


def _kind(name: str) -> str:
    """dirty, std, residual or error; all others are sky."""
    for kind, ending in (("residual", RESIDUAL), ("error", ERROR)):
        if name.endswith(ending):
            return kind
    return name if name in ("dirty", "std") else "sky"


def _norms(field: Panels) -> dict[str, Normalize]:
    """Colour scales: linear in what is faint, logarithmic in what is bright."""
    kinds: dict[str, list[np.ndarray]] = {}
    for name, image in field.images.items():
        kinds.setdefault(_kind(name), []).append(image)
    # The truth's, or where nothing is there that of what has been made of nothing.
    sky = next((x for x in map(scales.top, kinds.get("sky", [])) if x > 1e-9), 1e-9)
    dirty = max([5 * field.noise, *map(scales.top, kinds.get("dirty", []))])
    wrong = max([1e-9, *(scales.top(np.abs(image)) for image in kinds.get("error", []))])
    norms = {
        "sky": AsinhNorm(sky / 30, vmin=0, vmax=sky),
        "dirty": AsinhNorm(2 * field.noise, vmin=-3 * field.noise, vmax=dirty),
        "error": AsinhNorm(wrong / 10, vmin=-wrong, vmax=wrong),
        "residual": Normalize(-5 * field.noise, 5 * field.noise),
        "std": Normalize(0, max([1e-9, *map(scales.top, kinds.get("std", []))])),
    }
    return {name: norms[_kind(name)] for name in field.images}


def _show(panel: Axes, name: str, image: np.ndarray, norm: Normalize, cell: float) -> None:
    """An image with its title and colour bar."""
    kind = _kind(name)
    shown = sky_panel.show(panel, image, norm, cell, COLOURS.get(kind, SKY), ticks=4)
    panel.set_title(name, fontsize=11)
    panel.tick_params(labelsize=8)
    per = "beam" if kind in ("dirty", "residual") else "pixel"
    bar = sky_panel.bar(shown, per, pad=0.02, aspect=24)
    bar.ax.yaxis.label.set_fontsize(8)
    bar.ax.yaxis.labelpad = 1
    bar.ax.tick_params(labelsize=7)
