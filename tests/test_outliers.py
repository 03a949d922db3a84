"""Outlier fields: their places, and visibilities that no gridder's phase errors are in."""

import os

import numpy as np
import pytest

pytest.importorskip("casatasks")

from casa_ddpm.casa import outliers
from casa_ddpm.casa.imager import VisibilityImager
from casa_ddpm.offset import Stamp

NONE = np.zeros((0, 2), int)


def model(*sources, shape=(300, 320)):
    image = np.zeros(shape, np.float32)
    for y, x, flux in sources:
        image[y, x] = flux
    return image


def test_places_are_the_bright_pixels_apart():
    image = model((50, 60, 5.0), (52, 63, 4.0), (200, 210, 3.0), (250, 30, 0.5))
    places = outliers.find_places(image, 1.0, NONE)
    assert places.tolist() == [[50, 60], [200, 210]]
    assert not len(outliers.find_places(image, 20.0, NONE))


def test_places_of_an_earlier_model_are_kept():
    known = np.array([[203, 207], [10, 10]])
    assert outliers.find_places(model((200, 210, 3.0)), 1.0, known).tolist() == [[203, 207]]
    far = np.array([[203, 217]])
    assert outliers.find_places(model((200, 210, 3.0)), 1.0, far).tolist() == [[200, 210]]


def test_fields_do_not_overlap():
    """CASA predicts what two fields share once only; what is left over stays in the image."""
    image = model((100, 100, 5.0), (100, 170, 4.0), (100, 260, 3.0))
    places = outliers.find_places(image, 1.0, NONE)
    assert places.tolist() == [[100, 100], [100, 260]]


@pytest.mark.parametrize("place", [(150, 160), (10, 300), (299, 0)])
def test_parts_and_rest_are_the_model(place):
    image = np.random.default_rng(0).normal(size=(300, 320)).astype(np.float32)
    rest, (part,) = outliers.split(image, np.array([place]))
    assert part.sum() + rest.sum() == pytest.approx(image.sum(), abs=1e-2)
    middle = part.shape[0] // 2
    assert part[middle, middle] == image[place] and rest[place] == 0
    assert np.count_nonzero(rest) + np.count_nonzero(part) == image.size


@pytest.fixture(scope="module")
def observed(tmp_path_factory):
    """A snapshot of the VLA of one point of S/N 100,000, and where it is [pixel]."""
    from casa_ddpm.benchmark.field import NOISE
    from casa_ddpm.benchmark.observatory import Observatory

    observatory = Observatory(tmp_path_factory.mktemp("vla"), 160)
    with observatory.field("dynamic-range", 1, 11) as (field, scratch):
        yield field, str(scratch), NOISE


@pytest.mark.casa
def test_residual_of_the_truth_is_noise(observed):
    field, scratch, noise = observed
    names = {"vis": field.vis, "imagename": f"{scratch}/image", "niter": -1}
    truth = np.zeros(field.dirty.data.shape)
    for row in field.truth():
        stamp = Stamp.at(np.array([row["y"], row["x"]]), np.zeros(3), truth.shape)
        stamp.add(truth, np.array([row["flux"] * noise]))
    truth = truth[None].astype(np.float32)
    with VisibilityImager(field.imaging | names) as imager:
        (dirty,) = imager.dirty()
        left = imager.residual(truth)[0]
        assert os.path.isdir(f"{scratch}/image.outliers")
        np.testing.assert_array_equal(imager.model(), truth)
        again = imager.residual(truth)[0]
        imager._thermal = None
        without = imager.residual(truth)[0]
    assert np.array_equal(left, again)
    assert left.std() / noise == pytest.approx(1, abs=0.1)
    assert without.std() / noise > 3
    assert dirty.data.max() > 9e4 * noise
    assert not os.path.exists(f"{scratch}/image.outliers")


@pytest.mark.casa
def test_faint_models_need_none(observed):
    field, scratch, noise = observed
    names = {"vis": field.vis, "imagename": f"{scratch}/faint", "niter": -1}
    image = np.zeros((1, *field.dirty.data.shape), np.float32)
    image[0, 80, 80] = 1000 * noise
    with VisibilityImager(field.imaging | names) as imager:
        imager.dirty()
        imager.residual(image)
        assert not os.path.exists(f"{scratch}/faint.outliers")
