"""What the task says of the noise, and what it takes for it."""

from types import SimpleNamespace

import numpy as np
import pytest

from casa_ddpm.dirty import Beam, DirtyImage
from casa_ddpm.tasks.task_ddpmclean import _tell_noise, _with_noise


def told(noises, thermals):
    said = []
    planes = [thermal and SimpleNamespace(thermal=thermal) for thermal in thermals]
    found = [noise and SimpleNamespace(noise=noise) for noise in noises]
    _tell_noise(lambda *words: said.append(words), planes, found)
    return said


@pytest.mark.parametrize(
    ("noise", "thermal", "expected"),
    [
        (1.0e-3, 1.0e-3, ("noise 0.001 Jy/beam, thermal noise of the visibilities 0.001",)),
        (2.0e-3, 1.0e-3, ("limits the image", "WARN")),
    ],
)
def test_what_limits_the_image(noise, thermal, expected):
    ((text, *level),) = told([noise], [thermal])
    assert expected[0] in text and tuple(level) == expected[1:] and "channel" not in text


def test_the_worst_channel_of_a_cube():
    """Whatever the first one is like, and if it is empty."""
    ((text, level),) = told([1e-3, None, 4e-3, 2e-3], [1e-3, None, 1e-3, 1e-3])
    assert text.startswith("channel 2: noise 0.004") and level == "WARN"
    ((text,),) = told([None, 1e-3], [None, 1e-3])
    assert text.startswith("channel 1: noise 0.001")


def test_where_it_is_not_known():
    assert told([None], [None]) == []
    planes, found = [SimpleNamespace(thermal=None)], [SimpleNamespace(noise=1e-3)]
    _tell_noise(lambda *words: pytest.fail("said something"), planes, found)


@pytest.fixture
def planes():
    """Two channels of a noise of 1 and 2 mJy/beam, and one without data between them."""
    rng = np.random.default_rng(5)
    psf = np.zeros((64, 64))
    psf[32, 32] = 1
    one, two = (
        DirtyImage(noise * rng.normal(size=(64, 64)), psf, Beam(1.0, 1.0, 0.0), 0.3)
        for noise in (1e-3, 2e-3)
    )
    return [one, None, two]


@pytest.mark.parametrize(("given", "thermal"), [("1.2mJy", 1.2e-3), (0.9e-3, 0.9e-3)])
def test_noise_that_is_given(planes, given, thermal):
    one, none, two = _with_noise(planes, given, lambda *words: pytest.fail("said something"))
    assert none is None and one.thermal == two.thermal == pytest.approx(thermal)
    assert one.data is not None and planes[0].thermal is None


def test_noise_that_is_not_given(planes):
    assert _with_noise(planes, "", None) is planes


def test_more_noise_than_there_is(planes):
    """Of half of the channels; a little more is said, much more is refused."""
    said = []
    _with_noise(planes, "1.7mJy/beam", lambda *words: said.append(words))
    ((text, level),) = said
    assert "thermalnoise='1.7mJy/beam' is above the image's own rms of 0.0015" in text
    assert level == "WARN"
    with pytest.raises(ValueError, match="thermalnoise must not be more than 1.3 times .* '2mJy'"):
        _with_noise(planes, "2mJy", None)
