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
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy import ndimage, special

from casa_ddpm import population, presence, rigid, shapes
from casa_ddpm.candidates import find_neighbours
from casa_ddpm.census import Census
from casa_ddpm.coupling import Box, Coupling, grown
from casa_ddpm.gaussians import Gaussians, Shape
from casa_ddpm.likelihood import Likelihood
from casa_ddpm.population import Population
from casa_ddpm.twins import Common, Twins

#: Least and most rounds of a sweep. Sources that touch settle together, which takes longer.
ROUNDS = (3, 8)
#: Neighbours a source, whose regions are half a beam apart or less, with which the rounds
#: begin to be more, and those of the most.
_APART, _CROWDED = 1.0, 1.8
#: How far around a source its change is followed at once [pixel].
_NEAR = 12
#: What the far sidelobes of changes add up to before they are brought in [noise].
_LATE = 0.2
#: Rim of the stamp of a region, which a shift moves light into [pixel].
_RIM = 4
#: About what drawing a source takes [s].
_DRAWING = 2.5e-3
#: What drawing whether a region holds two points takes of that, in the mean.
_TWIN = 0.3
#: Prior probability that what looks like a Gaussian is one.
GAUSSIAN = 0.95


@dataclass
class _State:
    """A realisation while it is swept.

    sky, gradient (ny, nx): its light, and the likelihood's gradient there; light: that of
    each region, on its box; held: regions that hold a source; network: what realisations were
    begun with in those that hold a Gaussian, None where that was none; census: what
    these tell of the field; late: sum of the squares of those changes of light whose far
    sidelobes the gradient does not have yet.
    """

    sky: np.ndarray
    gradient: np.ndarray
    light: list[np.ndarray]
    held: set[int]
    network: dict[int, np.ndarray | None]
    census: Census
    late: float = 0.0


class Sweep:
    """The sources of a field's realisations, and the data that they have to explain.

    Parameters
    ----------
    regions : ndarray of int, shape (ny, nx)
        0 where no source is, 1 ... K in the sources' regions.
    data : Tensor, shape (ny, nx)
        Dirty image [flux/beam].
    likelihood : Likelihood
        Of skies of that shape.
    least : float
        Flux below which a realisation does not hold a source.
    gaussians : Gaussians
        Of the likelihood.
    sites : ndarray of int, shape (ny, nx), optional
        0, and 1 ... L where a source may be that no realisation holds; may lie on regions.
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
        self.data, self.likelihood = data, likelihood
        self.least, self.gaussians, self.census = least, gaussians, census
        self.coupling = Coupling(likelihood)
        self.sidelobes = likelihood.sidelobes(_NEAR)
        self.area, self.regions = area, int(regions.max(initial=0))
        neighbours = len(find_neighbours(regions, gaussians.beam / 2))
        #: How often all sources are drawn.
        self.rounds = _rounds(neighbours / max(self.regions, 1))
        self.boxes: list[Box] = []
        self.masks: list[np.ndarray] = []
        self.places: list[np.ndarray] = []
        for labels in (regions,) if sites is None else (regions, sites):
            self._divide(labels)
        #: The first of those that hold the second of two points in a region.
        self.twins = len(self.places)
        self._double(regions.shape)

    @cached_property
    def presence(self) -> presence.Presence:
        """What tells whether there is a source."""
        return presence.Presence(self.gaussians, self.likelihood.noise, self.least)

    def _divide(self, labels: np.ndarray) -> None:
        """Add boxes with a rim, masks on them and middles of all labels of an image."""
        numbers = np.arange(1, labels.max(initial=0) + 1)
        boxes = [grown(box, _RIM, labels.shape) for box in ndimage.find_objects(labels)]
        self.boxes += boxes
        self.masks += [labels[box] == k for k, box in zip(numbers, boxes, strict=True)]
        self.places += list(
            np.rint(ndimage.center_of_mass(labels > 0, labels, numbers)).astype(int)
        )

    def _double(self, shape: tuple[int, ...]) -> None:
        """Add the regions once more, each for the second of two points in it."""
        self.boxes = self.boxes + self.boxes[: self.regions]
        self.masks = self.masks + self.masks[: self.regions]
        # Random numbers are those of a place, and shall be others.
        self.places += [(place + 1) % shape for place in self.places[: self.regions]]

    def seconds(self, rounds: int) -> float:
        """About what `redraw` takes in so many rounds."""
        return _DRAWING * rounds * (self.twins + _TWIN * self.regions)

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
        state = self._state(sky)
        for turn, noise in enumerate(white):
            if turn:  # for the far sidelobes of what has changed
                self._catch_up(state)
            for k, place in enumerate(self.places):
                # Drawn side by side, hundreds of sources would drive each other away.
                if self.sidelobes * np.sqrt(state.late) > _LATE * self.likelihood.noise:
                    self._catch_up(state)
                random = np.random.default_rng(noise[tuple(place)].view(np.uint32))
                last = turn == len(white) - 1
                if k < self.twins:
                    self._set(state, k, self._drawn(state, k, random, last))
                else:
                    self._draw_twin(state, k - self.twins, random, last)
        return state.sky

    def chances(self, sky: np.ndarray) -> np.ndarray:
        """Probability of a source in each region, given all others of a realisation, (K,)."""
        state = self._state(sky)
        found = np.array([float(k in state.held) for k in range(self.regions)])
        for k, stamp in enumerate(state.light[: self.regions]):
            if self._is_doubtful(state, k):
                empty = self.coupling.without(stamp, state.gradient[self.boxes[k]])
                found[k] = special.expit(presence.total(self._odds(state, k, empty)))
        return found

    def _state(self, sky: np.ndarray) -> _State:
        """Of a realisation before it is swept."""
        light = [sky[box] * mask for box, mask in zip(self.boxes, self.masks, strict=True)]
        # What is on the other sites belongs to regions.
        for stamp in light[self.regions :]:
            stamp[:] = 0
        held = {k for k, stamp in enumerate(light) if stamp.sum() > self.least}
        network = {k: light[k] for k in held if self.gaussians.resemble(light[k])}
        census = self.census(self.likelihood.noise, self.least)
        state = _State(
            sky.astype(float, copy=True), self._gradient(sky), light, held, network, census
        )
        for k in network:
            self._count(state, k)
        return state

    def _count(self, state: _State, k: int) -> None:
        """Take down the source of region k as the network drew it."""
        stamp, gradient = state.light[k], state.gradient[self.boxes[k]]
        flux, centre, shape = self.gaussians.measured(stamp)
        fit = shapes.Fit(
            self.gaussians, state.census.others(k), self.coupling.without(stamp, gradient)
        )
        try:
            favour = shapes.favour(shape, centre, fit)
        except FloatingPointError:
            favour = 0.0
        state.census.record(k, flux, shape.major * shape.minor, favour, fit.widest)

    def _gradient(self, sky: np.ndarray) -> np.ndarray:
        """Of the log likelihood in a sky, times noise^2, shape (ny, nx)."""
        left = self.data - self.likelihood.predict(torch.from_numpy(sky).to(self.data))
        return self.likelihood.sharpened(left).numpy().astype(float)

    def _catch_up(self, state: _State) -> None:
        """Make the gradient exact again, everywhere."""
        state.gradient, state.late = self._gradient(state.sky), 0.0

    def _set(self, state: _State, k: int, stamp: np.ndarray) -> None:
        """Give region k another light, and follow what that does to the gradient nearby."""
        change = stamp - state.light[k]
        if not change.any():
            return
        box = self.boxes[k]
        near = grown(box, _NEAR, state.sky.shape)
        state.sky[box] += change
        state.gradient[near] -= self.coupling.seen(change, box, near)
        state.late += float(np.abs(change).sum()) ** 2
        state.light[k] = stamp

    def _drawn(self, state: _State, k: int, random: np.random.Generator, last: bool) -> np.ndarray:
        """The light of region k, drawn anew."""
        stamp, gradient = state.light[k], state.gradient[self.boxes[k]]
        if self._is_doubtful(state, k):
            stamp, gradient = self._perhaps(state, k, random)
            if not stamp.any():
                state.held.discard(k)
                state.network.pop(k, None)
                state.census.discard(k)
            elif k not in state.held:
                state.held.add(k)
                state.network[k] = None
        if k in state.network:
            return self._reshaped(state, k, stamp, gradient, random, last)
        if k in state.held:
            return self._moved(stamp, gradient, state.census.others(k), random)
        return stamp

    def _draw_twin(self, state: _State, k: int, random: np.random.Generator, last: bool) -> None:
        """Draw whether region k holds two points, and the second of them."""
        twin = k + self.twins
        self._part_or_join(state, k, twin, random)
        if twin in state.held:
            self._set(state, twin, self._drawn(state, twin, random, last))
            if last:
                self._reunite(state, k, twin, random)

    def _part_or_join(self, state: _State, k: int, twin: int, random: np.random.Generator) -> None:
        """Draw whether region k holds one source or two points, if it can hold either."""
        if not self.area or k not in state.network:
            return
        parted = twin in state.held
        lights = [state.light[k], state.light[twin]] if parted else [state.light[k]]
        common = Common.of(lights, self.gaussians, self._widest(state, k))
        if common is None or common.flux <= 2 * self.least:
            return
        state.census.discard(twin)
        known = state.census.others(k)
        density = (len(state.held - {k, twin}) + 1.5) / self.area
        empty = self.coupling.without(np.sum(lights, axis=0), state.gradient[self.boxes[k]])
        try:
            found = Twins(common, empty, self.gaussians, self.coupling, known, density)
        except FloatingPointError:
            return
        part = random.random() < special.expit(found.log_odds())
        if part and not parted:
            brighter, fainter = found.draw_two(random)
            state.held.add(twin)
            state.network[twin] = None
            state.census.discard(k)
            self._set(state, k, brighter)
            self._set(state, twin, fainter)
        elif parted and not part:
            self._join(state, k, twin, found.draw_one(random))

    def _join(self, state: _State, k: int, twin: int, light: np.ndarray) -> None:
        """Give region k one light instead of two points."""
        state.held.discard(twin)
        state.network.pop(twin)
        for place in (k, twin):
            state.census.discard(place)
        self._set(state, twin, np.zeros_like(light))
        self._set(state, k, light)

    def _reunite(self, state: _State, k: int, twin: int, random: np.random.Generator) -> None:
        """What the network drew in region k instead of two points, if the data prefer that."""
        drawn, both = state.network[k], state.light[k] + state.light[twin]
        if drawn is None:
            return
        empty = self.coupling.without(both, state.gradient[self.boxes[k]])
        known = state.census.others(k)
        fit = shapes.Fit(self.gaussians, known, empty)
        try:
            if not self._is_odd(drawn, self._evidence(both, fit), fit, random):
                return
        except FloatingPointError:
            return
        state.network.pop(k)
        rest = empty - self.coupling.seen(drawn)
        self._join(state, k, twin, self._moved(drawn, rest, known, random))

    def _is_parted(self, state: _State, k: int) -> bool:
        """Whether it is one of two points of a region."""
        return k >= self.twins or k + self.twins in state.held

    def _widest(self, state: _State, k: int) -> float:
        """Greatest FWHM of a Gaussian [beam]."""
        # What no network has seen is looked for among compact sources alone.
        return presence.SIZES[-1] if state.network[k] is None else population.MAJOR[1]

    def _is_doubtful(self, state: _State, k: int) -> bool:
        """Whether it is to be drawn if there is a source: where a compact one is, or none."""
        # Whether there are two points or one source in a region is drawn by itself.
        if not self.area or self._is_parted(state, k):
            return False
        if k not in state.held:
            return True
        if k not in state.network:
            return False
        _, _, shape = self.gaussians.measured(state.light[k])
        return bool(shape.major < presence.WIDEST)

    def _odds(self, state: _State, k: int, empty: np.ndarray) -> np.ndarray:
        """See `Presence.log_odds`; how many sources there are is known from the others."""
        density = (len(state.held - {k}) + 0.5) / self.area
        return self.presence.log_odds(empty, self.masks[k], density, state.census.others(k))

    def _perhaps(
        self, state: _State, k: int, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """A source as it is, a new one or none, and the gradient that goes with it."""
        stamp, gradient = state.light[k], state.gradient[self.boxes[k]]
        empty = self.coupling.without(stamp, gradient)
        odds = self._odds(state, k, empty)
        if random.random() >= special.expit(presence.total(odds)):
            return np.zeros_like(stamp), empty
        if k in state.held:
            return stamp, gradient
        guess = presence.draw(odds, self.masks[k], random)
        shape = Shape(guess.size**2, 0.0, 0.0)
        (image,) = self.gaussians.images(shape, guess.centre, stamp.shape)
        # Its flux will be drawn; until then it is any that counts as a source.
        new = 2 * self.least * image
        return new, empty - self.coupling.seen(new)

    def _reshaped(
        self,
        state: _State,
        k: int,
        stamp: np.ndarray,
        gradient: np.ndarray,
        random: np.random.Generator,
        last: bool,
    ) -> np.ndarray:
        """A source drawn as a Gaussian, or as the network drew it if the data prefer that."""
        empty = self.coupling.without(stamp, gradient)
        known, drawn = state.census.others(k), state.network[k]
        fit = shapes.Fit(self.gaussians, known, empty, self._widest(state, k))
        _, centre, shape = self.gaussians.measured(stamp)
        parted, odd = self._is_parted(state, k), False
        try:
            if parted:
                source = shapes.redraw_point(centre, fit, random)
            else:
                source = shapes.redraw(shape, centre, fit, random)
                # Only next to neighbours that are right already can the data tell
                # whether they would rather have what the network drew.
                if last and drawn is not None:
                    odd = self._is_odd(drawn, source.evidence, fit, random)
        except FloatingPointError:
            return self._moved(stamp, gradient, known, random)
        area = float(source.shape.major * source.shape.minor)
        state.census.record(k, source.flux, area, source.favour, fit.widest)
        if odd and drawn is not None:
            state.network.pop(k)
            return self._moved(drawn, empty - self.coupling.seen(drawn), known, random)
        (image,) = self.gaussians.images(source.shape, source.centre, stamp.shape)
        return source.flux * image

    def _is_odd(self, light: np.ndarray, evidence: float, fit: shapes.Fit, random) -> bool:
        """Whether the data would rather have other light than Gaussians of that log evidence."""
        odds = evidence - self._evidence(light, fit) + special.logit(GAUSSIAN)
        return random.random() >= special.expit(odds)

    def _moved(self, stamp: np.ndarray, gradient: np.ndarray, known: Population, random):
        """A source with another flux, at another place, of the same shape."""
        return rigid.redraw(stamp, gradient, self.coupling, known, random)

    def _evidence(self, stamp: np.ndarray, fit: shapes.Fit) -> float:
        """Log evidence of a source of any light."""
        flux, _, shape = self.gaussians.measured(stamp)
        light = stamp / flux
        match, power = (
            np.array([(light * image).sum()]) for image in (fit.data, self.coupling.seen(light))
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
