"""The images of one field that the report's gallery shows, kept in a file until it is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from casa_ddpm.benchmark.field import Field
from casa_ddpm.benchmark.metrics import OURS
from casa_ddpm.benchmark.models import smoothed, true_model

#: What follows a method's name where the image is its model's error, or its residual.
ERROR, RESIDUAL = " – truth", " residual"
#: How many fields of a protocol are shown.
SHOWN = 2

Line = dict[str, np.ndarray]


@dataclass(frozen=True)
class Panels:
    """Images of one field, line by line, by the names that they are shown with.

    Parameters
    ----------
    lines : tuple of dict of ndarray, shape (ny, nx)
        dirty and residuals [Jy/beam]; truth, the realisations' mean, median and std, models by
        the name of their method and their errors, at half the beam's resolution [Jy/pixel].
    cell, noise : float
        Pixel [arcsec] and noise [Jy/beam].
    name : str
        What the field is called.

    Raises
    ------
    ValueError
        If there is no image, or they differ in shape.
    """

    lines: tuple[Line, ...]
    cell: float
    noise: float
    name: str = ""

    def __post_init__(self) -> None:
        shapes = {name: np.shape(image) for name, image in self.images.items()}
        if not shapes:
            raise ValueError("lines must hold at least one image, got none")
        if len(set(shapes.values())) > 1:
            raise ValueError(f"images of one field must have one shape, got {shapes}")

    @property
    def images(self) -> Line:
        """All images, by name."""
        return {name: image for line in self.lines for name, image in line.items()}

    def save(self, folder: Path) -> None:
        """Write the file that `load` reads, <folder>/<name>.npz."""
        content: dict[str, Any] = {"cell": self.cell, "noise": self.noise}
        for k, line in enumerate(self.lines):
            content |= {f"{k}:{name}": image for name, image in line.items()}
        np.savez(folder / f"{self.name}.npz", **content)

    @classmethod
    def load(cls, path: Path) -> Panels:
        """Read what `save` has written."""
        lines: dict[str, Line] = {}
        with np.load(path) as kept:
            for key in kept:
                number, colon, name = key.partition(":")
                if colon:
                    lines.setdefault(number, {})[name] = kept[key]
            cell, noise = float(kept["cell"]), float(kept["noise"])
        return cls(tuple(lines.values()), cell, noise, path.stem)


def panels(
    field: Field,
    model: np.ndarray,
    samples: np.ndarray,
    residual: np.ndarray,
    others: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
) -> Panels:
    """The images of a field: what is there, then a line for each method.

    Parameters
    ----------
    field : Field
    model, residual : ndarray, shape (ny, nx)
        Ours [Jy/pixel], [Jy/beam].
    samples : ndarray, shape (n, ny, nx)
        Realisations, at half the beam's resolution [Jy/pixel].
    others : mapping, optional
        Imager -> its model [Jy/pixel] and residual [Jy/beam].
    """
    truth = true_model(field)
    mean, median = samples.mean(0), np.median(samples, 0)
    lines = [{"dirty": field.dirty.data, "truth": truth, "mean": mean, "median": median}]
    for name, (sky, left) in {OURS: (model, residual), **(others or {})}.items():
        seen = smoothed(field, sky)
        lines.append({name: seen, name + ERROR: seen - truth, name + RESIDUAL: left})
    lines[1]["std"] = samples.std(0)
    plain = tuple({name: np.asarray(x, np.float32) for name, x in line.items()} for line in lines)
    return Panels(plain, field.dirty.cell, field.noise, f"{field.protocol} {field.index}")
