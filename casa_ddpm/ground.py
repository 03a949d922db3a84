"""Where the sources of a field may be, and the data that they have to explain."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

from casa_ddpm.coupling import Box, Coupling, grown
from casa_ddpm.likelihood import Likelihood

#: How far around a source its change is followed at once [pixel].
NEAR = 12
#: Rim of the stamp of a region, which a shift moves light into [pixel].
_RIM = 4


class Ground:
    """Stamps of a field's image, each for a source or none.

    The first are those of the regions, then come those of the sites, and from the number
    `twins` on those of the regions once more, for the second of two points in one.

    Parameters
    ----------
    regions : ndarray of int, shape (ny, nx)
        0 where no source is, 1 ... K in the sources' regions.
    data : Tensor, shape (ny, nx)
        Dirty image [flux/beam].
    likelihood : Likelihood
        Of skies of that shape.
    sites : ndarray of int, shape (ny, nx), optional
        0, and 1 ... L where a source may be that no realisation holds; may lie on regions.

    Attributes
    ----------
    boxes : list of pair of slices
        Of the stamps, with a rim.
    masks : list of ndarray of bool
        Which of a stamp's pixels are the region's.
    middles : list of ndarray, shape (2,)
        Their pixels (y, x), of which some may be the same, as of a source and a ring round it.
    regions, twins : int
    coupling : Coupling
    sidelobes : float
        Rms of the PSF beyond what is followed at once.
    """

    def __init__(
        self,
        regions: np.ndarray,
        data: torch.Tensor,
        likelihood: Likelihood,
        sites: np.ndarray | None = None,
    ) -> None:
        self.data, self.likelihood = data, likelihood
        self.coupling = Coupling(likelihood)
        self.sidelobes = likelihood.sidelobes(NEAR)
        self.boxes: list[Box] = []
        self.masks: list[np.ndarray] = []
        self.middles: list[np.ndarray] = []
        for labels in (regions,) if sites is None else (regions, sites):
            self._divide(labels)
        self.regions, self.twins = int(regions.max(initial=0)), len(self.boxes)
        self._double(regions.shape)
        self._again = np.zeros(len(self.boxes), int)
        self._again[: self.regions] = _repeated(self.middles[: self.regions])
        self._again[self.twins :] = self._again[: self.regions]

    def _divide(self, labels: np.ndarray) -> None:
        """Add stamps of all labels of an image."""
        numbers = np.arange(1, labels.max(initial=0) + 1)
        boxes = [grown(box, _RIM, labels.shape) for box in ndimage.find_objects(labels)]
        self.boxes += boxes
        self.masks += [labels[box] == k for k, box in zip(numbers, boxes, strict=True)]
        middles = ndimage.center_of_mass(labels > 0, labels, numbers)
        self.middles += list(np.rint(middles).astype(int))

    def _double(self, shape: tuple[int, ...]) -> None:
        """Add the stamps of the regions once more."""
        self.boxes += self.boxes[: self.regions]
        self.masks += self.masks[: self.regions]
        # Random numbers are those of a pixel, and shall be others.
        self.middles += [(middle + 1) % shape for middle in self.middles[: self.regions]]

    def seed(self, k: int, white: np.ndarray) -> list[int]:
        """Of the random numbers of stamp k: its pixel of white noise (ny, nx) of float32.

        Those of two regions differ; a site, or a second point, may share another stamp's.
        """
        return [int(white[tuple(self.middles[k])].view(np.uint32)), int(self._again[k])]

    def gradient(self, sky: np.ndarray) -> np.ndarray:
        """Of the log likelihood in a sky, times noise^2, shape (ny, nx)."""
        left = self.data - self.likelihood.predict(torch.from_numpy(sky).to(self.data))
        return self.likelihood.sharpened(left).numpy().astype(float)


def _repeated(middles: list[np.ndarray]) -> np.ndarray:
    """The number of each of n pixels where an earlier one is the same, else 0, shape (n,)."""
    numbers = np.arange(len(middles))
    if len(middles):
        _, first = np.unique(middles, axis=0, return_index=True)
        numbers[first] = 0
    return numbers
