"""Simulated observations, by CASA's simobserve."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path

from casatasks import simobserve, tclean


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


def clean(**parameters) -> dict:
    """tclean itself, for comparison."""
    return tclean(**parameters)


@contextmanager
def _inside(folder: str | Path):
    """simobserve writes into the current folder; this makes it `folder` for a while."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
