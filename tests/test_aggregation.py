"""Aggregates of realisations against numpy, and detection probability on crafted ones."""

import math

import numpy as np
import pytest
import torch

from casa_ddpm import aggregation

SAMPLES = torch.rand(7, 9, 11, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("n", [1, 2, 6, 7])
def test_mean_median_and_std_are_numpys(n):
    values = SAMPLES[:n].numpy()
    np.testing.assert_allclose(aggregation.mean(SAMPLES[:n]), values.mean(0), rtol=1e-6)
    np.testing.assert_allclose(aggregation.median(SAMPLES[:n]), np.median(values, 0), rtol=1e-6)
    expected = values.std(0, ddof=1) if n > 1 else np.zeros((9, 11))
    np.testing.assert_allclose(aggregation.std(SAMPLES[:n]), expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("n", [4, 5])
def test_median_of_many_numbers(n):
    # More than torch's own quantile takes.
    samples = torch.rand(n, 2**22 + 1, generator=torch.Generator().manual_seed(1))
    got = aggregation.median(samples)[:1000]
    np.testing.assert_allclose(got, np.median(samples[:, :1000].numpy(), 0), rtol=1e-6)


def test_medoid_is_the_most_central_realisation():
    values = SAMPLES.numpy().reshape(7, -1)
    distance = np.sqrt(((values[:, None] - values) ** 2).sum(-1)).sum(1)
    torch.testing.assert_close(aggregation.medoid(SAMPLES), SAMPLES[distance.argmin()])


def test_medoid_passes_over_an_outlier():
    base = torch.ones(5, 4, 4)
    base[2] += 100
    torch.testing.assert_close(aggregation.medoid(base), base[0])


@pytest.mark.parametrize("n", [1, 4, 7])
def test_quantiles_are_numpys(n):
    levels = [0.0, 0.16, 0.5, 0.84, 0.975, 1.0]
    got = aggregation.quantiles(SAMPLES[:n], levels)
    np.testing.assert_allclose(got, np.quantile(SAMPLES[:n].numpy(), levels, axis=0), rtol=1e-5)


def test_every_aggregate_has_the_shape_of_one():
    for aggregate in aggregation.AGGREGATES.values():
        assert aggregate(SAMPLES).shape == (9, 11)


AREA = math.pi * 3.0**2


def crafted():
    """Ten realisations: a point in all, one in four of them, one too faint, nothing else."""
    samples = torch.zeros(10, 60, 60)
    samples[:, 15, 15] = 5
    samples[:4, 40, 20] = 5
    samples[:, 20, 45] = 0.9
    return samples


def test_probability_is_the_fraction_that_holds_a_source():
    got = aggregation.probability(crafted(), AREA, 1.0)
    assert got[15, 15] == 1
    assert float(got[40, 20]) == pytest.approx(0.4)
    assert got[20, 45] == 0
    assert got[50, 50] == 0
    assert got.min() >= 0
    assert got.max() <= 1


def test_probability_patch_has_the_area_of_the_beam():
    got = aggregation.probability(crafted(), AREA, 1.0)
    y, x = np.indices(got.shape)
    inside = np.hypot(y - 15, x - 15) <= 2.4
    outside = np.hypot(y - 15, x - 15) > 3.9
    assert (got.numpy()[inside] == 1).all()
    assert (got.numpy()[outside & (np.hypot(y - 40, x - 20) > 3.9)] == 0).all()
    assert float((got == 1).sum()) == pytest.approx(AREA, rel=0.35)


def test_probability_adds_up_what_is_spread():
    samples = torch.zeros(2, 40, 40)
    samples[0, 19:22, 19:22] = 0.2  # 1.8 in all
    assert float(aggregation.probability(samples, AREA, 1.0)[20, 20]) == 0.5


def test_positions_that_vary_are_one_source():
    samples = torch.zeros(5, 40, 40)
    for k, (y, x) in enumerate([(20, 20), (21, 20), (20, 21), (19, 20), (20, 19)]):
        samples[k, y, x] = 3
    assert aggregation.probability(samples, AREA, 1.0)[20, 20] == 1


def test_quantiles_of_blocks_are_those_of_all(monkeypatch):
    whole = aggregation.quantiles(SAMPLES, [0.16, 0.84])
    monkeypatch.setattr(aggregation, "_BLOCK", 7)
    got = aggregation.quantiles(SAMPLES, [0.16, 0.84])
    torch.testing.assert_close(got, whole, rtol=0, atol=0)
    np.testing.assert_allclose(got, np.quantile(SAMPLES.numpy(), [0.16, 0.84], axis=0), rtol=1e-5)
