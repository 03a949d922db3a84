"""What the task ddpmclean does: the only place that knows the order of image, draw, write."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from astropy import units as u
from tqdm import tqdm

from casa_ddpm import noise
from casa_ddpm.checkpoint import Settings
from casa_ddpm.device import choose_device
from casa_ddpm.dirty import DirtyImage
from casa_ddpm.posterior import Sampling
from casa_ddpm.reconstruction import (
    Options,
    Reconstruction,
    load_network,
    reconstruct_band,
    reconstruct_cube,
)
from casa_ddpm.suffixes import OURS

from . import effect, products, summary

#: Passes with nmajor=-1: more have never helped.
_MOST_PASSES = 10
#: Times the thermal noise from which on the noise of an image is more than that.
_LIMITED = 1.5
#: Times the rms of an image that its thermal noise cannot be.
_TOO_MUCH = 1.3


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
    _, settings = load_network(options)
    choose_device(options.sampling.device)
    from casa_ddpm import casa  # CASA is met here, after all that can be checked without it

    clock = _Clock()
    if idle := effect.ineffective(parameters):
        casa.log("Without effect in ddpmclean: " + ", ".join(idle))
    name = parameters["imagename"]
    if not parameters["restart"]:
        name = casa.next_name(name)
    # Before the imager: CASA crashes on what a run that was killed has left half written.
    with casa.unfinished(name) as journal:
        return _run(casa, journal, name, options, settings, parameters, clock)


def _run(
    casa, journal, name: str, options: Options, settings: Settings, parameters: dict[str, Any],
    clock: _Clock,
) -> dict[str, Any]:  # fmt: skip
    """All that is done under the name of the products, once that is settled."""
    if parameters["niter"] != 0:
        products.check_ours(name)
    with _imager(casa, parameters | {"imagename": name, "restart": True}) as imager:
        start = imager.model()
        with clock("dirty"):
            planes = imager.dirty()
        found: list[Reconstruction | None] = []
        if parameters["niter"] != 0:
            planes = _with_noise(planes, parameters["thermalnoise"], casa.log)
            with clock("reconstruct"), _bar(options, len(planes)) as progress:
                mask = _mask(imager, parameters["usemask"])
                cycle = _Counted(imager.residual)
                found = _found(imager, planes, options, cycle, start, mask, casa.log, progress)
        nothing_done = imager.summary()
        if parameters["restoration"] and imager.restorable():
            # An earlier run's .image.pbcor is of another model, whether it is wanted now or not.
            changed = found or parameters["pbcor"]
            names = imager.names
            journal.replace(*names.restored, *(names.corrected if changed else ()))
            with clock("restore"):
                imager.restore(parameters["pbcor"])
    table = None
    with clock("write"):
        if found:
            journal.replace(*OURS)
            template = imager.names.path(".residual")
            table = products.write(casa, name, template, planes, found, parameters)
        casa.write_history(name, casa.products(name), "ddpmclean", parameters)
    if parameters["savemodel"] != "none":
        # The products are whole and stay, whatever becomes of the model in the visibilities, for
        # which CASA changes the .model of a mosaic for a while.
        journal.settle()
        imager.save_model()
    if table is None:
        return nothing_done | {"ddpm": {"imagename": name, "seconds": clock.seconds}}
    _tell_noise(casa.log, planes, found)
    casa.log(f"{len(table)} sources with probability of at least {parameters['minprob']}")
    return (
        nothing_done
        | summary.of_cycles(found, cycle.calls, options, parameters)
        | {"ddpm": summary.account(planes, found, options, settings, table, name, clock.seconds)}
    )


def _tell_noise(
    log: Callable[..., None],
    planes: Sequence[DirtyImage | None],
    found: Sequence[Reconstruction | None],
) -> None:
    """Say what limits an image, or the worst channel of a cube, where the visibilities tell."""
    ratios = [
        one.noise / plane.thermal if plane and one and plane.thermal else 0.0
        for plane, one in zip(planes, found, strict=True)
    ]
    worst = int(np.argmax(ratios))
    plane, one = planes[worst], found[worst]
    if plane is None or one is None or plane.thermal is None:
        return
    where = f"channel {worst}: " if len(planes) > 1 else ""
    text = (
        f"{where}noise {one.noise:.4g} Jy/beam, thermal noise of the visibilities "
        f"{plane.thermal:.4g}"
    )
    if ratios[worst] > _LIMITED:
        log(
            f"{text}: calibration, confusion or sky that no model explains limits the image", "WARN"
        )
    else:
        log(text)


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
        nmajor=_MOST_PASSES if p["nmajor"] == -1 else p["nmajor"],
        threshold=_jansky(p["threshold"]),
        nsigma=p["nsigma"],
        sampling=sampling,
        samples=p["savesamples"],
    )


def _with_noise(
    planes: list[DirtyImage | None], thermalnoise: float | str, log: Callable[..., None]
) -> list[DirtyImage | None]:
    """Images of which the user knows the thermal noise, where that is so.

    Raises
    ------
    ValueError
        If the image, or most channels of a cube, clearly have less noise than that.
    """
    if thermalnoise == "":
        return planes
    thermal = _jansky(thermalnoise)
    own = float(np.median([noise.rms(plane.data, plane.valid) for plane in planes if plane]))
    if thermal > _TOO_MUCH * own:
        raise ValueError(
            f"thermalnoise must not be more than {_TOO_MUCH:g} times the image's own rms of "
            f"{own:.4g} Jy/beam, got {thermalnoise!r}"
        )
    if thermal > own:
        log(
            f"thermalnoise={thermalnoise!r} is above the image's own rms of {own:.4g} Jy/beam",
            "WARN",
        )
    return [plane and replace(plane, thermal=thermal) for plane in planes]


def _jansky(given: float | str) -> float:
    """Jy, or Jy/beam, from a number or from text such as '0.1mJy'."""
    flux = u.Quantity(given or 0)
    if flux.unit == u.dimensionless_unscaled:
        return float(flux.value)
    return float(
        (flux * u.beam).to_value(u.Jy) if u.beam in flux.unit.bases else flux.to_value(u.Jy)
    )


def _imager(casa, p: dict[str, Any]):
    if p["dirtyimage"]:
        start = (
            p["startmodel"] if isinstance(p["startmodel"], str) else "".join(p["startmodel"][:1])
        )
        return casa.ImageImager(
            p["imagename"], p["dirtyimage"], p["psfimage"], p["pbimage"],
            abs(p["pblimit"]), p["restart"], start,
        )  # fmt: skip
    return casa.VisibilityImager(p)


def _found(imager, planes: Sequence[DirtyImage | None], *how) -> list[Reconstruction | None]:
    """What is found in each plane, or in the one that Taylor terms of a spectrum are of."""
    if not imager.names.terms:
        return reconstruct_cube(planes, *how)
    dirty = planes[0]
    assert dirty is not None  # an image without data is an error before
    return [reconstruct_band(dirty, imager.taylor, imager.left(), *how)]


def _mask(imager, usemask: str) -> Callable[[], np.ndarray]:
    """Gives the clean mask; the automatic one grows from one major cycle to the next."""
    if usemask == "auto-multithresh":
        return imager.mask
    mask = imager.mask()
    return lambda: mask


class _Counted:
    """The major cycle, counted."""

    def __init__(self, cycle: Callable[[np.ndarray], np.ndarray]) -> None:
        self.cycle, self.calls = cycle, 0

    def __call__(self, models: np.ndarray) -> np.ndarray:
        self.calls += 1
        return self.cycle(models)


@contextmanager
def _bar(options: Options, nplane: int) -> Iterator[Callable[[int], None]]:
    """A progress bar of realisations, in a terminal."""
    with tqdm(desc="realisations", unit="", leave=False, disable=not sys.stderr.isatty()) as bar:
        bar.total = options.sampling.nsamples * options.nmajor * nplane

        def advance(done: int) -> None:
            bar.update(done)

        yield advance
