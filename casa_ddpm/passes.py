"""The passes over one plane: the order of the steps, and when they have come to an end.

    bright sources set aside, then
    peel -> restore -> canonical frame -> realisations
         -> sources drawn from the data -> aggregate -> fit to the data -> residual

repeated until the residual is noise; the second line also by itself, while sidelobes of sources
that were not found before have passed for noise. Whoever runs them knows how a model is observed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from astropy.table import QTable

from casa_ddpm import aggregation, aside, noise
from casa_ddpm.diffusion import Denoiser
from casa_ddpm.disturbance import Signs
from casa_ddpm.options import Options
from casa_ddpm.posterior import Posterior
from casa_ddpm.psf import ellipse
from casa_ddpm.scene import Scene

#: Least residual peak from which it is structure and not noise, in a small field [noise].
_LEAST = 3.5
#: Most major cycles for what a pass leaves above the noise.
_ROUNDS = 4
#: Most major cycles of the peel, each of which goes as deep as the far sidelobes let it.
_PEELS = 8
#: Most sweeps of a pass; what is left of the noise when another, or one more cycle of the peel,
#: will not do much; and times the noise of the visibilities at which there is no more to be done.
_SWEEPS, _SETTLED, _QUIET = 5, 0.97, 1.05
#: A pass may leave up to this factor more than the best, if its realisations leave less by it.
_GROWN = 1.02


@dataclass(frozen=True)
class Reconstruction:
    """A sky and how sure we are of it; images have shape (ny, nx).

    Parameters
    ----------
    model : ndarray
        The aggregate, made to fit the data [Jy/pixel].
    std : ndarray
        Standard deviation over realisations [Jy/pixel].
    prob : ndarray
        Probability that a beam-sized patch holds a source.
    residual : ndarray
        Dirty image less the model's [Jy/beam].
    restored : ndarray
        Model convolved with the clean beam, plus the residual [Jy/beam].
    samples : ndarray, shape (nsamples, ny, nx)
        Realisations at a resolution of half a beam [Jy/pixel]; none where the
        options do not keep them.
    sources : QTable
        See `sources.find_sources`; x, y in image pixels.
    noise : float
        Of what the model, or the mean of the realisations, leaves of the data [Jy/beam].
    signs : Signs
        What tells whether that is more than noise.
    cycles : list of dict
        Each pass's noise, residual peak within the clean mask and without it, rms
        and noise of what is left [Jy/beam], model flux [Jy], pixels of the mask and
        seconds; `start` has the same of the residual that the pass began with.
    stop : {'threshold', 'noise', 'stalled', 'nmajor'}
        Why the cycles ended: residual below the threshold, residual is noise,
        residual no longer falls, as many as allowed.
    """

    model: np.ndarray
    std: np.ndarray
    prob: np.ndarray
    residual: np.ndarray
    restored: np.ndarray
    samples: np.ndarray = field(repr=False)
    sources: QTable = field(repr=False)
    noise: float
    signs: Signs
    cycles: list[dict]
    stop: str


#: Passes over one plane, as a coroutine: models out, residuals in.
Passes = Generator[np.ndarray, np.ndarray, Reconstruction]


def passes(
    scene: Scene,
    denoiser: Denoiser,
    options: Options,
    plane: int,
    log: Callable[[str], None],
    progress: Callable[[int], None],
) -> Passes:
    """Pass over a plane until its residual is noise.

    Parameters
    ----------
    scene : Scene
    denoiser : Denoiser
    options : Options
    plane : int
        Number of the plane, which has random numbers of its own.
    log, progress : callable
        Told a line about each step, and of finished realisations.

    Yields
    ------
    ndarray, shape (ny, nx)
        A model [Jy/pixel]; to be sent its residual [Jy/beam].

    Returns
    -------
    Reconstruction
    """
    bright, left = yield from aside.set_aside(scene)
    if not bright.sources:
        found = yield from _passes(scene, denoiser, options, plane, log, progress)
        return replace(found, sources=scene.calibrated(found.sources, found.signs))
    log(f"{len(bright.sources)} bright sources are fitted to the visibilities and set aside")
    scene.set_aside(bright.model(), left)
    # The realisations of the rest are needed for what is added to them.
    run = _passes(scene, denoiser, replace(options, samples=True), plane, log, progress)
    found = yield from _beside(bright.model(), run)
    return aside.added(found, bright, options, plane)


def _beside(model: np.ndarray, run: Passes) -> Passes:
    """Passes over what a model [Jy/pixel] leaves, which is part of all that they yield."""
    wanted = next(run)
    while True:
        residual = yield model + wanted
        try:
            wanted = run.send(residual)
        except StopIteration as end:
            return end.value


def _passes(
    scene: Scene, denoiser: Denoiser, options: Options, plane: int, log, progress
) -> Passes:
    """Passes over a plane, see `passes`, of which nothing is set aside any more.

    Their sources are not calibrated yet.
    """
    model, residual = scene.start, scene.dirty.data
    cycles: list[dict] = []
    unexplained: list[float] = []
    best: _Pass | None = None
    stop = ""
    while not stop:
        started, before = time.monotonic(), _state(model, residual, scene)
        model, residual, peeled, rest, sigma = yield from _peel(scene, model, residual)
        log(f"pass {len(cycles) + 1}: noise {sigma:.4g} Jy/beam")
        seed = (options.sampling.seed, plane, len(cycles))
        condition = scene.condition(model + peeled, rest, sigma)
        shown = scene.canvas.shown(model, residual)
        skies = _draw(scene, denoiser, options, condition, shown, sigma, seed, progress)
        told = _Pass(model, residual, skies)
        model, residual, skies = yield from _swept(scene, options, told, sigma, seed, log)
        model, residual = yield from _leftover(scene, model, residual)
        account = {
            "noise": sigma,
            "seconds": time.monotonic() - started,
            "masksum": int(scene.allowed.sum()),
            "start": before,
        }
        cycles.append(_state(model, residual, scene) | account)
        rms, peak = (cycles[-1][name] / sigma for name in ("rms", "peak"))
        log(f"pass {len(cycles)}: residual rms {rms:.3f}, peak {peak:.1f} of the noise")
        shown = scene.canvas.shown(model, residual)
        unexplained.append(scene.canvas.unexplained(skies, shown))
        if _is_best([cycle["rms"] for cycle in cycles], unexplained):
            best = _Pass(model, residual, skies)
        stop = _finished(cycles, options, scene)
    assert best is not None
    if best.model is not model:
        log("the residual has grown: back to the pass before")
        best = best._replace(residual=(yield best.model))
    return _result(best, scene, options, cycles, stop)


def _draw(
    scene: Scene, denoiser: Denoiser, options: Options, condition, shown, sigma, seed, progress
) -> torch.Tensor:
    """Realisations of the sky [Jy/canonical pixel] by the network, fitted where they are bright."""
    seen, held = condition
    shape = ellipse(scene.dirty.beam)
    posterior = Posterior(denoiser, scene.settings, seen, shape, options.sampling, seed)
    return scene.canvas.constrain(posterior.draw(progress) * sigma, held, shown, sigma, seed)


class _Pass(NamedTuple):
    """What a pass leaves: its model and residual, and the realisations behind them."""

    model: np.ndarray
    residual: np.ndarray
    skies: torch.Tensor


def _swept(
    scene: Scene,
    options: Options,
    told: _Pass,
    sigma: float,
    seed: tuple[int, ...],
    log: Callable[[str], None],
):
    """Draw the realisations' sources from the data, until what these leave no longer falls.

    Each source that is found takes its sidelobes from the noise in which the others are.

    Parameters
    ----------
    told : _Pass
        Model and residual as the network was told of them, and what it drew.
    sigma : float
        Noise as it was told [Jy/beam].
    seed : tuple of int
        Of the run, the plane and the cycle.

    Returns
    -------
    _Pass
    """
    found, shown = told, scene.canvas.shown(told.model, told.residual)
    left = scene.canvas.unexplained(told.skies, shown)
    # Where the visibilities do not tell the noise, nothing tells sidelobes from it.
    enough = _QUIET * (scene.dirty.thermal or np.inf)
    for turn in range(_SWEEPS):
        skies = scene.canvas.sweep(found.skies, shown, sigma, options.minflux, seed, turn)
        data = found.residual + scene.observe(found.model)
        model = scene.fit(scene.aggregate(scene.native(skies), options.aggregate), data, sigma)
        residual = yield model
        shown = scene.canvas.shown(model, residual)
        before, left = left, scene.canvas.unexplained(skies, shown)
        if turn and left > before:
            # The imager's model is the last one it was given.
            return found._replace(residual=(yield found.model))
        found = _Pass(model, residual, skies)
        log(f"pass {seed[-1] + 1}, sweep {turn + 1}: realisations leave {left:.4g} Jy/beam")
        if left < enough or left > _SETTLED * before:
            break
        if _wanted(_state(model, residual, scene), options):
            break
        sigma = min(sigma, left)
    return found


def _peel(scene: Scene, model: np.ndarray, residual: np.ndarray):
    """Peel what is bright; through the visibilities where the PSF's image is too small for it.

    Returns
    -------
    model, residual : ndarray
        As given, or with a first peel in them.
    peeled, rest : ndarray
        Peeled model beyond that, and the residual it leaves.
    sigma : float
    """
    peeled, rest, sigma = scene.peel(residual, deep=True)
    for _ in range(_PEELS):
        if not scene.outruns(peeled, rest, sigma):
            break
        richer = model + peeled
        left = yield richer
        before, after = (noise.rms(image, scene.valid) for image in (residual, left))
        if after > before:
            residual = yield model  # the imager's model is the last one it was given
            break
        model, residual = richer, left
        peeled, rest, sigma = scene.peel(residual, deep=True)
        # What no model explains, as errors of the calibration, does not go away.
        if after > _SETTLED * before:
            break
    return model, residual, peeled, rest, sigma


def _leftover(scene: Scene, model: np.ndarray, residual: np.ndarray):
    """Add to the model what still stands out of the residual, as a minor cycle would.

    Structure that no realisation has drawn cannot be fitted, and the errors of a
    bright source's calibration are no sky that a network could know.

    Returns
    -------
    model, residual : ndarray
    """
    for _ in range(_ROUNDS):
        if _is_noise(_state(model, residual, scene), scene):
            break
        peeled = scene.peel(residual, depth=max(_LEAST, scene.highest))[0] * scene.allowed
        if not peeled.any():
            break
        before = residual[scene.valid].std()
        richer = model + peeled
        left = yield richer
        if left[scene.valid].std() > 0.99 * before:
            residual = yield model  # the imager's model is the last one it was given
            break
        model, residual = richer, left
    return model, residual


def _state(model: np.ndarray, residual: np.ndarray, scene: Scene) -> dict[str, float]:
    """What a model leaves, within the clean mask and anywhere."""
    return {
        "peak": float(np.abs(residual[scene.allowed]).max(initial=0)),
        "peaknomask": float(np.abs(residual[scene.valid]).max(initial=0)),
        "rms": float(residual[scene.valid].std()),
        # Before the first pass sidelobes can pass for noise; what is left tells.
        "left": scene.noise(residual),
        "modelflux": float(model.sum()) + scene.aside,
    }


def _is_noise(state: dict, scene: Scene) -> bool:
    """Whether a residual looks like noise alone."""
    alone = scene.highest + 1  # for its scatter
    return state["peak"] < alone * state["left"] and state["rms"] < 1.1 * state["left"]


def _wanted(state: dict, options: Options) -> str:
    """Which limit a residual has come to that the user has set, or ''."""
    if state["peak"] < options.threshold:
        return "threshold"
    return "noise" if state["peak"] < options.nsigma * state["left"] else ""


def _is_best(left: list[float], unexplained: list[float]) -> bool:
    """Whether the last pass is, by what the models and the realisations of all leave [Jy/beam]."""
    if len(left) == 1 or left[-1] < min(left[:-1]):
        return True
    return left[-1] < _GROWN * min(left) and unexplained[-1] < min(unexplained[:-1]) / _GROWN


def _finished(cycles: list[dict], options: Options, scene: Scene) -> str:
    """Why to stop after the last of `cycles`, or '' to go on."""
    last = cycles[-1]
    if wanted := _wanted(last, options):
        return wanted
    # Noise that has fallen was sidelobes, and what is left may be as well.
    settled = last["left"] > 0.9 * last["noise"]
    if settled and _is_noise(last, scene):
        return "noise"
    if len(cycles) > 1 and last["rms"] > 0.98 * cycles[-2]["rms"]:
        return "stalled"
    return "nmajor" if len(cycles) == options.nmajor else ""


def _result(best: _Pass, scene: Scene, options: Options, cycles, stop: str) -> Reconstruction:
    samples = scene.native(best.skies)
    shown = scene.canvas.shown(best.model, best.residual)
    # The realisations hold fainter sources than the aggregate.
    sigma = min(scene.noise(best.residual), scene.canvas.noise(best.skies, shown))
    left = noise.rms(best.residual, scene.valid)
    return Reconstruction(
        model=best.model,
        std=aggregation.std(torch.from_numpy(samples)).numpy(),
        prob=scene.probability(samples, options.minflux * sigma),
        residual=best.residual,
        restored=scene.restore(best.model) + best.residual,
        samples=samples if options.samples else samples[:0],
        sources=scene.canvas.sources(best.skies, shown, sigma, left, options.minflux),
        noise=sigma,
        signs=scene.canvas.signs(best.skies, shown, sigma),
        cycles=cycles,
        stop=stop,
    )
