"""Any list of sources becomes one set of columns."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, QTable, Table

from casa_ddpm import measures
from casa_ddpm.compare import source_list


def written(tmp_path, columns, name="list.ecsv", meta=None):
    Table(columns, meta=meta).write(tmp_path / name, overwrite=True)
    return str(tmp_path / name)


def test_plain_table(tmp_path):
    path = written(tmp_path, {"ra": [150.0], "dec": [2.0], "flux": [0.1]}, "list.csv")
    listed = source_list.read(path)
    assert listed.colnames == list(source_list.COLUMNS)
    assert listed["flux"][0] == 0.1 * u.Jy and listed["ra"][0] == 150 * u.deg
    assert np.isnan(listed["prob"][0]) and np.isnan(listed["flux_err"][0])


def test_frequencies_have_a_unit(tmp_path):
    """Or they are something else, such as a band."""
    columns = {"ra": [150.0, 151], "dec": [2.0, 2], "flux": [0.1, 0.1], "freq": [2, 1] * u.GHz}
    listed = source_list.read(written(tmp_path, columns))
    assert source_list.channels(listed).tolist() == [1e9, 2e9]
    listed = source_list.read(written(tmp_path, columns | {"freq": ["L", "S"]}, "list.csv"))
    assert source_list.channels(listed).tolist() == []


def test_units_masks_and_frames(tmp_path):
    fk5 = SkyCoord(150 * u.deg, 2 * u.deg, frame="fk5")
    columns = {
        "ra": [fk5.ra.hourangle] * u.hourangle,
        "dec": [2.0] * u.deg,
        "flux": [3.0] * u.mJy,
        "flux_err": MaskedColumn([9.0], mask=[True]),
    }
    listed = source_list.read(written(tmp_path, columns, meta={"RADESYS": "FK5"}))
    assert listed["flux"][0].to_value(u.mJy) == pytest.approx(3)
    assert np.isnan(listed["flux_err"][0])
    assert source_list.places(listed)[0].separation(fk5) < 1e-6 * u.arcsec


def test_apparent_fluxes(tmp_path):
    """All fluxes of a row by the same factor; what lies outside of the beam has no other."""
    columns = {"ra": [1.0, 2], "dec": [0.0, 0], "flux": [2.0, np.nan], "flux_err": [0.2, np.nan]}
    path = written(tmp_path, columns | {"flux_app": [1.0, 3]})
    assert source_list.read(path)["flux"].to_value(u.Jy).tolist() == [2]
    seen = source_list.read(path, apparent=True)
    assert seen["flux"].to_value(u.Jy).tolist() == [1, 3]
    assert seen["flux_err"][0].to_value(u.Jy) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"ra": [1.0], "dec": [1.0]}, r"B must have the columns .* has no \['flux'\]"),
        ({"ra": [np.nan], "dec": [1.0], "flux": [1.0]}, "B must have a finite 'ra' in every row"),
        ({"ra": [1.0], "dec": [1.0], "flux": ["much"]}, r"B must have numbers \[Jy\] as 'flux'"),
        ({"ra": [1.0], "dec": [1.0], "flux": [1.0] * u.K}, r"B must have numbers \[Jy\] as"),
    ],
)
def test_refused_tables(tmp_path, columns, message):
    with pytest.raises(ValueError, match=message):
        source_list.read(written(tmp_path, columns), parameter="B")


def test_refused_files(tmp_path):
    (tmp_path / "text.txt").write_text("no table")
    with pytest.raises(ValueError, match="A must be a table that astropy reads, got '.*text.txt'"):
        source_list.read(str(tmp_path / "text.txt"))
    columns = {"ra": [1.0], "dec": [1.0], "flux": [1.0]}
    path = written(tmp_path, columns, meta={"RADESYS": "MOON"})
    with pytest.raises(ValueError, match="A must have a RADESYS that astropy knows, got 'moon'"):
        source_list.read(path)


def test_component_lists_need_casa(tmp_path, monkeypatch):
    folder = tmp_path / "field.cl"
    folder.mkdir()
    (folder / "table.info").write_text("Type = Component List\n")
    monkeypatch.setattr(measures, "installed", lambda name: False)
    with pytest.raises(ValueError, match="A must be a table where casatools is not installed"):
        source_list.read(str(folder))


@pytest.mark.casa
@pytest.mark.parametrize("frame", ["ICRS", "FK5"])
def test_component_list(tmp_path, frame):
    """What CASA writes is read back: places, fluxes, shapes."""
    from casa_ddpm import casa

    table = QTable(
        {
            "name": ["point", "wide"],
            "ra": [150.0, 359.999] * u.deg,
            "dec": [-30.0, 2.0] * u.deg,
            "flux": [1.0, 20.0] * u.mJy,
            "major": [0.0, 2.0] * u.arcsec,
            "minor": [0.0, 1.0] * u.arcsec,
            "pa": [0.0, 30.0] * u.deg,
            "resolved": [False, True],
            "freq": [230e9, 230e9] * u.Hz,
        },
        meta={"RADESYS": frame},
    )
    casa.write_components(str(tmp_path / "two.cl"), table)
    listed = source_list.read(str(tmp_path / "two.cl"))
    there = SkyCoord(table["ra"], table["dec"], frame=frame.lower())
    assert (source_list.places(listed).separation(there) < 1e-5 * u.arcsec).all()
    for name in ("flux", "major", "minor", "pa"):
        unit = listed[name].unit
        assert np.allclose(listed[name].value, table[name].to_value(unit), rtol=1e-6), name
