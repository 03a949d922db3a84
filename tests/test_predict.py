"""What a run hands on to the visibilities: the model in the MeasurementSet, the component list."""

from __future__ import annotations

import math
import shutil

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable
from conftest import checksum, pixels, simulate

from casa_ddpm import ddpmclean

pytestmark = pytest.mark.casa

FAST = {"nsamples": 4, "nsteps": 6, "device": "cpu"}
#: Where it does not matter how good the model is.
COARSE = {"nsamples": 2, "nsteps": 2, "device": "cpu"}
#: rms of the real and of the imaginary part of a simulated visibility [Jy].
JY = 5e-3
#: The reference systems of the simulation: the phase centre is J2000.
FRAME = {"RADESYS": "FK5"}


def column(path, name):
    """A column of a MeasurementSet."""
    from casatools import table

    tool = table()
    tool.open(str(path))
    try:
        return tool.getcol(name)
    finally:
        tool.done()


def copy_of(small_ms, path):
    """A MeasurementSet with nothing but its data in it."""
    from casatools import table

    shutil.copytree(small_ms.path, path)
    tool = table()
    tool.open(str(path), nomodify=False)
    try:
        tool.removecols(["MODEL_DATA", "CORRECTED_DATA"])
    finally:
        tool.done()
    return str(path)


@pytest.mark.parametrize("savemodel", ["modelcolumn", "virtual"])
def test_the_saved_model_leaves_the_residual(small_ms, tmp_path, savemodel):
    """The dirty image of DATA - MODEL_DATA, made by CASA alone, is the run's .residual."""
    from casatasks import mstransform, tclean, uvsub

    vis = copy_of(small_ms, tmp_path / "saved.ms")
    imaging = {"imsize": 96, "cell": "0.12arcsec", "weighting": "briggs"}
    name = str(tmp_path / "a")
    ddpmclean(vis=vis, imagename=name, savemodel=savemodel, **imaging, **COARSE)
    if savemodel == "virtual":
        # CASA's uvsub does not take a virtual model; this makes it a column.
        virtual, vis = vis, str(tmp_path / "real.ms")
        mstransform(virtual, vis, datacolumn="all", realmodelcol=True)
    assert np.abs(column(vis, "MODEL_DATA")).max() > 0.005
    uvsub(vis)
    tclean(vis=vis, imagename=name + "_left", datacolumn="corrected", niter=0, **imaging)
    mine, casas = pixels(name + ".residual"), pixels(name + "_left.residual")
    # Both are sums of the same numbers, of which the peak of the dirty image is the largest.
    assert np.abs(mine - casas).max() < 1e-6 * pixels(name + ".image").max()
    assert np.abs(mine).max() > 0


def test_a_model_is_predicted_with_no_pass(small_ms, tmp_path):
    """niter=0 with a model: alone, and together with images, as tclean does it."""
    from casatasks import tclean

    imaging = {"imsize": 96, "cell": "0.12arcsec", "niter": 0, "savemodel": "modelcolumn"}
    first = {"vis": small_ms.path, "imagename": str(tmp_path / "first"), "niter": 10}
    tclean(**(imaging | {"savemodel": "none"} | first))
    start = str(tmp_path / "first.model")
    predicted = []
    for whose, task in (("theirs", tclean), ("ours", ddpmclean)):
        for images in (True, False):
            name = f"{whose}{images}"
            vis = copy_of(small_ms, tmp_path / f"{name}.ms")
            own = {"vis": vis, "imagename": str(tmp_path / name), "startmodel": start}
            task(**imaging, **own, calcpsf=images, calcres=images)
            predicted.append(column(vis, "MODEL_DATA"))
    assert np.abs(predicted[0]).max() > 0.005
    for other in predicted[1:]:
        np.testing.assert_allclose(other, predicted[0], atol=1e-7)


@pytest.fixture
def mosaic(tmp_path):
    """The parameters of a mosaic of which the model is saved."""
    vis = simulate(tmp_path / "m.ms", CENTRE, seed=3, pointings=((0, 0), (10, 0))).path
    imaging = {"imsize": 96, "cell": "0.25arcsec", "gridder": "mosaic", "phasecenter": 0}
    return {"vis": vis, "imagename": str(tmp_path / "a"), "savemodel": "modelcolumn"} | imaging


def test_products_stay_where_the_model_cannot_be_saved(mosaic, tmp_path, monkeypatch):
    """CASA divides the .model of a mosaic by the weights while it predicts."""
    from casatasks.private.imagerhelpers.imager_base import PySynthesisImager

    during = []

    def cut_off(self):
        during.append(pixels(tmp_path / "a.model"))
        during.append(pixels(tmp_path / "a.image"))
        raise RuntimeError("disk full")

    monkeypatch.setattr(PySynthesisImager, "predictModelCore", cut_off)
    with pytest.raises(RuntimeError, match="disk full"):
        ddpmclean(pbcor=True, **mosaic, **COARSE | {"nmajor": 1})
    model, image = (pixels(tmp_path / f"a.{suffix}") for suffix in ("model", "image"))
    assert not np.allclose(model, during[0], rtol=1e-3)  # so that there was something to put back
    assert np.array_equal(image, during[1])
    assert not (tmp_path / "a.unfinished").exists()
    for suffix in (".cat.ecsv", ".cl", ".png", ".image.pbcor", ".prob"):
        assert (tmp_path / f"a{suffix}").exists()
    # The model that stays is the run's: CASA finds the residual that it leaves.
    residual = pixels(tmp_path / "a.residual")
    ddpmclean(niter=0, **mosaic | {"savemodel": "none"})
    np.testing.assert_allclose(
        pixels(tmp_path / "a.residual"), residual, atol=0.02 * residual.std()
    )


def test_saving_a_model_alone_leaves_the_images(small_ms, tmp_path):
    """What no image is made for stays as it is."""
    vis, name = copy_of(small_ms, tmp_path / "s.ms"), str(tmp_path / "a")
    values = {"vis": vis, "imagename": name, "imsize": 96, "cell": "0.12arcsec"}
    alone = values | {"niter": 0, "calcpsf": False, "calcres": False, "savemodel": "modelcolumn"}
    with pytest.raises(FileNotFoundError, match=r"savemodel='modelcolumn' needs .*a\.model'"):
        ddpmclean(**alone)
    ddpmclean(pbcor=True, **values, **COARSE | {"nmajor": 1})
    ddpmclean(**alone)
    assert (tmp_path / "a.image.pbcor").exists()
    image = pixels(tmp_path / "a.image")
    shutil.rmtree(name + ".psf")
    ddpmclean(**alone)
    assert np.abs(column(vis, "MODEL_DATA")).max() > 0.005
    assert np.array_equal(pixels(tmp_path / "a.image"), image)


def test_no_model_is_saved_unless_asked(small_ms, tmp_path):
    vis = copy_of(small_ms, tmp_path / "kept.ms")
    before = checksum(vis)
    values = {"imsize": 96, "cell": "0.12arcsec"} | COARSE
    ddpmclean(vis=vis, imagename=str(tmp_path / "a"), savemodel="none", **values)
    assert checksum(vis) == before


def predict(vis, components, beam):
    """Predict a component list into MODEL_DATA: as the guide says, with the primary beam or not."""
    from casatasks import ft
    from casatools import imager

    if not beam:
        ft(vis, complist=components, usescratch=True)
        return
    tool = imager()
    try:
        tool.open(vis, usescratch=True)
        tool.setvp(dovp=True)
        tool.ft(complist=components)
    finally:
        tool.done()


def chi2(vis):
    """Reduced chi square of DATA - MODEL_DATA."""
    left = column(vis, "DATA") - column(vis, "MODEL_DATA")
    return float((np.abs(left) ** 2).sum() / (2 * JY**2 * left.size))


#: Sources, as in `conftest.SOURCES`; the second is where the primary beam is about 0.7.
CENTRE = ((0.0, 0.0, 0.010),)
APART = (*CENTRE, (-8.0, 4.0, 0.010))


@pytest.fixture(scope="module", params=[CENTRE, APART], ids=["centre", "apart"])
def listed(request, tmp_path_factory):
    """An observation, and a run on it."""
    folder = tmp_path_factory.mktemp("listed")
    observed = simulate(folder / "o.ms", request.param, seed=2718, jy=JY)
    values = {"imsize": 192, "cell": "0.12arcsec", "weighting": "natural"} | FAST
    ddpmclean(vis=observed.path, imagename=str(folder / "a"), **values)
    return observed, str(folder / "a")


def test_the_list_is_the_catalogue(listed):
    """CASA reads the certain sources; the fluxes are corrected for the primary beam."""
    from casatools import componentlist

    observed, name = listed
    table = QTable.read(name + ".cat.ecsv")
    table = table[table["prob"] >= 0.9]
    tool = componentlist()
    tool.open(name + ".cl")
    try:
        assert tool.length() == len(table) == len(observed.sources)
        for number, source in enumerate(table):
            component = tool.getcomponent(number)
            assert component["label"] == source["name"]
            flux = component["flux"]["value"][0]
            # CASA rounds a flux to single precision.
            assert flux == pytest.approx(source["flux"].to_value("Jy"), rel=1e-7)
            assert flux == pytest.approx(0.010, rel=0.1)
            direction = component["shape"]["direction"]
            assert direction["refer"] == "J2000"
            places = direction["m0"]["value"] % (2 * math.pi), direction["m1"]["value"]
            for place, wanted in zip(places, (source["ra"], source["dec"]), strict=True):
                assert math.degrees(place) == pytest.approx(wanted.value, abs=1e-9)
    finally:
        tool.done()


def test_the_list_predicts_the_data(listed, tmp_path):
    """What it leaves of the visibilities is noise, as far as the true list's does."""
    observed, name = listed
    apart = len(observed.sources) > 1
    left = {}
    for components in (name + ".cl", observed.path + ".cl"):
        vis = copy_of(observed, tmp_path / "f.ms")
        predict(vis, components, beam=apart)
        left[components] = chi2(vis)
        if components == name + ".cl" and apart:
            predict(vis, components, beam=False)
            plain = chi2(vis)
        size = column(vis, "DATA").size
        shutil.rmtree(vis)
    mine, truth = left.values()
    nothing = float((np.abs(column(observed.path, "DATA")) ** 2).sum() / (2 * JY**2 * size))
    spread = 1 / math.sqrt(size)  # of a reduced chi square of 2 size numbers
    assert abs(truth - 1) < 4 * spread and abs(mine - 1) < 4 * spread
    assert nothing > 1.5
    # The list accounts for all but a hundredth of what the sources add.
    assert mine - truth < 0.01 * (nothing - truth)
    if apart:
        assert plain - truth > 3 * (mine - truth)


def test_a_gaussian_has_its_own_visibilities(small_ms, tmp_path):
    """A resolved source, off the phase centre: the closed form."""
    from casa_ddpm.casa import write_components

    east, north, major, minor, angle = 2.0, -1.0, 1.2, 0.4, math.radians(30)
    source = {
        "name": ["g"], "flux": [0.7] * u.Jy, "resolved": [True], "freq": [230] * u.GHz,
        "ra": [small_ms.ra + east / 3600 / math.cos(math.radians(small_ms.dec))] * u.deg,
        "dec": [small_ms.dec + north / 3600] * u.deg,
        "major": [major] * u.arcsec, "minor": [minor] * u.arcsec, "pa": [30] * u.deg,
    }  # fmt: skip
    components = str(tmp_path / "g.cl")
    write_components(components, QTable(source, meta=FRAME))
    vis = copy_of(small_ms, tmp_path / "g.ms")
    predict(vis, components, beam=False)
    arcsec = math.radians(1 / 3600)
    uu, vv, ww = column(vis, "UVW") * 230e9 / 299792458 * arcsec
    along = uu * math.sin(angle) + vv * math.cos(angle)
    across = uu * math.cos(angle) - vv * math.sin(angle)
    width = (major * along) ** 2 + (minor * across) ** 2
    sphere = -(east**2 + north**2) / 2 * arcsec  # sqrt(1 - l^2 - m^2) - 1
    phase = uu * east + vv * north + ww * sphere
    expected = 0.7 * np.exp(-(np.pi**2) / (4 * math.log(2)) * width + 2j * np.pi * phase)
    predicted = column(vis, "MODEL_DATA")
    assert np.abs(predicted - expected).max() < 1e-4
    assert np.abs(np.abs(predicted) - np.abs(expected)).max() < 1e-6


def test_an_empty_list_predicts_nothing(small_ms, tmp_path):
    from casa_ddpm.casa import write_components

    columns = {"flux": u.Jy, "ra": u.deg, "dec": u.deg, "freq": u.Hz}
    write_components(str(tmp_path / "e.cl"), QTable({c: [] * unit for c, unit in columns.items()}))
    vis = copy_of(small_ms, tmp_path / "e.ms")
    predict(vis, str(tmp_path / "e.cl"), beam=False)
    assert not column(vis, "MODEL_DATA").any()
