"""Local maxima of crafted images."""

import numpy as np
from restored import BEAM, CELL, gaussian

from casa_ddpm.benchmark.peaks import find_peaks


def test_peaks_are_found_to_a_fraction_of_a_pixel():
    """Against Gaussians anywhere within a pixel, 4 x 5 pixels wide and tilted."""
    rng = np.random.default_rng(3)
    shape = BEAM.covariance(CELL)
    for x, y in 12 + rng.uniform(-0.5, 0.5, (50, 2)):
        found = find_peaks(3 * gaussian((24, 25), x, y, shape), 1.0)
        # a paraboloid is not a Gaussian: that is what the tolerances are of
        np.testing.assert_allclose(found[0], [x], atol=0.06)
        np.testing.assert_allclose(found[1], [y], atol=0.06)
        np.testing.assert_allclose(found[2], [3], rtol=0.01)


def test_peak_of_a_paraboloid_is_exact():
    y, x = np.indices((9, 9)) - 4.0
    x, y = x - 0.3, y + 0.4
    found = find_peaks(10 - x**2 - 2 * y**2 - 0.7 * x * y, 9)
    np.testing.assert_allclose(np.ravel(found), [4.3, 3.6, 10])


def test_peaks_at_the_edge_and_below_the_threshold_are_passed_over():
    data = np.zeros((20, 30))
    data[0, 5] = data[10, 29] = data[5, 5] = 5
    data[10, 10] = 1
    x, y, value = find_peaks(data, 2)
    assert (x, y, value) == ([5], [5], [5])


def test_a_plateau_keeps_its_pixel():
    data = np.zeros((20, 20))
    data[10, 8:12] = 4
    x, y, value = find_peaks(data, 2)
    assert set(y) == {10}
    assert (value >= 4).all()
    assert (np.abs(x - 9.5) <= 2).all()
