"""Fixtures that several test modules share: a small observation, simulated with CASA."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from casa_ddpm import measures

#: Sources of the small observation: offsets east and north [arcsec], flux [Jy].
SOURCES = ((0.0, 0.0, 0.010), (4.0, 3.0, 0.005), (-5.0, 2.0, 0.003))


@dataclass(frozen=True)
class SmallMS:
    """A simulated observation and the truth in it.

    Attributes
    ----------
    path : str
        MeasurementSet: ALMA cycle 5.3, 230 GHz, four snapshots at transit, XX and YY.
    ra, dec : float
        Phase centre, J2000 [deg].
    sources : tuple of (east, north, flux)
        Point sources: offsets [arcsec] and flux [Jy] before the primary beam.
    noise : float
        rms of a naturally weighted Stokes I image [Jy/beam].
    """

    path: str
    ra: float
    dec: float
    sources: tuple[tuple[float, float, float], ...]
    noise: float

    @property
    def parameters(self) -> dict:
        """Parameters of tclean that image it, but for imagename."""
        return {"vis": self.path, "imsize": [160, 128], "cell": "0.12arcsec"}


def pytest_configure(config: pytest.Config) -> None:
    """CASA's measures data, and no CASA log in the folder where the tests run."""
    if measures.configure():
        from casaconfig import config as casa_config

        casa_config.logfile = os.devnull


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs CASA where it cannot be installed."""
    if not measures.installed("casatasks"):
        for item in items:
            if "casa" in item.keywords or "small_ms" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.skip(reason="casatasks is not installed"))


@pytest.fixture(scope="session")
def small_ms(tmp_path_factory: pytest.TempPathFactory) -> SmallMS:
    """A small observation of three point sources, with noise of its own seed."""
    path = tmp_path_factory.mktemp("small") / "small.ms"
    return simulate(path, SOURCES, seed=20240301)


def simulate(
    path: Path, sources: tuple[tuple[float, float, float], ...], seed: int, jy: float = 5e-3
) -> SmallMS:
    """Simulate point sources at the centre of ALMA's beam; noise of `jy` per visibility."""
    from casatasks.private.simutil import simutil
    from casatools import componentlist, ctsys, simulator
    from casatools import measures as measures_tool

    ra, dec = 150.119167, -30.205833
    configuration = ctsys.resolve("alma/simmos/alma.cycle5.3.cfg")
    x, y, z, diameter, pads, names, _, position = simutil().readantenna(configuration)
    sm, me, cl = simulator(), measures_tool(), componentlist()
    sm.open(str(path))
    sm.setconfig(
        telescopename="ALMA", x=x, y=y, z=z, dishdiameter=list(diameter), mount=["alt-az"],
        antname=names, padname=pads, coordsystem="global", referencelocation=position,
    )  # fmt: skip
    sm.setspwindow(
        "B6", freq="230GHz", deltafreq="2GHz", freqresolution="2GHz", nchannels=1,
        refcode="LSRK", stokes="XX YY",
    )  # fmt: skip
    sm.setfeed(mode="perfect X Y", pol=[""])
    sm.setauto(0.0)
    sm.settimes("300s", usehourangle=True, referencetime=me.epoch("UTC", "2024/03/01/00:00:00"))
    sm.setfield("field", f"J2000 {ra}deg {dec}deg")
    sm.observe("field", "B6", starttime="-600s", stoptime="600s")
    sm.setdata(fieldid=[0])
    sm.setvp(dovp=True, usedefaultvp=False)
    for east, north, flux in sources:
        place = ra + east / 3600 / math.cos(math.radians(dec)), dec + north / 3600
        cl.addcomponent(
            flux, "Jy", dir=["J2000", *(f"{angle:.9f}deg" for angle in place)], shape="point",
            freq="LSRK 230GHz",
        )  # fmt: skip
    cl.rename(f"{path}.cl")
    cl.done()
    sm.predict(complist=f"{path}.cl")
    sm.done()
    sm.openfromms(str(path))
    sm.setseed(seed)
    sm.setnoise(mode="simplenoise", simplenoise=f"{jy}Jy")
    sm.corrupt()
    sm.done()
    # simplenoise is the rms of the real and of the imaginary part of every visibility.
    visibilities = 2 * 4 * len(x) * (len(x) - 1) / 2
    return SmallMS(str(path), ra, dec, sources, jy / math.sqrt(visibilities))
