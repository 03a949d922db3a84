"""What the task says of the noise."""

from types import SimpleNamespace

import pytest

from casa_ddpm.tasks.task_ddpmclean import _tell_noise


@pytest.mark.parametrize(
    ("noise", "thermal", "expected"),
    [
        (1.0e-3, 1.0e-3, [("noise 0.001 Jy/beam, thermal noise of the visibilities 0.001",)]),
        (2.0e-3, 1.0e-3, [("limits the image", "WARN")]),
        (1.0e-3, None, []),
    ],
)
def test_what_limits_the_image(noise, thermal, expected):
    said = []
    plane, found = SimpleNamespace(thermal=thermal), SimpleNamespace(noise=noise)
    _tell_noise(lambda *words: said.append(words), plane, found)
    assert len(said) == len(expected)
    for words, wanted in zip(said, expected, strict=True):
        assert wanted[0] in words[0] and words[1:] == wanted[1:]


def test_channels_without_data():
    _tell_noise(lambda *words: pytest.fail("said something"), None, None)
