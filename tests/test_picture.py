from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import AsinhNorm
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.patches import Ellipse

from casa_ddpm import catalogue, picture, scales
from casa_ddpm.dirty import Beam, DirtyImage
from casa_ddpm.sources import find_sources

CELL, NOISE, BEAM = 0.2, 5e-5, Beam(0.95, 0.7, 30)


@pytest.fixture(scope="module")
def scene():
    """Arguments of `summary` after the path: three points, the last one of prob 0.3."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-48:48, -64:64]
    psf = np.exp(-(x**2 + y**2) / 2 / 1.7**2)
    samples = np.zeros((10, 96, 128))
    for px, py, snr, count in ((20, 10, 40, 10), (-30, -20, 8, 10), (0, 25, 5, 3)):
        point = np.exp(-((x - px) ** 2 + (y - py) ** 2) / 2 / 0.7**2) / (2 * np.pi * 0.49)
        for sample in samples[:count]:
            sample += (snr + rng.normal()) * NOISE * point
    model, std = samples.mean(axis=0), samples.std(axis=0)
    noise = rng.normal(0, NOISE, model.shape)
    dirty = DirtyImage(noise + model * 18, psf, BEAM, CELL, np.exp(-(x**2 + y**2) / 2 / 40**2))
    sources = find_sources(samples, CELL, BEAM, 0.33, NOISE)
    table = catalogue.build(sources, dirty, NOISE)
    return dirty, model, std, (samples > 0.1 * NOISE).mean(axis=0), noise, dirty.data, table


@pytest.fixture
def drawn(scene, tmp_path, monkeypatch):
    """The figure that `summary` saves."""
    saved = []
    original = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *a, **k: (saved.append(self), original(self, *a, **k))
    )
    picture.summary(tmp_path / "field.png", *scene)
    return saved[0]


def panels(figure):
    return [panel for panel in figure.axes if panel.get_title()]


def test_six_panels_with_units(drawn, tmp_path):
    assert [panel.get_title() for panel in panels(drawn)] == [
        "Dirty image",
        "Model",
        "Standard deviation",
        "Detection probability",
        "Residual (±5 rms)",
        "Restored image",
    ]
    bars = [axes.get_ylabel() for axes in drawn.axes if axes not in panels(drawn)]
    assert [label.split("/")[-1] for label in bars] == [
        "beam", "pixel", "pixel", "probability per beam", "beam", "beam",
    ]  # fmt: skip
    assert bars[0] == "mJy/beam" and bars[4] == "µJy/beam"
    height, width, _ = imread(tmp_path / "field.png").shape
    assert width > 1500 and height > 800


def test_axes_are_offsets_with_east_to_the_left(drawn):
    for panel in panels(drawn):
        (image,) = panel.images
        assert image.get_extent() == pytest.approx([12.9, -12.7, -9.7, 9.5])
        assert panel.get_xlim() == pytest.approx((12.9, -12.7))
    assert panels(drawn)[3].images[0].norm.vmin == 0 and panels(drawn)[3].images[0].norm.vmax == 1


def test_sources_are_marked_where_they_are(drawn, scene):
    table, panel = scene[-1], panels(drawn)[-1]
    outlines = [p for p in panel.patches if isinstance(p, Ellipse) and not p.get_fill()]
    assert len(outlines) == len(table) == 3
    assert sorted(p.get_linestyle() == "-" for p in outlines) == [False, True, True]
    # 20 pixels west and 10 north of the centre
    assert outlines[0].get_center() == pytest.approx((-4, 2), abs=0.02)
    assert [text.get_text() for text in panel.texts] == ["1", "2"]
    assert "2 sources with probability ≥ 0.9" in drawn.get_suptitle()


def test_beam_is_drawn_at_its_angle(drawn):
    """On the screen, where east is left, a beam of pa 30 leans to the left."""
    (beam,) = [p for p in panels(drawn)[0].patches if p.get_fill()]
    angle = np.radians(np.arange(360))
    edge = beam.get_transform().transform(np.stack([np.cos(angle), np.sin(angle)], axis=1))
    offsets = edge - edge.mean(axis=0)
    far = offsets[np.hypot(*offsets.T).argmax()]
    far = far if far[1] > 0 else -far
    assert np.degrees(np.arctan2(-far[0], far[1])) == pytest.approx(30, abs=1)


def test_an_ellipse_over_the_edge_leaves_no_strip_beside_the_image(scene, tmp_path, monkeypatch):
    dirty, *others, table = scene
    table = table.copy()
    table["x"][0] = 127 * table["x"].unit
    saved = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: saved.append(self))
    picture.summary(tmp_path / "edge.png", dirty, *others, table)
    saved[0].draw_without_rendering()
    for panel in panels(saved[0]):
        assert panel.get_xlim() == pytest.approx((12.9, -12.7))
        assert panel.get_ylim() == pytest.approx((-9.7, 9.5))


def test_only_the_brightest_are_numbered(scene, drawn):
    from astropy.table import vstack

    dirty, *_, table = scene
    panel = Figure().subplots()
    picture._mark(panel, vstack([table[:1]] * 40 + [table[2:]] * 70), dirty, 0.9)
    assert len(panel.texts) == picture.NUMBERED
    assert len(panel.patches) == 40 + picture.UNCERTAIN


@pytest.mark.parametrize(
    ("value", "unit"), [(3, "Jy"), (0.02, "mJy"), (5e-5, "µJy"), (2e-8, "nJy"), (0, "nJy")]
)
def test_unit(value, unit):
    assert scales.prefix(value)[1] == unit


@pytest.mark.parametrize(
    ("values", "top"),
    [([1e-12, -1], 1e-12), ([2, np.nan, np.inf], 2), ([-1, 0], 1e-9), ([np.nan], 1e-9), ([], 1e-9)],
)
def test_top_is_the_highest_value(values, top):
    assert scales.top(np.array(values)) == top


@pytest.mark.parametrize(("low", "high", "width"), [(-0.15, 7, 0.1), (0, 3e3, 60), (0, 1e-3, 1e-4)])
def test_ticks_are_round_and_apart(low, high, width):
    ticks = np.array(scales.ticks(AsinhNorm(width, low, high)))
    assert 4 <= len(ticks) <= 10 and 0 in ticks
    assert low <= ticks[0] and ticks[-1] <= high
    assert np.diff(np.arcsinh(ticks / width)).min() > 0.1 * np.arcsinh(high / width)


def test_masked_empty_and_dull_images_are_drawn(scene, tmp_path):
    dirty, *_, table = scene
    dirty = dataclasses.replace(dirty, pb=None)
    empty = np.zeros(dirty.data.shape)
    masked = np.full(dirty.data.shape, np.nan)
    picture.summary(tmp_path / "a.png", dirty, empty, empty, empty, empty, masked, table[:0])
    picture.summary(tmp_path / "b.png", dirty, masked, masked, masked, masked, masked, table)


def test_input_is_checked(scene, tmp_path):
    path = tmp_path / "field.png"
    dirty, model, *rest = scene
    with pytest.raises(ValueError, match=r"model must have the shape of dirty \(96, 128\)"):
        picture.summary(path, dirty, model[1:], *rest)
    path.write_text("precious")
    with pytest.raises(FileExistsError, match=r"field\.png exists; overwrite=True replaces it"):
        picture.summary(path, *scene)
    assert path.read_text() == "precious"


def test_pyplot_stays_out():
    """CASA chooses matplotlib's backend; importing pyplot here would choose it for CASA."""
    code = "import sys, casa_ddpm.picture; assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_blanked_pixels_are_no_noise():
    """What lies outside of the primary beam is 0 and must not lower the rms of the heading."""
    from casa_ddpm.picture import _noise

    residual = np.random.default_rng(0).normal(size=(200, 200))
    inside = residual.copy()
    inside[:, 80:] = 0
    assert _noise(inside) == pytest.approx(1, rel=0.03)
    assert _noise(np.zeros((5, 5))) == 0
