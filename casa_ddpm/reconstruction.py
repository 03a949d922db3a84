"""The order of the steps, on arrays: from a dirty image to a sky with error bars.

    peel -> restore -> canonical frame -> realisations -> aggregate -> fit to the data -> residual

repeated as major cycles until the residual is noise.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from astropy.table import QTable

from casa_ddpm import aggregation, checkpoint, noise
from casa_ddpm.diffusion import Denoiser
from casa_ddpm.dirty import DirtyImage
from casa_ddpm.posterior import Posterior, Sampling
from casa_ddpm.psf import ellipse
from casa_ddpm.scene import Scene
from casa_ddpm.simulator import MOST_ELONGATED

#: Residual peak from which it is structure and not noise, whatever the field [noise].
_LEAST = 3.5
#: Most major cycles for what a pass leaves above the noise.
_ROUNDS = 4

MajorCycle = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Options:
    """How a sky is reconstructed.

    Parameters
    ----------
    network : str
        A shipped network or the path of a checkpoint.
    aggregate : {'median', 'mean', 'medoid'}
    conditioning : {'auto', 'restored', 'dirty', 'uv'}
        'auto': what the network was trained for.
    nmajor : int
        Most passes of network and major cycle.
    threshold : float
        Stop once the residual's peak is below [Jy/beam].
    nsigma : float
        Stop once the residual's peak is below this many times its noise; at
        least the peak that noise alone would have.
    minflux : float
        Least flux at which a realisation holds a source [noise].
    sampling : Sampling
    samples : bool
        Keep the realisations in the result; those of a cube take much memory.

    Raises
    ------
    ValueError
        If a value breaks these rules.
    """

    network: str = "default"
    aggregate: str = "median"
    conditioning: str = "auto"
    nmajor: int = 2
    threshold: float = 0.0
    nsigma: float = 0.0
    minflux: float = 1.0
    sampling: Sampling = field(default_factory=Sampling)
    samples: bool = True

    def __post_init__(self) -> None:
        if self.aggregate not in aggregation.AGGREGATES:
            known = list(aggregation.AGGREGATES)
            raise ValueError(f"aggregate must be one of {known}, got {self.aggregate!r}")
        if self.nmajor < 1:
            raise ValueError(f"nmajor must be at least 1, got {self.nmajor}")
        for name in ("threshold", "nsigma", "minflux"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")


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
        Rms of the noise [Jy/beam].
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
    cycles: list[dict]
    stop: str


#: Passes over one plane, as a coroutine: models out, residuals in.
Passes = Generator[np.ndarray, np.ndarray, Reconstruction]


def load_network(options: Options):
    """The options' network and its settings.

    Raises
    ------
    ValueError
        If there is no such network or it was not trained for the conditioning asked.
    """
    denoiser, settings = checkpoint.load(options.network)
    if options.conditioning not in ("auto", settings.conditioning):
        raise ValueError(
            f"conditioning must be what network {options.network!r} was trained for, "
            f"{settings.conditioning!r}, or 'auto', got {options.conditioning!r}"
        )
    return denoiser, settings


def reconstruct(
    dirty: DirtyImage,
    options: Options | None = None,
    major_cycle: MajorCycle | None = None,
    start: np.ndarray | None = None,
    allowed: np.ndarray | None = None,
    log: Callable[[str], None] = lambda message: None,
    progress: Callable[[int], None] = lambda done: None,
) -> Reconstruction:
    """Draw the sky of a dirty image.

    Parameters
    ----------
    dirty : DirtyImage
    options : Options, optional
    major_cycle : callable, optional
        Gives the residual [Jy/beam] of a model [Jy/pixel] from the visibilities;
        without it the PSF stands in for them.
    start : ndarray, shape (ny, nx), optional
        Model [Jy/pixel] that has been subtracted from `dirty` already.
    allowed : ndarray of bool, shape (ny, nx), optional
        Where the model may change (a clean mask).
    log : callable
        Told a line about each step.
    progress : callable
        Told of finished realisations.

    Returns
    -------
    Reconstruction

    Raises
    ------
    ValueError
        If an option is wrong or the image is too coarse or without noise.
    """
    cycle = None if major_cycle is None else lambda models: major_cycle(models[0])[None]
    starts = None if start is None else np.asarray(start)[None]
    mask = None if allowed is None else lambda: np.asarray(allowed)[None]
    (found,) = reconstruct_cube([dirty], options, cycle, starts, mask, log, progress)
    assert found is not None
    return found


def reconstruct_cube(
    planes: Sequence[DirtyImage | None],
    options: Options | None = None,
    major_cycle: MajorCycle | None = None,
    start: np.ndarray | None = None,
    mask: Callable[[], np.ndarray] | None = None,
    log: Callable[[str], None] = lambda message: None,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Reconstruction | None]:
    """Draw the skies of a cube's channels, which share their major cycles.

    Parameters
    ----------
    planes : sequence of DirtyImage
        Of equal shape; None for a channel without data.
    options : Options, optional
    major_cycle : callable, optional
        Gives the residuals [Jy/beam] of models [Jy/pixel], both of shape
        (nplane, ny, nx); without it the PSFs stand in for the visibilities.
    start : ndarray, shape (nplane, ny, nx), optional
        Models [Jy/pixel] that have been subtracted from `planes` already.
    mask : callable, optional
        Gives the clean mask, shape (nplane, ny, nx): where a model may change.
        It is asked again after every major cycle.
    log, progress : callable
        See `reconstruct`.

    Returns
    -------
    list of Reconstruction
        None for a channel without data.

    Raises
    ------
    ValueError
        If an option is wrong or an image is too coarse or without noise.
    """
    options = options or Options()
    denoiser, settings = load_network(options)
    allowed = None if mask is None else mask()
    passes: dict[int, Passes] = {}
    scenes: dict[int, Scene] = {}
    for k, plane in enumerate(planes):
        if plane is None:
            continue
        before, where = (None if cube is None else cube[k] for cube in (start, allowed))
        scenes[k] = Scene(plane, settings, denoiser.stride, before, where)
        say = _prefixed(log, f"channel {k}: ") if len(planes) > 1 else log
        passes[k] = _passes(scenes[k], denoiser, options, k, say, progress)
    _warn_of_elongation(planes, log)

    def from_psf(models: np.ndarray) -> np.ndarray:
        return np.stack([scenes[k].residual(m) if k in scenes else m for k, m in enumerate(models)])

    def observe(models: np.ndarray) -> np.ndarray:
        residuals = (major_cycle or from_psf)(models)
        if mask is not None:
            allowed = mask()
            for k, scene in scenes.items():
                scene.allow(allowed[k])
        return residuals

    return _together(passes, len(planes), observe)


def _together(passes: dict[int, Passes], nplane: int, observe: MajorCycle):
    """Run the passes of all planes side by side: each major cycle serves them all."""
    found: list[Reconstruction | None] = [None] * nplane
    if not passes:
        return found
    wanted = {k: next(run) for k, run in passes.items()}
    models = np.zeros((nplane, *next(iter(wanted.values())).shape), np.float32)
    while wanted:
        for k, model in wanted.items():
            models[k] = model
        residuals = observe(models)
        for k in list(wanted):
            try:
                wanted[k] = passes[k].send(residuals[k])
            except StopIteration as end:
                found[k] = end.value
                del wanted[k]
    return found


def _prefixed(log: Callable[[str], None], prefix: str) -> Callable[[str], None]:
    return lambda message: log(prefix + message)


def _warn_of_elongation(planes: Sequence[DirtyImage | None], log: Callable[[str], None]) -> None:
    """Say so where a beam is longer than any that networks are trained for."""
    if any(p and p.beam.major > MOST_ELONGATED * p.beam.minor for p in planes):
        log(
            f"the beam's axes differ by more than {MOST_ELONGATED}, the most that networks are "
            "trained for: take errors and probabilities with care, or taper the visibilities"
        )


def _passes(
    scene: Scene, denoiser: Denoiser, options: Options, plane: int, log, progress
) -> Passes:
    """The passes of one plane: yields a model, is sent its residual, returns a Reconstruction."""
    model, residual = scene.start, scene.dirty.data
    cycles: list[dict] = []
    best: _Pass | None = None
    stop = ""
    while not stop:
        started, before = time.monotonic(), _state(model, residual, scene)
        model, residual, peeled, rest, sigma = yield from _peel(scene, model, residual)
        log(f"pass {len(cycles) + 1}: noise {sigma:.4g} Jy/beam")
        data = residual + scene.observe(model)
        seed = (options.sampling.seed, plane, len(cycles))
        skies = _draw(scene, denoiser, options, model + peeled, rest, data, sigma, seed, progress)
        aggregate = scene.aggregate(scene.native(skies), options.aggregate)
        model = scene.fit(aggregate, data, sigma)
        residual = yield model
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
        if best is None or cycles[-1]["rms"] < min(cycle["rms"] for cycle in cycles[:-1]):
            best = _Pass(model, residual, skies)
        stop = _finished(cycles, options, scene)
    assert best is not None
    if best.model is not model:
        log("the residual has grown: back to the pass that left the least")
        best = best._replace(residual=(yield best.model))
    return _result(best, scene, options, cycles, stop)


def _draw(
    scene: Scene, denoiser: Denoiser, options: Options, model, rest, data, sigma, seed, progress
) -> torch.Tensor:
    """Realisations of the sky [Jy/canonical pixel], given the peeled model and what it leaves."""
    condition, held = scene.condition(model, rest, sigma)
    shape = ellipse(scene.dirty.beam)
    posterior = Posterior(denoiser, scene.settings, condition, shape, options.sampling, seed)
    skies = scene.constrain(posterior.draw(progress) * sigma, held, data, sigma, seed)
    return scene.sweep(skies, data, sigma, options.minflux, seed)


class _Pass(NamedTuple):
    """What a pass leaves: its model and residual, and the realisations behind them."""

    model: np.ndarray
    residual: np.ndarray
    skies: torch.Tensor


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
    peeled, rest, sigma = scene.peel(residual)
    if scene.outruns(peeled, sigma):
        model = model + peeled
        residual = yield model
        peeled, rest, sigma = scene.peel(residual)
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
        peeled = scene.peel(residual, depth=_LEAST)[0] * scene.allowed
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
        "left": noise.rms(residual, scene.valid),
        "modelflux": float(model.sum()),
    }


def _is_noise(state: dict, scene: Scene) -> bool:
    """Whether a residual looks like noise alone."""
    # The highest of n independent Gaussian peaks is about sqrt(2 ln n); one more for its scatter.
    alone = np.sqrt(2 * np.log(max(2.0, scene.valid.sum() / scene.beam_area))) + 1
    return state["peak"] < alone * state["left"] and state["rms"] < 1.1 * state["left"]


def _finished(cycles: list[dict], options: Options, scene: Scene) -> str:
    """Why to stop after the last of `cycles`, or '' to go on."""
    last = cycles[-1]
    if last["peak"] < options.threshold:
        return "threshold"
    # Noise that has fallen was sidelobes, and what is left may be as well.
    settled = last["left"] > 0.9 * last["noise"]
    if last["peak"] < options.nsigma * last["left"] or (settled and _is_noise(last, scene)):
        return "noise"
    if len(cycles) > 1 and last["rms"] > 0.98 * cycles[-2]["rms"]:
        return "stalled"
    return "nmajor" if len(cycles) == options.nmajor else ""


def _result(best: _Pass, scene: Scene, options: Options, cycles, stop: str) -> Reconstruction:
    sigma = noise.rms(best.residual, scene.valid)
    samples = scene.native(best.skies)
    return Reconstruction(
        model=best.model,
        std=aggregation.std(torch.from_numpy(samples)).numpy(),
        prob=scene.probability(samples, options.minflux * sigma),
        residual=best.residual,
        restored=scene.restore(best.model) + best.residual,
        samples=samples if options.samples else samples[:0],
        sources=scene.sources(best.skies, sigma, options.minflux),
        noise=sigma,
        cycles=cycles,
        stop=stop,
    )
