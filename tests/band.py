"""A wide band that is seen by an explicit Fourier transform, for tests."""

from __future__ import annotations

import numpy as np

from casa_ddpm import arrays, psf
from casa_ddpm.dirty import DirtyImage
from casa_ddpm.taylor import Taylor
from casa_ddpm.uv import Observation

#: Side of the image and pixels per beam.
NPIX, SCALE = 96, 4.3


class Band:
    """Four minutes of ALMA in channels from `low` to `high` times a frequency.

    Weights may differ from channel to channel, so that the middle of the band is not at the
    reference frequency.
    """

    def __init__(self, low=0.8, high=1.2, channels=8, terms=2, tilt=0.0, seed=1):
        self.frequency = np.linspace(low, high, channels)
        track = Observation(arrays.load("alma.cycle5.3"), -30.0, 0.3, 240, 60)
        uv = track.uv() / track.frequencies[0]
        self.weight = np.repeat(np.exp(tilt * (self.frequency - 1)), len(uv))
        self.weight /= self.weight.sum()
        self.ratio = np.repeat(self.frequency, len(uv))
        longest = np.hypot(*uv.T).max() * high
        # Rows are along y, which is v.
        self.waves = np.concatenate([f * uv[:, ::-1] for f in self.frequency]) / longest / 2.4
        self.terms, self.random = terms, np.random.default_rng(seed)
        self.psfs = self.images(np.ones(len(self.ratio)), 2 * terms - 1)
        self.taylor = Taylor(self.psfs)
        self.beam = psf.fit_beam(self.psfs[0], 1.0)

    def images(self, visibilities, number):
        """Images with the weights times (nu - 1)^t, shape (number, NPIX, NPIX)."""
        side = np.arange(NPIX) - NPIX // 2
        rows, columns = (np.exp(2j * np.pi * np.outer(wave, side)) for wave in self.waves.T)
        weights = self.weight * (self.ratio - 1) ** np.arange(number)[:, None]
        return np.array([((rows.T * (w * visibilities)) @ columns).real for w in weights])

    def sources(self, places, fluxes, indices, sizes=None):
        """Visibilities of Gaussians of circular deviation `sizes` [pixel] at (y, x) pixels."""
        total = np.zeros(len(self.ratio), complex)
        for k, (place, flux, index) in enumerate(zip(places, fluxes, indices, strict=True)):
            phase = -2j * np.pi * self.waves @ (np.asarray(place) - NPIX // 2)
            width = 0 if sizes is None else 2 * (np.pi * sizes[k]) ** 2 * (self.waves**2).sum(1)
            total += flux * self.ratio**index * np.exp(phase - width)
        return total

    def noise(self, rms):
        """Visibilities of noise that has an rms in the image of the band's mean."""
        scale = rms / np.sqrt(2 * (self.weight**2 * self.deviation**2).sum())
        parts = self.random.standard_normal((2, len(self.ratio)))
        # Of a real image one of two components counts.
        return scale * np.sqrt(2) * self.deviation * (parts[0] + 1j * parts[1])

    @property
    def deviation(self):
        """Of each visibility: natural weighting."""
        return 1 / np.sqrt(self.weight)

    def observed(self, visibilities):
        """The images of the terms, the first as a DirtyImage, and the major cycle."""
        data = self.images(visibilities, self.terms)
        side = np.arange(NPIX) - NPIX // 2
        rows, columns = (np.exp(-2j * np.pi * np.outer(wave, side)) for wave in self.waves.T)

        def major_cycle(models):
            seen = np.zeros(len(self.ratio), complex)
            for t, model in enumerate(models):
                seen += (self.ratio - 1) ** t * ((rows @ model) * columns).sum(1)
            return self.images(visibilities - seen, self.terms)

        return data, DirtyImage(data[0], self.psfs[0], self.beam, 1.0), major_cycle
