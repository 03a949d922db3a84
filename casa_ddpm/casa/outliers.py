"""Bright parts of a model as outlier fields: small images whose phase centres are there.

CASA looks its gridding function up at a hundredth of a uv cell. What it predicts of a source is
wrong by a phase that grows with the distance from the phase centre, several parts in a
thousand of each visibility, and the image of these errors is above the noise beside a source of
S/N 10,000. At the phase centre there is no such error.
"""

from __future__ import annotations

import os
import shutil

import numpy as np
from casatasks.private.imagerhelpers.imager_base import PySynthesisImager
from casatasks.private.imagerhelpers.input_parameters import ImagerParameters
from scipy import ndimage

from casa_ddpm.casa.images import opened, read_planes, write_image, write_planes

#: Flux of a model within a square of _SQUARE pixels from which on it is bright [noise].
BRIGHT = 3000.0
_SQUARE = 5
#: Side of an outlier field [pixel].
_SIDE = 100
#: How far a peak may be from the middle of its field [pixel].
_NEAR = 6
#: Most outlier fields.
_MOST = 10


def find_places(model: np.ndarray, level: float, known: np.ndarray) -> np.ndarray:
    """Where a model is bright: the middles of its outlier fields, int, shape (n, 2).

    Fields do not overlap: CASA would predict what they share once only, of either.

    Parameters
    ----------
    model : ndarray, shape (ny, nx)
        [Jy/pixel].
    level : float
        [Jy]
    known : ndarray of int, shape (m, 2)
        Those of an earlier model, which are kept where they still do.
    """
    light = ndimage.uniform_filter(np.abs(model).astype(float), _SQUARE, mode="constant")
    light *= _SQUARE**2
    places: list[np.ndarray] = []
    while len(places) < _MOST and light.max() > level:
        # Of all squares that hold a peak, the one in whose middle it is.
        best = light + np.abs(model) * (light > 0)
        peak = np.array(np.unravel_index(best.argmax(), light.shape))
        near = [k for k in known if np.abs(k - peak).max() <= _NEAR]
        place = near[0] if near else peak
        if all(np.abs(place - other).max() >= _SIDE for other in places):
            places.append(place)
        light[_part(place, model.shape)[0]] = 0
    return np.array(places, int).reshape(-1, 2)


def split(model: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """A model without the parts about places, and these, each shape (_SIDE, _SIDE)."""
    rest, parts = model.copy(), []
    for place in places:
        there, here = _part(place, model.shape)
        part = np.zeros((_SIDE, _SIDE), model.dtype)
        part[here], rest[there] = rest[there], 0
        parts.append(part)
    return rest, parts


def _part(place: np.ndarray, shape: tuple[int, ...]):
    """Slices of the image, and of an outlier field, that are the same pixels."""
    low = np.clip(place - _SIDE // 2, 0, shape)
    high = np.clip(place + _SIDE // 2, 0, shape)
    there = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    shift = _SIDE // 2 - place
    here = tuple(slice(a + s, b + s) for a, b, s in zip(low, high, shift, strict=True))
    return there, here


class Outliers:
    """CASA's imager of an image and of outlier fields in it, beside the one of the image alone.

    Parameters
    ----------
    settings : dict
        ImagerParameters' arguments of the image alone, whose .residual exists.
    places : ndarray of int, shape (n, 2)
        Middles of the outlier fields, y and x.
    """

    def __init__(self, settings: dict, places: np.ndarray) -> None:
        self.places = places
        self._image = settings["imagename"]
        self._folder = self._image + ".outliers"
        self._names = [f"{self._folder}/{k}" for k in range(len(places) + 1)]
        shutil.rmtree(self._folder, ignore_errors=True)
        os.makedirs(self._folder)
        definitions = f"{self._folder}/definitions"
        with open(definitions, "w") as file:
            file.writelines(map(self._definition, self._names[1:], places))
        own = {
            "imagename": self._names[0],
            "outlierfile": definitions,
            "startmodel": "",
            "mask": "",
        }
        self._imager = PySynthesisImager(ImagerParameters(**(settings | own)))
        try:
            self._imager.initializeImagers()
            self._imager.initializeNormalizers()
            self._imager.setWeighting()
            # Without a PSF there are no weights to divide a residual by.
            self._imager.makePSF()
        except BaseException:
            self.close()
            raise

    def cycle(self, model: np.ndarray) -> np.ndarray:
        """Major cycle of a model, shape (ny, nx) [Jy/pixel]; returns what is left [Jy/beam]."""
        rest, parts = split(model, self.places)
        for name, part in zip(self._names, [rest, *parts], strict=True):
            if os.path.isdir(name + ".model"):
                write_planes(name + ".model", part[None])
            else:
                write_image(name + ".model", part[None], name + ".psf", "Jy/pixel", masked=False)
        self._imager.runMajorCycle()
        return read_planes(self._names[0] + ".residual")[0]

    def close(self) -> None:
        """Release CASA's tools and remove the outlier fields."""
        self._imager.deleteTools()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _definition(self, name: str, place: np.ndarray) -> str:
        """What CASA's file of outlier fields says of one."""
        with opened(self._image + ".residual") as tool:
            axes = tool.coordsys()
        centre = axes.toworld([int(place[1]), int(place[0]), 0, 0], "n")["numeric"]
        frame = axes.referencecode("direction")[0]
        axes.done()
        ra, dec = np.degrees(centre[:2])
        return (
            f"imagename={name}\nimsize=[{_SIDE},{_SIDE}]\n"
            f"phasecenter={frame} {ra:.12f}deg {dec:.12f}deg\n"
        )
