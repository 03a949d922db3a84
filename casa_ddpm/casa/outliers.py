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
from casatasks import casalog
from casatasks.private.imagerhelpers.imager_base import PySynthesisImager
from casatasks.private.imagerhelpers.input_parameters import ImagerParameters
from scipy import ndimage

from casa_ddpm.casa.images import create, opened, write_planes

#: Flux of a model within a square of _SQUARE pixels from which on it is bright [noise].
BRIGHT = 3000.0
_SQUARE = 5
#: Half side of the part of a model that an outlier field takes, and the field's side [pixel].
_HALF, _SIDE = 28, 80
#: How far a peak may be from the middle of its field [pixel].
_NEAR = 6
#: Most outlier fields.
_MOST = 10
#: What CASA says of an image whose centre is not the phase centre of the whole.
_MISMATCH = "Mismatch in Csys latpoles"


def find_places(model: np.ndarray, level: float, known: np.ndarray) -> np.ndarray:
    """Where a model is bright: the middles of its outlier fields, int, shape (n, 2).

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
        peak = np.array(np.unravel_index(light.argmax(), light.shape))
        near = [k for k in known if np.abs(k - peak).max() <= _NEAR]
        place = near[0] if near else peak
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
    low = np.clip(place - _HALF, 0, shape)
    high = np.clip(place + _HALF + 1, 0, shape)
    there = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    shift = _SIDE // 2 - place
    here = tuple(slice(a + s, b + s) for a, b, s in zip(low, high, shift, strict=True))
    return there, here


class Outliers:
    """CASA's imager of an image and of outlier fields in it.

    Parameters
    ----------
    settings : dict
        ImagerParameters' arguments of the image alone, whose .residual, .model and .sumwt exist.
    places : ndarray of int, shape (n, 2)
        Middles of the outlier fields, y and x.
    """

    def __init__(self, settings: dict, places: np.ndarray) -> None:
        self.places = places
        self._image = settings["imagename"]
        self._folder = self._image + ".outliers"
        shutil.rmtree(self._folder, ignore_errors=True)
        os.makedirs(self._folder)
        lines = [self._make(k, place) for k, place in enumerate(places)]
        definitions = f"{self._folder}/definitions"
        with open(definitions, "w") as file:
            file.write("\n".join(lines))
        self._imager = PySynthesisImager(ImagerParameters(**(settings | {"outlierfile": definitions})))
        try:
            self._imager.initializeImagers()
            self._imager.initializeNormalizers()
            self._imager.setWeighting()
        except BaseException:
            self.close()
            raise

    def cycle(self, model: np.ndarray) -> None:
        """Major cycle of a model, shape (ny, nx) [Jy/pixel]; renews the .residual."""
        rest, parts = split(model, self.places)
        write_planes(self._image + ".model", rest[None])
        for k, part in enumerate(parts):
            write_planes(f"{self._name(k)}.model", part[None])
        # It takes the fields' own coordinates, as it should, but not in silence.
        casalog.filterMsg(_MISMATCH)
        try:
            self._imager.runMajorCycle()
        finally:
            casalog.clearFilterMsgList()
            write_planes(self._image + ".model", model[None])

    def close(self) -> None:
        """Release CASA's tools and remove the outlier fields."""
        self._imager.deleteTools()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _name(self, number: int) -> str:
        return f"{self._folder}/{number}"

    def _make(self, number: int, place: np.ndarray) -> str:
        """Make the images of an outlier field; returns its definition."""
        name = self._name(number)
        with opened(self._image + ".residual") as tool:
            axes, miscinfo = tool.coordsys(), tool.miscinfo()
        centre = list(axes.toworld([int(place[1]), int(place[0]), 0, 0], "n")["numeric"])
        frame = axes.referencecode("direction")[0]
        middle = list(axes.referencepixel()["numeric"])
        middle[:2] = [_SIDE // 2] * 2
        ra, dec = np.degrees(centre[:2])
        axes.setreferencevalue(centre)
        axes.setreferencepixel(middle)
        blank = np.zeros((_SIDE, _SIDE, 1, 1))
        for suffix, unit in ((".residual", ""), (".model", "Jy/pixel")):
            create(name + suffix, axes.torecord(), blank, unit, info=miscinfo)
        # The weights are the same.
        shutil.copytree(self._image + ".sumwt", name + ".sumwt")
        axes.done()
        return (
            f"imagename={name}\nimsize=[{_SIDE},{_SIDE}]\n"
            f"phasecenter={frame} {ra:.12f}deg {dec:.12f}deg\n"
        )
