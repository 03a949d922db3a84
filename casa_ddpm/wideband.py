"""Major cycles of a wide band: the spectra follow a sky that is drawn without them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from casa_ddpm import noise
from casa_ddpm.dirty import DirtyImage
from casa_ddpm.likelihood import Likelihood
from casa_ddpm.passes import Reconstruction
from casa_ddpm.taylor import Taylor

#: How steep spectra are supposed to be: deviation of a spectral index about 0.
STEEP = 2.0
#: Pixels per beam on which one is the least that a source's slope is shared by.
_SCALE = 4.0
#: Most steps of a fit.
_STEPS = 20


class Wideband:
    """The major cycle of a sky's mean over the band, which fits the other terms beside it.

    Each time that a sky is asked for, its slopes are those that the data of the cycle before
    speak for, and what they explain is taken from the residual; the next cycle goes through
    the visibilities with them.

    Parameters
    ----------
    taylor : Taylor
    dirty : DirtyImage
        Of the band's mean; a residual where there is a model to start from.
    major_cycle : callable
        Gives residuals of models, tclean's Taylor terms, shape (n, ny, nx) [Jy/beam, Jy/pixel].
    residuals : ndarray, shape (n, ny, nx)
        What `dirty` is the first of [Jy/beam].
    start : ndarray, shape (n, ny, nx), optional
        Model of which they are what is left [Jy/pixel].

    Attributes
    ----------
    skies : ndarray, shape (n, ny, nx)
        Orthogonal terms of the last sky [Jy/pixel].
    left : ndarray, shape (n, ny, nx)
        What they leave [Jy/beam].
    """

    def __init__(
        self,
        taylor: Taylor,
        dirty: DirtyImage,
        major_cycle: Callable[[np.ndarray], np.ndarray],
        residuals: np.ndarray,
        start: np.ndarray | None = None,
    ) -> None:
        self.taylor, self._dirty, self._cycle = taylor, dirty, major_cycle
        self.left = taylor.seen(residuals)
        self.skies = np.zeros_like(self.left) if start is None else taylor.orthogonal(start)
        self._share = max(1.0, dirty.beam.fwhm / dirty.cell / _SCALE)

    @property
    def start(self) -> np.ndarray:
        """The sky to start from, shape (1, ny, nx) [Jy/pixel]."""
        return self.skies[:1].astype(np.float32)

    def __call__(self, models: np.ndarray) -> np.ndarray:
        """The residual of the band's mean sky, shapes (1, ny, nx) [Jy/beam, Jy/pixel]."""
        self._observe(models[0])
        for t in range(1, len(self.taylor)):
            self._fit(t)
        return self.left[:1].astype(np.float32)

    def finish(self, found: Reconstruction) -> Reconstruction:
        """The reconstruction with the residual that the visibilities leave of all terms."""
        self._observe(found.model)
        residual = self.left[0].astype(np.float32)
        return replace(
            found, residual=residual, restored=found.restored - found.residual + residual
        )

    def _observe(self, sky: np.ndarray) -> None:
        """A major cycle with a sky and the slopes that there are."""
        self.skies[0] = sky
        models = self.taylor.terms(self.skies).astype(np.float32)
        self.left = self.taylor.seen(self._cycle(models))

    def _fit(self, t: int) -> None:
        """Fit a term to what the data say of it, and take what has changed from what is left."""
        kernel, own = self.taylor.kernels[t, t], self.taylor.power[t]
        sigma = noise.rms(self.left[t], self._dirty.valid) / own
        # A slope is in proportion to the flux, on however many pixels that is.
        width = STEEP * self._share * np.abs(self.skies[0])
        # Anew each time: what a fit that starts from the last one cannot see would add up.
        data = (self.left[t] + self.taylor.observe(t, self.skies[t], t)) / own
        likelihood = Likelihood(torch.from_numpy(kernel / own).float(), sigma)
        nothing, variance, rest = (
            torch.from_numpy(image).float() for image in (0 * data, width**2, data)
        )
        fitted = likelihood.fit_held(nothing, variance, rest, _STEPS).double().numpy()
        change = fitted - self.skies[t]
        self.skies[t] = fitted
        for s in range(len(self.taylor)):
            self.left[s] -= self.taylor.observe(s, change, t)
