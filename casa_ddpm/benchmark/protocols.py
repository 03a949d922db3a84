"""Laws of the benchmark's fields. Lengths are in beams and fluxes in units of the noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from casa_ddpm import sky
from casa_ddpm.simulator import VALIDATION_ARRAYS

#: Share of a field's side in which sources lie.
_INNER = 0.84
#: Area of a beam [beam^2].
_AREA = math.pi / (4 * math.log(2))
#: How often a source is given another place until it is far enough from the others.
_TRIES = 200
#: Seconds of observation that make a usable PSF of a sparse array; others have DURATION.
_LONG = {"atca_6c": 36000, "aca.cycle7": 3600}
DURATION = 1200
#: Declination of the fields [deg]: COSMOS, that of the published protocol. An array on a line from
#: east to west has a round beam only far from the equator.
DECLINATION, _SOUTH = 2.206, {"atca_6c": -55.0}


#: Arrays that no network is trained on; the other ATCA one has too few baselines by itself.
UNTRAINED = tuple(name for name in VALIDATION_ARRAYS if name != "atca_h214")


@dataclass(frozen=True)
class Protocol:
    """A named law of fields.

    Parameters
    ----------
    text : str
        What its fields are.
    draw : callable
        Takes a random generator and the field's side [beam], returns its Components.
    fields : int
        How many fields it has unless said otherwise.
    arrays : tuple of str
        Array configurations, one field after the other.
    extended : bool
        CLEAN is run at several scales.
    structure : bool
        The sources are no single Gaussians, and what is compared is the image.
    """

    text: str
    draw: Callable[[np.random.Generator, float], sky.Components]
    fields: int = 60
    arrays: tuple[str, ...] = ("alma.cycle5.3",)
    extended: bool = False
    structure: bool = False

    def array(self, index: int) -> str:
        """The array that observes a field."""
        return self.arrays[index % len(self.arrays)]

    def declination(self, index: int) -> float:
        """Where a field lies [deg]."""
        return _SOUTH.get(self.array(index), DECLINATION)

    def duration(self, index: int) -> float:
        """How long it is observed [s]."""
        return _LONG.get(self.array(index), DURATION)


def apart(rng: np.random.Generator, n: int, side: float, least: float) -> np.ndarray:
    """Up to n positions (y, x) of which no two are closer than `least`, shape (m, 2) [beam]."""
    found: list[np.ndarray] = []
    for _ in range(n):
        for _ in range(_TRIES):
            place = rng.uniform(-0.5, 0.5, 2) * _INNER * side
            if all(np.hypot(*(place - other)) > least for other in found):
                found.append(place)
                break
    return np.array(found).reshape(-1, 2)


def isolated(rng: np.random.Generator, side: float) -> sky.Components:
    """Eight to fourteen points of S/N 2 to 12, at least four beams apart."""
    where = apart(rng, int(rng.integers(8, 15)), side, 4)
    return sky.points(where, rng.uniform(2, 12, len(where)))


def sparse(rng: np.random.Generator, side: float) -> sky.Components:
    """A point of S/N 2 to 12 in every 115 beam areas, at least four beams apart.

    As dense as `isolated` is on 160 x 160 pixels, on an image of any side.
    """
    where = apart(rng, round(side**2 / _AREA / 115), side, 4)
    return sky.points(where, rng.uniform(2, 12, len(where)))


def crowded(rng: np.random.Generator, side: float) -> sky.Components:
    """A point in every twelve beam areas, S/N log-uniform from 2 to 50."""
    area = (_INNER * side) ** 2 / _AREA
    where = rng.uniform(-0.5, 0.5, (round(area / 12), 2)) * _INNER * side
    return sky.points(where, np.exp(rng.uniform(math.log(2), math.log(50), len(where))))


def bright(rng: np.random.Generator, side: float) -> sky.Components:
    """Twelve points of S/N 2 to 12 around one of S/N 300."""
    where = apart(rng, 13, side, 2)
    flux = rng.uniform(2, 12, len(where))
    flux[0] = 300
    return sky.points(where, flux)


def extended(rng: np.random.Generator, side: float) -> sky.Components:
    """Three to six Gaussians of 1 to 5 beams, peak S/N log-uniform from 4 to 50."""
    where = apart(rng, int(rng.integers(3, 7)), side, 8)
    n = len(where)
    major = np.exp(rng.uniform(0, math.log(5), n))
    minor = major * rng.uniform(0.4, 1, n)
    peak = np.exp(rng.uniform(math.log(4), math.log(50), n))
    flux = peak * np.sqrt((1 + major**2) * (1 + minor**2))
    return sky.gaussians(where, flux, major, minor, rng.uniform(0, math.pi, n))


def structure(rng: np.random.Generator, side: float) -> sky.Components:
    """A ring, a disc with or without a gap or a two-lobed galaxy, of S/N about 30 a beam."""
    shape = (sky.ring, sky.disc, sky.galaxy)[rng.integers(3)]
    one = shape(rng, 1.0)
    # The median brightness, weighted by flux, of its components where they overlap.
    spread = np.linalg.eigvalsh(np.cov(one.position.T) + one.covariance.mean(0) + np.eye(2) / 5.55)
    area = max(5.55 * math.sqrt(spread.prod()), 1)
    return sky.Components(one.position, one.flux * 30 * area, one.covariance, one.source)


def nothing(rng: np.random.Generator, side: float) -> sky.Components:
    """An empty sky."""
    return sky.points(np.zeros((0, 2)), np.zeros(0))


def contrast(rng: np.random.Generator, side: float) -> sky.Components:
    """Two points 20 beams apart, of S/N 100,000 and 10."""
    angle = rng.uniform(0, 2 * math.pi)
    away = 10 * np.array([math.cos(angle), math.sin(angle)])
    return sky.points(np.stack([away, -away]), np.array([1e5, 10]))


PROTOCOLS = {
    "independent": Protocol(
        "8 to 14 points of S/N 2 to 12, at least 4 beams apart, under ALMA 5.3", isolated, 200
    ),
    "arrays": Protocol(
        "the same under arrays that no network is trained on", isolated, 60, UNTRAINED
    ),
    "crowded": Protocol("a point in every 12 beam areas, S/N 2 to 50", crowded, 30),
    "bright": Protocol("12 points of S/N 2 to 12 around one of S/N 300", bright, 30),
    "extended": Protocol(
        "3 to 6 Gaussians of 1 to 5 beams, peak S/N 4 to 50", extended, 40, extended=True
    ),
    "structure": Protocol(
        "a ring, disc or radio galaxy of S/N about 30 a beam", structure, 20, extended=True,
        structure=True,
    ),
    "dynamic-range": Protocol(
        "two points 20 beams apart, 10,000 to 1, VLA B snapshot", contrast, 5, ("vla.b",)
    ),
    "empty": Protocol("noise alone", nothing, 50),
    "sparse": Protocol(
        "a point in every 115 beam areas, S/N 2 to 12, for images of any side and cell", sparse, 20
    ),
}  # fmt: skip
