"""The summary picture: what went in, what came out, and how sure it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.table import QTable
from matplotlib.axes import Axes
from matplotlib.colors import AsinhNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Ellipse
from matplotlib.patheffects import withStroke

from casa_ddpm import scales, sky_panel
from casa_ddpm.catalogue import north
from casa_ddpm.dirty import Beam, DirtyImage

#: Sources that get a number, and uncertain ones that are drawn at all.
NUMBERED, UNCERTAIN = 30, 50
#: Smallest ellipse around a source, as a share of the field.
SMALLEST = 0.025
MARK, HALF_POWER = "#7df9ff", "white"


def summary(
    path: str | Path,
    dirty: DirtyImage,
    model: np.ndarray,
    std: np.ndarray,
    prob: np.ndarray,
    residual: np.ndarray,
    restored: np.ndarray,
    catalogue: QTable,
    minprob: float = 0.9,
    title: str = "",
    overwrite: bool = False,
) -> None:
    """Draw dirty image, model, its standard deviation, probability, residual, restored image.

    Parameters
    ----------
    path : str or path
        The PNG file.
    dirty : DirtyImage
        The image that was deconvolved.
    model, std : ndarray, shape (ny, nx)
        Model and its standard deviation over the realisations [Jy/pixel].
    prob : ndarray, shape (ny, nx)
        Probability that a beam-sized patch holds a source.
    residual, restored : ndarray, shape (ny, nx)
        Residual and restored image [Jy/beam].
    catalogue : QTable
        As `casa_ddpm.catalogue.build` returns it; marked on the restored image. Sources
        of `prob` below `minprob` are dashed, the 50 most probable of them; the first 30
        of the others bear the number of their row, counted from 1.
    minprob : float
        Detection probability of a certain source.
    title : str
        What the heading begins with.
    overwrite : bool
        Replace a file that exists.

    Raises
    ------
    FileExistsError
        If the file exists and `overwrite` is false.
    ValueError
        If an image has not the shape of `dirty`.
    """
    images = {"model": model, "std": std, "prob": prob, "residual": residual, "restored": restored}
    for name, image in images.items():
        if np.shape(image) != dirty.data.shape:
            raise ValueError(
                f"{name} must have the shape of dirty {dirty.data.shape}, got {np.shape(image)}"
            )
    if Path(path).exists() and not overwrite:
        raise FileExistsError(f"{path} exists; overwrite=True replaces it")
    noise = _noise(residual)
    # Figure without pyplot: no global state, no backend switched under CASA's feet.
    figure = Figure(figsize=_size(dirty.data.shape), layout="constrained")
    axes = figure.subplots(2, 3, sharex=True, sharey=True)
    _sky(axes[0, 0], "Dirty image", dirty.data, noise, dirty)
    _positive(axes[0, 1], "Model", model, dirty)
    _positive(axes[0, 2], "Standard deviation", std, dirty)
    _probability(axes[1, 0], prob, dirty)
    _residual(axes[1, 1], residual, noise, dirty)
    _sky(axes[1, 2], "Restored image", restored, noise, dirty)
    _mark(axes[1, 2], catalogue, dirty, minprob)
    for panel in axes[1]:
        panel.set_xlabel("Offset in right ascension [arcsec]")
    for panel in axes[:, 0]:
        panel.set_ylabel("Offset in declination [arcsec]")
    heading = _heading(dirty, noise, catalogue, minprob)
    figure.suptitle(f"{title}      {heading}" if title else heading, fontsize=13)
    figure.savefig(path, dpi=130)


def _noise(residual: np.ndarray) -> float:
    """Robust rms of the pixels that are not blanked [Jy/beam]."""
    finite = residual[np.isfinite(residual) & (residual != 0)]
    if not finite.size:
        return 0.0
    return float(1.4826 * np.median(np.abs(finite - np.median(finite))))


def _size(shape: tuple[int, ...]) -> tuple[float, float]:
    """Width and height of the figure [inch] for panels of this shape."""
    aspect = float(np.clip(shape[0] / shape[1], 0.4, 1.6))
    return 16.0, 8.6 * aspect + 1.2


def _heading(dirty: DirtyImage, noise: float, catalogue: QTable, minprob: float) -> str:
    certain = int(np.sum(catalogue["prob"] >= minprob))
    scale, unit = scales.prefix(noise)
    beam = dirty.beam
    return (
        f"{certain} source{'s' * (certain != 1)} with probability ≥ {minprob:g}      "
        f"residual rms {noise / scale:.3g} {unit}/beam      "
        f"beam {beam.major:.3g}″ × {beam.minor:.3g}″, {beam.pa:.0f}°"
    )


def _show(
    panel: Axes, title: str, image: np.ndarray, norm: Normalize, colours: str, dirty: DirtyImage
) -> AxesImage:
    """An image with its title."""
    panel.set_title(title, fontsize=12)
    return sky_panel.show(panel, image, norm, dirty.cell, colours)


def _bar(panel: Axes, shown: AxesImage, label: str, ticks=None) -> None:
    """A colour bar as high as the panel."""
    bar = panel.figure.colorbar(shown, ax=panel, pad=0.015, fraction=0.046, aspect=26)
    bar.set_label(label, labelpad=3)
    if ticks is not None:
        bar.set_ticks(ticks)
        bar.set_ticklabels([f"{tick:g}" for tick in ticks])
        bar.minorticks_off()
    bar.ax.tick_params(labelsize=9)


def _sky(panel: Axes, title: str, image: np.ndarray, noise: float, dirty: DirtyImage) -> None:
    """Brightness [Jy/beam], linear in the noise and logarithmic above it."""
    top = scales.top(image)
    scale, unit = scales.prefix(top)
    low = noise if noise > 0 else top / 100
    norm = AsinhNorm(2 * low / scale, vmin=-3 * low / scale, vmax=max(top, 5 * low) / scale)
    shown = _show(panel, title, image / scale, norm, "inferno", dirty)
    _bar(panel, shown, f"{unit}/beam", scales.ticks(norm))
    _beam(panel, dirty)
    _half_power(panel, dirty)


def _positive(panel: Axes, title: str, image: np.ndarray, dirty: DirtyImage) -> None:
    """Brightness [Jy/pixel] from 0 up, with faint structure lifted."""
    top = scales.top(image)
    scale, unit = scales.prefix(top)
    norm = AsinhNorm(top / 50 / scale, vmin=0, vmax=top / scale)
    shown = _show(panel, title, image / scale, norm, "inferno", dirty)
    _bar(panel, shown, f"{unit}/pixel", scales.ticks(norm))


def _probability(panel: Axes, prob: np.ndarray, dirty: DirtyImage) -> None:
    shown = _show(panel, "Detection probability", prob, Normalize(0, 1), "viridis", dirty)
    _bar(panel, shown, "probability per beam", [0, 0.2, 0.4, 0.6, 0.8, 1])


def _residual(panel: Axes, residual: np.ndarray, noise: float, dirty: DirtyImage) -> None:
    """Five sigma of noise either way; what exceeds it saturates."""
    reach = 5 * noise if noise > 0 else scales.top(np.abs(residual))
    scale, unit = scales.prefix(reach)
    norm = Normalize(-reach / scale, reach / scale)
    shown = _show(panel, "Residual (±5 rms)", residual / scale, norm, "RdBu_r", dirty)
    _bar(panel, shown, f"{unit}/beam")
    _beam(panel, dirty, "black")


def _ellipse(x: float, y: float, beam: Beam, **style) -> Ellipse:
    """The FWHM of a beam at an offset [arcsec]; its angle counts from north to east."""
    # Drawn in data coordinates, in which east is positive: an angle from +y towards +x.
    return Ellipse((x, y), beam.minor, beam.major, angle=-beam.pa, **style)


def _beam(panel: Axes, dirty: DirtyImage, colour: str = "white") -> None:
    """The clean beam in the lower left corner."""
    left, right, bottom, top = sky_panel.extent(dirty.data.shape, dirty.cell)
    margin = 0.035 * min(left - right, top - bottom) + dirty.beam.major / 2
    panel.add_patch(
        _ellipse(left - margin, bottom + margin, dirty.beam, facecolor=colour, edgecolor="0.5")
    )


def _half_power(panel: Axes, dirty: DirtyImage) -> None:
    """The primary beam's half-power contour, where the image reaches it."""
    if dirty.pb is None:
        return
    pb = np.nan_to_num(dirty.pb)
    if pb.min() < 0.5 < pb.max():
        panel.contour(
            pb,
            [0.5],
            extent=sky_panel.extent(pb.shape, dirty.cell),
            origin="lower",
            colors=HALF_POWER,
            linewidths=0.8,
            linestyles="dotted",
        )


def _mark(panel: Axes, catalogue: QTable, dirty: DirtyImage, minprob: float) -> None:
    """Ellipses around the sources, numbers beside the brightest."""
    ny, nx = dirty.data.shape
    least = SMALLEST * min(ny, nx) * dirty.cell
    prob = np.asarray(catalogue["prob"])
    certain = np.flatnonzero(prob >= minprob)
    uncertain = np.flatnonzero(prob < minprob)
    uncertain = uncertain[np.argsort(-prob[uncertain], kind="stable")][:UNCERTAIN]
    angles = np.zeros(len(catalogue))
    if dirty.wcs is not None:
        # Position angles are from the north, ellipses from the image's +y.
        angles = np.degrees(north(dirty.wcs, catalogue["x"].value, catalogue["y"].value))
    for row in [*certain, *uncertain]:
        x = (nx // 2 - catalogue["x"][row].value) * dirty.cell
        y = (catalogue["y"][row].value - ny // 2) * dirty.cell
        shape = _outline(catalogue[row], dirty.beam, least, angles[row])
        sure = prob[row] >= minprob
        style = {"linewidth": 1.0 if sure else 0.7, "linestyle": "-" if sure else (0, (3, 2))}
        panel.add_patch(_ellipse(x, y, shape, fill=False, edgecolor=MARK, **style))
        if row in certain[:NUMBERED]:
            _number(panel, row + 1, x, y, shape)


def _outline(source, beam: Beam, least: float, angle: float) -> Beam:
    """An ellipse around a source, as large as twice the beam and never below `least`.

    North is at `angle` [deg] from the image's +y.
    """
    major, minor, pa = beam.major, beam.minor, beam.pa
    if source["resolved"]:
        major, minor, pa = (source[name].value for name in ("major", "minor", "pa"))
        major, minor, pa = np.hypot(major, beam.fwhm), np.hypot(minor, beam.fwhm), pa + angle
    factor = max(2.0, least / minor)
    return Beam(factor * major, factor * minor, pa)


def _number(panel: Axes, number: int, x: float, y: float, shape: Beam) -> None:
    """A source's number, upper right of its ellipse."""
    reach = 0.36 * shape.fwhm
    panel.annotate(
        str(number),
        (x - reach, y + reach),
        xytext=(1, 1),
        textcoords="offset points",
        color="white",
        fontsize=8,
        path_effects=[withStroke(linewidth=1.8, foreground="black")],
        clip_on=True,
    )
