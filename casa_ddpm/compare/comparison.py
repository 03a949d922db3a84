"""Two products side by side: what they share, and what differs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import QTable

from casa_ddpm.compare import scoring
from casa_ddpm.compare.crossmatch import Crossmatch, crossmatch
from casa_ddpm.compare.difference import Difference, difference, residual_rms
from casa_ddpm.compare.products import Product
from casa_ddpm.compare.source_list import channels, places
from casa_ddpm.dirty import Beam

#: S/N from which what is found in an image counts as a source.
SNR = 5.0


@dataclass(frozen=True)
class Comparison:
    """What two products share, and what differs.

    Attributes
    ----------
    a, b : Product
    match : Crossmatch
        Of the sources that count.
    difference : Difference or None
        Of the restored images, where both have one.
    residuals : dict
        'A', 'B' -> rms, robust_rms and peak [Jy/beam], where there is a residual.
    truth : dict
        'A', 'B' -> figure -> {value, low, high, n}; empty without a truth.
    beam : Beam
        The larger clean beam, within 0.6 of which sources match.
    """

    a: Product
    b: Product
    match: Crossmatch
    difference: Difference | None
    residuals: dict[str, dict[str, float]]
    truth: dict[str, dict]
    beam: Beam


def compare(
    a: Product,
    b: Product,
    truth: dict[str, np.ndarray] | None = None,
    minprob: float = 0.9,
    beam: Beam | None = None,
    noise: float | None = None,
) -> Comparison:
    """Compare two products.

    Parameters
    ----------
    a, b : Product
    truth : dict, optional
        As `casa_ddpm.benchmark.truth.read` gives it.
    minprob : float
        Probability from which a source with one counts.
    beam : Beam, optional
        Clean beam, where neither product knows one, or instead.
    noise : float, optional
        rms [Jy/beam] for the truth's limits, likewise; the first product's that knows it.

    Raises
    ------
    ValueError
        If beam or noise are not known, images do not lie on one grid, or no true source lies
        within them, or there is a truth, which has one channel, where a list has several.
    """
    both = {"A": a, "B": b}
    known = [own for own in (a.beam, b.beam) if own is not None]
    if beam is None and not known:
        raise ValueError("beam must be given where neither image nor catalogue has one, got none")
    beam = beam or max(known, key=lambda own: own.fwhm)
    taken = difference(a, b)
    residuals = {name: left for name, part in both.items() if (left := residual_rms(part))}
    scored: dict[str, dict] = {}
    if truth is not None:
        _check_channels(both)
        level = noise or next((n for n in (a.noise, b.noise) if n is not None), None)
        if level is None:
            raise ValueError("noise must be given where neither image nor catalogue has it")
        scored = scoring.figures(
            {name: part.sources for name, part in both.items()},
            within(truth, [part for part in both.values() if part.image is not None]),
            beam, level,
            {name: threshold(part, minprob) for name, part in both.items()},
            {name: left["rms"] for name, left in residuals.items()},
        )  # fmt: skip
    match = crossmatch(counting(a, minprob), counting(b, minprob), beam.fwhm)
    return Comparison(a, b, match, taken, residuals, scored, beam)


def _check_channels(both: dict[str, Product]) -> None:
    """Refuse lists of several channels, which no truth is beside."""
    for name, part in both.items():
        if (number := len(channels(part.sources))) > 1:
            raise ValueError(f"{name} must be of one channel where a truth is given, got {number}")


def threshold(product: Product, minprob: float) -> float:
    """Probability from which a source counts, or score of those without one."""
    if product.found:
        return SNR
    return minprob if np.isfinite(product.sources["prob"].value).all() else -np.inf


def counting(product: Product, minprob: float) -> QTable:
    """The sources that count: certain ones, bright ones where they were looked for, or all."""
    prob, snr = product.sources["prob"].value, product.sources["snr"].value
    if product.found:
        return product.sources[snr >= SNR]
    return product.sources[~(prob < minprob)]


def within(truth: dict[str, np.ndarray], products: list[Product]) -> dict[str, np.ndarray]:
    """The true sources that lie in all images.

    Raises
    ------
    ValueError
        If none does.
    """
    inside = np.ones(len(truth["ra"]), bool)
    sky = places(QTable({name: truth[name] * u.deg for name in ("ra", "dec")}))
    for product in products:
        assert product.image is not None
        x, y = product.image.wcs.world_to_pixel(sky)
        ny, nx = product.image.data.shape
        inside &= (np.abs(x - (nx - 1) / 2) < nx / 2) & (np.abs(y - (ny - 1) / 2) < ny / 2)
    if not inside.any():
        raise ValueError(f"truth must have a source within the images, got {len(inside)} outside")
    return {name: values[inside] for name, values in truth.items()}


def plain(found: Comparison) -> dict[str, Any]:
    """All figures as plain values; None for what is not known."""

    def finite(values: dict[str, float]) -> dict[str, float | None]:
        return {k: float(v) if np.isfinite(v) else None for k, v in values.items()}

    match, image = found.match, found.a.image
    pixels = None
    if found.difference is not None and image is not None:
        pixels = finite(found.difference.figures(image.cell))
    return {
        "A": found.a.name,
        "B": found.b.name,
        "matched": len(match.pairs),
        "only_a": len(match.only_a),
        "only_b": len(match.only_b),
        "sources": finite(match.figures()),
        "residuals": {name: finite(values) for name, values in found.residuals.items()},
        "difference": pixels,
        "truth": found.truth,
    }
