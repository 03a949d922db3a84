"""The canonical plane on which skies are drawn, and what the data say of what is drawn."""

from __future__ import annotations

from copy import copy
from functools import cached_property, partial

import numpy as np
import torch
from astropy.table import QTable
from scipy import ndimage

from casa_ddpm import noise, workers
from casa_ddpm.candidates import find_candidates
from casa_ddpm.checkpoint import Settings
from casa_ddpm.dirty import Beam, DirtyImage
from casa_ddpm.disturbance import Signs
from casa_ddpm.fourier import resample
from casa_ddpm.frame import Frame
from casa_ddpm.gaussians import Gaussians
from casa_ddpm.likelihood import Likelihood
from casa_ddpm.posterior import noise_field
from casa_ddpm.presence import find_sites
from casa_ddpm.psf import smooth
from casa_ddpm.sources import find_sources
from casa_ddpm.sweep import ROUNDS, Sweep, find_structure

#: Prior uncertainty of a canonical pixel, as a fraction of its brightness, when data refine it.
TRUST = 0.5
#: S/N of a point source below which a realisation stays as the network drew it.
_FAINT = 8.0
#: Errors of a source's calibration and of its shape, as a share of its sidelobes; and of
#: structure's, which is no sum of a few Gaussians and is as the network drew it.
_ERRORS, _STRUCTURE_ERRORS = 0.01, 0.03
#: Most of the noise, over what they leave, that realisations can explain in their mean.
_EXPLAINED = 1.15
#: Which of a realisation's noise fields is the one that it is fitted with.
_FIT_NOISE = 2**31
#: The first of those that its sources are drawn anew with.
_SWEEP_NOISE = 2**31 + 1


class Canvas:
    """The canonical plane of a field, as a network of given settings draws on it.

    Parameters
    ----------
    dirty : DirtyImage
    settings : checkpoint.Settings
    frame : Frame
        Of the image.
    valid : ndarray of bool, shape (ny, nx)
        Where there is an image.

    Attributes
    ----------
    inside, good : Tensor and ndarray of bool, shape canonical
        Canonical pixels of the image itself, and where its data say something.
    """

    def __init__(
        self, dirty: DirtyImage, settings: Settings, frame: Frame, valid: np.ndarray
    ) -> None:
        self.dirty, self.settings, self.frame = dirty, settings, frame
        self.inside = self._inside()
        self.good = self._good(valid)

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

    def _good(self, valid: np.ndarray) -> np.ndarray:
        """Pixels of the image, a beam away from those that CASA has blanked."""
        inside = self.inside.numpy() > 0
        if valid.all():
            return inside
        blank = self.frame.forward(torch.from_numpy(~valid).float()).numpy() > 0.5
        good = inside & ~ndimage.binary_dilation(blank, iterations=round(self._widths()[0]))
        return good if good.any() else inside & ~blank

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
        seen = self._optics.predict(self._drawn(torch.from_numpy(model)))
        return self.frame.forward(torch.from_numpy(residual)) + seen

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
            skies[k] = likelihood.fit(sky, (TRUST * bright) ** 2, left, 30)
        return skies

    def sweep(
        self,
        skies: torch.Tensor,
        shown: torch.Tensor,
        sigma: float,
        minflux: float,
        seed,
        turn: int = 0,
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
        turn : int
            Which sweep it is of that cycle.
        """
        mean = skies.numpy().mean(0, dtype=float) / sigma
        regions = find_candidates(mean, *self._widths(), minflux / len(skies))
        sweep = self._sweep(skies, shown, sigma, minflux * sigma, regions, sites=True)
        first = _SWEEP_NOISE + turn * max(ROUNDS)
        # What touches has settled together in the first sweep.
        rounds = min(ROUNDS) if turn else sweep.rounds
        redrawn = partial(_redrawn, sweep, seed, range(first, first + rounds))
        swept = workers.share(
            redrawn, list(enumerate(skies.numpy())), sweep.seconds(rounds) * len(skies)
        )
        return torch.from_numpy(np.stack(swept)).to(skies)

    def unexplained(self, skies: torch.Tensor, shown: torch.Tensor) -> float:
        """Rms of what the mean of realisations leaves of the data [Jy/beam]."""
        return noise.rms(self._left(skies, shown), self.good)

    def noise(self, skies: torch.Tensor, shown: torch.Tensor) -> float:
        """Noise of what the mean of realisations leaves of the data [Jy/beam]."""
        left, least = self._left(skies, shown), self.dirty.thermal or 0
        return noise.by_rings(left, self._psf.numpy(), self.good, least)

    def signs(self, skies: torch.Tensor, shown: torch.Tensor, sigma: float) -> Signs:
        """What tells whether realisations (n, *canonical) leave more than noise.

        `shown` is the dirty image of the whole sky (*canonical), `sigma` the noise [Jy/beam].
        """
        beam, _ = self._widths()
        beams = self.good.sum() / Beam(beam, beam, 0).area(1)
        return Signs.of(self.dirty, self._left(skies, shown)[self.good], beams, sigma)

    def sources(
        self, skies: torch.Tensor, shown: torch.Tensor, sigma: float, left: float, minflux: float
    ) -> QTable:
        """Sources of the realisations, as they are, with positions in the image's own pixels.

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
        x, y = frame.pixel(table["x"].value, table["y"].value)
        table["x"], table["y"] = x * table["x"].unit, y * table["y"].unit
        return table

    def _sweep(
        self, skies, shown, most: float, least: float, regions: np.ndarray, sites: bool = False
    ) -> Sweep:
        """A sweep over the regions of sources, and over sites of what realisations have missed.

        `most` is the most that the noise can be, `least` the least flux of a source.
        """
        likelihood = self._likelihood(most)
        # What the peel has left of sidelobes passed for noise; the realisations know better.
        left = self._left(skies, shown)
        likelihood.noise = self._noise_of(left, most)
        beam, _ = self._widths()
        gaussians = self._gaussians
        structure = find_structure(skies.numpy().mean(0), regions, gaussians)
        told = (
            not self.dirty.tangled and self._errors(structure, shown, likelihood) < likelihood.noise
        )
        missed = find_sites(left, likelihood.noise, beam) if told and sites else None
        area = float(self.good.sum() * self.dirty.lit * told)
        return Sweep(regions, shown, likelihood, least, gaussians, missed, area)

    def _noise_of(self, left: np.ndarray, most: float) -> float:
        """Of what realisations leave of the data: in their mean they explain some of the noise."""
        least, thermal = noise.rms(left, self.good), self.dirty.thermal or 0.0
        # No image tells it as well as the visibilities do.
        if least <= thermal <= _EXPLAINED * least:
            return thermal
        # But theirs may be an upper bound, where sources vary between them.
        return min(most, max(least, min(thermal, _EXPLAINED * least)))

    def _errors(self, structure: np.ndarray, shown: torch.Tensor, likelihood: Likelihood) -> float:
        """What errors of the brightest leave in their sidelobes, and would pass for sources.

        Where it is above the noise, which sources there are is left to the network.
        """
        drawn = likelihood.predict(torch.from_numpy(structure)).max()
        return self.dirty.sidelobe * max(
            _ERRORS * float(shown.max()), _STRUCTURE_ERRORS * float(drawn)
        )

    def _left(self, skies: torch.Tensor, shown: torch.Tensor) -> np.ndarray:
        """What the mean of realisations leaves of the data, on canonical pixels [Jy/beam]."""
        predicted = self._optics.predict(skies.mean(0))
        return np.where(self.good, (shown - predicted).numpy(), 0)

    def _widths(self) -> tuple[float, float]:
        """FWHM of the clean beam, and of a point in a realisation [canonical pixel]."""
        beam = self.dirty.beam.fwhm / self.dirty.cell * self.frame.zoom()
        return beam, self.settings.kernel * self.settings.scale

    def _likelihood(self, sigma: float) -> Likelihood:
        """Of canonical skies, with a noise of its own."""
        likelihood = copy(self._optics)
        likelihood.noise = sigma
        return likelihood

    @cached_property
    def _optics(self) -> Likelihood:
        """What the PSF makes of canonical skies, whatever the noise."""
        return Likelihood(self._psf, 1.0, self.settings.kernel * self.settings.scale)

    @cached_property
    def _gaussians(self) -> Gaussians:
        """What it makes of Gaussian sources."""
        return Gaussians(self._optics, *self._widths())

    @cached_property
    def _psf(self) -> torch.Tensor:
        """The PSF on canonical pixels, per unit of flux, centred as a PSF is."""
        frame = self.frame
        (ny, nx), (cy, cx) = frame.native, frame.canonical
        padded = torch.zeros(frame.padded)
        padded[:ny, :nx] = torch.from_numpy(self.dirty.psf)
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


def _redrawn(sweep: Sweep, seed, parts: range, realisation: tuple[int, np.ndarray]) -> np.ndarray:
    """A sky (ny, nx), given with its number, swept with those parts of its noise."""
    number, sky = realisation
    white = [noise_field(seed, number, sky.shape, part)[0].numpy() for part in parts]
    return sweep.redraw(sky, np.stack(white))
