"""Pictures of a comparison: the two images and their difference, and the matched sources."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.table import QTable
from matplotlib.axes import Axes
from matplotlib.colors import AsinhNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from casa_ddpm import noise, scales, sky_panel
from casa_ddpm.benchmark.look import plain_numbers
from casa_ddpm.compare.comparison import Comparison
from casa_ddpm.compare.crossmatch import offsets
from casa_ddpm.compare.products import Image
from casa_ddpm.compare.source_list import places

DPI = 120
#: Marks of sources that both have, and that one alone has.
BOTH, ALONE = "#7df9ff", "#39ff14"


def write(folder: Path, found: Comparison) -> list[str]:
    """Write the pictures that can be drawn; returns their names."""
    drawn = {}
    if found.difference is not None:
        drawn["images.png"] = images(found)
    if len(found.match.pairs):
        drawn["fluxes.png"] = sources(found)
    for name, figure in drawn.items():
        figure.savefig(folder / name, dpi=DPI)
    return list(drawn)


def images(found: Comparison) -> Figure:
    """A, B and B less A at the common beam, with the sources that count.

    Circles are sources that both have, squares those of one alone.
    """
    assert found.difference is not None and found.a.image is not None
    taken, image = found.difference, found.a.image
    level = _noise(found)
    high = max(scales.top(taken.a), scales.top(taken.b), 5 * level)
    shared = AsinhNorm(2 * level, vmin=-3 * level, vmax=high)
    reach = max(5 * level, float(np.nanpercentile(np.abs(taken.image), 99.9)))
    ny, nx = taken.a.shape
    aspect = float(np.clip(ny / nx, 0.4, 1.6))
    figure = Figure(figsize=(17, 4.5 * aspect + 0.9), layout="constrained")
    panels = figure.subplots(1, 3, sharex=True, sharey=True)
    parts = (("A", taken.a, shared), ("B", taken.b, shared))
    for panel, (name, data, norm) in zip(panels, parts, strict=False):
        _show(panel, f"{name}: {_short(getattr(found, name.lower()).name)}", data, norm, image.cell)
    _show(panels[2], "B – A", taken.image, Normalize(-reach, reach), image.cell, "RdBu_r")
    match = found.match
    for k, (listed, alone) in enumerate(((match.a, match.only_a), (match.b, match.only_b))):
        _mark(panels[k], image, listed[match.pairs[:, k]], "o", BOTH)
        _mark(panels[k], image, listed[alone], "s", ALONE)
    panels[0].set_ylabel("Offset in declination [arcsec]")
    beam = found.difference.beam
    figure.suptitle(
        f"common beam {beam.major:.3g}″ × {beam.minor:.3g}″, {beam.pa:.0f}°;  circles: in both, "
        "squares: in one alone"
    )
    return figure


def _noise(found: Comparison) -> float:
    """rms of the images at the common beam, the lower one [Jy/beam]."""
    assert found.difference is not None
    return min(noise.rms(data) for data in (found.difference.a, found.difference.b))


def _short(name: str) -> str:
    """The end of a long name."""
    return name if len(name) <= 46 else "…" + name[-45:]


def _show(
    panel: Axes, title: str, data: np.ndarray, norm: Normalize, cell: float, colours="inferno"
) -> None:
    """An image with its title and colour bar."""
    sky_panel.bar(sky_panel.show(panel, data, norm, cell, colours), "beam")
    panel.set_title(title, fontsize=11)
    panel.set_xlabel("Offset in right ascension [arcsec]")


def _mark(panel: Axes, image: Image, listed: QTable, marker: str, colour: str) -> None:
    """Where sources are, on an image."""
    if not len(listed):
        return
    ny, nx = image.data.shape
    x, y = image.wcs.world_to_pixel(places(listed))
    panel.scatter(
        (nx // 2 - x) * image.cell, (y - ny // 2) * image.cell, s=90, marker=marker,
        facecolors="none", edgecolors=colour, linewidths=0.9,
    )  # fmt: skip


def sources(found: Comparison) -> Figure:
    """Flux in B over flux in A, and how far B's positions are from A's."""
    a, b = found.match.matched()
    figure = Figure(figsize=(11.5, 5.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    _fluxes(left, a, b)
    east, north = offsets(places(a), places(b))
    right.plot(east, north, "o", color="#0072B2", markersize=5, alpha=0.7)
    reach = 1.1 * max(float(np.max(np.hypot(east, north))), 0.05 * found.beam.fwhm)
    for line in (right.axhline, right.axvline):
        line(0, color="0.6", linewidth=0.8)
    right.set(xlim=(reach, -reach), ylim=(-reach, reach), aspect="equal")
    right.set(xlabel="B east of A [arcsec]", ylabel="B north of A [arcsec]")
    right.set_title(f"Positions (beam {found.beam.fwhm:.3g}″)")
    figure.suptitle(f"{len(a)} sources in both")
    return figure


def _fluxes(panel: Axes, a: QTable, b: QTable) -> None:
    """Fluxes of matched sources with their errors, on logarithmic axes."""
    flux = [part["flux"].to_value(u.Jy) for part in (a, b)]
    good = (flux[0] > 0) & (flux[1] > 0)
    factor, unit = scales.prefix(float(np.max(np.concatenate(flux))))
    x, y = (part[good] / factor for part in flux)
    errors = [np.nan_to_num(part["flux_err"].to_value(u.Jy)[good] / factor) for part in (a, b)]
    # What reaches below zero has no place on the axis.
    bars = [[np.minimum(e, 0.99 * v), e] for v, e in zip((x, y), errors, strict=True)]
    panel.errorbar(x, y, bars[1], bars[0], fmt="o", color="#D55E00", markersize=5, elinewidth=0.8)
    panel.set(xscale="log", yscale="log")
    if len(x):
        ends = min(x.min(), y.min()) / 1.4, max(x.max(), y.max()) * 1.4
        panel.plot(ends, ends, color="0.5", linewidth=1)
        panel.set(xlim=ends, ylim=ends, aspect="equal")
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        plain_numbers(axis)
    panel.set(xlabel=f"Flux in A [{unit}]", ylabel=f"Flux in B [{unit}]", title="Fluxes")
