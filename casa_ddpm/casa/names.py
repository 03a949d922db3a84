"""Names of a run's images: one of each kind, or one for each Taylor term."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from casa_ddpm.casa.images import opened, read_planes, write_image, write_planes
from casa_ddpm.suffixes import SPECTRA

#: Images of which there are 2 n - 1 for n terms, as products of two terms are seen through them.
_OF_PAIRS = (".psf", ".sumwt", ".weight")


@dataclass(frozen=True)
class Names:
    """The images of a prefix.

    Parameters
    ----------
    imagename : str
        The prefix.
    terms : int
        Taylor terms, by which tclean's names then end (.tt0, ...); 0 where they do not.
    """

    imagename: str
    terms: int = 0

    @property
    def end(self) -> str:
        """How the names of the first term end."""
        return ".tt0" if self.terms else ""

    def path(self, suffix: str) -> str:
        """The image of a kind, the first term's where there are several."""
        return self.imagename + suffix + self.end

    def paths(self, suffix: str) -> list[str]:
        """All images of a kind."""
        return [self.imagename + each for each in self._each(suffix)]

    @property
    def restored(self) -> list[str]:
        """Suffixes of what is made of a model and its residual."""
        return [*self._each(".image"), *(SPECTRA if self.terms else ())]

    @property
    def corrected(self) -> list[str]:
        """Suffixes of what is made of these and the primary beam."""
        return [f"{suffix}.pbcor" for suffix in self.restored]

    def there(self, suffix: str) -> bool:
        """Whether all images of a kind exist."""
        return all(os.path.isdir(path) for path in self.paths(suffix))

    def read(self, suffix: str) -> np.ndarray:
        """All planes of all images of a kind, one after the other, shape (n, ny, nx)."""
        return np.concatenate([read_planes(path) for path in self.paths(suffix)])

    def _each(self, suffix: str) -> list[str]:
        if not self.terms:
            return [suffix]
        count = 2 * self.terms - 1 if suffix in _OF_PAIRS else self.terms
        return [f"{suffix}.tt{term}" for term in range(count)]

    def begin(self, path: str, unit: str) -> None:
        """Write an image of zeros with the residual's axes, as CASA's own begin."""
        template = self.path(".residual")
        write_image(path, np.zeros_like(read_planes(template)), template, unit, masked=False)
        with opened(path) as tool:
            weights = {self.path(".weight"), self.imagename + ".weight"}
            weighted = any(map(os.path.isdir, weights))
            tool.setmiscinfo(tool.miscinfo() | {"useweightimage": weighted})

    def write(self, suffix: str, images: np.ndarray) -> None:
        """Replace the pixels of all images of a kind, shape (n, ny, nx)."""
        paths = self.paths(suffix)
        for path, planes in zip(paths, np.split(images, len(paths)), strict=True):
            write_planes(path, planes)
