"""A comparison of two products as a page of markdown."""

from __future__ import annotations

import numpy as np
from astropy import units as u
from astropy.table import QTable

from casa_ddpm.benchmark import document
from casa_ddpm.compare.comparison import SNR, Comparison
from casa_ddpm.dirty import Beam
from casa_ddpm.scales import prefix

#: How many sources of one list alone are named.
NAMED = 20


def markdown(found: Comparison) -> str:
    """The comparison as markdown."""
    lines = ["# Comparison", "", *_products(found), "## Sources", "", *_sources(found)]
    if found.residuals:
        rows = [
            [kind.replace("_", " "), *(_jansky(left.get(kind)) for left in _two(found.residuals))]
            for kind in ("rms", "robust_rms", "peak")
        ]
        lines += ["## Residuals [Jy/beam]", "", *document.table(["", "A", "B"], rows)]
    lines += _images(found)
    if found.truth:
        lines += ["## Against the truth", "", *document.overall(found.truth)]
    return "\n".join(lines).rstrip() + "\n"


def _two(values: dict[str, dict]) -> list[dict]:
    return [values.get(name, {}) for name in ("A", "B")]


def _products(found: Comparison) -> list[str]:
    rows = []
    for name, part in (("A", found.a), ("B", found.b)):
        how = f"photutils, S/N ≥ {SNR:g}" if part.found else "its catalogue"
        noise = document.EMPTY if part.noise is None else _jansky(part.noise)
        rows.append([name, part.name, how, _beam(part.beam), noise])
    lines = document.table(["", "name", "sources", "beam", "noise [Jy/beam]"], rows)
    for name, part in (("A", found.a), ("B", found.b)):
        if part.left_out:
            lines += [f"{name}: sources alone, {part.left_out!r} has several planes.", ""]
    return lines


def _sources(found: Comparison) -> list[str]:
    match, figures = found.match, found.match.figures()
    rows = [
        ["matched", str(len(match.pairs))],
        ["only in A", str(len(match.only_a))],
        ["only in B", str(len(match.only_b))],
    ]
    for label, name, unit in (
        ("flux B / A", "ratio", ""),
        ("(flux B - flux A) / error", "pull", ""),
        ("B east of A", "east", " arcsec"),
        ("B north of A", "north", " arcsec"),
    ):
        value, scatter = figures[name], figures[f"{name}_scatter"]
        text = f"{value:.4f}, scatter {scatter:.4f}{unit}"
        rows.append([f"{label}: median", text if np.isfinite(value) else document.EMPTY])
    lines = document.table(["", ""], rows)
    alone = (("A", match.a[match.only_a]), ("B", match.b[match.only_b]))
    for name, listed in alone:
        if len(listed):
            most = f", the {NAMED} brightest" if len(listed) > NAMED else ""
            lines += [f"Only in {name}{most}:", ""]
            lines += document.table(["ra", "dec", "flux", "S/N", "prob"], _named(listed))
    return lines


def _named(listed: QTable) -> list[list[str]]:
    rows = []
    for row in listed[np.argsort(-listed["flux"].value)][:NAMED]:
        prob, snr = (
            f"{row[name].value:.3g}" if np.isfinite(row[name]) else document.EMPTY
            for name in ("prob", "snr")
        )
        flux = _jansky(row["flux"].to_value(u.Jy))
        place = [f"{row[name].to_value(u.deg):.6f}" for name in ("ra", "dec")]
        rows.append([*place, flux, snr, prob])
    return rows


def _images(found: Comparison) -> list[str]:
    """The difference of the images."""
    if found.difference is None or found.a.image is None:
        return []
    values = found.difference.figures(found.a.image.cell)
    correlation = values.pop("correlation")
    flux = values.pop("flux")
    texts = {"rms": "rms", "robust_rms": "robust rms", "rms_a": "rms of A", "rms_b": "rms of B"}
    rows = [[texts.get(name, name), _jansky(value)] for name, value in values.items()]
    rows += [["summed flux [Jy]", _jansky(flux)], ["correlation", f"{correlation:.4f}"]]
    heading = f"## Images, B - A at {_beam(found.difference.beam)} [Jy/beam]"
    return [heading, "", *document.table(["", ""], rows)]


def _beam(beam: Beam | None) -> str:
    if beam is None:
        return document.EMPTY
    return f"{beam.major:.3g} x {beam.minor:.3g} arcsec, {beam.pa:.0f} deg"


def _jansky(value: float | None) -> str:
    """A brightness or flux with its prefix."""
    if value is None:
        return document.EMPTY
    factor, unit = prefix(value)
    return f"{value / factor:.4g} {unit}"
