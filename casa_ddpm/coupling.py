"""What the light on a part of a sky does to the likelihood's gradient on another part."""

from __future__ import annotations

import numpy as np
import torch
from scipy import fft

from casa_ddpm.likelihood import Likelihood

Box = tuple[slice, slice]


class Coupling:
    """The gradient that light makes, by its offset.

    Parameters
    ----------
    likelihood : Likelihood
    """

    def __init__(self, likelihood: Likelihood) -> None:
        both = likelihood.transfer * likelihood.sharpen**2
        self._kernel = torch.fft.irfft2(both, s=likelihood.shape).numpy().astype(float)
        #: Sides and spectra of those parts of it that have been needed.
        self._spectra: dict[tuple, tuple[list[int], np.ndarray]] = {}

    def seen(self, stamps: np.ndarray, box: Box | None = None, near: Box | None = None):
        """The gradient that light on stamps makes, times noise^2.

        Parameters
        ----------
        stamps : ndarray, shape (..., y, x)
            Light of a `box`.
        box, near : pair of slices, optional
            Where the light is, and where the gradient is wanted; the stamps themselves
            unless given.

        Returns
        -------
        ndarray, shape (..., *near)
        """
        own = tuple(slice(0, n) for n in stamps.shape[-2:])
        spans = tuple(
            (n.start - b.stop + 1, n.stop - b.start)
            for b, n in zip(box or own, near or own, strict=True)
        )
        if spans not in self._spectra:
            self._spectra[spans] = self._spectrum(spans)
        sides, spectrum = self._spectra[spans]
        found = fft.irfft2(spectrum * fft.rfft2(stamps, sides), sides)
        # Of a circular convolution the part that has not gone around.
        (top, bottom), (left, right) = spans
        y, x = (n - 1 for n in stamps.shape[-2:])
        return found[..., y : bottom - top, x : right - left]

    def _spectrum(self, spans: tuple) -> tuple[list[int], np.ndarray]:
        """Of the kernel at offsets between bounds."""
        rows, columns = (np.arange(*span) for span in spans)
        sides = [fft.next_fast_len(len(span), True) for span in (rows, columns)]
        return sides, fft.rfft2(self._kernel[rows[:, None], columns], sides)

    def without(self, stamp: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """The gradient on a stamp (ny, nx) if its light were not there."""
        return gradient + self.seen(stamp) if stamp.any() else gradient


def grown(box: Box, rim: int, shape: tuple[int, ...]) -> Box:
    """A box with a rim, within an image of a shape."""
    y, x = (
        slice(max(0, s.start - rim), min(n, s.stop + rim)) for s, n in zip(box, shape, strict=True)
    )
    return y, x
