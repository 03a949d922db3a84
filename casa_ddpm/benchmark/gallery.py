"""What the methods make of a few fields: dirty, true and reconstructed images in rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import AsinhNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

#: Panels that have a colour scale of their own.
ALONE = ("dirty", "std")
#: Colours of what is no sky.
COLOURS = {"std": "viridis"}


def gallery(
    fields: Sequence[Mapping[str, np.ndarray]],
    units: Mapping[str, str] | str,
    cell: float,
    title: str = "",
    names: Sequence[str] = (),
) -> Figure:
    """A row of images for each field.

    Parameters
    ----------
    fields : sequence of mappings
        Name -> image (ny, nx), such as dirty, truth, mean, median, std, CLEAN, in the
        order of the columns. All fields have the first one's names; an image that a field
        lacks is left white. Images of a row but dirty and std share one colour scale and
        have to be in one unit and at one resolution.
    units : str or mapping
        Unit of the brightness: of all images, or of each by its name.
    cell : float
        Pixel [arcsec].
    title : str
        Above the figure.
    names : sequence of str, optional
        What each row is called.

    Raises
    ------
    ValueError
        If there is no field or image, or images of one field differ in shape.
    """
    if not fields or not fields[0]:
        raise ValueError("fields must hold at least one field with an image, got none")
    columns = list(fields[0])
    for field in fields:
        shapes = {name: np.shape(image) for name, image in field.items()}
        if len(set(shapes.values())) > 1:
            raise ValueError(f"images of one field must have one shape, got {shapes}")
    size = (2.75 * len(columns) + 0.6, 2.3 * len(fields) + 0.9)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(fields), len(columns), squeeze=False)
    for row, field in enumerate(fields):
        norms = _norms(field)
        for panel, name in zip(panels[row], columns, strict=True):
            if name in field:
                unit = units if isinstance(units, str) else units[name]
                _show(panel, field[name], norms[name], unit, cell, COLOURS.get(name, "inferno"))
            else:
                panel.set_axis_off()
            if row == 0:
                panel.set_title(name, fontsize=12)
            if row < len(fields) - 1:
                panel.tick_params(labelbottom=False)
            else:
                panel.set_xlabel("RA offset [arcsec]", fontsize=9)
            panel.tick_params(labelleft=name == columns[0])
        label = f"{names[row]}\n" if row < len(names) else ""
        panels[row, 0].set_ylabel(f"{label}Dec offset [arcsec]", fontsize=9)
    figure.suptitle(title)
    return figure


def _norms(field: Mapping[str, np.ndarray]) -> dict[str, Normalize]:
    """Colour scales: linear in what is faint, logarithmic in what is bright."""
    sky = [image for name, image in field.items() if name not in ALONE]
    top = _top(field.get("truth", sky[0] if sky else np.zeros(1)))
    shared = AsinhNorm(top / 30, vmin=0, vmax=top)
    norms: dict[str, Normalize] = dict.fromkeys(field, shared)
    if "std" in field:
        norms["std"] = Normalize(0, _top(field["std"]))
    if "dirty" in field:
        dirty = np.asarray(field["dirty"])
        noise = 1.4826 * float(np.nanmedian(np.abs(dirty - np.nanmedian(dirty)))) or 1.0
        norms["dirty"] = AsinhNorm(2 * noise, vmin=-3 * noise, vmax=max(_top(dirty), 5 * noise))
    return norms


def _top(image: np.ndarray) -> float:
    """The highest finite value, or a tiny one where nothing is positive."""
    finite = np.asarray(image)[np.isfinite(image)]
    return max(float(finite.max()), 1e-30) if finite.size else 1e-30


def _show(
    panel: Axes, image: np.ndarray, norm: Normalize, unit: str, cell: float, colours: str
) -> None:
    """An image with its colour bar; undefined pixels are grey."""
    ny, nx = np.shape(image)
    # Right ascension to the left; the reference pixel is at (ny // 2, nx // 2).
    left, bottom = (nx // 2 + 0.5) * cell, -(ny // 2 + 0.5) * cell
    shown = panel.imshow(
        np.ma.masked_invalid(image),
        origin="lower",
        extent=(left, left - nx * cell, bottom, bottom + ny * cell),
        norm=norm,
        cmap=colours,
        interpolation="nearest",
    )
    panel.set_facecolor("0.75")
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_locator(MaxNLocator(4))
    panel.tick_params(labelsize=8)
    bar = panel.figure.colorbar(shown, ax=panel, pad=0.02, fraction=0.046, aspect=24)
    bar.set_label(unit, fontsize=8, labelpad=1)
    bar.ax.tick_params(labelsize=7)
    if isinstance(norm, AsinhNorm):
        bar.set_ticks(_ticks(norm))
        bar.formatter = FuncFormatter(lambda value, _: f"{value:g}")
    bar.minorticks_off()


def _ticks(norm: Normalize) -> list[float]:
    """Round numbers, evenly spread over a colour scale."""
    low, high = float(norm.vmin or 0), float(norm.vmax or 0)
    decades = 10.0 ** np.arange(np.floor(np.log10(high)), np.log10(high) - 5, -1)
    round_numbers = (decades[:, None] * [5, 2, 1]).ravel()
    chosen = [0.0]
    for tick in [*round_numbers, *-round_numbers]:
        if low <= tick <= high and np.min(np.abs(norm(chosen) - norm(tick))) > 0.12:
            chosen.append(float(tick))
    return sorted(chosen)
