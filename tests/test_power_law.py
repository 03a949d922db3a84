"""Power laws over a band against expansions and explicit least squares."""

import numpy as np
import pytest

from casa_ddpm.power_law import PowerLaws


@pytest.mark.parametrize("width", [0.01, 0.1, 0.19])
@pytest.mark.parametrize("index", [-3.0, -0.7, 0.0, 1.0, 4.0])
def test_line_through_a_power_law(width, index):
    u = np.sqrt(3) * width * np.linspace(-1, 1, 100_001)
    spectrum = (1 + u) ** index
    slope, mean = np.polyfit(u, spectrum, 1)
    laws = PowerLaws(width)
    found = laws.index(np.array([slope / mean]))
    assert found == pytest.approx(index, abs=3e-3)
    assert laws.mean(found) == pytest.approx(mean, rel=1e-3)
    more = np.polyfit(u, (1 + u) ** (index + 0.01), 1)
    stretch = 0.01 / (more[0] / more[1] - slope / mean)
    assert laws.stretch(found) == pytest.approx(stretch, rel=0.02)
    assert laws.steepness(found) == pytest.approx(np.log(more[1] / mean) / 0.01, abs=2e-3)


def test_a_narrow_band_has_no_curvature():
    laws, slopes = PowerLaws(1e-3), np.array([-4.0, 0.3, 5.0])
    assert np.allclose(laws.index(slopes), slopes, atol=1e-3)
    assert np.allclose(laws.stretch(slopes), 1, atol=1e-3)
    assert np.allclose(laws.mean(slopes), 1, atol=1e-4)


def test_what_no_power_law_is_so_steep_for_is_the_steepest():
    laws = PowerLaws(0.2)
    assert laws.index(np.array([-100.0, 100.0])).tolist() == [-8, 8]
