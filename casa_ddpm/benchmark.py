"""How good a network is: simulated fields, and plain peaks of the dirty image beside it.

Independent protocol: fresh noise in every field, continuous positions, a test
stream that no training field shares. On isolated sources the peaks of a
naturally weighted dirty image are the matched filter, which nothing beats.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from astropy.table import Table, vstack
from scipy import ndimage
from tqdm import tqdm

from casa_ddpm import arrays, checkpoint, fields, matching, simulator, sky
from casa_ddpm.dirty import DirtyImage
from casa_ddpm.peel import convolve
from casa_ddpm.posterior import Sampling
from casa_ddpm.reconstruction import Options, reconstruct
from casa_ddpm.uv import Observation

#: Simulated noise [Jy/beam] and beam [arcsec].
NOISE, BEAM = 5e-5, 0.85
#: Bins of peak S/N in the tables.
BINS = ((3, 5), (5, 7), (7, 10), (10, 20))


@dataclass(frozen=True)
class Field:
    """One simulated field: dirty image, the truth in pixels, and its major cycle."""

    dirty: DirtyImage
    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    major_cycle: Callable[[np.ndarray], np.ndarray]


def gaussians(rng: np.random.Generator, side: float) -> sky.Components:
    """One to six Gaussians of 0.4 to 0.8 arcsec and S/N 1 to 10 (Drozdova et al. 2024, sec. 2)."""
    n = int(rng.integers(1, 7))
    major = rng.uniform(0.4, 0.8, n) / BEAM
    minor = major * rng.uniform(0.5, 1, n)
    where = rng.uniform(-0.42, 0.42, (n, 2)) * side
    return sky.gaussians(where, rng.uniform(1, 10, n), major, minor, rng.uniform(0, np.pi, n))


def nothing(rng: np.random.Generator, side: float) -> sky.Components:
    """An empty sky."""
    return sky.points(np.zeros((0, 2)), np.zeros(0))


PROTOCOLS = {"independent": gaussians, "empty": nothing}


@lru_cache(maxsize=1)
def _optics(array: str, npix: int) -> simulator.Optics:
    """The PSF of 20 minutes at transit, naturally weighted; the same for all fields."""
    configuration = arrays.load(array)
    track = Observation(configuration, configuration.latitude + 25, 0.0, 1200.0, 30.0)
    return simulator.make_optics(torch.tensor(track.uv()), npix)


def observe(protocol: str, index: int, seed: int, array: str, npix: int) -> Field:
    """Simulate 20 minutes at transit, naturally weighted."""
    optics = _optics(array, npix)
    rng = simulator.generator(seed, "test", index)
    components = PROTOCOLS[protocol](rng, npix / optics.scale)
    _, seen = simulator.draw_sky(components, optics.scale, npix)
    noise = simulator.draw_noise(optics, npix, int(rng.integers(2**62)))
    data = convolve(seen, optics.psf) + noise
    dirty, major_cycle = fields.observed(data.numpy(), optics, BEAM / optics.scale, NOISE)
    y, x = (components.position * optics.scale + npix // 2).T
    return Field(dirty, x, y, components.flux, major_cycle)


def peaks(data: np.ndarray, lowest: float = 2.5) -> tuple[np.ndarray, ...]:
    """Local maxima of an image in units of its noise: x, y and value."""
    y, x = np.nonzero((data == ndimage.maximum_filter(data, 5)) & (data > lowest))
    return x, y, data[y, x]


def detections(field: Field, x, y, radius: float, **columns) -> Table:
    """A table of detections, each with the true flux [noise] it matches, or NaN."""
    table = Table({"x": np.asarray(x, float), "y": np.asarray(y, float), **columns})
    index, true = matching.match(x, y, field.x, field.y, radius)
    table["truth"], table["away"] = np.full(len(table), np.nan), np.full(len(table), np.nan)
    table["truth"][index] = field.flux[true]
    table["away"][index] = np.hypot(
        table["x"][index] - field.x[true], table["y"][index] - field.y[true]
    )
    return table


def run_field(field: Field, options: Options) -> tuple[Table, Table, float]:
    """Our detections, those of the peaks, and the residual's rms [noise]."""
    found = reconstruct(field.dirty, options, field.major_cycle)
    radius = 0.6 * BEAM / field.dirty.cell
    s = found.sources
    ours = detections(
        field, s["x"].value, s["y"].value, radius,
        score=np.asarray(s["prob"]) + 1e-3 * np.minimum(s["snr"], 500),
        prob=s["prob"], flux=s["flux"].value / NOISE, flux_err=s["flux_err"].value / NOISE,
    )  # fmt: skip
    x, y, value = peaks(field.dirty.data / NOISE)
    return ours, detections(field, x, y, radius, score=value), float(found.residual.std() / NOISE)


def best_f1(table: Table, ntrue: int) -> dict[str, float]:
    """F1 at its best threshold of the column score, with purity and completeness there."""
    order = np.argsort(-np.asarray(table["score"]), kind="stable")
    hits = np.cumsum(np.isfinite(table["truth"][order]))
    count = np.arange(1, len(order) + 1)
    f1 = 2 * hits / (count + ntrue)
    i = int(np.argmax(f1))
    return {
        "F1": float(f1[i]),
        "purity": float(hits[i] / count[i]),
        "completeness": float(hits[i] / ntrue),
        "threshold": float(table["score"][order][i]),
    }


def flux_rows(table: Table) -> list[dict]:
    """Flux of certain sources in bins of S/N: ratio to truth, scatter, coverage."""
    good = table[(table["prob"] >= 0.9) & np.isfinite(table["truth"])]
    rows = []
    for low, high in BINS:
        part = good[(good["truth"] >= low) & (good["truth"] < high)]
        if len(part):
            error = part["flux"] - part["truth"]
            rows.append(
                {
                    "S/N": f"{low}-{high}",
                    "sources": len(part),
                    "median ratio": float(np.median(part["flux"] / part["truth"])),
                    "scatter [noise]": float(np.std(error)),
                    "within error": float(np.mean(np.abs(error) < part["flux_err"])),
                }
            )
    return rows


def probability_rows(table: Table) -> list[dict]:
    """Fraction of true sources among candidates, in fifths of their probability."""
    rows = []
    for low in np.arange(0, 1, 0.2):
        part = table[(table["prob"] > low) & (table["prob"] <= low + 0.2 + 1e-9)]
        if len(part):
            true = float(np.mean(np.isfinite(part["truth"])))
            rows.append(
                {"prob": f"{low:.1f}-{low + 0.2:.1f}", "candidates": len(part), "true": true}
            )
    return rows


def run_protocol(
    protocol: str, number: int, options: Options, seed: int, array: str, npix: int
) -> dict:
    """Figures of a network over `number` fields of a protocol."""
    ours, plain, rms, ntrue = [], [], [], 0
    for i in tqdm(range(number), protocol):
        field = observe(protocol, i, seed, array, npix)
        mine, theirs, residual = run_field(field, options)
        ours.append(mine)
        plain.append(theirs)
        rms.append(residual)
        ntrue += len(field.flux)
    figures: dict = {"fields": number, "sources": ntrue}
    figures["residual rms"] = {"mean": float(np.mean(rms)), "std": float(np.std(rms))}
    certain = [int(np.sum((t["prob"] >= 0.9) & ~np.isfinite(t["truth"]))) for t in ours]
    figures["fields with a false certain source"] = int(np.sum(np.array(certain) > 0))
    if ntrue:
        all_ours = vstack(ours)
        figures["ours"] = best_f1(all_ours, ntrue)
        figures["peaks"] = best_f1(vstack(plain), ntrue)
        figures["flux"] = flux_rows(all_ours)
        figures["prob"] = probability_rows(all_ours)
    return figures


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``casa-ddpm benchmark``."""
    parser.add_argument("--out", required=True, help="folder of the figures")
    parser.add_argument("--network", default="default", help="shipped network or checkpoint")
    parser.add_argument("--fields", type=int, default=60, help="fields with sources (default: 60)")
    parser.add_argument("--empty", type=int, default=100, help="fields of noise (default: 100)")
    parser.add_argument("--seed", type=int, default=11, help="of the fields (default: 11)")
    parser.add_argument("--array", default="alma.cycle5.3", help="array configuration")
    parser.add_argument("--npix", type=int, default=128, help="image side (default: 128)")
    parser.add_argument("--nsamples", type=int, default=20, help="realisations (default: 20)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")


def run(args: argparse.Namespace) -> int:
    """Run the protocols, write benchmark.json and print it; returns 0.

    Raises
    ------
    ValueError
        If a number is not positive or the array or network is unknown.
    """
    for name in ("fields", "nsamples", "npix"):
        if getattr(args, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(args, name)}")
    arrays.load(args.array)
    _, settings = checkpoint.load(args.network)
    options = Options(
        network=args.network,
        nmajor=1,
        sampling=Sampling(nsamples=args.nsamples, seed=args.seed, device=args.device),
    )
    figures: dict = {
        "network": checkpoint.digest(args.network),
        "step": settings.history.get("step"),
        "array": args.array,
        "seed": args.seed,
        "nsamples": args.nsamples,
    }
    for protocol, number in (("independent", args.fields), ("empty", args.empty)):
        if number:
            figures[protocol] = run_protocol(
                protocol, number, options, args.seed, args.array, args.npix
            )
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(figures, indent=1)
    (folder / "benchmark.json").write_text(text + "\n")
    print(text)
    return 0
