"""Simulated observations: by CASA's simobserve, and of other skies on the uv points of one."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from casatasks import simobserve
from casatools import componentlist, table

#: Velocity of light [m/s].
_C = 299_792_458.0
#: Most phases that are held at a time.
_PHASES = 4_000_000


def observe(
    folder: str | Path,
    project: str,
    complist: str,
    centre: str,
    seed: int,
    array: str = "alma.cycle5.3",
    totaltime: str = "1200s",
    pwv: float = 1.796,
) -> Path:
    """Observe a component list with thermal noise of its own seed.

    Parameters
    ----------
    folder : str or path
        Where simobserve makes the folder `project`.
    project : str
        Name; an existing project is overwritten.
    complist : str
        Component list, relative to `folder`.
    centre : str
        Pointing, such as 'J2000 10h00m28.6s +02d12m21s'.
    seed : int
        Of the noise: without one every simulated observation has the same noise.
    array : str
        Antenna configuration.
    totaltime : str
        Time on source, about transit.
    pwv : float
        Precipitable water vapour [mm].

    Returns
    -------
    Path
        The noisy MeasurementSet.
    """
    with _inside(folder):
        simobserve(
            project=project,
            complist=complist,
            compwidth="7.5GHz",
            direction=[centre],
            mapsize=["10arcsec"],
            obsmode="int",
            antennalist=f"{array}.cfg",
            totaltime=totaltime,
            integration="10s",
            hourangle="transit",
            thermalnoise="tsys-atm",
            user_pwv=pwv,
            seed=seed,
            graphics="none",
            overwrite=True,
        )
    return Path(folder) / project / f"{project}.{array}.noisy.ms"


def blank(folder: str | Path, array: str, centre: str, seconds: float) -> Path:
    """A MeasurementSet about transit, to be filled with skies by `fill`.

    Parameters
    ----------
    folder : str or path
        Where it is made.
    array : str
        Antenna configuration.
    centre : str
        Pointing.
    seconds : float
        Time on source; integrations are 10 s, or as many as make 360 of them.
    """
    with _inside(folder):
        source = componentlist()
        source.addcomponent(dir=centre, flux=1.0, fluxunit="Jy", freq="230GHz", shape="point")
        source.rename("point.cl")
        source.done()
        simobserve(
            project="blank",
            complist="point.cl",
            compwidth="7.5GHz",
            direction=[centre],
            mapsize=["1arcsec"],
            obsmode="int",
            antennalist=f"{array}.cfg",
            totaltime=f"{seconds:g}s",
            integration=f"{max(10.0, seconds / 360):g}s",
            hourangle="transit",
            thermalnoise="",
            graphics="none",
            overwrite=True,
        )
    vis = Path(folder) / "blank" / f"blank.{array}.ms"
    tb = table()
    tb.open(str(vis), nomodify=False)
    # tclean would image what simobserve has left there, and not what `fill` writes.
    tb.removecols([name for name in ("CORRECTED_DATA", "MODEL_DATA") if name in tb.colnames()])
    tb.close()
    return vis


def resolution(vis: str | Path) -> float:
    """Fringe spacing of the longest projected baseline [arcsec]."""
    tb = table()
    tb.open(f"{vis}/SPECTRAL_WINDOW")
    frequency = tb.getcol("CHAN_FREQ").max()
    tb.close()
    tb.open(str(vis))
    longest = np.hypot(*tb.getcol("UVW")[:2]).max()
    tb.close()
    return float(np.degrees(_C / frequency / longest) * 3600)


def fill(
    vis: str | Path,
    offset: np.ndarray,
    flux: np.ndarray,
    covariance: np.ndarray,
    noise: float,
    seed: int,
) -> None:
    """Replace the visibilities of a MeasurementSet by those of Gaussian sources and noise.

    The sum over sources is an explicit Fourier transform, the w term left out. All
    visibilities get one weight, and independent noise.

    Parameters
    ----------
    vis : str or path
        With one spectral window, one field and parallel-hand correlations.
    offset : ndarray, shape (n, 2)
        North and east of the phase centre [rad].
    flux : ndarray, shape (n,)
        [Jy]
    covariance : ndarray, shape (n, 2, 2)
        North, east [rad^2]; zero for a point.
    noise : float
        rms of a naturally weighted Stokes I image [Jy/beam].
    seed : int
        Of the noise.
    """
    tb = table()
    tb.open(f"{vis}/SPECTRAL_WINDOW")
    frequency = tb.getcol("CHAN_FREQ").ravel()
    tb.close()
    tb.open(str(vis), nomodify=False)
    try:
        uvw = tb.getcol("UVW")
        shape = tb.getcol("DATA").shape
        random = np.random.default_rng(seed)
        # The image averages over all of them, and takes one of two components of each.
        deviation = noise * np.sqrt(np.prod(shape))
        data = deviation * random.standard_normal((2, *shape))
        data = data[0] + 1j * data[1]
        for channel, value in enumerate(frequency):
            data[:, channel] += _visibilities(uvw * value / _C, offset, flux, covariance)
        tb.putcol("DATA", data)
        tb.putcol("FLAG", np.zeros(shape, bool))
        tb.putcol("FLAG_ROW", np.zeros(shape[-1], bool))
        for name in ("WEIGHT", "SIGMA"):
            tb.putcol(name, np.ones((shape[0], shape[-1])))
    finally:
        tb.close()


def _visibilities(uvw, offset, flux, covariance) -> np.ndarray:
    """Visibilities of Gaussian sources at uvw (3, nrow) [wavelength], shape (nrow,)."""
    vu = uvw[[1, 0]].T
    total = np.zeros(len(vu), complex)
    for part in np.array_split(np.arange(len(flux)), max(1, len(vu) * len(flux) // _PHASES)):
        phase = 2 * np.pi * vu @ offset[part].T
        width = np.einsum("ri,kij,rj->rk", vu, covariance[part], vu, optimize=True)
        total += (np.exp(1j * phase - 2 * np.pi**2 * width)) @ flux[part]
    return total


@contextmanager
def _inside(folder: str | Path):
    """simobserve writes into the current folder; this makes it `folder` for a while."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
