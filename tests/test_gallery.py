"""The gallery: a few fields keep their images, which are drawn on scales that can be compared."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from casa_ddpm import sky
from casa_ddpm.benchmark.campaign import Campaign, measure
from casa_ddpm.benchmark.field import NOISE, Field, simulated
from casa_ddpm.benchmark.gallery import gallery, write
from casa_ddpm.benchmark.models import fidelity, smoothed, true_model
from casa_ddpm.benchmark.panels import SHOWN, Panels, panels
from casa_ddpm.options import Options
from casa_ddpm.posterior import Sampling

FIRST = ["dirty", "truth", "mean", "median"]
OURS = ["ddpmclean", "ddpmclean – truth", "ddpmclean residual", "std"]
CLEAN = ["tclean", "tclean – truth", "tclean residual"]


@pytest.fixture
def field():
    """Three points of known places and fluxes."""
    plain = simulated("empty", 0, 3, 48)
    points = sky.points(np.array([[0.0, 0], [3, 2], [-3, 1]]), np.array([20.0, 10, 5]))
    return Field("independent", 1, plain.dirty, points)


@pytest.fixture
def shown(field):
    """Its images, of three realisations and of a CLEAN that has found half."""
    truth = true_model(field)
    samples = np.stack([truth, truth, 4 * truth])
    residual = field.dirty.data
    return panels(field, truth, samples, residual, {"tclean": (truth / 2, residual)})


def test_panels(field, shown):
    assert [list(line) for line in shown.lines] == [FIRST, OURS, CLEAN]
    images, truth = shown.images, true_model(field)
    assert truth.sum() == pytest.approx(35 * NOISE, rel=1e-3)
    assert np.allclose(images["mean"], 2 * truth, rtol=1e-5)
    assert np.allclose(images["median"], truth, rtol=1e-5)
    assert np.allclose(images["tclean"], smoothed(field, truth / 2), rtol=1e-5)
    assert np.allclose(images["tclean – truth"], images["tclean"] - truth, atol=1e-9)
    # A point in its pixel is seen at half the beam, as the truth is.
    model = np.zeros((48, 48))
    model[24, 24] = 20 * NOISE
    there = (slice(20, 29),) * 2
    assert np.allclose(smoothed(field, model)[there], truth[there], atol=0.02 * truth.max())
    assert fidelity(field, truth) > fidelity(field, truth / 2)


def test_saved_and_loaded(shown, tmp_path):
    shown.save(tmp_path)
    again = Panels.load(tmp_path / "independent 1.npz")
    assert (again.cell, again.noise, again.name) == (shown.cell, shown.noise, "independent 1")
    assert [list(line) for line in again.lines] == [FIRST, OURS, CLEAN]
    for name, image in shown.images.items():
        assert np.array_equal(image, again.images[name])


def test_gallery(shown):
    other = Panels(shown.lines[:2], shown.cell, shown.noise, "independent 2")
    other.images["mean"][3, 3] = np.nan
    figure = gallery([shown, other], "independent")
    assert isinstance(figure, Figure)
    assert figure.get_suptitle().startswith("independent: ")
    drawn = [axes for axes in figure.axes if axes.images]
    titles = [axes.get_title() for axes in drawn]
    assert titles == [*FIRST, *OURS, *CLEAN, *FIRST, *OURS]
    norms = {axes.get_title(): axes.images[0].norm for axes in drawn[:11]}
    # Truth and reconstructions share their colours, errors and residuals theirs.
    assert (
        len({id(norms[name]) for name in ("truth", "mean", "median", "ddpmclean", "tclean")}) == 1
    )
    assert norms["ddpmclean – truth"] is norms["tclean – truth"]
    assert norms["ddpmclean residual"].vmax == pytest.approx(5 * shown.noise)
    ny, nx = shown.images["dirty"].shape
    left, right, bottom, top = drawn[0].images[0].get_extent()
    # East is left, and pixel (ny // 2, nx // 2) is at the offset 0.
    assert left == pytest.approx((nx // 2 + 0.5) * shown.cell) and right < 0 < left
    assert bottom == pytest.approx(-(ny // 2 + 0.5) * shown.cell) and top > 0
    units = [axes.get_ylabel() for axes in figure.axes if "/" in axes.get_ylabel()]
    assert sum("/beam" in unit for unit in units) == 2 + 1 + 2
    assert sum("/pixel" in unit for unit in units) == len(titles) - 5
    assert drawn[0].get_ylabel() == "Dec offset [arcsec]"
    assert drawn[8].get_xlabel() == "RA offset [arcsec]"


def test_nothing_is_drawn_too(tmp_path):
    """An empty sky of which nothing is made."""
    nothing = np.zeros((16, 16), np.float32)
    lines = {"dirty": nothing, "truth": nothing}, {"ddpmclean": nothing, "std": nothing}
    gallery([Panels(lines, 0.2, 1e-5, "empty 0")]).savefig(tmp_path / "nothing.png")
    assert min(imread(tmp_path / "nothing.png").shape[:2]) > 200


def test_written_by_protocol(shown, tmp_path):
    shown.save(tmp_path)
    Panels(shown.lines, 0.2, NOISE, "bright 10").save(tmp_path)
    Panels(shown.lines, 0.2, NOISE, "bright 9").save(tmp_path)
    fields = [("bright", 9), ("bright", 10), ("independent", 1), ("empty", 0)]
    names = write(tmp_path, tmp_path, fields)
    assert names == ["gallery_bright.png", "gallery_independent.png"]
    assert all((tmp_path / name).stat().st_size > 10_000 for name in names)
    # What else is kept is of a run of more fields.
    height = imread(tmp_path / names[0]).shape[0]
    write(tmp_path, tmp_path, fields[:1])
    assert imread(tmp_path / names[0]).shape[0] < 0.7 * height


def test_first_fields_keep_their_images(tmp_path):
    """And the others do not."""
    fields = tuple(("empty", index) for index in (0, SHOWN - 1, SHOWN))
    options = Options(nmajor=1, sampling=Sampling(nsamples=2, nsteps=3, device="cpu"))
    measure(Campaign(fields, options, "image", npix=48, kept=tmp_path))
    kept = sorted(path.stem for path in tmp_path.glob("*.npz"))
    assert kept == [f"empty {k}" for k in range(SHOWN)]
    kept = Panels.load(tmp_path / "empty 0.npz")
    assert [list(line) for line in kept.lines] == [FIRST, OURS]
    assert not kept.images["truth"].any() and kept.noise == NOISE


def test_refused():
    with pytest.raises(ValueError, match="fields must hold at least one field, got none"):
        gallery([])
    with pytest.raises(ValueError, match="lines must hold at least one image, got none"):
        Panels(({},), 1, 1)
    with pytest.raises(ValueError, match="images of one field must have one shape, got"):
        Panels(({"dirty": np.zeros((3, 3)), "std": np.zeros((3, 4))},), 1, 1)
