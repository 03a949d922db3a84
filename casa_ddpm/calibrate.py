"""``casa-ddpm calibrate``: a network's realisations against simulated fields of held-out seeds."""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from scipy import ndimage
from tqdm import tqdm

from casa_ddpm import (
    arguments,
    calibration,
    checkpoint,
    circumstances,
    fields,
    matching,
    simulator,
    workers,
)
from casa_ddpm.diffusion import Denoiser
from casa_ddpm.dirty import FWHM, DirtyImage
from casa_ddpm.disturbance import Signs
from casa_ddpm.matching import PART, RADIUS
from casa_ddpm.posterior import Sampling
from casa_ddpm.reconstruction import Options, Reconstruction, load_network, reconstruct
from casa_ddpm.sky import Components, render

#: Simulated noise [Jy/beam] and beam [arcsec].
NOISE, BEAM = 1.0, 1.0
#: Widest source whose flux and position are compared [beam].
WIDEST = 3.0
#: S/N below which a source is none that could be found: chance puts one at many places.
FAINTEST = 2.0
#: Least numbers that make sense; a score needs two realisations.
LEAST = {"fields": 1, "search": 1, "check": 0, "nsamples": 2, "seed": 0, "workers": 0}


def simulate(index: int, settings: simulator.Settings, seed: int):
    """A field of the calibration's own random stream.

    Returns
    -------
    DirtyImage
    major_cycle : callable
        Knows the whole PSF.
    components : Components
        The truth, fluxes in units of NOISE and lengths in beams.
    """
    drawn = simulator.simulate([index], settings, seed, "calibration")
    optics, components, data = drawn.optics[0], drawn.components[0], drawn.dirty[0].numpy()
    dirty, major_cycle = fields.observed(data, optics, BEAM / optics.scale, NOISE)
    return dirty, major_cycle, components


def beams(dirty: DirtyImage, components: Components) -> np.ndarray:
    """The true sky convolved with a round beam, at points a beam apart [noise]."""
    scale = BEAM / dirty.cell
    sky = render(components, 1.0, scale, len(dirty.data)).numpy()
    return _sampled(sky, scale)


def _sampled(sky: np.ndarray, scale: float) -> np.ndarray:
    """Peak brightness of a sky that is convolved with a round beam, a beam apart."""
    step = round(scale)
    return sky[step::step, step::step] * np.pi / (4 * np.log(2)) * scale**2


def score(found: Reconstruction, dirty: DirtyImage, components: Components, kernel: float) -> float:
    """Continuous ranked probability score of the compressed brightness of every beam.

    Gneiting & Raftery (2007, JASA 102, 359), eq. 21: least on average for the true
    posterior, whatever it is.
    """
    scale = BEAM / dirty.cell
    sigma = scale * np.sqrt(1 - kernel**2) / FWHM
    truth = np.arcsinh(beams(dirty, components))
    drawn = np.stack(
        [_sampled(ndimage.gaussian_filter(s, sigma, mode="constant"), scale) for s in found.samples]
    )
    ordered = np.sort(np.arcsinh(drawn / NOISE), 0)
    n = len(ordered)
    weight = (2 * np.arange(1, n + 1) - n - 1) / (n * (n - 1))
    spread = np.tensordot(weight, ordered, 1)
    return float((np.abs(ordered - truth).mean(0) - spread).mean())


def compare(
    sources, dirty: DirtyImage, components: Components, signs: Signs
) -> dict[str, np.ndarray]:
    """Candidates of a field and how far they are from the truth; see `calibration.fit`."""
    scale, centre = BEAM / dirty.cell, np.array([n // 2 for n in dirty.data.shape])
    place = components.position * scale + centre
    width = FWHM * np.sqrt(np.trace(components.covariance, axis1=1, axis2=2) / 2)
    x, y = sources["x"].value, sources["y"].value
    # Structure of many components has no flux and place of its own to compare with.
    single = np.bincount(components.source, minlength=1)[components.source] == 1
    true = _true(x, y, place, width, components.flux, single, scale)
    flux = np.full(len(x), np.nan)
    position = np.full((len(x), 2), np.nan)
    chosen = np.flatnonzero(single & (width < WIDEST))
    rows, index = matching.match(x, y, place[chosen, 1], place[chosen, 0], RADIUS * scale)
    error = components.flux[chosen[index]] * NOISE - sources["flux"].value[rows]
    low, high = (
        np.abs(sources[name].value - sources["flux"].value)[rows] for name in ("flux_lo", "flux_hi")
    )
    flux[rows] = error / np.maximum(np.where(error > 0, high, low), 1e-12)
    position[rows, 0] = (place[chosen[index], 0] - y[rows]) * dirty.cell
    position[rows, 1] = (place[chosen[index], 1] - x[rows]) * dirty.cell
    for axis, name in enumerate(("dec_err", "ra_err")):
        position[:, axis] /= np.maximum(sources[name].value, 1e-12)
    return circumstances.columns(sources, BEAM, dirty.cell) | {
        "sidelobe": np.full(len(x), signs.sidelobe),
        "peak": np.full(len(x), signs.peak),
        "disturbance": np.full(len(x), signs.known),
        "true": true,
        "flux": flux,
        "position": position,
    }


def _true(x, y, place: np.ndarray, width: np.ndarray, flux: np.ndarray, single: np.ndarray, scale):
    """Which candidates are sources: one of each, and any part of structure; bool, shape (n,)."""
    reach = (RADIUS + PART * width) * scale
    # Of the filter that suits it best, in noise that the beam correlates.
    snr = flux / np.sqrt(1 + 2 * width**2)
    rows, parts = np.flatnonzero(single & (snr >= FAINTEST)), np.flatnonzero(~single)
    alone = matching.match_reaches(x, y, place[rows, 1], place[rows, 0], reach[rows]) >= 0
    away = np.hypot(y[:, None] - place[parts, 0], x[:, None] - place[parts, 1])
    return alone | (away < reach[parts]).any(1)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``casa-ddpm calibrate``."""
    parser.add_argument("--network", required=True, help="checkpoint, shipped or from a path")
    parser.add_argument("--out", required=True, help="file of the calibrated checkpoint")
    parser.add_argument("--fields", type=int, default=100, help="fields (default: 100)")
    parser.add_argument("--search", type=int, default=16, help="fields a temperature (default: 16)")
    parser.add_argument("--check", type=int, default=40, help="fields to check it (default: 40)")
    parser.add_argument(
        "--temperatures", default="0.5,0.65,0.8,1", help="of the sampler (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the fields (default: 0)")
    parser.add_argument("--npix", type=int, default=128, help="image side (default: 128)")
    parser.add_argument("--nsamples", type=int, default=20, help="realisations (default: 20)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0: this one alone")


def run(args: argparse.Namespace) -> int:
    """Choose a temperature, fit errors and probability, check them, write all; returns 0.

    Raises
    ------
    ValueError
        If the network is unknown or of the published protocol, or a number is wrong.
    FileExistsError
        If the file exists.
    """
    arguments.at_least(args, LEAST)
    temperatures = arguments.numbers(args, "temperatures", float)
    out = Path(args.out)
    if out.exists():
        raise FileExistsError(f"out {args.out!r} exists and is not overwritten")
    denoiser, settings = load_network(Options(network=args.network))
    # Of its own, so that what is not finished passes for no calibrated network.
    with tempfile.TemporaryDirectory(prefix="ddpmclean-calibrate-") as folder:
        trial = Path(folder, "trial.safetensors")
        settings = replace(settings, calibration={})
        settings = _calibrated(args, temperatures, trial, denoiser, settings)
    checkpoint.save(out, denoiser, settings)
    print(json.dumps({"temperature": settings.temperature} | settings.calibration))
    return 0


def _calibrated(
    args: argparse.Namespace,
    temperatures: list[float],
    trial: Path,
    denoiser: Denoiser,
    settings: checkpoint.Settings,
) -> checkpoint.Settings:
    """Settings with temperature, calibration and an account of both; writes networks to `trial`."""

    def tried(new: checkpoint.Settings, first: int, number: int) -> tuple[float, dict]:
        """Score and candidates of some fields."""
        checkpoint.save(trial, denoiser, new)
        one = partial(_field, vars(args) | {"network": str(trial)}, settings.kernel)
        done = workers.each(one, range(first, first + number), args.workers)
        found = list(tqdm(done, "fields", number))
        candidates = [c for _, c in found]
        joined = {n: np.concatenate([c[n] for c in candidates]) for n in candidates[0]}
        return float(np.mean([s for s, _ in found])), joined

    scores: dict[float, float] = {}
    for temperature in temperatures if len(temperatures) > 1 else ():
        new = replace(settings, temperature=temperature)
        scores[temperature], _ = tried(new, 0, args.search)
        print(f"temperature {temperature:g}: score {scores[temperature]:.5f}")
    best = min(scores, key=lambda t: scores[t]) if scores else temperatures[0]
    settings = replace(settings, temperature=best)
    _, candidates = tried(settings, args.search, args.fields)
    settings = replace(settings, calibration=calibration.fit(candidates).stored())
    account: dict = {"fields": args.fields, "seed": args.seed, "scores": scores}
    if args.check:
        _, candidates = tried(settings, args.search + args.fields, args.check)
        account["check"] = calibration.check(candidates)
        print(json.dumps(account["check"], indent=1))
    return replace(settings, history=settings.history | {"calibration": account})


def _field(args: dict, kernel: float, index: int) -> tuple[float, dict[str, np.ndarray]]:
    """Score and candidates of one field."""
    dirty, cycle, components = simulate(index, simulator.Settings(args["npix"]), args["seed"])
    sampling = Sampling(nsamples=args["nsamples"], seed=index, device=args["device"])
    found = reconstruct(dirty, Options(network=args["network"], sampling=sampling), cycle)
    value = score(found, dirty, components, kernel)
    return value, compare(found.sources, dirty, components, found.signs)
