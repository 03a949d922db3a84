"""Coverage, weights and gridding against vector geometry, hand-made counts and explicit DFTs."""

import math

import numpy as np
import pytest
import torch

from casa_ddpm import arrays
from casa_ddpm.uv import EARTH, LIGHT, Observation, dirty, weights


def one_baseline(*enu, latitude=-23.0):
    return arrays.Array("pair", np.array([[0.0, 0, 0], enu]), np.full(2, 12.0), latitude)


def dft(uv, values, cell, npix):
    """D(l, m) = sum of Re[V exp(2 pi i (u l + v m))], l to the east, which is left."""
    pixel = (np.arange(npix) - npix // 2) * cell
    l, m = -pixel[None, :], pixel[:, None]
    image = np.zeros((npix, npix))
    for (u, v), value in zip(uv, values, strict=True):
        image += (value * np.exp(2j * np.pi * (u * l + v * m))).real
    return image


def coverage(n, seed=0, longest=0.45):
    """Random uv points [wavelength] below `longest` / cell for a cell of 1e-6 rad."""
    rng = np.random.default_rng(seed)
    uv = rng.uniform(-longest, longest, (n, 2)) * 1e6
    return uv, rng.normal(size=n) + 1j * rng.normal(size=n), 1e-6


def test_uv_by_projection_on_the_sky():
    observation = Observation(
        arrays.load("alma.cycle5.3"), -40.0, 1.3, 3600.0, 600.0, (100e9, 230e9)
    )
    b = observation.array.baselines
    phi, delta = math.radians(observation.array.latitude), math.radians(-40.0)
    # Meridian frame: x to the equator's meridian point, y east, z to the pole.
    east, north = np.array([0, 1, 0]), np.array([-math.sin(phi), 0, math.cos(phi)])
    up = np.array([math.cos(phi), 0, math.sin(phi)])
    xyz = b @ np.stack([east, north, up])
    expected = []
    for frequency in (100e9, 230e9):
        for time in np.arange(-1500, 1501, 600):
            h = 1.3 * math.pi / 12 + time * EARTH
            u_axis = np.array([math.sin(h), math.cos(h), 0])
            v_axis = np.array([
                -math.sin(delta) * math.cos(h), math.sin(delta) * math.sin(h), math.cos(delta)
            ])  # fmt: skip
            source = np.array([
                math.cos(delta) * math.cos(h), -math.cos(delta) * math.sin(h), math.sin(delta)
            ])  # fmt: skip
            uvw = xyz @ np.stack([u_axis, v_axis, source], 1)
            np.testing.assert_allclose((uvw**2).sum(1), (b**2).sum(1))
            expected.append(uvw[:, :2] * frequency / LIGHT)
    np.testing.assert_allclose(observation.uv(), np.concatenate(expected), rtol=1e-9, atol=1e-4)


@pytest.mark.parametrize("declination", [-60.0, -20.0, 5.0])
def test_east_west_baseline_draws_an_ellipse(declination):
    uv = Observation(one_baseline(100.0, 0, 0), declination, 0, 6 * 3600, 60, (LIGHT,)).uv()
    squeezed = uv[:, 1] / math.sin(math.radians(declination))
    np.testing.assert_allclose(np.hypot(uv[:, 0], squeezed), 100, rtol=1e-9)


def test_north_south_baseline_at_transit():
    uv = Observation(one_baseline(0, 100.0, 0), -50.0, 0, 10, 10, (LIGHT,)).uv()
    np.testing.assert_allclose(uv, [[0, 100 * math.cos(math.radians(27))]], atol=1e-9)


def test_only_above_ten_degrees():
    phi, delta, low = (math.radians(a) for a in (-23.0, 20.0, 10.0))
    cosine = (math.sin(low) - math.sin(phi) * math.sin(delta)) / math.cos(phi) / math.cos(delta)
    up_for = 2 * math.acos(cosine) / EARTH
    uv = Observation(one_baseline(100.0, 0, 0), 20.0, 0, 20 * 3600, 30).uv()
    assert abs(len(uv) - up_for / 30) <= 1


def test_what_never_rises_gives_nothing():
    assert Observation(one_baseline(100.0, 0, 0), 65.0, 0, 3600, 60).uv().shape == (0, 2)


@pytest.mark.parametrize("npix", [24, 33])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dirty_is_the_explicit_transform(npix, dtype):
    uv, values, cell = coverage(300)
    expected = dft(uv, values, cell, npix)
    complex_type = torch.complex64 if dtype == torch.float32 else torch.complex128
    got = dirty(torch.tensor(uv, dtype=dtype), torch.tensor(values, dtype=complex_type), cell, npix)
    assert got.dtype == dtype
    np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(values).sum())


@pytest.mark.parametrize("npix", [512, 1000, 1024, 2048])
def test_peak_of_a_large_psf_is_the_sum_of_the_weights(npix):
    """Some FFTs of some sides are wrong on some processors."""
    uv = torch.tensor([[0.1, 0.2], [-0.3, 0.05]])
    image = dirty(uv, torch.tensor([2.0, 3.0]), 1.0, npix)
    assert float(image[npix // 2, npix // 2]) == pytest.approx(5.0, rel=1e-4)


def test_dirty_takes_real_weights():
    uv, values, cell = coverage(200, 1)
    got = dirty(torch.tensor(uv), torch.tensor(values.real.copy()), cell, 32)
    expected = dft(uv, values.real, cell, 32)
    np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(values).sum())


def test_dirty_is_linear():
    uv, values, cell = coverage(200, 2)
    uv, one, two = torch.tensor(uv), torch.tensor(values), torch.tensor(values[::-1].copy())
    both = dirty(uv, 2 * one - 3j * two, cell, 20)
    apart = 2 * dirty(uv, one, cell, 20) + dirty(uv, -3j * two, cell, 20)
    torch.testing.assert_close(both, apart, rtol=0, atol=1e-9)


def test_dirty_is_the_adjoint_of_the_explicit_prediction():
    uv, values, cell = coverage(200, 3)
    sky = np.random.default_rng(4).normal(size=(30, 30))
    pixel = (np.arange(30) - 15) * cell
    rows = np.exp(-2j * np.pi * uv[:, 1:] * pixel)
    columns = np.exp(2j * np.pi * uv[:, :1] * pixel)
    predicted = np.einsum("ky,yx,kx->k", rows, sky, columns)
    image = dirty(torch.tensor(uv), torch.tensor(values), cell, 30).numpy()
    left, right = (image * sky).sum(), np.vdot(predicted, values).real
    assert left == pytest.approx(right, abs=1e-5 * np.abs(values).sum())


def test_east_is_left_and_north_is_up():
    cell, npix = 1e-6, 32
    uv, _, _ = coverage(500, 5)
    l, m = 5 * cell, 3 * cell  # east and north
    values = np.exp(-2j * np.pi * (uv @ [l, m]))
    image = dirty(torch.tensor(uv), torch.tensor(values), cell, npix).numpy()
    assert np.unravel_index(image.argmax(), image.shape) == (16 + 3, 16 - 5)
    assert image.max() == pytest.approx(500, rel=1e-5)


def test_beyond_nyquist_is_left_out():
    uv, values, cell = coverage(100, 6)
    far = np.array([[0.6e6, 0.1e6], [0.0, -0.55e6]])
    more = dirty(torch.tensor(np.concatenate([uv, far])), torch.tensor([*values, 9, 9]), cell, 16)
    torch.testing.assert_close(more, dirty(torch.tensor(uv), torch.tensor(values), cell, 16))


#: With npix * cell = 1 the density cells are unit squares: three points share one, by conjugation.
SHARED = torch.tensor([[3.0, 2.0], [3.2, 2.1], [-3.0, -2.0], [7.0, 1.0]], dtype=torch.float64)


def test_natural_weights_are_equal():
    np.testing.assert_array_equal(weights(SHARED, 1 / 32, 32, "natural"), 1)


def test_uniform_weights_by_hand():
    got = weights(SHARED, 1 / 32, 32, "uniform")
    np.testing.assert_allclose(got / got[3], [1 / 3, 1 / 3, 1 / 3, 1])


@pytest.mark.parametrize("robust", [-1.0, 0.0, 0.5])
def test_briggs_weights_by_hand(robust):
    # Briggs (1995): f^2 = (5 10^-R)^2 / (sum of W^2 over cells / sum of w), w = 1 / (1 + W f^2).
    f2 = (5 * 10**-robust) ** 2 / ((2 * 3**2 + 2 * 1**2) / (2 * 4))
    expected = [1 / (1 + 3 * f2)] * 3 + [1 / (1 + f2)]
    np.testing.assert_allclose(weights(SHARED, 1 / 32, 32, "briggs", robust), expected)


def test_briggs_runs_from_uniform_to_natural():
    uv = torch.tensor(np.random.default_rng(7).normal(size=(5000, 2)) * 3)
    uniform = weights(uv, 1 / 64, 64, "uniform")
    low, high = (weights(uv, 1 / 64, 64, "briggs", r) for r in (-2.0, 2.0))
    torch.testing.assert_close(low / low.mean(), uniform / uniform.mean(), rtol=2e-2, atol=0)
    assert (high / high.mean() - 1).abs().max() < 0.02


def test_uniform_gives_each_cell_the_same():
    uv = torch.tensor(np.random.default_rng(8).uniform(1, 15, (3000, 2)))
    cell = torch.round(uv).long()
    total = torch.zeros(32, 32, dtype=torch.float64)
    total.index_put_((cell[:, 0], cell[:, 1]), weights(uv, 1 / 64, 64, "uniform"), accumulate=True)
    filled = total[total > 0]
    torch.testing.assert_close(filled, torch.ones_like(filled))


def test_unknown_weighting():
    with pytest.raises(ValueError, match="weighting must be natural, uniform or briggs, got 'rad"):
        weights(SHARED, 1 / 32, 32, "radial")
