"""What the task ddpmclean does: the only place that knows the order of image, draw, write."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from astropy import units as u
from tqdm import tqdm

from casa_ddpm import catalogue, checkpoint, picture
from casa_ddpm.dirty import DirtyImage
from casa_ddpm.posterior import Sampling, choose_device, choose_precision
from casa_ddpm.reconstruction import Options, Reconstruction, load_network, reconstruct

from . import parameters as task_parameters

#: tclean's stop codes and words for why the cycles ended.
_STOP = {
    "threshold": (2, "Reached global stopping criterion: threshold"),
    "noise": (8, "Reached n-sigma threshold: the residual is noise"),
    "stalled": (4, "No change in the residual across two major cycles"),
    "nmajor": (9, "Reached nmajor"),
}
#: Major cycles when nmajor=-1 sets no limit: more have never helped.
_MOST_CYCLES = 10


def ddpmclean(**parameters: Any) -> dict[str, Any]:
    """Image, draw realisations, write the products.

    Parameters
    ----------
    **parameters
        Every parameter of the task, validated.

    Returns
    -------
    dict
        tclean's summary, and the key ``ddpm``.
    """
    options = _options(parameters)
    load_network(options)
    choose_device(options.sampling.device)
    from casa_ddpm import casa  # CASA is met here, after all that can be checked without it

    clock = _Clock()
    if idle := task_parameters.ineffective(parameters):
        casa.log("Without effect in ddpmclean: " + ", ".join(idle))
    before = set(casa.products(parameters["imagename"]))
    with _imager(casa, parameters) as imager, _undone(casa, imager.imagename, before):
        start = imager.model()
        with clock("dirty"):
            dirty = imager.dirty()
        found = None
        if parameters["niter"] != 0:
            mask = imager.mask()
            with clock("reconstruct"), _bar(options) as progress:
                found = reconstruct(
                    dirty, options, imager.residual, start, mask, casa.log, progress
                )
        summary = imager.summary()
        _restore(imager, parameters, clock)
        if found is not None or not parameters["calcres"]:
            imager.save_model()
        name = imager.imagename
    if found is None:
        casa.write_history(name, casa.products(name), "ddpmclean", parameters)
        return summary | {"ddpm": {"imagename": name, "seconds": clock.seconds}}
    with clock("write"):
        table = _write(casa, name, dirty, found, parameters)
        casa.write_history(name, casa.products(name), "ddpmclean", parameters)
    casa.log(f"{len(table)} sources with probability of at least {parameters['minprob']}")
    return (
        summary
        | _summary(found, options, parameters)
        | {"ddpm": _account(found, options, table, name, clock)}
    )


class _Clock:
    """Seconds that named stages took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.monotonic() - started


def _options(p: dict[str, Any]) -> Options:
    sampling = Sampling(
        p["nsamples"], p["sampler"], p["nsteps"], p["seed"], p["device"], p["precision"],
        p["batchsize"],
    )  # fmt: skip
    return Options(
        network=p["network"],
        aggregate=p["aggregate"],
        conditioning=p["conditioning"],
        nmajor=_MOST_CYCLES if p["nmajor"] == -1 else p["nmajor"],
        threshold=_jansky(p["threshold"]),
        nsigma=p["nsigma"],
        sampling=sampling,
    )


def _jansky(threshold: float | str) -> float:
    """A threshold in Jy, or Jy/beam, from a number or from text such as '0.1mJy'."""
    flux = u.Quantity(threshold or 0)
    if flux.unit == u.dimensionless_unscaled:
        return float(flux.value)
    return float(
        (flux * u.beam).to_value(u.Jy) if u.beam in flux.unit.bases else flux.to_value(u.Jy)
    )


@contextmanager
def _undone(casa, name: str, before: set[str]) -> Iterator[None]:
    """Take away what a run that failed has written; what was there before stays."""
    try:
        yield
    except Exception:
        for path in set(casa.products(name)) - before:
            shutil.rmtree(path, ignore_errors=True)
        raise


def _imager(casa, p: dict[str, Any]):
    if p["dirtyimage"]:
        return casa.ImageImager(
            p["imagename"], p["dirtyimage"], p["psfimage"], p["pbimage"],
            abs(p["pblimit"]), p["restart"],
        )  # fmt: skip
    return casa.VisibilityImager(p)


def _restore(imager, p: dict[str, Any], clock: _Clock) -> None:
    if p["restoration"]:
        with clock("restore"):
            imager.restore(p["pbcor"])


@contextmanager
def _bar(options: Options) -> Iterator[Callable[[int], None]]:
    """A progress bar of realisations, in a terminal."""
    with tqdm(desc="realisations", unit="", leave=False, disable=not sys.stderr.isatty()) as bar:
        bar.total = options.sampling.nsamples * options.nmajor

        def advance(done: int) -> None:
            bar.update(done)

        yield advance


def _write(casa, name: str, dirty: DirtyImage, found: Reconstruction, p: dict[str, Any]):
    """All products beyond tclean's; returns the sources of the component list."""
    images = {".model.std": (found.std, "Jy/pixel"), ".prob": (found.prob, "")}
    files = (".cat.ecsv", ".cat.fits", ".crtf", ".reg", ".png")
    for path in (Path(name + suffix) for suffix in (*images, ".samples", ".cl", *files)):
        if path.exists():
            casa.log(f"{path} of an earlier run is replaced")
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    template = name + ".residual"
    for suffix, (data, unit) in images.items():
        casa.write_image(name + suffix, data, template, unit)
    if p["savesamples"]:
        casa.write_samples(name + ".samples", found.samples, template)
    meta = {"network": checkpoint.digest(p["network"]), "seed": p["seed"]}
    table = catalogue.build(found.sources, dirty, found.noise, meta=meta)
    catalogue.write(table, name)
    # Outside of the primary beam there is no corrected flux.
    chosen = table[(table["prob"] >= p["minprob"]) & np.isfinite(table["flux"])]
    casa.write_components(name + ".cl", chosen)
    picture.summary(
        name + ".png", dirty=dirty, model=found.model, std=found.std, prob=found.prob,
        residual=found.residual, restored=found.restored, catalogue=table,
        minprob=p["minprob"],
    )  # fmt: skip
    return chosen


def _summary(found: Reconstruction, options: Options, p: dict[str, Any]) -> dict[str, Any]:
    """What tclean's dict says of the cycles; its iterations are realisations here."""
    code, words = _STOP[found.stop]
    drawn = [options.sampling.nsamples] * len(found.cycles)
    minor = {
        "iterDone": np.array(drawn, float),
        "peakRes": np.array([cycle["peak"] for cycle in found.cycles]),
        "modelFlux": np.array([cycle["modelflux"] for cycle in found.cycles]),
        "cycleThresh": np.zeros(len(drawn)),
    }
    return {
        "stopcode": code,
        "stopDescription": words,
        "iterdone": sum(drawn),
        "nmajordone": len(found.cycles) + 1,
        "cleanstate": "stopped",
        "niter": p["niter"],
        "nsigma": p["nsigma"],
        "threshold": options.threshold,
        "summarymajor": np.cumsum([0, *drawn]),
        "summaryminor": {0: {0: {0: minor}}},
    }


def _account(found: Reconstruction, options: Options, table, name: str, clock: _Clock) -> dict:
    device = choose_device(options.sampling.device)
    return {
        "imagename": name,
        "network": options.network,
        "networkhash": table.meta["network"],
        "device": str(device),
        "precision": str(choose_precision(options.sampling.precision, device)).split(".")[-1],
        "threads": torch.get_num_threads(),
        "seed": options.sampling.seed,
        "seconds": clock.seconds,
        "noise": found.noise,
        "cycles": found.cycles,
        "sources": len(table),
        "candidates": len(found.sources),
        "calibration": "none",
    }
