"""The linear estimate of a sky beside noise that is a sum of known images."""

import numpy as np
import torch

from casa_ddpm.linear import estimator


def apply(factors, images):
    reads, writes = factors.flatten(2)
    return (images.flatten(1) @ reads.T @ writes).view_as(images)


def examples(n, seed=0):
    """Noise of three images, and skies that another 8 x 8 matrix blurs."""
    random = torch.Generator().manual_seed(seed)
    known = torch.randn(3, 64, generator=torch.Generator().manual_seed(1)).double()
    blur = torch.randn(64, 64, generator=torch.Generator().manual_seed(2)).double() / 8
    noise = 5 * torch.randn(n, 3, generator=random).double() @ known
    target = torch.randn(n, 64, generator=random).double()
    return torch.stack([noise, target @ blur, target], 1).view(n, 3, 8, 8)


def test_what_is_not_the_known_noise_tells_the_sky():
    """61 of 64 numbers are left of each sky: the estimate errs by about 3 in 64."""
    factors = estimator(examples(4000).split(500), 64)
    noise, sky, target = examples(200, seed=3).unbind(1)
    got = apply(factors.double(), noise + sky)
    error = float((got - target).square().mean() / target.square().mean())
    assert 0.6 * 3 / 64 < error < 1.6 * 3 / 64


def test_whole_rank_is_the_least_mean_square_estimate():
    """As numpy's solution of the normal equations with noise and sky that do not correlate."""
    noise, sky, target = examples(500).flatten(2).numpy().swapaxes(0, 1)
    seen = noise.T @ noise + sky.T @ sky + 1e-5 * 500 * np.eye(64)
    want = np.linalg.inv(seen) @ sky.T @ target
    reads, writes = estimator([examples(500)], 64).flatten(2).double().numpy()
    np.testing.assert_allclose(reads.T @ writes, want, atol=1e-5 * np.abs(want).max())


def test_lower_rank_keeps_the_strongest_part():
    """As the singular value decomposition of the whole has it, of a spectrum that falls slowly."""
    random = np.random.default_rng(0)
    noise, target = random.normal(size=(2, 900, 256)) * np.linspace(1, 2, 256)
    images = np.stack([noise, target, target], 1).reshape(900, 3, 16, 16)
    whole, low = (estimator([torch.from_numpy(images)], rank) for rank in (256, 20))
    assert low.shape == (2, 20, 16, 16)
    reads, writes = whole.flatten(2).double().numpy()
    left, strengths, right = np.linalg.svd(reads.T @ writes)
    best = left[:, :20] * strengths[:20] @ right[:20]
    reads, writes = low.flatten(2).double().numpy()
    lost = np.linalg.norm(left * strengths @ right - reads.T @ writes)
    assert lost < 1.001 * np.linalg.norm(left * strengths @ right - best)
