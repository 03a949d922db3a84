"""Array configurations: published facts, geometry and the files they are read from."""

import math

import numpy as np
import pytest

from casa_ddpm import arrays, measures


def test_names_are_sorted_and_load():
    names = arrays.names()
    assert names == sorted(set(names))
    assert len(names) > 100
    for name in names:
        array = arrays.load(name)
        assert array.name == name
        assert array.positions.shape == (len(array.diameters), 3)
        assert np.isfinite(array.positions).all()
        assert (array.diameters > 0).all()


@pytest.mark.parametrize(
    ("name", "antennas", "dish", "longest", "shortest"),
    [
        # ALMA Cycle 5 Technical Handbook, table 7.1; VLA Observational Status Summary.
        ("alma.cycle5.3", 43, 12, 500.2, 15.1),
        ("vla.a", 27, 25, 36_400, 680),
        ("vla.d", 27, 25, 1_030, 35),
        ("atca_6c", 6, 22, 6_000, 153),
        ("WSRT", 14, 25, 2_700, 36),
    ],
)
def test_known_configurations(name, antennas, dish, longest, shortest):
    array = arrays.load(name)
    length = np.linalg.norm(array.baselines, axis=1)
    assert len(array.positions) == antennas
    np.testing.assert_allclose(array.diameters, dish)
    assert length.max() == pytest.approx(longest, rel=0.02)
    assert length.min() == pytest.approx(shortest, rel=0.2)


@pytest.mark.parametrize("name", ["alma.cycle5.3", "vla.a", "atca_6c", "meerkat"])
def test_antennas_stand_on_the_ground(name):
    up = arrays.load(name).positions[:, 2]
    assert np.ptp(up) < 120


def test_atca_is_an_east_west_array():
    east, north, _ = arrays.load("atca_6c").positions.T
    assert np.ptp(north) < 1e-3 * np.ptp(east)


def test_baselines_are_one_of_each_pair():
    positions = np.array([[0.0, 0, 0], [1, 0, 0], [0, 3, 0], [0, 0, 7]])
    array = arrays.Array("four", positions, np.ones(4), 0.0)
    expected = {(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)}
    got = array.baselines
    assert {tuple(row) for row in got} == {tuple(positions[j] - positions[i]) for i, j in expected}


def test_unknown_name():
    with pytest.raises(ValueError, match=r"array 'lofar' is not in the library of \d+ conf"):
        arrays.load("lofar")


ENU = np.array([[0.0, 0, 0], [100, 0, 0], [0, 200, 1], [-50, 30, 5], [10, -400, 2]])


def configuration(path, positions, *header):
    rows = [" ".join(f"{v:.6f}" for v in p) + "  12. A01" for p in positions]
    path.write_text("\n".join([*(f"# {h}" for h in header), *rows]) + "\n")
    return path


@pytest.mark.parametrize("system", ["LOC (local tangent plane)", "UTM"])
def test_read_local(tmp_path, system):
    path = configuration(tmp_path / "x.cfg", ENU, "observatory=ALMA", f"coordsys={system}")
    array = arrays.read(path)
    np.testing.assert_allclose(array.positions, ENU - ENU.mean(0), atol=1e-5)
    assert (array.name, array.latitude) == ("x", arrays.LATITUDE["ALMA"])
    np.testing.assert_allclose(array.diameters, 12)


def test_read_earth_centred(tmp_path):
    phi, longitude = math.radians(arrays.LATITUDE["VLA"]), math.radians(-107.6184)
    earth = np.array([
        [-math.sin(longitude), math.cos(longitude), 0],
        [-math.sin(phi) * math.cos(longitude), -math.sin(phi) * math.sin(longitude), math.cos(phi)],
        [math.cos(phi) * math.cos(longitude), math.cos(phi) * math.sin(longitude), math.sin(phi)],
    ])  # fmt: skip
    positions = 6_372_000 * earth[2] + ENU @ earth
    path = configuration(tmp_path / "y.cfg", positions, "observatory = VLA", "coordsys = XYZ")
    # The longitude is that of the mean position: antennas 100 m off turn by 1e-5.
    np.testing.assert_allclose(arrays.read(path).positions, ENU - ENU.mean(0), atol=0.02)


def test_observatory_may_be_in_the_name(tmp_path):
    path = configuration(tmp_path / "vla.z.cfg", ENU, "coordsys=LOC")
    assert arrays.read(path).latitude == arrays.LATITUDE["VLA"]


@pytest.mark.parametrize(
    ("header", "rows", "text"),
    [
        (("observatory=ALMA", "coordsys=LOC"), 0, "bad.cfg lists no antenna"),
        (("observatory=KAT9", "coordsys=LOC"), 5, "bad.cfg: observatory 'KAT9' has no known"),
        (("observatory=ALMA", "coordsys=GEO"), 5, "coordsys must be LOC, UTM or XYZ, got 'GEO'"),
    ],
)
def test_what_cannot_be_read(tmp_path, header, rows, text):
    with pytest.raises(ValueError, match=text):
        arrays.read(configuration(tmp_path / "bad.cfg", ENU[:rows], *header))


def test_build(tmp_path, monkeypatch):
    header = ("observatory=ALMA", "coordsys=LOC")
    (tmp_path / "deep").mkdir()
    configuration(tmp_path / "b.cfg", ENU, *header)
    configuration(tmp_path / "deep" / "a.cfg", 2 * ENU[:4], *header)
    configuration(tmp_path / "three.cfg", ENU[:3], *header)
    out = tmp_path / "library.npz"
    assert arrays.build(tmp_path, out) == ["a", "b"]
    monkeypatch.setattr(arrays, "_LIBRARY", out)
    arrays._library.cache_clear()
    try:
        assert arrays.names() == ["a", "b"]
        expected = 2 * (ENU[:4] - ENU[:4].mean(0))
        np.testing.assert_allclose(arrays.load("a").positions, expected, atol=1e-4)
        np.testing.assert_allclose(arrays.load("b").positions, ENU - ENU.mean(0), atol=1e-4)
    finally:
        arrays._library.cache_clear()


def test_nothing_to_build(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"casadata_path .* holds no \*\.cfg file"):
        arrays.build(tmp_path, tmp_path / "library.npz")


@pytest.mark.casa
@pytest.mark.parametrize("name", ["alma.cycle5.3", "vla.b", "carma.a", "pdbi-a"])
def test_baselines_are_those_of_the_file_casadata_ships(name):
    pytest.importorskip("casatools")
    measures.configure()
    from casatools import ctsys

    path = ctsys.resolve(f"alma/simmos/{name}.cfg")
    table = np.loadtxt(path, comments="#", usecols=(0, 1, 2))
    first, second = np.triu_indices(len(table), 1)
    expected = np.linalg.norm(table[second] - table[first], axis=1)
    got = np.linalg.norm(arrays.load(name).baselines, axis=1)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=0.01)
