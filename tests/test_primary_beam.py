"""The primary beam of one pointing at other frequencies, against a Gaussian's."""

from types import SimpleNamespace

import numpy as np
import pytest

from casa_ddpm import primary_beam

NY, NX, SIGMA = 90, 110, 30.0


def gaussian(ratio=1.0, middle=(45, 55), least=0.1):
    """A beam that narrows with frequency; NaN where the first one is below `least`."""
    y, x = np.indices((NY, NX)) - np.array(middle)[:, None, None]
    radius = (x**2 + y**2) / SIGMA**2
    return np.where(np.exp(-radius / 2) > least, np.exp(-radius * ratio**2 / 2), np.nan)


@pytest.mark.parametrize("middle", [(45, 55), (40, 70)])
@pytest.mark.parametrize("ratio", [0.75, 0.98, 1.0, 1.03, 1.2])
def test_at_another_frequency(ratio, middle):
    found = primary_beam.at_frequency(gaussian(middle=middle), ratio)
    expected = gaussian(ratio, middle)
    assert np.array_equal(np.isfinite(found), np.isfinite(expected))
    away = np.abs(found / expected - 1)
    assert np.nanmax(away) < 0.02 and np.nanmedian(away) < 2e-3


def test_spectral_index_is_the_change_with_frequency():
    x, y = np.array([55.0, 70.5, 90.0]), np.array([45.0, 30.0, 60.5])
    index = primary_beam.spectral_index(SimpleNamespace(pb=gaussian()), x, y)
    assert np.allclose(index, -((x - 55) ** 2 + (y - 45) ** 2) / SIGMA**2, atol=0.02)


def test_without_a_primary_beam():
    x = np.array([1.0, 2.0])
    assert primary_beam.level(SimpleNamespace(pb=None), x, x).tolist() == [1, 1]
    assert primary_beam.spectral_index(SimpleNamespace(pb=None), x, x).tolist() == [0, 0]


def test_undefined_where_there_is_none():
    nothing = SimpleNamespace(pb=np.full((NY, NX), np.nan))
    x = np.array([50.0])
    assert np.isnan(primary_beam.level(nothing, x, x)).all()
    assert np.isnan(primary_beam.spectral_index(nothing, x, x)).all()
