"""The order of the steps, on arrays: from a dirty image to a sky with error bars.

    peel -> restore -> canonical frame -> realisations -> aggregate -> fit to the data -> residual

repeated as major cycles until the residual is noise.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from astropy.table import QTable

from casa_ddpm import aggregation, checkpoint, noise, peel
from casa_ddpm.dirty import DirtyImage
from casa_ddpm.frame import Frame, resample
from casa_ddpm.likelihood import Likelihood
from casa_ddpm.normalisation import compress
from casa_ddpm.posterior import Posterior, Sampling, noise_field
from casa_ddpm.psf import ellipse, gaussian
from casa_ddpm.simulator import smooth
from casa_ddpm.sources import find_sources

#: Residual peak to which the bright emission is peeled [noise].
_DEPTH = 5.0
#: Prior uncertainty of a pixel, as a fraction of its brightness, when the data refine it.
_TRUST = 0.5
#: S/N of a point source below which a realisation stays as the network drew it.
_FAINT = 8.0

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
        Each major cycle's noise, residual peak and rms [Jy/beam], model flux [Jy] and
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
    allowed : ndarray of bool, optional
        Where the model may hold flux (a clean mask).
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
    scene = _Scene(dirty, settings, denoiser.stride, allowed)
    model = np.zeros_like(dirty.data) if start is None else start
    residual, stop = dirty.data, "nmajor"
    cycles: list[dict] = []
    for cycle in range(options.nmajor):
        started = time.monotonic()
        peeled, rest, sigma = scene.peel(residual)
        before, after = (float(np.abs(image).max() / sigma) for image in (residual, rest))
        log(
            f"cycle {cycle + 1}: noise {sigma:.4g} Jy/beam, residual peak {before:.1f} sigma, "
            f"{after:.1f} once peeled"
        )
        condition, held = scene.condition(model + peeled, rest, sigma)
        posterior = Posterior(denoiser, settings, condition, ellipse(dirty.beam), options.sampling)
        skies = posterior.draw(progress) * sigma
        skies = scene.constrain(skies, held, model, residual, sigma, options.sampling.seed)
        samples = scene.native(skies)
        aggregate = scene.aggregate(samples, options.aggregate)
        spread = aggregation.std(torch.from_numpy(samples)).numpy()
        model = scene.fit(aggregate, spread, model, residual, sigma)
        residual = (major_cycle or scene.residual)(model)
        values = residual[scene.valid]
        cycles.append(
            {
                "noise": sigma,
                "peak": float(np.abs(values).max()),
                "rms": float(values.std()),
                "modelflux": float(model.sum()),
                "seconds": time.monotonic() - started,
            }
        )
        log(
            f"cycle {cycle + 1}: residual rms {cycles[-1]['rms'] / sigma:.3f} sigma, "
            f"peak {cycles[-1]['peak'] / sigma:.1f} sigma"
        )
        if reason := _finished(cycles, options, scene):
            stop = reason
            break
    sigma = noise.rms(residual, scene.valid)
    return Reconstruction(
        model=model,
        std=spread,
        prob=scene.probability(samples, options.minflux * sigma),
        residual=residual,
        restored=scene.restore(model) + residual,
        samples=samples,
        sources=scene.sources(skies, sigma, options.minflux),
        noise=sigma,
        cycles=cycles,
        stop=stop,
    )


def _finished(cycles: list[dict], options: Options, scene: _Scene) -> str:
    """Why to stop after the last of `cycles`, or '' to go on."""
    peak, sigma, rms = (cycles[-1][name] for name in ("peak", "noise", "rms"))
    if peak < options.threshold:
        return "threshold"
    # The highest of n independent Gaussian peaks is about sqrt(2 ln n); one more for its scatter.
    alone = np.sqrt(2 * np.log(max(2.0, scene.valid.sum() / scene.beam_area))) + 1
    if peak < max(options.nsigma, alone) * sigma and rms < 1.1 * sigma:
        return "noise"
    if len(cycles) > 1 and rms > 0.98 * cycles[-2]["rms"]:
        return "stalled"
    return ""


class _Scene:
    """One field's fixed things: PSF, beam, frame, valid and allowed pixels."""

    def __init__(self, dirty: DirtyImage, settings, stride: int, allowed) -> None:
        self.dirty, self.settings = dirty, settings
        self.frame = Frame.of(dirty.data.shape, dirty.beam, dirty.cell, settings.scale, stride)
        self.psf = torch.tensor(dirty.psf, dtype=torch.float32)
        covariance = dirty.beam.covariance(dirty.cell)
        size = 2 * int(2.5 * dirty.beam.major / dirty.cell) + 1
        self.clean = gaussian(covariance, size)
        self.beam_area = dirty.beam.area(dirty.cell)
        pb = dirty.pb
        self.valid = np.ones(dirty.data.shape, bool) if pb is None else np.nan_to_num(pb) > 0
        self.allowed = self.valid if allowed is None else allowed & self.valid
        # Canonical pixels of the image itself, without the mirrored margin.
        frame = self.frame
        sides = zip(frame.before, frame.canonical, frame.padded, strict=True)
        edge = [b * c // p for b, c, p in sides]
        self.inside = torch.zeros(self.frame.canonical)
        self.inside[edge[0] : -edge[0] or None, edge[1] : -edge[1] or None] = 1

    def residual(self, model: np.ndarray) -> np.ndarray:
        """Dirty image less psf (*) model."""
        return self.dirty.data - peel.convolve(torch.from_numpy(model), self.psf).numpy()

    def restore(self, model: np.ndarray) -> np.ndarray:
        """A model convolved with the clean beam [Jy/beam]."""
        return peel.convolve(torch.from_numpy(model), self.clean).numpy()

    def peel(self, residual: np.ndarray, rounds: int = 6):
        """Peel to a few times the noise, which is measured anew as sidelobes go.

        Returns
        -------
        model, rest : ndarray, shape (ny, nx)
        sigma : float
        """
        model = torch.zeros(residual.shape)
        rest = torch.tensor(residual, dtype=torch.float32)
        sigma = noise.rms(residual, self.valid)
        for _ in range(rounds):
            if not (rest.abs() > _DEPTH * sigma)[torch.from_numpy(self.valid)].any():
                break
            shown = torch.where(torch.from_numpy(self.valid), rest, 0.0)
            more, _ = peel.hogbom(
                shown[None], self.psf[None], torch.tensor([_DEPTH * sigma]), iterations=3000
            )
            model = model + more[0]
            rest = torch.from_numpy(residual) - peel.convolve(model, self.psf)
            before, sigma = sigma, noise.rms(rest.numpy(), self.valid)
            if sigma > 0.99 * before:
                break
        return model.numpy(), rest.numpy(), sigma

    def condition(self, model: np.ndarray, rest: np.ndarray, sigma: float):
        """What the network sees, and the part of the model held back from it [Jy/pixel]."""
        sky, left = (torch.tensor(a / sigma, dtype=torch.float32) for a in (model, rest))
        if self.settings.conditioning == "restored":
            restored, held = peel.restore(sky, left, self.clean, self.settings.cap)
        else:
            restored = left = torch.from_numpy(self.dirty.data / sigma)
            held = torch.zeros_like(sky)
        shown = self.frame.forward(torch.stack([restored, left]).float())
        return compress(shown), held.numpy() * sigma

    def native(self, skies: torch.Tensor) -> np.ndarray:
        """Realisations on the image's own pixels [Jy/pixel]."""
        stack = np.stack([self.frame.backward(sky).numpy() for sky in skies])
        return stack * self.valid

    def aggregate(self, samples: np.ndarray, name: str) -> np.ndarray:
        """One image of all realisations, inside of the clean mask."""
        return aggregation.AGGREGATES[name](torch.from_numpy(samples)).numpy() * self.allowed

    def constrain(self, skies, held, model, residual, sigma: float, seed: int) -> torch.Tensor:
        """Realisations with what was held back, their bright parts made to fit the data.

        A network's error of a few per cent is many times the noise of a bright source.
        There each realisation is fitted to the data plus a noise of its own, which
        leaves the realisations with the spread that the noise allows
        (randomise-then-optimise, Bardsley et al. 2014).
        """
        if held.any():
            skies = skies + self._drawn(torch.from_numpy(held))
        kernel = self.settings.kernel * self.settings.scale
        # A Gaussian of that FWHM has its peak this far below its flux.
        faint = _FAINT * sigma / (np.pi / (4 * np.log(2)) * kernel**2)
        bright = (skies.mean(0) - faint).clamp(min=0) * self.inside
        if not bright.any():
            return skies
        likelihood = Likelihood(self._canonical_psf(), sigma, kernel)
        data = torch.from_numpy(residual) + peel.convolve(torch.from_numpy(model), self.psf)
        shown = self.frame.forward(data)
        for k, sky in enumerate(skies):
            white = noise_field(seed, k, likelihood.shape, part=2**31)[0]
            noise = likelihood.correlated(white)[: sky.shape[0], : sky.shape[1]]
            left = shown + noise - likelihood.predict(sky)
            skies[k] = likelihood.fit(sky, (_TRUST * bright) ** 2, left, 30)
        return skies

    def _canonical_psf(self) -> torch.Tensor:
        """The PSF on canonical pixels, per unit of flux, centred as a PSF is."""
        frame = self.frame
        (ny, nx), (cy, cx) = frame.native, frame.canonical
        padded = torch.zeros(frame.padded)
        padded[:ny, :nx] = self.psf
        # The peak is brought to pixel 0, which resampling leaves in place.
        centred = torch.roll(padded, (-(ny // 2), -(nx // 2)), (0, 1))
        return torch.roll(resample(centred, frame.canonical), (cy // 2, cx // 2), (0, 1))

    def fit(self, aggregate, spread, model, residual, sigma) -> np.ndarray:
        """The aggregate, updated where the data know better.

        `residual` is that of `model`; what the visibilities know beyond the PSF's
        convolution is kept.
        """
        change = torch.from_numpy(aggregate - model)
        left = torch.from_numpy(residual) - peel.convolve(change, self.psf)
        variance = (spread**2 + (_TRUST * aggregate) ** 2) * self.allowed
        likelihood = Likelihood(self.psf.double(), sigma)
        prior = torch.from_numpy(aggregate).double(), torch.from_numpy(variance).double()
        return likelihood.fit(prior[0], prior[1], left.double()).numpy().astype(np.float32)

    def probability(self, samples: np.ndarray, least: float) -> np.ndarray:
        """See `aggregation.probability`."""
        return aggregation.probability(torch.from_numpy(samples), self.beam_area, least).numpy()

    def sources(self, skies, sigma: float, minflux: float) -> QTable:
        """Sources of the realisations, with positions in the image's own pixels."""
        frame, beam = self.frame, self.dirty.beam
        cell = self.dirty.cell / frame.zoom()
        table = find_sources(
            skies.numpy(), cell, beam, self.settings.kernel * beam.fwhm, sigma, minflux
        )
        x, y = frame.pixel(table["x"].value, table["y"].value)
        table["x"], table["y"] = x * table["x"].unit, y * table["y"].unit
        ny, nx = frame.native
        column, row = np.rint(x).astype(int), np.rint(y).astype(int)
        inside = (column >= 0) & (column < nx) & (row >= 0) & (row < ny)
        inside[inside] = self.allowed[row[inside], column[inside]]
        return table[inside]

    def _drawn(self, model: torch.Tensor) -> torch.Tensor:
        """A model [Jy/pixel] on canonical pixels as the network would draw it."""
        frame = self.frame
        padded = torch.zeros(frame.padded)
        (y, x), (ny, nx) = frame.before, frame.native
        padded[y : y + ny, x : x + nx] = model
        area = padded.numel() / (frame.canonical[0] * frame.canonical[1])
        smoothed = smooth(padded, self.settings.kernel * self.dirty.beam.fwhm / self.dirty.cell)
        return resample(smoothed, frame.canonical) * area
