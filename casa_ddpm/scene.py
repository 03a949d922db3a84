"""One field: its PSF, beam, canonical frame and clean mask, and what is done to its images."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from astropy.table import QTable

from casa_ddpm import aggregation, noise, peel
from casa_ddpm.calibration import Calibration
from casa_ddpm.candidates import find_candidates
from casa_ddpm.checkpoint import Settings
from casa_ddpm.dirty import Beam, DirtyImage
from casa_ddpm.frame import Frame, resample
from casa_ddpm.gaussians import Gaussians
from casa_ddpm.likelihood import Likelihood
from casa_ddpm.normalisation import compress
from casa_ddpm.odds import disturbance
from casa_ddpm.posterior import noise_field
from casa_ddpm.presence import find_sites
from casa_ddpm.psf import gaussian, smooth
from casa_ddpm.sky import flux_density
from casa_ddpm.sources import find_sources
from casa_ddpm.sweep import ROUNDS, Sweep, find_structure

#: Residual peak to which the bright emission is peeled [noise].
_DEPTH = 5.0
#: Prior uncertainty of a canonical pixel, as a fraction of its brightness, when data refine it.
_TRUST = 0.5
#: S/N of a point source below which a realisation stays as the network drew it.
_FAINT = 8.0
#: Errors of a source's calibration and of its shape, as a share of its sidelobes; and of
#: structure's, which is no sum of a few Gaussians and is as the network drew it.
_ERRORS, _STRUCTURE_ERRORS = 0.01, 0.03
#: Sidelobe from which on sources are told apart only together, not one after the other.
_TANGLED = 0.35
#: Which of a realisation's noise fields is the one that it is fitted with.
_FIT_NOISE = 2**31
#: The first of those that its sources are drawn anew with.
_SWEEP_NOISE = 2**31 + 1


class Scene:
    """A field, seen by a network of given settings.

    Parameters
    ----------
    dirty : DirtyImage
    settings : checkpoint.Settings
    stride : int
        Of the network.
    start : ndarray, shape (ny, nx), optional
        Model [Jy/pixel] that `dirty` is the residual of.
    allowed : ndarray of bool, shape (ny, nx), optional
        Clean mask.

    Attributes
    ----------
    valid, allowed : ndarray of bool, shape (ny, nx)
        Where the primary beam is defined, and where the model may change.

    Raises
    ------
    ValueError
        If the pixels are too coarse or a shape differs from the image's.
    """

    def __init__(
        self,
        dirty: DirtyImage,
        settings: Settings,
        stride: int,
        start: np.ndarray | None = None,
        allowed: np.ndarray | None = None,
    ) -> None:
        shape = dirty.data.shape
        for name, image in (("start", start), ("allowed", allowed)):
            if image is not None and np.shape(image) != shape:
                raise ValueError(f"{name} must have the shape {shape}, got {np.shape(image)}")
        self.dirty, self.settings = dirty, settings
        self.frame = Frame.of(shape, dirty.beam, dirty.cell, settings.scale, stride)
        self.psf = torch.from_numpy(dirty.psf)
        size = 2 * int(2.5 * dirty.beam.major / dirty.cell) + 1
        self.clean = gaussian(dirty.beam.covariance(dirty.cell), size)
        self.beam_area = dirty.beam.area(dirty.cell)
        self.start = np.zeros_like(dirty.data) if start is None else np.array(start, np.float32)
        self.total = dirty.data + self.observe(self.start)
        self.valid = np.ones(shape, bool) if dirty.pb is None else np.nan_to_num(dirty.pb) > 0
        self.allowed = self.valid
        if allowed is not None:
            self.allow(allowed)
        self.inside = self._inside()

    def allow(self, mask: np.ndarray) -> None:
        """Let the model change where the clean mask (ny, nx) and the primary beam reach."""
        self.allowed = mask & self.valid

    def _inside(self) -> torch.Tensor:
        """1 on canonical pixels of the image itself, 0 on its mirrored margin."""
        frame = self.frame
        inside = torch.zeros(frame.canonical)
        spans = []
        for n, before, whole, pixels in zip(
            frame.native, frame.before, frame.padded, frame.canonical, strict=True
        ):
            first, last = before - 0.5, before + n - 0.5
            zoom = pixels / whole
            spans.append(slice(max(0, round(first * zoom)), round(last * zoom) + 1))
        inside[tuple(spans)] = 1
        return inside

    def observe(self, model: np.ndarray) -> np.ndarray:
        """A model [Jy/pixel] as the PSF shows it [Jy/beam]."""
        return peel.convolve(torch.from_numpy(model), self.psf).numpy()

    def residual(self, model: np.ndarray) -> np.ndarray:
        """What a model [Jy/pixel] leaves of the data, the PSF standing in for the visibilities."""
        return self.total - self.observe(model)

    def restore(self, model: np.ndarray) -> np.ndarray:
        """A model convolved with the clean beam [Jy/beam]."""
        return peel.convolve(torch.from_numpy(model), self.clean).numpy()

    def peel(self, residual: np.ndarray, rounds: int = 6, depth: float = _DEPTH):
        """Peel to a few times the noise, which is measured anew as sidelobes go.

        But never to what a peak may add beyond the PSF's image, where it is not subtracted.

        Returns
        -------
        model, rest : ndarray, shape (ny, nx)
        sigma : float
        """
        model = torch.zeros(residual.shape)
        data, valid = torch.from_numpy(residual), torch.from_numpy(self.valid)
        rest, sigma = data, noise.rms(residual, self.valid)
        sidelobes = 1.2 * self.far * np.abs(residual[self.valid]).max(initial=0)
        for _ in range(rounds):
            level = max(depth * sigma, sidelobes)
            if not (rest.abs() > level)[valid].any():
                break
            more, left = peel.hogbom(
                rest[None],
                self.psf[None],
                torch.tensor([level], dtype=torch.float32),
                iterations=3000,
                where=valid,
            )
            model, rest = model + more[0], left[0]
            before, sigma = sigma, noise.rms(rest.numpy(), self.valid)
            if sigma > 0.99 * before:
                break
        return model.numpy(), rest.numpy(), sigma

    def outruns(self, peeled: np.ndarray, sigma: float) -> bool:
        """Whether the sidelobes of a peeled model matter beyond the PSF's edge, half the image."""
        return bool(self.far * self.restore(np.abs(peeled)).max() > sigma)

    @cached_property
    def sidelobe(self) -> float:
        """The highest sidelobe beyond two beams."""
        (ny, nx), beam = self.psf.shape, self.dirty.beam.fwhm / self.dirty.cell
        y, x = np.indices((ny, nx))
        beyond = np.hypot(y - ny // 2, x - nx // 2) > 2 * beam
        return float(np.abs(self.dirty.psf[beyond]).max(initial=0))

    @cached_property
    def far(self) -> float:
        """The highest sidelobe near the PSF's edge, of which there are more beyond."""
        ny, nx = self.psf.shape
        outer = self.psf.abs().clone()
        outer[ny // 8 : -ny // 8, nx // 8 : -nx // 8] = 0
        return float(outer.max())

    def condition(self, model: np.ndarray, rest: np.ndarray, sigma: float):
        """What the network sees, and the part of the model held back from it [Jy/pixel]."""
        sky, left = (torch.tensor(a / sigma, dtype=torch.float32) for a in (model, rest))
        if self.settings.conditioning == "restored":
            restored, held = peel.restore(sky, left, self.clean, self.settings.cap)
        else:
            restored = left = torch.from_numpy(self.total / sigma)
            held = torch.zeros_like(sky)
        shown = self.frame.forward(torch.stack([restored, left]))
        return compress(shown), held.numpy() * sigma

    def shown(self, model: np.ndarray, residual: np.ndarray) -> torch.Tensor:
        """The dirty image of the whole sky on canonical pixels, as a likelihood predicts it.

        The PSF's image ends, with sidelobes that are still high. What is bright must leave
        no trace of that end: the model is shown by the same PSF that will take it away.

        Parameters
        ----------
        model : ndarray, shape (ny, nx)
            [Jy/pixel].
        residual : ndarray, shape (ny, nx)
            What it leaves, from the visibilities [Jy/beam].
        """
        seen = self._likelihood(1.0).predict(self._drawn(torch.from_numpy(model)))
        return self.frame.forward(torch.from_numpy(residual)) + seen

    def _likelihood(self, sigma: float) -> Likelihood:
        """Of canonical skies."""
        return Likelihood(self._canonical_psf, sigma, self.settings.kernel * self.settings.scale)

    def constrain(
        self, skies: torch.Tensor, held: np.ndarray, shown: torch.Tensor, sigma: float, seed
    ) -> torch.Tensor:
        """Realisations with what was held back, their bright parts made to fit the data.

        A network's error of a few per cent is many times the noise of a bright source.
        There each realisation is fitted to the data plus a noise of its own, which
        leaves the realisations with the spread that the noise allows
        (randomise-then-optimise, Bardsley et al. 2014).

        Parameters
        ----------
        skies : Tensor, shape (n, *canonical)
            [Jy/canonical pixel].
        held : ndarray, shape (ny, nx)
            Part of the model that the network was not shown [Jy/pixel].
        shown : Tensor, shape canonical
            Dirty image of the whole sky [Jy/beam].
        sigma : float
            [Jy/beam].
        seed : tuple of int
            Of the run and the cycle.
        """
        # What the network draws on the mirrored margin is no sky.
        skies = skies * self.inside
        if held.any():
            skies = skies + self._drawn(torch.from_numpy(held))
        # A Gaussian of that FWHM has its peak this far below its flux.
        kernel = self.settings.kernel * self.settings.scale
        faint = _FAINT * sigma / Beam(kernel, kernel, 0).area(1)
        mean = skies.mean(0)
        if not (mean > faint).any():
            return skies
        likelihood = self._likelihood(sigma)
        for k, sky in enumerate(skies):
            white = noise_field(seed, k, likelihood.shape, _FIT_NOISE)[0]
            own = likelihood.correlated(white)[: sky.shape[0], : sky.shape[1]]
            left = shown + own - likelihood.predict(sky)
            bright = (torch.maximum(mean, sky) - faint).clamp(min=0)
            skies[k] = likelihood.fit(sky, (_TRUST * bright) ** 2, left, 30)
        return skies

    def sweep(
        self, skies: torch.Tensor, shown: torch.Tensor, sigma: float, minflux: float, seed
    ) -> torch.Tensor:
        """Realisations whose sources are drawn from the data: which, how bright and where.

        Parameters
        ----------
        skies : Tensor, shape (n, *canonical)
            [Jy/canonical pixel].
        shown : Tensor, shape canonical
            Dirty image of the whole sky [Jy/beam].
        sigma : float
            [Jy/beam].
        minflux : float
            Least flux at which a realisation holds a source [noise].
        seed : tuple of int
            Of the run, the plane and the cycle.
        """
        mean = skies.numpy().mean(0, dtype=float) / sigma
        regions = find_candidates(mean, *self._widths(), minflux / len(skies))
        sweep = self._sweep(skies, shown, sigma, minflux * sigma, regions, sites=True)
        for k, sky in enumerate(skies.numpy()):
            parts = range(_SWEEP_NOISE, _SWEEP_NOISE + ROUNDS)
            white = np.stack([noise_field(seed, k, sky.shape, part)[0].numpy() for part in parts])
            skies[k] = torch.from_numpy(sweep.redraw(sky, white))
        return skies

    def _widths(self) -> tuple[float, float]:
        """FWHM of the clean beam, and of a point in a realisation [canonical pixel]."""
        beam = self.dirty.beam.fwhm / self.dirty.cell * self.frame.zoom()
        return beam, self.settings.kernel * self.settings.scale

    def _sweep(
        self, skies, shown, most: float, least: float, regions: np.ndarray, sites: bool = False
    ) -> Sweep:
        """A sweep over the regions of sources, and over sites of what realisations have missed.

        `most` is the most that the noise can be, `least` the least flux of a source.
        """
        likelihood, inside = self._likelihood(most), self.inside.numpy() > 0
        # What the peel has left of sidelobes passed for noise; the realisations know better.
        left = self._left(skies, shown)
        likelihood.noise = min(most, noise.rms(left, inside))
        beam, kernel = self._widths()
        gaussians = Gaussians(likelihood, beam, kernel)
        structure = find_structure(skies.numpy().mean(0), regions, gaussians)
        clear = self.sidelobe < _TANGLED
        told = clear and self._errors(structure, shown, likelihood) < likelihood.noise
        missed = find_sites(left, likelihood.noise, beam) if told and sites else None
        area = float(inside.sum() * told)
        return Sweep(regions, shown, likelihood, least, flux_density, gaussians, missed, area)

    def _errors(self, structure: np.ndarray, shown: torch.Tensor, likelihood: Likelihood) -> float:
        """What errors of the brightest leave in their sidelobes, and would pass for sources.

        Where it is above the noise, which sources there are is left to the network.
        """
        drawn = likelihood.predict(torch.from_numpy(structure)).max()
        return self.sidelobe * max(_ERRORS * float(shown.max()), _STRUCTURE_ERRORS * float(drawn))

    def _left(self, skies: torch.Tensor, shown: torch.Tensor) -> np.ndarray:
        """What the mean of realisations leaves of the data, on canonical pixels [Jy/beam]."""
        predicted = self._likelihood(1.0).predict(skies.mean(0))
        return np.where(self.inside.numpy() > 0, (shown - predicted).numpy(), 0)

    def noise(self, residual: np.ndarray) -> float:
        """Of a residual [Jy/beam], however full of sky it still is."""
        return noise.thermal(residual, self.dirty.psf, self.valid)

    def least_noise(self, residual: np.ndarray, skies: torch.Tensor, shown: torch.Tensor) -> float:
        """Noise of what is left by the model, or by realisations, which hold fainter sources.

        Parameters
        ----------
        residual : ndarray, shape (ny, nx)
            Of the model [Jy/beam].
        skies, shown
            See `sweep`.
        """
        left, inside = self._left(skies, shown), self.inside.numpy() > 0
        other = noise.thermal(left, self._canonical_psf.numpy(), inside)
        return min(self.noise(residual), other)

    @cached_property
    def _canonical_psf(self) -> torch.Tensor:
        """The PSF on canonical pixels, per unit of flux, centred as a PSF is."""
        frame = self.frame
        (ny, nx), (cy, cx) = frame.native, frame.canonical
        padded = torch.zeros(frame.padded)
        padded[:ny, :nx] = self.psf
        # The peak is brought to pixel 0, which resampling leaves in place.
        centred = torch.roll(padded, (-(ny // 2), -(nx // 2)), (0, 1))
        return torch.roll(resample(centred, frame.canonical), (cy // 2, cx // 2), (0, 1))

    def _drawn(self, model: torch.Tensor) -> torch.Tensor:
        """A model [Jy/pixel] on canonical pixels as the network would draw it."""
        frame = self.frame
        padded = torch.zeros(frame.padded)
        (y, x), (ny, nx) = frame.before, frame.native
        padded[y : y + ny, x : x + nx] = model
        area = padded.numel() / (frame.canonical[0] * frame.canonical[1])
        smoothed = smooth(padded, self.settings.kernel * self.dirty.beam.fwhm / self.dirty.cell)
        return resample(smoothed, frame.canonical) * area

    def native(self, skies: torch.Tensor) -> np.ndarray:
        """Realisations on the image's own pixels [Jy/pixel]."""
        stack = np.stack([self.frame.backward(sky).numpy() for sky in skies])
        return stack * self.valid

    def aggregate(self, samples: np.ndarray, name: str) -> np.ndarray:
        """One image of all realisations; outside of the clean mask the start model stays."""
        one = aggregation.AGGREGATES[name](torch.from_numpy(samples)).numpy()
        return np.where(self.allowed, one, self.start)

    def fit(self, aggregate: np.ndarray, data: np.ndarray, sigma: float) -> np.ndarray:
        """The aggregate, updated where the dirty image `data` [Jy/beam] knows better."""
        # The prior's effect on a flux shall not depend on how many pixels share it.
        variance = (_TRUST * aggregate / self.frame.zoom()) ** 2
        likelihood = Likelihood(self.psf.double(), sigma)
        prior, width, left = (
            torch.from_numpy(image).double()
            for image in (aggregate, variance * self.allowed, data - self.observe(aggregate))
        )
        return likelihood.fit(prior, width, left).numpy().astype(np.float32)

    def probability(self, samples: np.ndarray, least: float) -> np.ndarray:
        """See `aggregation.probability`."""
        return aggregation.probability(torch.from_numpy(samples), self.beam_area, least).numpy()

    def sources(
        self, skies: torch.Tensor, shown: torch.Tensor, sigma: float, left: float, minflux: float
    ) -> QTable:
        """Sources of the realisations, with positions in the image's own pixels.

        Parameters
        ----------
        skies, shown, sigma, minflux
            See `sweep`.
        left : float
            Rms of what is left of the data, which may be more than noise [Jy/beam].
        """
        frame, beam = self.frame, self.dirty.beam
        cell = self.dirty.cell / frame.zoom()
        kernel = self.settings.kernel * beam.fwhm

        def chances(regions: np.ndarray) -> np.ndarray:
            sweep = self._sweep(skies, shown, left, minflux * sigma, regions)
            return np.mean([sweep.chances(sky) for sky in skies.numpy()], axis=0)

        table = find_sources(skies.numpy(), cell, beam, kernel, sigma, minflux, chances)
        if calibration := Calibration.of(self.settings.calibration):
            known = disturbance(sigma, self.dirty.thermal)
            table = calibration.apply(table, beam.fwhm / cell, known)
        x, y = frame.pixel(table["x"].value, table["y"].value)
        table["x"], table["y"] = x * table["x"].unit, y * table["y"].unit
        ny, nx = frame.native
        column, row = np.rint(x).astype(int), np.rint(y).astype(int)
        inside = (column >= 0) & (column < nx) & (row >= 0) & (row < ny)
        inside[inside] = self.allowed[row[inside], column[inside]]
        return table[inside]
