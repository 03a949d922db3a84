"""Antenna positions of the world's interferometers, in one small file.

`build` turns the ``*.cfg`` files that casadata ships into ``data/arrays.npz``,
so that the simulator runs where there is no CASA.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

_LIBRARY = Path(__file__).parent / "data" / "arrays.npz"

#: Geodetic latitude of each observatory named in the configuration files [deg].
LATITUDE = {
    "ALMA": -23.0229,
    "ALMASD": -23.0229,
    "ACA": -23.0229,
    "ATCA": -30.3128,
    "CARMA": 37.2804,
    "MEERKAT": -30.7130,
    "NGVLA": 34.0784,
    "IRAM_PDB": 44.6339,
    "SMA": 19.8243,
    "VLA": 34.0784,
    "VLBA": 34.3010,
    "WSRT": 52.9153,
}


@dataclass(frozen=True)
class Array:
    """An array configuration.

    Parameters
    ----------
    name : str
        Name of the configuration file without its suffix, such as 'alma.cycle5.3'.
    positions : ndarray, shape (nantenna, 3)
        East, north and up coordinates [m] about the mean position.
    diameters : ndarray, shape (nantenna,)
        Dish diameters [m].
    latitude : float
        Geodetic latitude [deg].
    """

    name: str
    positions: np.ndarray
    diameters: np.ndarray
    latitude: float

    @property
    def baselines(self) -> np.ndarray:
        """One of each pair of conjugate baselines, east-north-up [m], shape (nbaseline, 3)."""
        first, second = np.triu_indices(len(self.positions), 1)
        return self.positions[second] - self.positions[first]


@lru_cache
def _library() -> dict[str, np.ndarray]:
    with np.load(_LIBRARY) as file:
        return dict(file)


def names() -> list[str]:
    """Names of all array configurations in the library, sorted."""
    return [str(name) for name in _library()["names"]]


def load(name: str) -> Array:
    """The array configuration called `name`.

    Raises
    ------
    ValueError
        If the library holds no such name.
    """
    library = _library()
    known = names()
    if name not in known:
        raise ValueError(f"array {name!r} is not in the library of {len(known)} configurations")
    index = known.index(name)
    start, stop = library["offsets"][index : index + 2]
    return Array(
        name,
        library["positions"][start:stop].astype(float),
        library["diameters"][start:stop].astype(float),
        float(library["latitudes"][index]),
    )


def read(path: str | Path) -> Array:
    """Read a CASA array configuration file (coordinate systems LOC, UTM and XYZ).

    Raises
    ------
    ValueError
        If the coordinate system or the observatory is unknown or no antenna is listed.
    """
    path = Path(path)
    header: dict[str, str] = {}
    rows = []
    for line in path.read_text(errors="replace").splitlines():
        if found := re.match(r"#\s*(observatory|coordsys)\s*=\s*([\w.]+)", line, re.I):
            header[found[1].lower()] = found[2].upper()
        elif line.strip() and not line.lstrip().startswith("#"):
            rows.append([float(value) for value in line.split()[:4]])
    if not rows:
        raise ValueError(f"{path.name} lists no antenna")
    table = np.array(rows)
    observatory = header.get("observatory", path.name.split(".")[0].split("-")[0].upper())
    if observatory not in LATITUDE:
        raise ValueError(f"{path.name}: observatory {observatory!r} has no known latitude")
    latitude = LATITUDE[observatory]
    positions = table[:, :3] - table[:, :3].mean(axis=0)
    system = header.get("coordsys", "XYZ")
    if system == "XYZ":
        positions = _local(positions, table[:, :3].mean(axis=0), latitude)
    elif system not in ("LOC", "UTM"):
        raise ValueError(f"{path.name}: coordsys must be LOC, UTM or XYZ, got {system!r}")
    return Array(path.stem, positions, table[:, 3], latitude)


def _local(offsets: np.ndarray, centre: np.ndarray, latitude: float) -> np.ndarray:
    """Earth-centred offsets [m] as east, north, up at the geodetic `latitude` [deg]."""
    longitude, phi = np.arctan2(centre[1], centre[0]), np.radians(latitude)
    east = [-np.sin(longitude), np.cos(longitude), 0]
    up = [np.cos(phi) * np.cos(longitude), np.cos(phi) * np.sin(longitude), np.sin(phi)]
    return offsets @ np.stack([east, np.cross(up, east), up], axis=1)


def build(casadata_path: str | Path, out: str | Path = _LIBRARY) -> list[str]:
    """Collect every ``*.cfg`` under `casadata_path` into the library file `out`.

    Returns
    -------
    list of str
        The names in the library.

    Raises
    ------
    FileNotFoundError
        If there is no configuration file.
    """
    paths = sorted(Path(casadata_path).rglob("*.cfg"))
    if not paths:
        raise FileNotFoundError(f"casadata_path {str(casadata_path)!r} holds no *.cfg file")
    arrays = sorted({path.stem: read(path) for path in paths}.values(), key=lambda a: a.name)
    arrays = [array for array in arrays if len(array.positions) > 3]
    counts = [len(array.positions) for array in arrays]
    np.savez_compressed(
        out,
        names=np.array([array.name for array in arrays]),
        offsets=np.concatenate([[0], np.cumsum(counts)]),
        positions=np.concatenate([array.positions for array in arrays]).astype(np.float32),
        diameters=np.concatenate([array.diameters for array in arrays]).astype(np.float32),
        latitudes=np.array([array.latitude for array in arrays], np.float32),
    )
    return [array.name for array in arrays]
