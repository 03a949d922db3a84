"""The quick variant's figures that were recorded for the shipped network, and what is worse."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from casa_ddpm import checkpoint
from casa_ddpm.benchmark.legend import entry
from casa_ddpm.benchmark.metrics import OURS, Figures

#: Figures that the quick variant watches, and by how many times what is known of the recorded
#: figure (`_half_width`) they may be worse; other processors round otherwise, and draw other
#: sources.
WATCHED = (
    "f1",
    "completeness_90",
    "false_certain",
    "flux_ratio[>=5]",
    "flux_scatter[>=5]",
    "position_scatter[>=5]",
    "residual_rms",
)
SLACK = 2.0
#: Half width that an interval over few fields is taken to have at least.
LEAST = 0.05
#: Relative error of a scatter of one source, by the median of its errors (37 % efficient,
#: Rousseeuw & Croux 1993, JASA 88, 1273): fields that are resampled by the two or three know
#: of no more scatters than they have.
ROUGH = 1.16


def read() -> dict:
    """The shipped network's hash as `network`, and the quick variant's `figures` of it."""
    return json.loads((resources.files("casa_ddpm.benchmark") / "recorded.json").read_text())


def write(path: str | Path, network: str, figures: Figures) -> None:
    """Record the figures that are watched, and whose they are."""
    watched = {
        protocol: {name: methods[OURS][name] for name in WATCHED}
        for protocol, methods in figures.items()
    }
    content = {"network": checkpoint.digest(network), "figures": watched}
    Path(path).write_text(json.dumps(content, indent=1) + "\n")


def watch(network: str, figures: Figures) -> int:
    """Say what is worse than recorded; returns 1 where something is, else 0.

    Parameters
    ----------
    network : str
        A shipped network, or a checkpoint that is compared with the shipped one.
    figures : dict
        protocol -> method -> figure -> {value, low, high, n}.
    """
    kept = read()
    if network == "default" and kept["network"] != checkpoint.digest("default"):
        print("the recorded figures are another network's")
        return 1
    worse = list(worsened(figures, kept["figures"]))
    for line in worse:
        print(f"worse than recorded: {line}")
    return 1 if worse else 0


def worsened(figures: Figures, kept: dict) -> Iterator[str]:
    """What is worse than recorded by more than SLACK times `_half_width`."""
    for protocol, names in kept.items():
        for name, old in names.items():
            new = figures[protocol][OURS][name]["value"]
            if new is None or None in old.values():
                continue
            allowed = SLACK * _half_width(name, old)
            rise = entry(name).loss(new) - entry(name).loss(old["value"])
            if rise > allowed:
                yield f"{protocol} {name}: {new:.4g}, recorded {old['value']:.4g}"


def _half_width(name: str, figure: dict[str, float]) -> float:
    """Of a recorded figure's interval; of a scatter's no less than as many errors allow."""
    half = max((figure["high"] - figure["low"]) / 2, LEAST)
    if "_scatter" not in name:
        return half
    # A position has two coordinates.
    errors = figure["n"] * (2 if name.startswith("position") else 1)
    return max(half, ROUGH * figure["value"] / math.sqrt(errors))
