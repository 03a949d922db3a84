"""What ddpmclean and its rivals make of a field."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.table import QTable, Table, vstack

from casa_ddpm.benchmark import detection, oracle, rivals, tables
from casa_ddpm.benchmark.field import Field, simulated
from casa_ddpm.benchmark.metrics import LIMIT, OURS, PEAKS
from casa_ddpm.benchmark.models import fidelity
from casa_ddpm.benchmark.panels import panels
from casa_ddpm.benchmark.protocols import PROTOCOLS
from casa_ddpm.benchmark.user import USER, Simulation
from casa_ddpm.options import Options
from casa_ddpm.reconstruction import reconstruct
from casa_ddpm.simulator import SCALE

#: How much of an error is told.
SAID = 400


def from_visibilities(
    field: Field,
    scratch: Path,
    options: Options,
    chosen: Sequence[rivals.Rival],
    kept: Path | None = None,
) -> tables.Tables:
    """Truth, detections and images of a MeasurementSet: the task's and its rivals'.

    A rival that fails has no rows; the metadata of images say so, see `tables.failures`.

    Parameters
    ----------
    field : Field
    scratch : Path
        Folder of everything that is written.
    options : Options
        Of the task.
    chosen : sequence of Rival
        Those that are run.
    kept : Path, optional
        Folder in which the images of the field are kept.
    """
    seconds = _task(field.vis, field.imaging, scratch, options, kept is not None)
    return _compared(field, scratch, seconds, chosen, kept)


def from_user(
    simulation: Simulation,
    scratch: Path,
    options: Options,
    chosen: Sequence[rivals.Rival],
    kept: Path | None = None,
) -> tables.Tables:
    """The same of a user's own simulation, whose noise is the one that the task measures.

    Raises
    ------
    ValueError
        If a source is outside of the image.
    """
    from casa_ddpm.casa import clean

    vis, imaging = simulation.vis, simulation.imaging
    dirty = clean.dirty(vis, str(scratch / "field"), imaging)
    truth = simulation.components(dirty)
    seconds = _task(vis, imaging, scratch, options, kept is not None)
    noise = float(_catalogue(scratch).meta["noise"])
    extended = bool((simulation.columns["major"] > dirty.beam.fwhm).any())
    field = Field(
        USER, 0, dirty, replace(truth, flux=truth.flux / noise), None, vis, imaging, noise,
        extended,
    )  # fmt: skip
    return _compared(field, scratch, seconds, chosen, kept)


def _task(vis: str, imaging: dict, scratch: Path, options: Options, samples: bool) -> float:
    """Run the task as its users do, with products OURS in `scratch`; returns its seconds."""
    from casa_ddpm import ddpmclean

    sampling = options.sampling
    start = time.perf_counter()
    ddpmclean(
        vis=vis, imagename=str(scratch / OURS), network=options.network,
        nsamples=sampling.nsamples, nsteps=sampling.nsteps, aggregate=options.aggregate,
        seed=sampling.seed, device=sampling.device, nmajor=options.nmajor,
        savesamples=samples, **imaging,
    )  # fmt: skip
    return time.perf_counter() - start


def _catalogue(scratch: Path) -> QTable:
    """What the task found."""
    return QTable.read(scratch / f"{OURS}.cat.ecsv")


def _compared(
    field: Field,
    scratch: Path,
    seconds: float,
    chosen: Sequence[rivals.Rival],
    kept: Path | None = None,
) -> tables.Tables:
    """Truth, detections and images, once the task has run."""
    from casa_ddpm import casa

    table = _catalogue(scratch)
    apparent = (table["flux_app"] / table["flux"]).value if len(table) else np.ones(0)
    # Beyond the primary beam there is an apparent flux alone.
    beyond = ~np.isfinite(apparent)
    table["flux"][beyond], apparent[beyond] = table["flux_app"][beyond], 1
    left, sky = (casa.read_plane(str(scratch / f"{OURS}.{k}")) for k in ("residual", "model"))
    others: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    detections = [ours(field, table, apparent)]
    images = [field.image_row(OURS, left, seconds, _fidelity(field, sky))]
    observation = rivals.Observation(
        field.vis, field.imaging, field.noise, scratch / "rivals", field.extended
    )
    failed = []
    for rival in chosen:
        try:
            found = rival.run(observation)
        except RuntimeError as error:
            where = f"{field.protocol} {field.index}"
            failed.append(tables.Failure(rival.name, where, _short(error)))
            continue
        detections.append(_theirs(field, rival.name, found))
        residual, ser = field.dirty.data, np.nan
        if "residual" in found.meta:
            model, residual = (
                fits.getdata(found.meta[kind]).squeeze() for kind in ("model", "residual")
            )
            ser = _fidelity(field, model)
            # Several finders share an imager.
            others[rival.name.split("+")[0]] = model, residual
        images.append(field.image_row(rival.name, residual, found.meta["seconds"], ser))
    detections += _limit(field)
    if kept is not None:
        samples = casa.read_planes(str(scratch / f"{OURS}.samples"))
        panels(field, sky, samples, left, others).save(kept)
    return gathered(field, detections, images, failed)


def _short(error: Exception) -> str:
    """What an error says, in a line; of a program's long report the end, which says what it was."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= SAID else f"... {text[-SAID:]}"


def _limit(field: Field) -> list[Table]:
    """What can be known of the field's sources, where these are points."""
    if field.protocol == USER or not oracle.knows(field):
        return []
    return [oracle.detections(field, LIMIT)]


def _theirs(field: Field, method: str, found: Table) -> Table:
    """A rival's table as detections."""
    columns = {name: np.asarray(found[name]) for name in rivals.COLUMNS}
    columns |= {name: columns[name] / field.noise for name in ("flux", "flux_err")}
    columns |= {name: columns[name] / field.dirty.beam.fwhm for name in ("major", "minor")}
    return field.detections(method, **columns)


def ours(field: Field, table: QTable, apparent: np.ndarray | float, method: str = OURS) -> Table:
    """Our catalogue as detections; `apparent` takes its fluxes to those that are seen."""
    cell, beam = field.dirty.cell, field.dirty.beam.fwhm
    fluxes = {
        name: table[name].to_value(u.Jy) * apparent / field.noise
        for name in ("flux", "flux_err", "flux_lo", "flux_hi")
    }
    sizes = {name: table[name].to_value(u.arcsec) / beam for name in ("major", "minor")}
    prob = np.asarray(table["prob"], float)
    return field.detections(
        method,
        x=np.asarray(u.Quantity(table["x"]).value),
        y=np.asarray(u.Quantity(table["y"]).value),
        score=detection.certainty(prob, np.asarray(table["snr"], float)),
        prob=prob,
        x_err=table["ra_err"].to_value(u.arcsec) / cell,
        y_err=table["dec_err"].to_value(u.arcsec) / cell,
        pa=table["pa"].to_value(u.deg),
        **fluxes,
        **sizes,
    )


def from_image(
    protocol: str,
    index: int,
    seed: int,
    npix: int,
    options: Options,
    kept: Path | None = None,
    scale: float = SCALE,
) -> tables.Tables:
    """The same without CASA: our core, and the peaks of the dirty image."""
    field = simulated(protocol, index, seed, npix, scale)
    start = time.perf_counter()
    found = reconstruct(field.dirty, options, field.major_cycle)
    seconds = time.perf_counter() - start
    detections = [
        ours(field, found.sources, 1.0),
        _theirs(field, PEAKS, rivals.of_peaks(field.dirty, field.noise)),
    ]
    detections += _limit(field)
    images = [
        field.image_row(OURS, found.residual, seconds, _fidelity(field, found.model)),
        field.image_row(PEAKS, field.dirty.data, 0.0),
    ]
    if kept is not None:
        panels(field, found.model, found.samples, found.residual).save(kept)
    return gathered(field, detections, images)


def gathered(
    field: Field,
    detections: list[Table],
    images: list[dict],
    failed: Sequence[tables.Failure] = (),
) -> tables.Tables:
    """A field's truth, the detections of all methods and what their images are like."""
    found = vstack([tables.empty(tables.DETECTIONS), *detections])
    meta = {tables.FAILED: [list(one) for one in failed]} if failed else {}
    return {"truth": field.truth(), "detections": found, "images": Table(images, meta=meta)}


def _fidelity(field: Field, model: np.ndarray) -> float:
    """Signal-to-error ratio [dB] of a model, NaN where the truth is sources to be found."""
    law = PROTOCOLS.get(field.protocol)
    return fidelity(field, model) if law and law.structure else np.nan
