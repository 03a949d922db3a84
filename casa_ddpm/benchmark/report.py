"""The benchmark's results on disk: tables, figures, timing and a page to read.

Two runs with the same seeds write the same bytes, but for timing.json.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from casa_ddpm.benchmark import document, tables
from casa_ddpm.benchmark.metrics import Comparisons, Figures

TRUTH, DETECTIONS, IMAGES = "truth.ecsv", "detections.ecsv", "images.ecsv"
FIGURES, TIMING, PAGE = "figures.json", "timing.json", "report.md"


@dataclass(frozen=True)
class Report:
    """All that a run of the benchmark has measured.

    Parameters
    ----------
    truth, detections, images : Table
        Columns as in `casa_ddpm.benchmark.tables`.
    figures : dict
        protocol -> method -> figure -> {value, low, high, n}.
    comparisons : dict
        protocol -> one -> other -> figure -> {value, low, high, n, better}.
    settings : dict
        What it was run with: plain values, lists and dicts with names as keys.
    missing : dict
        Method -> why it is not there.
    """

    truth: Table
    detections: Table
    images: Table
    figures: Figures
    comparisons: Comparisons = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def write(folder: str | Path, report: Report, pictures: Sequence[str] = ()) -> None:
    """Write a report; files of its names that exist are replaced.

    Parameters
    ----------
    folder : str or path
        Made if it is not there.
    report : Report
        What has been measured.
    pictures : sequence of str
        Names of PNG files in the folder, which the page shows.

    Raises
    ------
    ValueError
        If a table lacks a column, or a figure or setting is NaN, infinite or not plain.
    """
    truth = tables.checked(report.truth, tables.TRUTH, "truth")
    detections = tables.checked(report.detections, tables.DETECTIONS, "detections")
    images = tables.checked(report.images, tables.IMAGES, "images")
    figures = _json(
        {
            "settings": report.settings,
            "missing": report.missing,
            "figures": report.figures,
            "comparisons": report.comparisons,
        }
    )
    # Everything is checked before the first file.
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    plain = images.copy()
    plain.remove_column("seconds")
    for name, table in ((TRUTH, truth), (DETECTIONS, detections), (IMAGES, plain)):
        table.write(folder / name, format="ascii.ecsv", overwrite=True)
    (folder / FIGURES).write_text(figures, encoding="utf-8")
    (folder / TIMING).write_text(_json(_timing(images)), encoding="utf-8")
    page = document.markdown(
        report.figures, report.comparisons, report.settings, report.missing, pictures
    )
    (folder / PAGE).write_text(page, encoding="utf-8")


def read(folder: str | Path) -> Report:
    """Read a report back.

    Raises
    ------
    FileNotFoundError
        If the folder holds no complete report.
    """
    folder = Path(folder)
    for name in (TRUTH, DETECTIONS, IMAGES, FIGURES):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} holds no report of a benchmark: no {name}")
    truth, detections, images = (
        Table.read(folder / name, format="ascii.ecsv") for name in (TRUTH, DETECTIONS, IMAGES)
    )
    images = tables.checked(images, tables.IMAGES, IMAGES)
    if (folder / TIMING).is_file():
        _set_seconds(images, json.loads((folder / TIMING).read_text(encoding="utf-8")))
    return Report(
        truth=tables.checked(truth, tables.TRUTH, TRUTH),
        detections=tables.checked(detections, tables.DETECTIONS, DETECTIONS),
        images=images,
        **json.loads((folder / FIGURES).read_text(encoding="utf-8")),
    )


def _json(content: Any) -> str:
    """Text of plain content."""
    try:
        return json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    except (TypeError, ValueError) as error:
        raise ValueError(f"figures and settings must be plain and finite: {error}") from error


def _timing(images: Table) -> dict[str, dict[str, dict[str, float | None]]]:
    """protocol -> method -> field -> seconds."""
    result: dict[str, dict[str, dict[str, float | None]]] = {}
    for row in images:
        method = result.setdefault(str(row["protocol"]), {}).setdefault(str(row["method"]), {})
        seconds = float(row["seconds"])
        method[str(row["field"])] = seconds if np.isfinite(seconds) else None
    return result


def _set_seconds(images: Table, timing: dict) -> None:
    """Fill the column that the table on disk has not."""
    for i, row in enumerate(images):
        known = timing.get(str(row["protocol"]), {}).get(str(row["method"]), {})
        seconds = known.get(str(row["field"]))
        images["seconds"][i] = np.nan if seconds is None else seconds
