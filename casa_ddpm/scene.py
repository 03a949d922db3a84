"""One field: its PSF, beam, canonical frame and clean mask, and what is done to its images."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from astropy.table import QTable

from casa_ddpm import aggregation, noise, peel
from casa_ddpm.calibration import Calibration
from casa_ddpm.canvas import TRUST, Canvas
from casa_ddpm.checkpoint import Settings
from casa_ddpm.dirty import DirtyImage
from casa_ddpm.disturbance import Signs
from casa_ddpm.fourier import convolve
from casa_ddpm.frame import Frame
from casa_ddpm.likelihood import Likelihood
from casa_ddpm.normalisation import compress
from casa_ddpm.psf import gaussian

#: Residual peak to which the bright emission is peeled [noise].
_DEPTH = 5.0
#: Least share of an image's rms that is noise, where the rest is sidelobes.
_SIDELOBES = 0.7
#: Times the noise of the visibilities from which on what is left is full of sidelobes.
_HIDDEN = 1.25
#: Most times that the noise is measured anew while a field is peeled.
_ROUNDS = 6
#: What the peaks of the sum of many sidelobes are, over its rms.
_PEAK = 3.0
#: Growth of the noise by which a peel is known to diverge.
_GROWN = 1.1


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
        Where there is an image, and where the model may change.
    aside : float
        Flux of what has been set aside [Jy].

    Raises
    ------
    ValueError
        If the pixels are too coarse, a shape differs from the image's or the settings'
        calibration is of another version.
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
        self.total = self.seen = dirty.data + self.observe(self.start)
        self.valid = dirty.valid
        self.allowed = self.valid
        if allowed is not None:
            self.allow(allowed)
        self.calibration = Calibration.of(settings.calibration)
        self.canvas = Canvas(dirty, settings, self.frame, self.valid)
        self.aside = 0.0

    def allow(self, mask: np.ndarray) -> None:
        """Let the model change where the clean mask (ny, nx) and the image reach."""
        self.allowed = np.asarray(mask, bool) & self.valid

    def set_aside(self, model: np.ndarray, residual: np.ndarray) -> None:
        """Take a model [Jy/pixel] for known: what it leaves [Jy/beam] is the dirty image now."""
        self.aside = float(model.sum())
        self.dirty = self.canvas.dirty = replace(self.dirty, data=residual)
        self.seen = residual + self.observe(self.start)

    def observe(self, model: np.ndarray) -> np.ndarray:
        """A model [Jy/pixel] as the PSF shows it [Jy/beam]."""
        return convolve(torch.from_numpy(model), self.psf).numpy()

    def residual(self, model: np.ndarray) -> np.ndarray:
        """What a model [Jy/pixel] leaves of the data, the PSF standing in for the visibilities."""
        return self.total - self.observe(model)

    def restore(self, model: np.ndarray) -> np.ndarray:
        """A model convolved with the clean beam [Jy/beam]."""
        return convolve(torch.from_numpy(model), self.clean).numpy()

    def peel(self, residual: np.ndarray, depth: float = _DEPTH, deep: bool = False):
        """Peel to a few times the noise, which is measured anew as sidelobes go.

        Where all of the image is full of these, it is the noise of the visibilities that tells
        how deep the peel has to go. But it never goes to what a peak may add beyond the PSF's
        image, where it is not subtracted.

        Parameters
        ----------
        residual : ndarray, shape (ny, nx)
            [Jy/beam].
        depth : float
            Residual peak at which it ends [noise].
        deep : bool
            Go on where the sidelobes of many sources still pass for noise.

        Returns
        -------
        model, rest : ndarray, shape (ny, nx)
        sigma : float
        """
        model = torch.zeros(residual.shape)
        data, valid = torch.from_numpy(residual), torch.from_numpy(self.valid)
        rest, sigma = data, noise.rms(residual, self.valid)
        sidelobes = 1.2 * self.far * np.abs(residual[self.valid]).max(initial=0)
        for _ in range(_ROUNDS):
            hidden = self.dirty.tangled
            if deep and not (rest.abs() > depth * sigma)[valid].any():
                hidden = self._is_hidden(rest.numpy())
            level = max(depth * self._noise_in(sigma) if hidden else depth * sigma, sidelobes)
            if not (rest.abs() > level)[valid].any():
                break
            more, left = peel.hogbom(
                rest[None],
                self.psf[None],
                torch.tensor([level], dtype=torch.float32),
                iterations=3000,
                where=valid,
            )
            before, after = sigma, noise.rms(left[0].numpy(), self.valid)
            # CLEAN need not converge with a PSF that ends with the image.
            if not after <= _GROWN * before:
                break
            model, rest, sigma = model + more[0], left[0], after
            if sigma > 0.99 * before and (hidden or not deep):
                break
        return model.numpy(), rest.numpy(), sigma

    def _noise_in(self, sigma: float) -> float:
        """Noise in an image of rms `sigma`, of which the rest is sidelobes.

        But never far below what there is, of which errors of the calibration may be a part.
        """
        return min(sigma, max(self.dirty.thermal or sigma, _SIDELOBES * sigma))

    def _is_hidden(self, residual: np.ndarray) -> bool:
        """Whether sidelobes pass for noise in a residual, and that of the visibilities is known.

        A snapshot's sidelobes do not fall off, and those of hundreds of sources add up.
        """
        thermal = self.dirty.thermal
        if thermal is None or self.dirty.tangled:
            return thermal is not None
        return self.noise(residual) > _HIDDEN * thermal

    def outruns(self, peeled: np.ndarray, rest: np.ndarray, sigma: float) -> bool:
        """Whether the sidelobes of a peeled model matter beyond the PSF's edge, half the image.

        Parameters
        ----------
        peeled, rest : ndarray, shape (ny, nx)
            Peeled model [Jy/pixel], and what it leaves [Jy/beam].
        sigma : float
            [Jy/beam].
        """
        if not peeled.any():
            return False
        shown = self.restore(np.abs(peeled))
        highest = shown.max()
        # Those of many sources add up as noise does. A Gaussian's square has half its integral.
        many = np.sqrt(2 * np.sum(shown**2) / self.beam_area)
        sidelobes = max(self.far * highest, _PEAK * self.ripple * many)
        return self._is_hidden(rest) or bool(sidelobes > sigma)

    @cached_property
    def far(self) -> float:
        """The highest sidelobe near the PSF's edge, of which there are more beyond."""
        return float(self._outer.abs().max())

    @cached_property
    def ripple(self) -> float:
        """The rms of the sidelobes there."""
        return float(self._outer.square().mean().sqrt())

    @property
    def _outer(self) -> torch.Tensor:
        """The outer part of the PSF's image, shape (n,)."""
        ny, nx = self.psf.shape
        outer = torch.ones(ny, nx, dtype=torch.bool)
        outer[ny // 8 : -ny // 8, nx // 8 : -nx // 8] = False
        return self.psf[outer]

    def condition(self, model: np.ndarray, rest: np.ndarray, sigma: float):
        """What the network sees, and the part of the model held back from it [Jy/pixel]."""
        sky, left = (torch.tensor(a / sigma, dtype=torch.float32) for a in (model, rest))
        if self.settings.conditioning == "restored":
            restored, held = peel.restore(sky, left, self.clean, self.settings.cap)
        else:
            restored = left = torch.from_numpy(self.seen / sigma)
            held = torch.zeros_like(sky)
        shown = self.frame.forward(torch.stack([restored, left]))
        return compress(shown), held.numpy() * sigma

    def noise(self, residual: np.ndarray) -> float:
        """Of a residual [Jy/beam], however full of sky it still is."""
        return noise.by_rings(residual, self.dirty.psf, self.valid, self.dirty.thermal or 0)

    @property
    def highest(self) -> float:
        """About the highest peak of noise alone [noise]."""
        return noise.highest(self.valid.sum() / self.beam_area)

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
        variance = (TRUST * aggregate / self.frame.zoom()) ** 2
        likelihood = Likelihood(self.psf.double(), sigma)
        prior, width, left = (
            torch.from_numpy(image).double()
            for image in (aggregate, variance * self.allowed, data - self.observe(aggregate))
        )
        return likelihood.fit(prior, width, left).numpy().astype(np.float32)

    def probability(self, samples: np.ndarray, least: float) -> np.ndarray:
        """See `aggregation.probability`."""
        return aggregation.probability(torch.from_numpy(samples), self.beam_area, least).numpy()

    def calibrated(
        self, sources: QTable, signs: Signs, certain: np.ndarray | None = None
    ) -> QTable:
        """Sources within the clean mask, recalibrated among all that there are.

        Parameters
        ----------
        sources : QTable
            As realisations and fits give them; see `sources.find_sources`.
        signs : Signs
            Of what is left of the image.
        certain : ndarray of bool, shape (n,), optional
            Those of which it is known that they are sources.
        """
        table, dirty = sources.copy(), self.dirty
        if self.calibration:
            table = self.calibration.apply(table, dirty.beam.fwhm, dirty.cell, signs)
        if certain is not None:
            table["prob"] = np.where(certain, 1.0, table["prob"])
        ny, nx = self.frame.native
        column, row = (np.rint(table[axis].value).astype(int) for axis in ("x", "y"))
        inside = (column >= 0) & (column < nx) & (row >= 0) & (row < ny)
        inside[inside] = self.allowed[row[inside], column[inside]]
        return table[inside]
