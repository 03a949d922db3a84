"""The products of ddpmclean beyond tclean's: images, catalogue, component list, picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy.table import QTable

from casa_ddpm import catalogue, checkpoint, picture
from casa_ddpm.dirty import DirtyImage
from casa_ddpm.reconstruction import Reconstruction
from casa_ddpm.suffixes import CATALOGUE, OURS


def check_ours(name: str) -> None:
    """Check that files which a run would replace are an earlier run's.

    Raises
    ------
    FileExistsError
        If there are some of the products' names, but no catalogue, which every run writes.
    """
    there = [name + suffix for suffix in OURS if os.path.lexists(name + suffix)]
    if there and name + CATALOGUE not in there:
        raise FileExistsError(
            f"imagename={name!r} must not be the prefix of {', '.join(there)}, which would be "
            f"replaced and, as there is no {name + CATALOGUE}, are of no earlier run: move them, "
            "or take another imagename"
        )


def write(
    casa,
    name: str,
    template: str,
    planes: Sequence[DirtyImage | None],
    found: Sequence[Reconstruction | None],
    parameters: dict[str, Any],
) -> QTable:
    """Write all products of a run beyond tclean's.

    Parameters
    ----------
    casa : module
        `casa_ddpm.casa`.
    name : str
        Prefix of the products.
    template : str
        Image whose axes and coordinates they have.
    planes : sequence of DirtyImage
        One for each channel, None where it has no data.
    found : sequence of Reconstruction
        What was made of them.
    parameters : dict
        The task's.

    Returns
    -------
    QTable
        The sources of the component list.
    """
    casa.write_image(name + ".model.std", _cube(found, "std"), template, "Jy/pixel")
    casa.write_image(name + ".prob", _cube(found, "prob"), template, "")
    if parameters["savesamples"]:
        shape = (parameters["nsamples"], *_shape(found))
        samples = [np.zeros(shape, np.float32) if f is None else f.samples for f in found]
        casa.write_samples(name + ".samples", np.stack(samples, 1), template)
    tables = _catalogues(planes, found, parameters)
    table = tables[0] if len(planes) == 1 else catalogue.join(tables)
    catalogue.write(table, name, minprob=parameters["minprob"])
    # Outside of the primary beam there is no corrected flux.
    chosen = table[(table["prob"] >= parameters["minprob"]) & np.isfinite(table["flux"])]
    casa.write_components(name + ".cl", chosen, casa.spectral_frame(template, parameters["vis"]))
    _picture(name + ".png", planes, found, tables, parameters["minprob"])
    return chosen


def _shape(found: Sequence[Reconstruction | None]) -> tuple[int, ...]:
    return next(f.model.shape for f in found if f is not None)


def _cube(found: Sequence[Reconstruction | None], image: str) -> np.ndarray:
    """An image of every channel, 0 where there are no data, shape (nplane, ny, nx)."""
    shape = _shape(found)
    return np.stack([np.zeros(shape) if f is None else getattr(f, image) for f in found])


def _catalogues(planes, found, parameters: dict[str, Any]) -> dict[int, QTable]:
    """Every channel's catalogue, by its number."""
    meta = {"network": checkpoint.digest(parameters["network"]), "seed": parameters["seed"]}
    narrowing = _narrowing(parameters)
    return {
        k: catalogue.build(one.sources, plane, one.noise, meta=meta, narrowing=narrowing)
        for k, (plane, one) in enumerate(zip(planes, found, strict=True))
        if one is not None
    }


def _narrowing(parameters: dict[str, Any]) -> bool | None:
    """Whether the image's primary beam narrows with frequency as that of one pointing does."""
    if parameters["specmode"] == "mvc":
        return False
    if "mosaic" not in parameters["gridder"] and not parameters["gridder"].startswith("awp"):
        return True
    # A mosaic's is a mean of many. Conjugate beams make all frequencies' alike, as mvc does.
    return False if parameters["conjbeams"] and parameters["gridder"] == "awproject" else None


def _picture(path: str, planes, found, tables: dict[int, QTable], minprob: float) -> None:
    """The summary picture, of the brightest channel."""
    peaks = [-np.inf if f is None else float(f.restored.max()) for f in found]
    k = int(np.argmax(peaks))
    dirty, one = planes[k], found[k]
    picture.summary(
        path, dirty=dirty, model=one.model, std=one.std, prob=one.prob,
        residual=one.residual, restored=one.restored,
        catalogue=tables[k], minprob=minprob,
        title="" if len(planes) == 1 else f"channel {k} of {len(planes)}",
    )  # fmt: skip
