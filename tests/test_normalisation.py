"""Normalisations of the sky: their formulas, inverses and what is refused."""

import numpy as np
import pytest
import torch

from casa_ddpm.normalisation import Normalisation, compress

SKY = torch.tensor([0.0, 1e-4, 0.3, 1.0, 50.0, 2000.0], dtype=torch.float64)


@pytest.mark.parametrize("gamma", [1.0, 2.0, 3.0])
def test_root(gamma):
    got = Normalisation("root", gamma).forward(SKY)
    np.testing.assert_allclose(got, SKY.numpy() ** (1 / gamma))


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_asinh(gamma):
    got = Normalisation("asinh", gamma).forward(SKY)
    steep = gamma * SKY.numpy()
    np.testing.assert_allclose(got, np.log(steep + np.sqrt(steep**2 + 1)) / gamma)


@pytest.mark.parametrize("kind", ["root", "asinh"])
@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 4.0])
def test_inverse(kind, gamma):
    normalisation = Normalisation(kind, gamma)
    torch.testing.assert_close(normalisation.inverse(normalisation.forward(SKY)), SKY)


@pytest.mark.parametrize("kind", ["root", "asinh"])
def test_negative_brightness_is_zero(kind):
    normalisation = Normalisation(kind)
    assert normalisation.forward(torch.tensor([-3.0])) == 0
    assert normalisation.inverse(torch.tensor([-3.0])) == 0


def test_compress_is_linear_in_the_noise_and_logarithmic_above():
    small = torch.tensor([-0.01, 0.01], dtype=torch.float64)
    torch.testing.assert_close(compress(small), small, rtol=1e-4, atol=0)
    large = torch.tensor([-1e3, 1e3], dtype=torch.float64)
    expected = large.sign() * torch.log(2 * large.abs())
    torch.testing.assert_close(compress(large), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (("log", 2.0), "normalisation must be 'root', 'asinh' or 'published', got 'log'"),
        (("root", 0.0), "gamma must be positive, got 0.0"),
        (("asinh", -1.0), "gamma must be positive, got -1.0"),
        (("root", float("nan")), "gamma must be positive, got nan"),
    ],
)
def test_refused(values, text):
    with pytest.raises(ValueError, match=text):
        Normalisation(*values)
