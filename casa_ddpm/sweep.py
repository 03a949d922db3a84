"""The sources of a realisation, drawn anew from what the data say.

A network knows better what there is on a sky than how bright, how wide and where
exactly: those of its realisations scatter more than the noise makes them, it draws
marginally resolved sources too compact, and of the faintest it misses some. But given
all others, whether there is a source at a place, and its flux, shape and position, have a
posterior in closed form: a Gaussian likelihood times a prior of numbers, fluxes and
sizes. A Gibbs sweep (Geman & Geman 1984) over the sources replaces the network's by
draws from it. A realisation that already was a draw from the posterior stays one, or nearly:
what share of a field's sources is extended is inferred from their evidence, not drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from scipy import ndimage, special

from casa_ddpm import population, presence, rigid, shapes
from casa_ddpm.candidates import find_neighbours
from casa_ddpm.census import Census
from casa_ddpm.gaussians import Gaussians, Shape
from casa_ddpm.ground import Ground
from casa_ddpm.likelihood import Likelihood
from casa_ddpm.population import Population
from casa_ddpm.realisation import Realisation
from casa_ddpm.twins import Common, Twins

#: Least and most rounds of a sweep. Sources that touch settle together, which takes longer.
ROUNDS = (3, 8)
#: Neighbours a source, whose regions are half a beam apart or less, with which the rounds
#: begin to be more, and those of the most.
_APART, _CROWDED = 1.0, 1.8
#: About what drawing a source takes [s].
_DRAWING = 2.5e-3
#: What drawing whether a region holds two points takes of that, in the mean.
_TWIN = 0.3
#: Prior probability that what looks like a Gaussian is one.
GAUSSIAN = 0.95


class Sweep:
    """The sources of a field's realisations, and the data that they have to explain.

    Parameters
    ----------
    regions, data, likelihood, sites
        See `Ground`.
    least : float
        Flux below which a realisation does not hold a source.
    gaussians : Gaussians
        Of the likelihood.
    area : float
        Pixels on which sources may lie at all. Whether there is a source in a compact
        region or site is drawn as well, but not where this is 0.
    census : callable
        Takes a noise and a least flux, returns the `Census` that a realisation begins with.
    """

    def __init__(
        self,
        regions: np.ndarray,
        data: torch.Tensor,
        likelihood: Likelihood,
        least: float,
        gaussians: Gaussians,
        sites: np.ndarray | None = None,
        area: float = 0.0,
        census: Callable[[float, float], Census] = Census,
    ) -> None:
        self.least, self.gaussians, self.census = least, gaussians, census
        self.ground, self.area = Ground(regions, data, likelihood, sites), area
        neighbours = len(find_neighbours(regions, gaussians.beam / 2))
        #: How often all sources are drawn.
        self.rounds = _rounds(neighbours / max(self.ground.regions, 1))

    @cached_property
    def presence(self) -> presence.Presence:
        """What tells whether there is a source."""
        return presence.Presence(self.gaussians, self.ground.likelihood.noise, self.least)

    def seconds(self, rounds: int) -> float:
        """About what `redraw` takes in so many rounds."""
        return _DRAWING * rounds * (self.ground.twins + _TWIN * self.ground.regions)

    def redraw(self, sky: np.ndarray, white: np.ndarray) -> np.ndarray:
        """A realisation whose sources are drawn from the data: which, how bright and where.

        Parameters
        ----------
        sky : ndarray, shape (ny, nx)
            [flux/pixel].
        white : ndarray of float32, shape (rounds, ny, nx)
            White noise. What it is where a source is makes the source's random
            numbers, so that they do not depend on what else there is.

        Returns
        -------
        ndarray, shape (ny, nx)
        """
        drawn = self._begun(sky)
        for turn, noise in enumerate(white):
            if turn:  # for the far sidelobes of what has changed
                drawn.catch_up()
            for k in range(len(self.ground.middles)):
                drawn.settle()
                random = np.random.default_rng(self.ground.seed(k, noise))
                last = turn == len(white) - 1
                if k < self.ground.twins:
                    drawn.change(k, self._drawn(drawn, k, random, last))
                else:
                    self._draw_twin(drawn, k - self.ground.twins, random, last)
        return drawn.sky

    def chances(self, sky: np.ndarray) -> np.ndarray:
        """Probability of a source in each region, given all others of a realisation, (K,)."""
        drawn = self._begun(sky)
        found = np.array([float(k in drawn.held) for k in range(self.ground.regions)])
        for k in range(self.ground.regions):
            if self._is_doubtful(drawn, k):
                found[k] = special.expit(presence.total(self._odds(drawn, k, drawn.empty(k))))
        return found

    def _begun(self, sky: np.ndarray) -> Realisation:
        """A realisation before it is swept."""
        census = self.census(self.ground.likelihood.noise, self.least)
        begun = Realisation(sky, self.ground, self.least, census)
        for k in begun.held:
            if self.gaussians.resemble(begun.light[k]):
                begun.network[k] = begun.light[k]
        for k in begun.network:
            self._count(begun, k)
        return begun

    def _count(self, drawn: Realisation, k: int) -> None:
        """Take down the source of stamp k as the network drew it."""
        flux, centre, shape = self.gaussians.measured(drawn.light[k])
        fit = shapes.Fit(self.gaussians, drawn.census.others(k), drawn.empty(k))
        try:
            favour = shapes.favour(shape, centre, fit)
        except FloatingPointError:
            favour = 0.0
        drawn.census.record(k, flux, shape.major * shape.minor, favour, fit.widest)

    def _drawn(
        self, drawn: Realisation, k: int, random: np.random.Generator, last: bool
    ) -> np.ndarray:
        """The light of stamp k, drawn anew."""
        light, gradient = drawn.light[k], drawn.around(k)
        if self._is_doubtful(drawn, k):
            light, gradient = self._perhaps(drawn, k, random)
            if not light.any():
                drawn.end(k)
            elif k not in drawn.held:
                drawn.begin(k)
        if k in drawn.network:
            return self._reshaped(drawn, k, light, gradient, random, last)
        if k in drawn.held:
            return self._moved(light, gradient, drawn.census.others(k), random)
        return light

    def _draw_twin(
        self, drawn: Realisation, k: int, random: np.random.Generator, last: bool
    ) -> None:
        """Draw whether region k holds two points, and the second of them."""
        self._part_or_join(drawn, k, random)
        twin = drawn.twin(k)
        if twin in drawn.held:
            drawn.change(twin, self._drawn(drawn, twin, random, last))
            if last:
                self._reunite(drawn, k, random)

    def _part_or_join(self, drawn: Realisation, k: int, random: np.random.Generator) -> None:
        """Draw whether region k holds one source or two points, if it can hold either."""
        if not self.area or k not in drawn.network:
            return
        twin = drawn.twin(k)
        parted = twin in drawn.held
        lights = [drawn.light[k], drawn.light[twin]] if parted else [drawn.light[k]]
        common = Common.of(lights, self.gaussians, self._widest(drawn, k))
        if common is None or common.flux <= 2 * self.least:
            return
        drawn.census.discard(twin)
        known = drawn.census.others(k)
        density = (len(drawn.held - {k, twin}) + 1.5) / self.area
        empty = drawn.empty(k, np.sum(lights, axis=0))
        try:
            found = Twins(common, empty, self.gaussians, self.ground.coupling, known, density)
        except FloatingPointError:
            return
        part = random.random() < special.expit(found.log_odds())
        if part and not parted:
            drawn.part(k, found.draw_two(random))
        elif parted and not part:
            drawn.join(k, found.draw_one(random))

    def _reunite(self, drawn: Realisation, k: int, random: np.random.Generator) -> None:
        """What the network drew in region k instead of two points, if the data prefer that."""
        begun, both = drawn.network[k], drawn.light[k] + drawn.light[drawn.twin(k)]
        if begun is None:
            return
        empty, known = drawn.empty(k, both), drawn.census.others(k)
        fit = shapes.Fit(self.gaussians, known, empty)
        try:
            if not self._is_odd(begun, self._evidence(both, fit), fit, random):
                return
        except FloatingPointError:
            return
        drawn.network.pop(k)
        rest = empty - self.ground.coupling.seen(begun)
        drawn.join(k, self._moved(begun, rest, known, random))

    def _widest(self, drawn: Realisation, k: int) -> float:
        """Greatest FWHM of a Gaussian [beam]."""
        # What no network has seen is looked for among compact sources alone.
        return presence.SIZES[-1] if drawn.network[k] is None else population.MAJOR[1]

    def _is_doubtful(self, drawn: Realisation, k: int) -> bool:
        """Whether it is to be drawn if there is a source: where a compact one is, or none."""
        # Whether there are two points or one source in a region is drawn by itself.
        if not self.area or drawn.is_parted(k):
            return False
        if k not in drawn.held:
            return True
        if k not in drawn.network:
            return False
        _, _, shape = self.gaussians.measured(drawn.light[k])
        return bool(shape.major < presence.WIDEST)

    def _odds(self, drawn: Realisation, k: int, empty: np.ndarray) -> np.ndarray:
        """See `Presence.log_odds`; how many sources there are is known from the others."""
        density, known = (len(drawn.held - {k}) + 0.5) / self.area, drawn.census.others(k)
        return self.presence.log_odds(empty, self.ground.masks[k], density, known)

    def _perhaps(
        self, drawn: Realisation, k: int, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """A source as it is, a new one or none, and the gradient that goes with it."""
        light, empty = drawn.light[k], drawn.empty(k)
        odds = self._odds(drawn, k, empty)
        if random.random() >= special.expit(presence.total(odds)):
            return np.zeros_like(light), empty
        if k in drawn.held:
            return light, drawn.around(k)
        guess = presence.draw(odds, self.ground.masks[k], random)
        shape = Shape(guess.size**2, 0.0, 0.0)
        (image,) = self.gaussians.images(shape, guess.centre, light.shape)
        # Its flux will be drawn; until then it is any that counts as a source.
        new = 2 * self.least * image
        return new, empty - self.ground.coupling.seen(new)

    def _reshaped(
        self,
        drawn: Realisation,
        k: int,
        light: np.ndarray,
        gradient: np.ndarray,
        random: np.random.Generator,
        last: bool,
    ) -> np.ndarray:
        """A source drawn as a Gaussian, or as the network drew it if the data prefer that."""
        coupling, known, begun = self.ground.coupling, drawn.census.others(k), drawn.network[k]
        empty = coupling.without(light, gradient)
        fit = shapes.Fit(self.gaussians, known, empty, self._widest(drawn, k))
        _, centre, shape = self.gaussians.measured(light)
        odd = False
        try:
            if drawn.is_parted(k):
                source = shapes.redraw_point(centre, fit, random)
            else:
                source = shapes.redraw(shape, centre, fit, random)
                # Only next to neighbours that are right already can the data tell
                # whether they would rather have what the network drew.
                if last and begun is not None:
                    odd = self._is_odd(begun, source.evidence, fit, random)
        except FloatingPointError:
            return self._moved(light, gradient, known, random)
        area = float(source.shape.major * source.shape.minor)
        drawn.census.record(k, source.flux, area, source.favour, fit.widest)
        if odd and begun is not None:
            drawn.network.pop(k)
            return self._moved(begun, empty - coupling.seen(begun), known, random)
        (image,) = self.gaussians.images(source.shape, source.centre, light.shape)
        return source.flux * image

    def _is_odd(self, light: np.ndarray, evidence: float, fit: shapes.Fit, random) -> bool:
        """Whether the data would rather have other light than Gaussians of that log evidence."""
        odds = evidence - self._evidence(light, fit) + special.logit(GAUSSIAN)
        return random.random() >= special.expit(odds)

    def _moved(self, stamp: np.ndarray, gradient: np.ndarray, known: Population, random):
        """A source with another flux, at another place, of the same shape."""
        return rigid.redraw(stamp, gradient, self.ground.coupling, known, random)

    def _evidence(self, stamp: np.ndarray, fit: shapes.Fit) -> float:
        """Log evidence of a source of any light."""
        flux, _, shape = self.gaussians.measured(stamp)
        light = stamp / flux
        match, power = (
            np.array([(light * image).sum()])
            for image in (fit.data, self.ground.coupling.seen(light))
        )
        return float(fit.given(match, power, shape.major * shape.minor)[2][0])


def _rounds(neighbours: float) -> int:
    """How many rounds sources need that have so many neighbours in the mean."""
    return round(np.interp(neighbours, (_APART, _CROWDED), ROUNDS))


def find_structure(sky: np.ndarray, regions: np.ndarray, gaussians: Gaussians) -> np.ndarray:
    """The light of those regions that do not look like a Gaussian, shape (ny, nx)."""
    light = np.zeros_like(sky)
    for k, box in enumerate(ndimage.find_objects(regions), 1):
        mask = regions[box] == k
        if (stamp := sky[box] * mask).sum() > 0 and not gaussians.resemble(stamp):
            light[box] += stamp
    return light
