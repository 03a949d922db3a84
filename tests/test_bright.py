"""Bright sources against the truth of visibilities that are explicit Fourier sums."""

import numpy as np
import pytest

from casa_ddpm import checkpoint, fields, simulator, sky
from casa_ddpm.aside import set_aside
from casa_ddpm.benchmark.field import BEAM, NOISE, _optics, noise_free, simulated
from casa_ddpm.bright import Bright, Source
from casa_ddpm.scene import Scene

NPIX = 128
NETWORK, SETTINGS = checkpoint.load("default")
FAINT = ([-6.0, 5.0], 10.0)


def observed(components, array="vla.b", declination=2.206):
    """A dirty image, its major cycle, and pixels per beam."""
    optics = _optics(array, declination, 1200, NPIX)
    data = noise_free(components, optics, NPIX) + simulator.draw_noise(optics, NPIX, 3)
    return *fields.observed(data.numpy(), optics, BEAM / optics.scale, NOISE), optics.scale


def run(dirty, major_cycle):
    """What is set aside, what it leaves and how many major cycles it took."""
    steps, count = set_aside(Scene(dirty, SETTINGS, NETWORK.stride)), 0
    try:
        model = next(steps)
        while True:
            count += 1
            model = steps.send(major_cycle(model))
    except StopIteration as end:
        return *end.value, count


def points(*sources):
    return sky.points(np.array([s[0] for s in sources]), np.array([s[1] for s in sources]))


@pytest.mark.parametrize("flux", [120.0, 600.0, 1e4, 1e5])
def test_point_between_pixels_leaves_noise(flux):
    dirty, cycle, scale = observed(points(([3.31, -7.13], flux), FAINT))
    bright, left, count = run(dirty, cycle)
    (source,) = bright.sources
    assert source.flux / NOISE == pytest.approx(flux, abs=3)
    offset = source.place - NPIX // 2 - np.array([3.31, -7.13]) * scale
    # 0.42 beams over the S/N, and what the truth's own transform is good for.
    assert np.abs(offset).max() < 3 * 0.42 * scale / flux + 1e-5
    # The faint one, 20 beams away, is still there.
    np.testing.assert_allclose(left, cycle(bright.model()), atol=0.01 * NOISE)
    rest = left - faint(dirty, cycle, scale)
    assert rest.std() / NOISE == pytest.approx(1, abs=0.08)
    assert count <= 4


def faint(dirty, cycle, scale):
    """The faint source alone, without noise."""
    optics = _optics("vla.b", 2.206, 1200, NPIX)
    return noise_free(points(FAINT), optics, NPIX).numpy() * NOISE


def test_two_points_of_which_one_is_beneath_the_others_sidelobes():
    truth = points(([3.3, -7.1], 1e5), ([3.3, -2.1], 2e4), FAINT)
    dirty, cycle, _ = observed(truth)
    bright, left, _ = run(dirty, cycle)
    assert [s.flux / NOISE for s in bright.sources] == pytest.approx([1e5, 2e4], abs=4)
    assert left.std() / NOISE < 1.15


@pytest.mark.parametrize("width", [0.05, 0.5])
def test_gaussian_has_its_shape(width):
    place, flux = np.array([[3.3, -7.1]]), np.array([3e4])
    truth = sky.gaussians(place, flux, np.array([width]), np.array([0.6 * width]), np.array([0.5]))
    dirty, cycle, scale = observed(truth)
    bright, left, _ = run(dirty, cycle)
    (source,) = bright.sources
    found, middle, shape = bright.moments(source)
    assert found / NOISE == pytest.approx(3e4, abs=6)
    np.testing.assert_allclose(middle, NPIX // 2 + place[0] * scale, atol=1e-3)
    np.testing.assert_allclose(shape, truth.covariance[0] * scale**2, atol=3e-3)
    assert left.std() / NOISE < 1.15


def test_what_is_no_gaussian_is_fitted_on_pixels():
    """A very close pair is one source here: its flux is both, and little of it is left."""
    dirty, cycle, _ = observed(points(([3.3, -7.1], 1e5), ([3.3, -6.5], 4e4)))
    bright, left, _ = run(dirty, cycle)
    (source,) = bright.sources
    assert source.pixels
    assert bright.moments(source)[0] / NOISE == pytest.approx(1.4e5, rel=1e-3)
    assert left.std() / NOISE < 1.5


def test_extended_emission_is_left_to_the_network():
    place, width = np.array([[3.3, -7.1]]), np.array([2.0])
    truth = sky.gaussians(place, np.array([1e5]), width, width, np.zeros(1))
    dirty, cycle, _ = observed(truth)
    assert not run(dirty, cycle)[0].sources


@pytest.mark.parametrize(("law", "index"), [("independent", 0), ("crowded", 0), ("structure", 0)])
def test_nothing_else_is_set_aside(law, index):
    """Ordinary fields cost no major cycle."""
    field = simulated(law, index, 7, NPIX)
    bright, left, count = run(field.dirty, field.major_cycle)
    assert not bright.sources and not count
    assert left is field.dirty.data


@pytest.mark.parametrize("half", [0, 15])
def test_clean_mask_is_kept(half):
    """A source outside of it is not set aside, nor one whose pattern of pixels would leave it."""
    dirty, cycle, scale = observed(points(([3.3, -7.1], 1e5), FAINT))
    y, x = np.rint(NPIX // 2 + np.array([3.3, -7.1]) * scale).astype(int)
    mask = np.zeros((NPIX, NPIX), bool)
    mask[:, NPIX // 2 :] = True
    mask[y - half : y + half, x - half : x + half] = True
    steps = set_aside(Scene(dirty, SETTINGS, NETWORK.stride, allowed=mask))
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert not end.value.value[0].sources


@pytest.mark.parametrize(("held", "new"), [(19, True), (20, False)])
def test_no_source_is_new_where_there_is_no_room(held, new):
    """It would be fitted for, in major cycles that change nothing."""
    dirty, _, _ = observed(points(([3.3, -7.1], 1e5)))
    bright = Bright(Scene(dirty, SETTINGS, NETWORK.stride))
    bright.sources = [Source(np.array([110.0, 110.0])) for _ in range(held)]
    assert bright.look(dirty.data) == new
    assert len(bright.sources) == 20


def test_pixels_between_two_sources_are_the_nearer_ones():
    """Counted once, and kept where the other source is dropped."""
    dirty, _, _ = observed(points(FAINT))
    bright = Bright(Scene(dirty, SETTINGS, NETWORK.stride))
    one, other = (Source(np.array([60.0, x]), 0.5, pixels=True) for x in (50.0, 62.0))
    bright.sources = [one, other]
    bright.extra[60, 50], bright.extra[60, 55], bright.extra[60, 57] = 0.25, 0.5, 0.75
    assert bright.beam * 2 > 7
    assert bright.moments(one)[0] == pytest.approx(1.25)
    assert bright.moments(other)[0] == pytest.approx(1.25)
    one.flux = 0.0
    nothing = np.full_like(dirty.data, 1e-9)
    nothing[::2] *= -1
    assert bright.prune(nothing) and bright.sources == [other]
    assert bright.extra.sum() == bright.extra[60, 57] == 0.75
    assert bright.moments(other)[0] == pytest.approx(1.25)
