"""Fixtures that several test modules share: a small observation, simulated with CASA."""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from astropy import units as u

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
            simulated = {"small_ms", "line_ms"}.intersection(getattr(item, "fixturenames", ()))
            if "casa" in item.keywords or simulated:
                item.add_marker(pytest.mark.skip(reason="casatasks is not installed"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A current folder with what looks like a MeasurementSet, images and another table."""
    for name, kind in (("a.ms", "Measurement Set"), ("b.ms", "Measurement Set"), ("t", "Image")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "table.dat").touch()
        (tmp_path / name / "table.info").write_text(f"Type = {kind}\nSubType =\n")
    for name in ("dirty.fits", "psf.fits", "file"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pixels(path):
    """An image's pixels, in its own axes, as CASA sees them."""
    from casatools import image

    tool = image()
    tool.open(str(path))
    try:
        return tool.getchunk()
    finally:
        tool.done()


def checksum(folder):
    """Of the names and contents of all files of a MeasurementSet but its locks."""
    total = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file() and path.name != "table.lock":
            total.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return total.hexdigest()


@pytest.fixture(scope="session")
def small_ms(tmp_path_factory: pytest.TempPathFactory) -> SmallMS:
    """A small observation of three point sources, with noise of its own seed."""
    path = tmp_path_factory.mktemp("small") / "small.ms"
    return simulate(path, SOURCES, seed=20240301)


@pytest.fixture(scope="session")
def line_ms(tmp_path_factory: pytest.TempPathFactory) -> SmallMS:
    """The same sources in two spectral windows of eight channels of 50 MHz."""
    path = tmp_path_factory.mktemp("line") / "line.ms"
    return simulate(path, SOURCES, seed=20240302, windows=2, channels=8, width="50MHz")


@pytest.fixture(scope="session")
def observatory(tmp_path_factory: pytest.TempPathFactory):
    """The benchmark's, for images of 64 pixels."""
    from casa_ddpm.benchmark.observatory import Observatory

    return Observatory(tmp_path_factory.mktemp("observatory"), 64)


def simulate(
    path: Path,
    sources: tuple[tuple[float, float, float], ...],
    seed: int,
    jy: float = 5e-3,
    windows: int = 1,
    channels: int = 1,
    width: str = "2GHz",
    pointings: tuple[tuple[float, float], ...] = ((0.0, 0.0),),
) -> SmallMS:
    """Simulate point sources near the centre of ALMA's beam; noise of `jy` per visibility.

    `windows` lie one above the other from 230 GHz on, with `channels` of `width` each;
    `pointings` are offsets east and north [arcsec], observed one after the other.
    """
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
    spws = [f"B{number}" for number in range(windows)]
    for number, spw in enumerate(spws):
        frequency = 230 * u.GHz + number * channels * u.Quantity(width)
        sm.setspwindow(
            spw, freq=f"{frequency.to_value('GHz'):.9f}GHz", deltafreq=width,
            freqresolution=width, nchannels=channels, refcode="LSRK", stokes="XX YY",
        )  # fmt: skip
    sm.setfeed(mode="perfect X Y", pol=[""])
    sm.setauto(0.0)
    sm.settimes("300s", usehourangle=True, referencetime=me.epoch("UTC", "2024/03/01/00:00:00"))
    fields = ["field", *(f"field{n}" for n in range(1, len(pointings)))]
    for number, (field, offset) in enumerate(zip(fields, pointings, strict=True)):
        pointing = _offset(ra, dec, *offset)
        sm.setfield(field, "J2000 {:.9f}deg {:.9f}deg".format(*pointing))
        # 20 minutes about transit, then the next pointing
        start = 1200 * number - 600
        for spw in spws:
            sm.observe(field, spw, starttime=f"{start}s", stoptime=f"{start + 1200}s")
    sm.setdata(fieldid=list(range(len(fields))), spwid=list(range(windows)))
    sm.setvp(dovp=True, usedefaultvp=False)
    for east, north, flux in sources:
        place = (f"{angle:.9f}deg" for angle in _offset(ra, dec, east, north))
        cl.addcomponent(flux, "Jy", dir=["J2000", *place], shape="point", freq="LSRK 230GHz")
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
    visibilities = 2 * 4 * len(x) * (len(x) - 1) / 2 * windows * channels
    return SmallMS(str(path), ra, dec, sources, jy / math.sqrt(visibilities))


def _offset(ra: float, dec: float, east: float, north: float) -> tuple[float, float]:
    """A direction [deg] some way off another [arcsec]."""
    return ra + east / 3600 / math.cos(math.radians(dec)), dec + north / 3600
