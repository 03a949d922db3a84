"""What the number of realisations, of steps and the aggregate give, and what they cost.

Curves through the settings that a run has by default, one parameter varied at a time: every
field is reconstructed under each setting with the same seed, so that differences are paired.
Realisation k of a field is the same in any number of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from astropy.table import Table
from tqdm import tqdm

from casa_ddpm import workers
from casa_ddpm.aggregation import AGGREGATES
from casa_ddpm.benchmark import tables, unfinished
from casa_ddpm.options import Options

#: Fields that are measured unless said otherwise, and how many of each.
PROTOCOLS, FIELDS = ("independent", "extended", "structure"), 4
#: Values of each parameter; the base's own are added.
NSAMPLES, NSTEPS = (1, 5, 10, 20, 40), (2, 4, 8, 12)


@dataclass(frozen=True)
class Setting:
    """Parameters that are chosen: realisations, steps of the sampler, aggregate."""

    nsamples: int
    nsteps: int
    aggregate: str

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"{self.nsamples} x {self.nsteps}, {self.aggregate}"

    @classmethod
    def of(cls, options: Options) -> Setting:
        """The setting of options."""
        sampling = options.sampling
        return cls(sampling.nsamples, sampling.nsteps, options.aggregate)

    def options(self, base: Options, seed: int) -> Options:
        """Other options with this setting and seed."""
        sampling = replace(base.sampling, nsamples=self.nsamples, nsteps=self.nsteps, seed=seed)
        return replace(base, aggregate=self.aggregate, sampling=sampling)


Curves = dict[str, list[Setting]]


@dataclass(frozen=True)
class Selection:
    """What has been measured.

    Attributes
    ----------
    base : Setting
        The one that the curves go through.
    curves : dict of list of Setting
        'nsamples', 'nsteps' and 'aggregate', in the order of their values.
    tables : tuple of Table
        Truth, detections and images, as `casa_ddpm.benchmark.tables` has them; the methods
        are the settings' names, and images have the column evaluations.
    seed : int
        Of the fields, and of their resamples.
    """

    base: Setting
    curves: Curves
    tables: tuple[Table, Table, Table]
    seed: int


def curves(base: Setting) -> Curves:
    """The settings of each curve."""
    return {
        "nsamples": [replace(base, nsamples=n) for n in sorted({*NSAMPLES, base.nsamples})],
        "nsteps": [replace(base, nsteps=n) for n in sorted({*NSTEPS, base.nsteps})],
        "aggregate": [replace(base, aggregate=name) for name in AGGREGATES],
    }


def distinct(lines: Curves) -> list[Setting]:
    """All settings, each once; the curves share one."""
    return list(dict.fromkeys(one for settings in lines.values() for one in settings))


def measure(
    fields: Iterable[tuple[str, int]],
    base: Options,
    seed: int,
    npix: int,
    processes: int = 0,
    kept: Path | None = None,
) -> Selection:
    """Reconstruct fields under every setting, without CASA.

    Parameters
    ----------
    fields : iterable of (str, int)
        Protocol and number of each.
    base : Options
        What the curves go through; the seed of its sampling is the field's number.
    seed : int
        Of the fields.
    npix : int
        Side of the images.
    processes : int
        0: this one.
    kept : Path, optional
        Folder in which what is measured of each field is kept, so that it need not be again.
    """
    fields = list(fields)
    lines = curves(Setting.of(base))
    one = partial(unfinished.field, kept, partial(_measure, distinct(lines), base, seed, npix))
    done = tqdm(workers.each(one, fields, processes), "fields", len(fields))
    found = tables.joined(done)
    measured = (found["truth"], found["detections"], found["images"])
    return Selection(Setting.of(base), lines, measured, seed)


def _measure(
    settings: list[Setting], base: Options, seed: int, npix: int, protocol: str, index: int
) -> tables.Tables:
    """Truth, detections and images of one field under all settings."""
    # The command's arguments are there without what reconstructs, which takes long to import.
    from casa_ddpm.benchmark.field import simulated
    from casa_ddpm.benchmark.models import fidelity
    from casa_ddpm.benchmark.outcome import gathered, ours
    from casa_ddpm.reconstruction import reconstruct

    field = simulated(protocol, index, seed, npix)
    detections, images = [], []
    for setting in settings:
        start = time.perf_counter()
        found = reconstruct(field.dirty, setting.options(base, index), field.major_cycle)
        seconds = time.perf_counter() - start
        detections.append(ours(field, found.sources, 1.0, setting.name))
        ser = fidelity(field, found.model)
        row = field.image_row(setting.name, found.residual, seconds, ser)
        images.append(row | {"evaluations": evaluations(setting, len(found.cycles))})
    return gathered(field, detections, images)


def evaluations(setting: Setting, passes: int) -> float:
    """How often the network has been evaluated for one state.

    Once a step and realisation (the default sampler's number), and once for the mean, in
    every pass.
    """
    return float(passes * (setting.nsamples * setting.nsteps + 1))
