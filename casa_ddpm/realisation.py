"""A realisation while its sources are drawn anew: their light, and what it leaves of the data."""

from __future__ import annotations

import numpy as np

from casa_ddpm.census import Census
from casa_ddpm.coupling import grown
from casa_ddpm.ground import NEAR, Ground

#: What the far sidelobes of changes add up to before they are brought in [noise].
_LATE = 0.2


class Realisation:
    """Sources on the stamps of a ground.

    Parameters
    ----------
    sky : ndarray, shape (ny, nx)
        [flux/pixel].
    ground : Ground
    least : float
        Flux below which a stamp does not hold a source.
    census : Census
        An empty one.

    Attributes
    ----------
    sky : ndarray, shape (ny, nx)
    gradient : ndarray, shape (ny, nx)
        Of the log likelihood there, times noise^2.
    light : list of ndarray
        That of each stamp's source.
    held : set of int
        Stamps that hold a source.
    network : dict
        What was begun with on those stamps that hold a Gaussian, None where that was nothing.
    census : Census
        What the Gaussians tell of the field.
    """

    def __init__(self, sky: np.ndarray, ground: Ground, least: float, census: Census) -> None:
        self.ground, self.census = ground, census
        self.light = [sky[box] * mask for box, mask in zip(ground.boxes, ground.masks, strict=True)]
        # What is on the other stamps belongs to regions.
        for stamp in self.light[ground.regions :]:
            stamp[:] = 0
        self.held = {k for k, stamp in enumerate(self.light) if stamp.sum() > least}
        self.network: dict[int, np.ndarray | None] = {}
        self.sky = sky.astype(float, copy=True)
        self.catch_up()

    def catch_up(self) -> None:
        """Make the gradient exact, everywhere."""
        self.gradient = self.ground.gradient(self.sky)
        #: Sum of the squares of changes of light whose far sidelobes it does not have yet.
        self._late = 0.0

    def settle(self) -> None:
        """Bring in the far sidelobes of changes where they add up to something."""
        # Drawn side by side, hundreds of sources would drive each other away.
        if self.ground.sidelobes * np.sqrt(self._late) > _LATE * self.ground.likelihood.noise:
            self.catch_up()

    def change(self, k: int, light: np.ndarray) -> None:
        """Give stamp k another light, and follow what that does to the gradient nearby."""
        change = light - self.light[k]
        if not change.any():
            return
        box = self.ground.boxes[k]
        near = grown(box, NEAR, self.sky.shape)
        self.sky[box] += change
        self.gradient[near] -= self.ground.coupling.seen(change, box, near)
        self._late += float(np.abs(change).sum()) ** 2
        self.light[k] = light

    def around(self, k: int) -> np.ndarray:
        """The gradient on stamp k."""
        return self.gradient[self.ground.boxes[k]]

    def empty(self, k: int, light: np.ndarray | None = None) -> np.ndarray:
        """The gradient on stamp k if its own light were not there, or another one."""
        light = self.light[k] if light is None else light
        return self.ground.coupling.without(light, self.around(k))

    def begin(self, k: int) -> None:
        """Stamp k holds a Gaussian from now on."""
        self.held.add(k)
        self.network[k] = None

    def end(self, k: int) -> None:
        """Stamp k holds no source any more."""
        self.held.discard(k)
        self.network.pop(k, None)
        self.census.discard(k)

    def part(self, k: int, lights: tuple[np.ndarray, np.ndarray]) -> None:
        """Give region k two points."""
        twin = self.twin(k)
        self.begin(twin)
        self.census.discard(k)
        for place, light in zip((k, twin), lights, strict=True):
            self.change(place, light)

    def join(self, k: int, light: np.ndarray) -> None:
        """Give region k one light instead of two points."""
        twin = self.twin(k)
        self.census.discard(k)
        self.end(twin)
        self.change(twin, np.zeros_like(light))
        self.change(k, light)

    def twin(self, k: int) -> int:
        """The stamp of the second of two points in region k."""
        return k + self.ground.twins

    def is_parted(self, k: int) -> bool:
        """Whether stamp k is for one of two points of a region."""
        return k >= self.ground.twins or self.twin(k) in self.held
