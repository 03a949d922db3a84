"""Bright sources, set aside before the passes and added to what these make of the rest.

The network, and the pixels that it draws on, are right to a few parts in a thousand, which
is many times the noise of a source that is bright enough. A compact one is explained through
the visibilities instead, and the passes see what it leaves.
"""

from __future__ import annotations

from collections.abc import Generator
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from astropy.table import QTable, vstack

from casa_ddpm import aggregation, noise
from casa_ddpm.bright import POINT, Bright
from casa_ddpm.dirty import FWHM
from casa_ddpm.fourier import convolve
from casa_ddpm.options import Options
from casa_ddpm.psf import gaussian
from casa_ddpm.scene import Scene
from casa_ddpm.sources import UNKNOWN_ANGLE, as_table

if TYPE_CHECKING:
    from casa_ddpm.passes import Reconstruction

#: Times that sources are looked for, most major cycles of each kind of fit, and fits beside what
#: else is bright.
_LOOKS, _CYCLES, _BESIDE = 8, 6, 3
#: Share of the residual's rms that is all else, from which on its sidelobes matter.
_SIDELOBES = 0.05
#: How far about a source nothing else is taken away for a fit of it [beam].
_NEAR = 1.5
#: Share of the residual's rms that another major cycle has to take away.
_GAIN = 0.02
#: Times its error from which on a size is one.
_RESOLVED = 3.0
#: Distance within which a source is a part of a bright one [beam].
_PART = 0.5
#: Number of the random stream, beside those of the sky's realisations.
_STREAM = 2**31


def set_aside(scene: Scene) -> Generator[np.ndarray, np.ndarray, tuple[Bright, np.ndarray]]:
    """Explain bright compact sources through the visibilities.

    Parameters
    ----------
    scene : Scene

    Yields
    ------
    ndarray, shape (ny, nx)
        A model [Jy/pixel]; to be sent its residual [Jy/beam].

    Returns
    -------
    bright : Bright
    residual : ndarray, shape (ny, nx)
        What they leave [Jy/beam].
    """
    bright, residual = Bright(scene), scene.dirty.data
    for _ in range(_LOOKS):
        if not bright.look(residual):
            break
        residual = yield from _settle(bright, residual)
        while bright.sources and bright.refine(residual):
            residual = yield from _settle(bright, residual)
        if bright.prune(residual):
            residual = yield from _settle(bright, (yield scene.start + bright.model()))
    if bright.sources:
        residual = yield from _refit(bright, residual)
    return bright, residual


def _settle(bright: Bright, residual: np.ndarray):
    """Fit, and see what the visibilities say, until that changes little; returns the residual."""
    scene = bright.scene
    for _ in range(_CYCLES if bright.sources else 0):
        kept = deepcopy(bright.sources), bright.extra.copy()
        before = residual[scene.valid].std()
        bright.fit(residual)
        bright.fit_pixels(residual)
        left = yield scene.start + bright.model()
        after = left[scene.valid].std()
        if after > (1 + _GAIN / 10) * before:
            bright.sources, bright.extra = kept
            # The imager's model is the last one it was given.
            return (yield scene.start + bright.model())
        residual = left
        if after > (1 - _GAIN) * before:
            break
    return residual


def _refit(bright: Bright, residual: np.ndarray):
    """Fit once more where the sidelobes of what else is bright are gone; returns the residual."""
    scene, left = bright.scene, residual
    others = np.zeros_like(residual)
    for _ in range(_BESIDE):
        more, rest, _ = scene.peel(left)
        for source in bright.sources:
            more[bright.disc(source, _NEAR)] = 0
        if rest[scene.valid].std() > (1 - _SIDELOBES) * left[scene.valid].std():
            break
        others += more
        left = yield scene.start + bright.model() + others
        bright.fit(left)
        # What it still was disturbed by, as well as noise.
        bright.disturbance = noise.rms(left, scene.valid)
    return (yield scene.start + bright.model()) if others.any() else residual


def added(found: Reconstruction, bright: Bright, options: Options, plane: int) -> Reconstruction:
    """A reconstruction of what bright sources left, with these in all of its parts.

    Parameters
    ----------
    found : Reconstruction
        With realisations, and sources that are not calibrated yet.
    bright : Bright
    options : Options
    plane : int
        Number of the plane, which has random numbers of its own.
    """
    scene, model = bright.scene, bright.model()
    left = max(found.noise, noise.rms(found.residual, scene.valid), bright.disturbance)
    covariance = bright.covariance(left)
    random = np.random.default_rng([options.sampling.seed, plane, _STREAM])
    samples = found.samples + realisations(bright, covariance, len(found.samples), random)
    own = rows(bright, covariance, left, len(samples))
    table, certain = joined(own, found.sources, bright.beam)
    return replace(
        found,
        model=found.model + model,
        std=aggregation.std(torch.from_numpy(samples)).numpy(),
        prob=scene.probability(samples, options.minflux * found.noise),
        restored=found.restored + scene.restore(model),
        samples=samples if options.samples else samples[:0],
        sources=scene.calibrated(table, found.signs, certain),
    )


def realisations(bright: Bright, covariance: np.ndarray, n: int, random) -> np.ndarray:
    """Realisations at the network's resolution of half a beam, shape (n, ny, nx) [Jy/pixel].

    Parameters
    ----------
    bright : Bright
    covariance : ndarray, shape (m, m)
        Of all free coefficients, one source after the other [Jy^2].
    n : int
    random : numpy.random.Generator
    """
    scene = bright.scene
    model, stamps = bright.model(), bright.stamps()
    errors = random.multivariate_normal(np.zeros(len(covariance)), covariance, n)
    fwhm = scene.settings.kernel * bright.beam
    kernel = gaussian(np.eye(2) * (fwhm / FWHM) ** 2, 2 * int(2.5 * fwhm + 1) + 1).double()
    kernel = kernel / kernel.sum()
    drawn = np.empty((n, *model.shape), np.float32)
    # One by one: in float64 all of a large image would not fit into memory.
    for image, error in zip(drawn, errors, strict=True):
        exact = model.astype(float)
        for stamp, part in zip(stamps, bright.parts(error), strict=True):
            stamp.add(exact, part)
        image[:] = convolve(torch.from_numpy(exact), kernel).numpy() * scene.valid
    return drawn


def rows(bright: Bright, covariance: np.ndarray, sigma: float, count: int) -> QTable:
    """The sources' rows, with the columns of `sources.find_sources`.

    Parameters
    ----------
    bright : Bright
    covariance : ndarray, shape (m, m)
        Of all free coefficients, one source after the other [Jy^2].
    sigma : float
        Of what is left [Jy/beam].
    count : int
        Realisations, which all hold them.
    """
    cell, beam = bright.scene.dirty.cell, bright.scene.dirty.beam
    columns: dict[str, list] = {}
    errors = bright.parts(np.sqrt(np.diag(covariance)))
    for source, error in zip(bright.sources, errors, strict=True):
        flux, (y, x), shape = bright.moments(source)
        clean = beam.covariance(cell)
        peak = flux * np.sqrt(np.linalg.det(clean) / max(np.linalg.det(clean + shape), 1e-9))
        row = {
            "x": x, "y": y, "ra_err": error[2] / flux * cell, "dec_err": error[1] / flux * cell,
            "flux": flux, "flux_err": error[0], "flux_lo": flux - error[0],
            "flux_hi": flux + error[0], "peak": peak, "snr": peak / sigma, "prob": 1.0,
            "count": count, "blended": False,
            **_axes(shape, error[POINT:].max(initial=0) / flux, cell),
        }  # fmt: skip
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    return as_table({name: np.array(column) for name, column in columns.items()})


def joined(own: QTable, others: QTable, beam: float) -> tuple[QTable, np.ndarray]:
    """Bright sources' rows and those of the rest, brightest first.

    What the fits have left of a bright source, and the passes have found within half a beam of
    it, is a part of it.

    Parameters
    ----------
    own, others : QTable
        As `sources.find_sources` makes them; x and y in pixels of the image.
    beam : float
        FWHM of the clean beam [pixel].

    Returns
    -------
    sources : QTable
    bright : ndarray of bool, shape (n,)
        Which of them are the bright ones.
    """
    apart = np.hypot(*(others[axis].value[:, None] - own[axis].value for axis in ("x", "y")))
    nearest = apart.argmin(1) if len(others) else np.zeros(0, int)
    part = apart.min(1, initial=np.inf) < _PART * beam
    for k, other in zip(nearest[part], others[part], strict=True):
        flux = own["flux"][k] + other["flux"]
        share = other["flux"] / flux
        for axis in ("x", "y"):
            own[axis][k] += share * (other[axis] - own[axis][k])
        own["flux_err"][k] = np.hypot(own["flux_err"][k], other["flux_err"])
        own["flux"][k] = flux
        for name, sign in (("flux_lo", -1), ("flux_hi", 1)):
            own[name][k] = flux + sign * own["flux_err"][k]
        own["snr"][k] *= 1 + other["peak"] / own["peak"][k]
        own["peak"][k] += other["peak"]
    table = vstack([own, others[~part]])
    order = np.argsort(-table["flux"].value, kind="stable")
    return QTable(table[order]), order < len(own)


def _axes(shape: np.ndarray, error: float, cell: float) -> dict[str, float]:
    """Deconvolved axes and angle of a covariance (y, x) [pixel^2] and its error."""
    (short, long), vectors = np.linalg.eigh(shape)
    widths: dict[str, float] = {}
    for name, variance in (("major", long), ("minor", short)):
        low, middle, high = (
            FWHM * cell * np.sqrt(max(variance + k * error, 0)) for k in (-1, 0, 1)
        )
        widths |= {name: middle, f"{name}_err": (high - low) / 2}
    angle = np.degrees(np.arctan2(-vectors[1, 1], vectors[0, 1])) % 180
    turn = np.degrees(error / max(long - short, 1e-12))
    return widths | {
        "pa": angle,
        "pa_err": min(turn, UNKNOWN_ANGLE) if error else UNKNOWN_ANGLE,
        "resolved": bool(error and long > _RESOLVED * error),
    }
