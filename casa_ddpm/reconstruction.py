"""The order of the steps, on arrays: from a dirty image to a sky with error bars.

    peel -> restore -> canonical frame -> realisations -> aggregate -> fit to the data -> residual

repeated as major cycles until the residual is noise.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from astropy.table import QTable

from casa_ddpm import aggregation, checkpoint, noise
from casa_ddpm.dirty import DirtyImage
from casa_ddpm.posterior import Posterior, Sampling
from casa_ddpm.psf import ellipse
from casa_ddpm.scene import Scene
from casa_ddpm.simulator import MOST_ELONGATED

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
        Realisations at a resolution of half a beam [Jy/pixel].
    sources : QTable
        See `sources.find_sources`; x, y in image pixels.
    noise : float
        Rms of the noise [Jy/beam].
    cycles : list of dict
        Each pass's noise, residual peak and rms [Jy/beam], model flux [Jy] and
        seconds.
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
    options = options or Options()
    denoiser, settings = load_network(options)
    scene = Scene(dirty, settings, denoiser.stride, start, allowed)
    if dirty.beam.major > MOST_ELONGATED * dirty.beam.minor:
        log(
            f"the beam's axes differ by more than {MOST_ELONGATED}, the most that networks are "
            "trained for: take errors and probabilities with care, or taper the visibilities"
        )
    major_cycle = major_cycle or scene.residual
    model, residual = scene.start, dirty.data
    cycles: list[dict] = []
    best: _Pass | None = None
    while True:
        started = time.monotonic()
        model, residual, peeled, rest, sigma = _peel(scene, model, residual, major_cycle)
        log(f"pass {len(cycles) + 1}: noise {sigma:.4g} Jy/beam")
        condition, held = scene.condition(model + peeled, rest, sigma)
        seed = (options.sampling.seed, len(cycles))
        posterior = Posterior(
            denoiser, settings, condition, ellipse(dirty.beam), options.sampling, seed
        )
        data = residual + scene.observe(model)
        skies = scene.constrain(posterior.draw(progress) * sigma, held, data, sigma, seed)
        samples = scene.native(skies)
        spread = aggregation.std(torch.from_numpy(samples)).numpy()
        model = scene.fit(scene.aggregate(samples, options.aggregate), data, sigma)
        residual = major_cycle(model)
        cycles.append(_record(model, residual, scene, sigma, time.monotonic() - started))
        rms, peak = (cycles[-1][name] / sigma for name in ("rms", "peak"))
        log(f"pass {len(cycles)}: residual rms {rms:.3f}, peak {peak:.1f} of the noise")
        if best is None or cycles[-1]["rms"] < min(cycle["rms"] for cycle in cycles[:-1]):
            best = _Pass(model, residual, samples, spread, skies)
        if stop := _finished(cycles, options, scene):
            break
    if best.model is not model:
        log("the residual has grown: back to the pass that left the least")
        best = best._replace(residual=major_cycle(best.model))
    return _result(best, scene, options, cycles, stop)


class _Pass(NamedTuple):
    """What a pass leaves: its model and residual, and the realisations behind them."""

    model: np.ndarray
    residual: np.ndarray
    samples: np.ndarray
    spread: np.ndarray
    skies: torch.Tensor


def _peel(scene: Scene, model: np.ndarray, residual: np.ndarray, major_cycle: MajorCycle):
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
        residual = major_cycle(model)
        peeled, rest, sigma = scene.peel(residual)
    return model, residual, peeled, rest, sigma


def _record(model, residual, scene: Scene, sigma: float, seconds: float) -> dict:
    return {
        "noise": sigma,
        "peak": float(np.abs(residual[scene.allowed]).max(initial=0)),
        "rms": float(residual[scene.valid].std()),
        "modelflux": float(model.sum()),
        "seconds": seconds,
    }


def _finished(cycles: list[dict], options: Options, scene: Scene) -> str:
    """Why to stop after the last of `cycles`, or '' to go on."""
    peak, sigma, rms = (cycles[-1][name] for name in ("peak", "noise", "rms"))
    if peak < options.threshold:
        return "threshold"
    # The highest of n independent Gaussian peaks is about sqrt(2 ln n); one more for its scatter.
    alone = np.sqrt(2 * np.log(max(2.0, scene.valid.sum() / scene.beam_area))) + 1
    if peak < options.nsigma * sigma or (peak < alone * sigma and rms < 1.1 * sigma):
        return "noise"
    if len(cycles) > 1 and rms > 0.98 * cycles[-2]["rms"]:
        return "stalled"
    return "nmajor" if len(cycles) == options.nmajor else ""


def _result(best: _Pass, scene: Scene, options: Options, cycles, stop: str) -> Reconstruction:
    sigma = noise.rms(best.residual, scene.valid)
    return Reconstruction(
        model=best.model,
        std=best.spread,
        prob=scene.probability(best.samples, options.minflux * sigma),
        residual=best.residual,
        restored=scene.restore(best.model) + best.residual,
        samples=best.samples,
        sources=scene.sources(best.skies, sigma, options.minflux),
        noise=sigma,
        cycles=cycles,
        stop=stop,
    )
