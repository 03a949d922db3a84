"""Sources and their error bars, measured from realisations of the sky.

Candidates are found on the mean of the realisations, where a source that only one
of them holds still stands out, because realisations are nearly free of noise. Each
candidate owns a region; what the light inside it does from one realisation to the
next is the posterior of its flux, position and shape.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from astropy import units as u
from astropy.table import QTable

from casa_ddpm.candidates import find_candidates
from casa_ddpm.dirty import FWHM, Beam
from casa_ddpm.light import Light, Pixels, measure_light, measure_peaks, percentiles
from casa_ddpm.pairs import greatest

#: Fewest realisations that hold a 68 % interval: (n + 1) * 0.159 >= 1.
FEW = 6
#: By how much of a source's flux a neighbour that is not told apart changes it, to be blended.
BLENDED = 0.05
#: 68 % interval [percent].
INTERVAL = (15.865, 84.135)
#: Standard deviation of an angle of which nothing is known [deg].
UNKNOWN_ANGLE = 180 / np.sqrt(12)

UNITS = {
    "x": u.pix, "y": u.pix, "ra_err": u.arcsec, "dec_err": u.arcsec,
    "flux": u.Jy, "flux_err": u.Jy, "flux_lo": u.Jy, "flux_hi": u.Jy,
    "peak": u.Jy / u.beam, "snr": None, "prob": None, "count": None,
    "major": u.arcsec, "minor": u.arcsec, "pa": u.deg,
    "major_err": u.arcsec, "minor_err": u.arcsec, "pa_err": u.deg,
    "resolved": None, "blended": None,
}  # fmt: skip


def find_sources(
    samples: np.ndarray,
    cell: float,
    beam: Beam,
    kernel: float,
    noise: float,
    minflux: float = 1.0,
    chances: Callable[[np.ndarray], np.ndarray] | None = None,
) -> QTable:
    """Find sources in posterior realisations of the sky and measure them.

    Parameters
    ----------
    samples : ndarray, shape (N, ny, nx)
        Realisations of the apparent sky [Jy/pixel]. A point source is a Gaussian of
        FWHM `kernel`, sampled at the pixel centres; an extended source is itself
        convolved with that Gaussian.
    cell : float
        Side of the pixels [arcsec].
    beam : Beam
        Clean beam.
    kernel : float
        Resolution of the realisations, FWHM [arcsec].
    noise : float
        Rms of the dirty image [Jy/beam].
    minflux : float
        A realisation holds the source where the flux in the source's region exceeds
        this many times the flux's noise: `noise` x 1 beam for a point source,
        sqrt(1 + source area / beam area) times that for others.
    chances : callable, optional
        Gives the probability of each of K sources, shape (K,), of an image (ny, nx) with
        their regions, 1 ... K, and 0 elsewhere.

    Returns
    -------
    QTable
        Brightest first, one row for each candidate that at least one realisation
        holds, with the columns

        - x, y : position, 0-based pixel of `samples`
        - ra_err, dec_err : standard errors of x and y [arcsec]
        - flux : median over the realisations that hold the source [Jy, apparent]
        - flux_err, flux_lo, flux_hi : half the 68 % interval, and the interval [Jy]
        - peak : brightness at the clean beam's resolution [Jy/beam]
        - snr : peak / noise
        - prob : its probability; without `chances` the share of the realisations that
          hold it
        - count : number of these
        - major, minor, pa : deconvolved FWHM [arcsec], angle east of north [deg]
        - major_err, minor_err : half their 68 % intervals [arcsec]
        - pa_err : its standard deviation [deg]
        - resolved : major is 3 sigma above 0, and above the smallest size that data
          of this signal-to-noise ratio can tell from a point (Lobanov 2005,
          arXiv:astro-ph/0503225, eq. 4)
        - blended : as seen with the clean beam, another source adds 5 % or more to what fits
          this one best

    Raises
    ------
    ValueError
        If `samples` is not a finite (N, ny, nx) array or a number is not positive.

    Notes
    -----
    The truth is one more draw from the posterior, so the interval is taken at the
    ranks (n + 1) x 0.159 and (n + 1) x 0.841, which hold it in 68 % of all cases
    whatever the number n of realisations that hold the source, and position errors
    are the standard deviation times sqrt(1 + 1/n). Fewer than 6 realisations have no
    such ranks; there the errors are the least possible ones, of a Gaussian of known
    shape in white noise (Condon 1997, PASP 109, 166).
    """
    samples = np.asarray(samples)
    _check(samples, cell=cell, kernel=kernel, noise=noise, minflux=minflux)
    regions = find_candidates(
        samples.mean(axis=0, dtype=float) / noise,
        beam.fwhm / cell,
        kernel / cell,
        minflux / len(samples),
    )
    pixels = Pixels.of(regions)
    light = measure_light(samples, pixels, kernel / (FWHM * cell))
    area = light.typical_size() * FWHM**2 / (beam.fwhm / cell) ** 2  # [beam]
    fluxnoise = noise * np.sqrt(1 + area)
    held = light.flux > minflux * fluxnoise
    peak = measure_peaks(samples, regions, pixels, light, held, beam, kernel, cell)
    keep = held.any(axis=0)
    columns = {
        **_position(light, held, beam.covariance(cell), fluxnoise, cell),
        **_flux(light.flux, held, fluxnoise),
        **_shape(light, held, fluxnoise, beam.fwhm, cell),
        "peak": peak,
        "snr": peak / noise,
        "prob": chances(regions) if chances else held.mean(axis=0),
        "count": held.sum(axis=0),
        "blended": _blended(light, held, beam.fwhm / (FWHM * cell)),
    }
    return as_table({name: column[keep] for name, column in columns.items()})


def _check(samples: np.ndarray, **positive: float) -> None:
    if samples.ndim != 3 or 0 in samples.shape:
        raise ValueError(f"samples must have 3 axes (N, ny, nx), got shape {samples.shape}")
    if not np.isfinite(samples).all():
        raise ValueError("samples must be finite, got NaN or infinite pixels")
    for name, value in positive.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")


def _flux(flux: np.ndarray, held: np.ndarray, fluxnoise: np.ndarray) -> dict[str, np.ndarray]:
    """Median and 68 % interval over the realisations that hold the source."""
    middle, low, high = percentiles(flux, held, (50, *INTERVAL))
    few = held.sum(axis=0) < FEW
    low = np.where(few, np.maximum(middle - fluxnoise, 0), low)
    high = np.where(few, middle + fluxnoise, high)
    error = np.where(few, fluxnoise, (high - low) / 2)
    return {"flux": middle, "flux_err": error, "flux_lo": low, "flux_hi": high}


def _position(
    light: Light, held: np.ndarray, beam: np.ndarray, fluxnoise: np.ndarray, cell: float
) -> dict[str, np.ndarray]:
    """Mean position and its standard error; `beam` is a covariance (y, x) [pixel^2]."""
    columns = {}
    count = held.sum(axis=0)
    noise_ratio = fluxnoise / np.maximum(_mean(light.flux, held), fluxnoise)
    for axis, error, variance, own in (
        ("x", "ra_err", light.xx, beam[1, 1]),
        ("y", "dec_err", light.yy, beam[0, 0]),
    ):
        columns[axis] = _mean(getattr(light, axis), held)
        scatter = _deviation(getattr(light, axis), held) * np.sqrt(1 + 1 / np.maximum(count, 1))
        # 0.425 FWHM / S/N, as 0.425 FWHM is one standard deviation.
        least = np.sqrt(np.maximum(_mean(variance, held), 0) + own) * noise_ratio
        columns[error] = np.where(count < FEW, least, scatter) * cell
    return columns


def _shape(
    light: Light, held: np.ndarray, fluxnoise: np.ndarray, beam: float, cell: float
) -> dict[str, np.ndarray]:
    """Deconvolved FWHM and position angle, and whether they mean anything."""
    moments = (light.xx, light.xy, light.yy)
    long, short, pa = _ellipse(*(percentiles(moment, held, (50,))[0] for moment in moments))
    each_long, each_short, each_pa = _ellipse(*moments)
    widths, errors = [], []
    for middle, each in ((long, each_long), (short, each_short)):
        widths.append(_width(middle) * cell)
        low, high = percentiles(_width(each) * cell, held, INTERVAL)
        errors.append((high - low) / 2)
    count = held.sum(axis=0)
    ratio = np.maximum(_mean(light.flux, held) / fluxnoise, 1 + 1e-6)
    smallest = beam * np.sqrt(4 * np.log(2) / np.pi * np.log(ratio / (ratio - 1)))
    # A variance may be negative where a width is cut at 0; only the scatter towards 0
    # counts, as a stray neighbour in a few realisations makes no source uncertain.
    scatter = long - percentiles(each_long, held, INTERVAL[:1])[0]
    certain = (count >= FEW) & (long > 3 * scatter)
    least = np.hypot(widths[0], beam) / ratio
    return {
        "major": widths[0],
        "minor": widths[1],
        "pa": pa,
        "major_err": np.where(count < FEW, least, errors[0]),
        "minor_err": np.where(count < FEW, least, errors[1]),
        "pa_err": np.where(count < FEW, UNKNOWN_ANGLE, _angle_deviation(each_pa, held)),
        "resolved": certain & (widths[0] > smallest),
    }


def _width(variance: np.ndarray) -> np.ndarray:
    """FWHM of a Gaussian of this variance, 0 where noise made it negative."""
    return FWHM * np.sqrt(np.maximum(variance, 0))


def _ellipse(
    xx: np.ndarray, xy: np.ndarray, yy: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Variances along and across the major axis, and its angle east of north [deg]."""
    middle, difference = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    # North is +y and east is -x.
    pa = np.degrees(np.arctan2(2 * xy, xx - yy)) / 2 - 90
    return middle + difference, middle - difference, pa % 180


def _blended(light: Light, held: np.ndarray, beam: float) -> np.ndarray:
    """Whether another source adds to what fits each best, shape (K,).

    A Gaussian i of deviation s_i, fitted alone where there is another one j of flux f_j at a
    distance d, takes up f_j v_ii / v_ij exp(-d^2 / (2 v_ij)) of it, where v_ij = s_i^2 + s_j^2 +
    b^2, in noise that a beam of deviation b correlates. What a realisation does not hold it
    does not add.
    """
    x, y = _mean(light.x, held), _mean(light.y, held)
    width = np.maximum(_mean((light.xx + light.yy) / 2, held), 0) + beam**2 / 2
    flux = np.where(held, light.flux, 0).mean(axis=0)

    def added(rows: np.ndarray) -> np.ndarray:
        both = width[rows] + width
        away = (x[rows] - x) ** 2 + (y[rows] - y) ** 2
        return flux * 2 * width[rows] / both * np.exp(-away / (2 * both))

    return greatest(len(flux), added) > BLENDED * flux


def _mean(values: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Mean over the realisations that hold the source: (N, K) -> (K,)."""
    return np.where(held, values, 0).sum(axis=0) / np.maximum(held.sum(axis=0), 1)


def _deviation(values: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Standard deviation over the realisations that hold the source: (N, K) -> (K,)."""
    squares = np.where(held, (values - _mean(values, held)) ** 2, 0).sum(axis=0)
    return np.sqrt(squares / np.maximum(held.sum(axis=0) - 1, 1))


def _angle_deviation(angle: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Standard deviation of axes' angles, equal modulo 180 deg: (N, K) -> (K,) [deg]."""
    length = np.abs(_mean(np.exp(2j * np.radians(angle)), held))
    spread = np.degrees(np.sqrt(-2 * np.log(np.clip(length, 1e-9, 1)))) / 2
    return np.minimum(spread, UNKNOWN_ANGLE)


def as_table(columns: dict[str, np.ndarray]) -> QTable:
    """The columns of UNITS, shape (K,), in order with their units, brightest source first."""
    order = np.argsort(-columns["flux"], kind="stable")
    table = QTable({name: columns[name][order] for name in UNITS})
    for name, unit in UNITS.items():
        if unit is not None:
            table[name].unit = unit
    return QTable(table)
