"""The report of the published protocol: a page, its numbers as JSON, its tables as ECSV."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from casa_ddpm.benchmark.document import EMPTY, table
from casa_ddpm.benchmark.published.figures import Figures
from casa_ddpm.benchmark.published.localisation import APERTURE, RADIUS
from casa_ddpm.benchmark.published.measurement import FIGURES, RESAMPLED, TRUTH, Measured
from casa_ddpm.benchmark.resampling import Figure

#: Published cells (Drozdova et al. 2024, A&A 683, A105, table 2): one run, mean, median.
_METHODS = ("one run", "mean", "median")
_CELLS = {
    "dirty": {
        "l2": (2.618, 1.724, 1.728),
        "psnr": (33.245, 33.673, 33.568),
        "ssim": (0.9867, 0.9863, 0.9864),
        "purity": (98.25, 99.25, 99.42),
        "completeness": (89.02, 90.23, 90.91),
    },
    "uv": {
        "l2": (3.262, 1.973, 1.984),
        "psnr": (32.040, 33.575, 33.339),
        "ssim": (0.9842, 0.9862, 0.9862),
        "purity": (96.84, 98.16, 98.16),
        "completeness": (88.41, 88.11, 89.02),
    },
}
PUBLISHED = {
    conditioning: {name: dict(zip(_METHODS, row, strict=True)) for name, row in cells.items()}
    for conditioning, cells in _CELLS.items()
}
#: Of photutils on the true sky, the same table.
TRUE_SKY = {"purity": 99.70, "completeness": 99.10}
#: Figure -> what it is called, factor, digits, meaning.
LEGEND = {
    "l2": ("L2 [1e-5 Jy/pixel]", 1e5, 3, "root of the sum of squared differences at 512 x 512"),
    "psnr": ("PSNR [dB]", 1, 2, "of roots (x / 2.960064e-5 Jy/pixel)^(1/2) in [0, 1], range 1"),
    "ssim": ("SSIM", 1, 4, "of the same images"),
    "psnr_cut": ("PSNR, cut [dB]", 1, 2, "of twice the root less 1, cut to [0, 1]"),
    "ssim_cut": ("SSIM, cut", 1, 4, "of the same images"),
    "purity": ("purity [%]", 100, 2, "detections that are matched / all"),
    "completeness": ("completeness [%]", 100, 2, "detections that are matched / true sources"),
    "f1": ("F1 [%]", 100, 2, "2 matched / (detections + true sources)"),
    "flux_correlation": ("flux correlation", 1, 3, "Pearson's, of matched measured and true flux"),
    "flux_r2": ("flux R²", 1, 3, "1 - squared errors / variance of the true fluxes"),
    "flux_ratio": ("flux / truth", 1, 3, "median of the matched: the bias"),
    "flux_scatter": ("scatter of flux / truth", 1, 3, "1.4826 median absolute deviation"),
    "within_1s": ("fluxes within 1 sigma", 1, 2, "sigma: spread of the realisations; 0.68 if true"),
    "within_2s": ("fluxes within 2 sigma", 1, 2, "0.95 if true"),
    "error_ratio": ("rms error / rms sigma", 1, 2, "of matched fluxes; 1 if sigma is true"),
    "error_correlation": ("error and sigma", 1, 2, "Pearson's, of absolute flux error and sigma"),
}
INTRODUCTION = f"""# Published protocol

**This protocol leaks, and its figures are there only to be compared with the published table.**
All its fields have one noise vector, so that the noise images of two fields correlate as given
below, where those of independent observations correlate by 0; and every source is on a lattice of
1 arcsec. A network learns both. "Independent noise" is the same networks on the same skies, each
with noise of its own, for which they were not trained: it shows how much they live on what they
remember. The matched filter, which no method beats on isolated points at unknown places when the
noise is not known, finds 37 % of these fluxes at 99 % purity. For what a user's data will give
see the independent protocol.

Detections are local maxima (photutils) of the images on pixels of 0.1 arcsec, true if within
{RADIUS} arcsec of a true source, one to one. Thresholds on the peak are those of the highest F1 on
fields of the validation stream with the one noise vector, for each conditioning and method; the
same hold under independent noise. "Detections" are found in more than half of the realisations:
peaks within {RADIUS} arcsec of each other are one source, and its peak is that which more than
half reach. Fluxes are sums within {APERTURE:g} arcsec (of the mean image for "detections").
Value (68 % bootstrap interval over fields). "{RESAMPLED}": what pixels of 0.4 arcsec leave.
"""


def write(out: Path, found: Measured, figures: Figures, account: Mapping) -> None:
    """Write report.md, figures.json and truth, images and detections as ECSV."""
    (out / "report.md").write_text(markdown(figures, account))
    whole = {"settings": account, "figures": figures, "published": PUBLISHED}
    (out / "figures.json").write_text(json.dumps(whole, indent=1) + "\n")
    for name in ("truth", "images", "detections"):
        getattr(found, name).write(out / f"{name}.ecsv")


def markdown(figures: Figures, account: Mapping) -> str:
    """The page."""
    lines = INTRODUCTION.splitlines() + [""]
    lines += table(["setting", "value"], [[name, _plain(v)] for name, v in account.items()])
    for conditioning, noises in figures.items():
        if conditioning == "none":
            continue
        lines += [f"## Conditioning: {conditioning}", ""]
        lines += _table(noises, PUBLISHED[conditioning])
        cuts = [
            f"{method} {value['threshold']['value']:.3g}"
            for method, value in next(iter(noises.values())).items()
        ]
        lines += [f"Thresholds [Jy/pixel]: {', '.join(cuts)}.", ""]
    lines += ["## True sky", "", *_sanity(figures["none"]["none"])]
    meanings = [[name, text] for name, _, _, text in LEGEND.values()]
    return "\n".join([*lines, "## Definitions", "", *table(["figure", "definition"], meanings)])


def _table(noises: Mapping, published: Mapping) -> list[str]:
    """A row for each figure and method: published, one noise vector, independent noise."""
    rows = []
    for name, (label, *_) in LEGEND.items():
        for method in next(iter(noises.values())):
            cells = [cell(name, figures[method].get(name)) for figures in noises.values()]
            known = published.get(name, {}).get(method)
            if any(text != EMPTY for text in cells):
                rows.append([label, method, EMPTY if known is None else f"{known:g}", *cells])
    names = {"shared": "one noise vector (leaks)", "independent": "independent noise"}
    return table(["figure", "image", "published", *(names[noise] for noise in noises)], rows)


def _sanity(methods: Mapping) -> list[str]:
    """Photutils on the true sky."""
    rows = []
    for name in (*FIGURES, "purity", "completeness", "flux_ratio", "flux_scatter"):
        cells = [cell(name, methods[method].get(name)) for method in (TRUTH, RESAMPLED)]
        rows.append([LEGEND[name][0], str(TRUE_SKY.get(name, EMPTY)), *cells])
    return table(["figure", "published", TRUTH, RESAMPLED], rows)


def cell(name: str, figure: Figure | None) -> str:
    """A figure as text: value (low, high)."""
    if figure is None or figure["value"] is None:
        return EMPTY
    _, scale, digits, _ = LEGEND[name]
    value, low, high = (
        None if figure[key] is None else f"{scale * figure[key]:.{digits}f}"  # type: ignore[operator]
        for key in ("value", "low", "high")
    )
    return str(value) if low is None else f"{value} ({low}, {high})"


def _plain(value) -> str:
    """A setting as text."""
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {_plain(item)}" for name, item in value.items())
    return str(value)
