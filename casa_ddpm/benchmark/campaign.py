"""All fields of a benchmark, measured one after the other or in several processes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

from astropy.table import Table
from tqdm import tqdm

from casa_ddpm import workers
from casa_ddpm.benchmark import tables, unfinished
from casa_ddpm.benchmark.observatory import SCALE, Observatory
from casa_ddpm.benchmark.outcome import from_image, from_user, from_visibilities
from casa_ddpm.benchmark.panels import SHOWN
from casa_ddpm.benchmark.rivals import RIVALS
from casa_ddpm.benchmark.user import Simulation
from casa_ddpm.options import Options


@dataclass(frozen=True)
class Campaign:
    """Which fields are measured, and how.

    Parameters
    ----------
    fields : tuple of (str, int)
        Protocol and number of each; not looked at where there is a `user`.
    options : Options
        Of the reconstruction; the seed of its sampling is the field's number.
    route : {'ms', 'image'}
    seed : int
        Of the fields.
    npix : int
        Side of the images.
    rivals : tuple of str
        Names of those that are run; none on the route 'image'.
    workers : int
        Processes; 0: this one.
    user : Simulation, optional
        A user's own, the only field.
    scale : float
        Pixels per beam; 0: the route's own.
    kept : Path, optional
        Folder in which what is measured of each field is kept, so that it need not be again,
        and the images of the first fields of each protocol, for the gallery; files, so that
        processes need not send them.
    """

    fields: tuple[tuple[str, int], ...]
    options: Options
    route: str = "ms"
    seed: int = 0
    npix: int = 160
    rivals: tuple[str, ...] = ()
    workers: int = 0
    user: Simulation | None = None
    scale: float = 0.0
    kept: Path | None = None


def measure(campaign: Campaign) -> tuple[Table, Table, Table]:
    """Tables of truth, detections and images of all fields."""
    found = tables.joined(tqdm(_each(campaign), "fields", len(campaign.fields)))
    return found["truth"], found["detections"], found["images"]


def _each(campaign: Campaign) -> Iterator[tables.Tables]:
    """Truth, detections and images of field after field."""
    with tempfile.TemporaryDirectory(prefix="ddpmclean-benchmark-") as scratch:
        one = partial(unfinished.field, campaign.kept, partial(_measure, campaign, scratch))
        yield from workers.each(one, campaign.fields, campaign.workers)


def _measure(campaign: Campaign, scratch: str, protocol: str, index: int) -> tables.Tables:
    """Truth, detections and images of one field."""
    sampling = replace(campaign.options.sampling, seed=index)
    options = replace(campaign.options, sampling=sampling)
    seed, npix = campaign.seed, campaign.npix
    own_scale = {"scale": campaign.scale} if campaign.scale else {}
    kept = campaign.kept if index < SHOWN else None
    if campaign.route == "image":
        return from_image(protocol, index, seed, npix, options, kept, **own_scale)
    chosen = [rival for rival in RIVALS if rival.name in campaign.rivals]
    if campaign.user:
        return from_user(campaign.user, Path(scratch), options, chosen, kept)
    with _observatory(scratch, npix, **own_scale).field(protocol, index, seed) as (field, own):
        return from_visibilities(field, own, options, chosen, kept)


@lru_cache(maxsize=1)
def _observatory(scratch: str, npix: int, scale: float = SCALE) -> Observatory:
    """The one of this process."""
    folder = Path(scratch) / str(os.getpid())
    folder.mkdir()
    return Observatory(folder, npix, scale)
