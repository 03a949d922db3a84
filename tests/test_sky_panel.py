"""A panel of sky: where its pixels are, and what its colour bar says."""

import numpy as np
import pytest
from matplotlib.colors import AsinhNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from casa_ddpm import sky_panel


@pytest.mark.parametrize("shape", [(8, 12), (7, 11)])
def test_centre_is_at_the_offset_0(shape):
    """Pixel (ny // 2, nx // 2), with pixels to the left of it east and below it south."""
    left, right, bottom, top = sky_panel.extent(shape, 0.5)
    ny, nx = shape
    assert left - (nx // 2 + 0.5) * 0.5 == pytest.approx(0)
    assert bottom + (ny // 2 + 0.5) * 0.5 == pytest.approx(0)
    assert (left - right, top - bottom) == pytest.approx((nx * 0.5, ny * 0.5))


def test_undefined_pixels_are_masked():
    image = np.ones((4, 6))
    image[1, 2] = np.nan
    shown = sky_panel.show(Figure().subplots(), image, Normalize(0, 1), 0.5)
    assert np.argwhere(np.ma.getmaskarray(shown.get_array())).tolist() == [[1, 2]]


def test_what_reaches_over_the_edge_does_not_widen_the_axes():
    panel = Figure().subplots()
    sky_panel.show(panel, np.ones((4, 6)), Normalize(0, 1), 0.5)
    panel.add_patch(Ellipse((1.5, 0), 2, 2))
    panel.plot([0, 9], [0, 9])
    panel.figure.draw_without_rendering()
    assert (*panel.get_xlim(), *panel.get_ylim()) == sky_panel.extent((4, 6), 0.5)


@pytest.mark.parametrize("norm", [Normalize(-2e-4, 2e-4), AsinhNorm(1e-5, -1e-5, 2e-4)])
def test_bar_counts_in_the_prefix_of_its_upper_end(norm):
    figure = Figure()
    shown = sky_panel.show(figure.subplots(), np.zeros((4, 4)), norm, 0.5)
    bar = sky_panel.bar(shown, "beam")
    figure.draw_without_rendering()
    assert bar.ax.get_ylabel() == "µJy/beam"
    labels = [text.get_text() for text in bar.ax.get_yticklabels()]
    assert {"0", "200"} <= set(labels)
