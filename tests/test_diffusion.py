"""EDM preconditioning and loss against their formulas and a Gaussian whose answer is known."""

import math

import pytest
import torch
from torch import nn

from casa_ddpm.diffusion import BLIND, Denoiser, loss


class Raw(nn.Module):
    """A stand-in for the network that records what it is given."""

    def __init__(self, output=lambda x: torch.sin(3 * x)):
        super().__init__()
        self.output, self.seen = output, None

    def forward(self, x, condition, noise, shape):
        self.seen = (x, condition, noise, shape)
        return self.output(x)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


CONDITION, SHAPE = torch.zeros(3, 2, 8, 8), torch.zeros(3, 2)


@pytest.mark.parametrize("d", [0.25, 0.5])
def test_preconditioning(d):
    net = Raw()
    x, sigma = normal(3, 1, 8, 8), torch.tensor([0.02, 0.5, 40.0])
    got = Denoiser(net, d)(x, sigma, CONDITION, SHAPE)
    for i, s in enumerate(sigma.tolist()):
        # Karras et al. (2022), table 1.
        skip, out = d**2 / (s**2 + d**2), s * d / math.hypot(s, d)
        scaled = x[i] / math.hypot(s, d)
        torch.testing.assert_close(got[i], skip * x[i] + out * torch.sin(3 * scaled))
        torch.testing.assert_close(net.seen[0][i], scaled)
        assert float(net.seen[2][i]) == pytest.approx(math.log(s) / 4, rel=1e-5)


def test_without_noise_the_image_stays():
    x = normal(3, 1, 8, 8)
    got = Denoiser(Raw(), 0.25)(x, torch.full((3,), 1e-6), CONDITION, SHAPE)
    torch.testing.assert_close(got, x, rtol=0, atol=1e-5)


def test_blind_sees_the_condition_alone():
    net = Raw(lambda x: torch.ones_like(x))
    got = Denoiser(net, 0.25)(normal(3, 1, 8, 8), torch.full((3,), BLIND), CONDITION, SHAPE)
    torch.testing.assert_close(got, torch.full_like(got, 0.25), rtol=0, atol=1e-3)


def test_loss_by_hand():
    d, mean, std = 0.25, -0.8, 1.3
    denoiser = Denoiser(Raw(), d)
    y, noise = normal(3, 1, 8, 8, seed=1), normal(3, 1, 8, 8, seed=2)
    uniform = torch.tensor([0.05, 0.325, 0.775])  # blind, and the 1st and 3rd quartile
    got = loss(denoiser, y, CONDITION, SHAPE, noise, uniform, mean, std)
    quartile = 0.6744897501960817
    sigmas = [BLIND, math.exp(mean - std * quartile), math.exp(mean + std * quartile)]
    for i, s in enumerate(sigmas):
        noisy = y[i] + s * noise[i]
        error = denoiser(noisy[None], torch.tensor([s]), CONDITION[:1], SHAPE[:1])[0] - y[i]
        weight = (s**2 + d**2) / (s * d) ** 2
        assert float(got[i]) == pytest.approx(weight * float(error.square().mean()), rel=1e-3)


def test_noise_levels_have_the_promised_distribution():
    net = Raw()
    n = 2000
    uniform = (torch.arange(n) + 0.5) / n
    y, condition, shape = torch.zeros(n, 1, 2, 2), torch.zeros(n, 2, 2, 2), torch.zeros(n, 2)
    loss(Denoiser(net, 0.25), y, condition, shape, torch.zeros_like(y), uniform)
    log_sigma = 4 * net.seen[2]
    blind = log_sigma > math.log(BLIND) - 1e-3
    assert float(blind.float().mean()) == pytest.approx(0.1, abs=1e-3)
    assert float(log_sigma[~blind].mean()) == pytest.approx(-0.8, abs=0.01)
    assert float(log_sigma[~blind].std()) == pytest.approx(1.3, rel=0.02)


@pytest.mark.parametrize("d", [0.25, 1.0])
@pytest.mark.parametrize("level", [0.05, 0.2, 0.6, 0.95])
def test_exact_denoiser_of_a_gaussian_has_loss_one(d, level):
    """For y ~ N(0, d^2) the network's part is 0, and the weight undoes the posterior variance."""
    denoiser = Denoiser(Raw(torch.zeros_like), d)
    y, noise = d * normal(2, 1, 200, 200, seed=3), normal(2, 1, 200, 200, seed=4)
    uniform = torch.full((2,), level)
    got = loss(denoiser, y, torch.zeros(2, 2, 200, 200), torch.zeros(2, 2), noise, uniform)
    assert float(got.mean()) == pytest.approx(1, abs=5 * math.sqrt(2 / 80_000))


def test_the_exact_denoiser_has_the_least_loss():
    y, noise = 0.25 * normal(2, 1, 100, 100, seed=5), normal(2, 1, 100, 100, seed=6)
    uniform = torch.tensor([0.3, 0.7])
    condition, shape = torch.zeros(2, 2, 100, 100), torch.zeros(2, 2)
    values = [
        loss(Denoiser(Raw(lambda x, a=a: a * x), 0.25), y, condition, shape, noise, uniform).mean()
        for a in (-0.3, 0.0, 0.3)
    ]
    assert values[1] < min(values[0], values[2])


def test_output_is_float32_under_autocast():
    x, sigma = normal(3, 1, 8, 8), torch.ones(3)
    denoiser = Denoiser(Raw(lambda x: x.bfloat16()), 0.25)
    assert denoiser(x, sigma, CONDITION, SHAPE).dtype == torch.float32


def bright_condition():
    """A restored source of 100 sigma in the middle of one of two fields of noise below 3 sigma."""
    restored = torch.zeros(2, 1, 32, 32)
    restored[0, 0, 16, 16] = 100
    return torch.cat([torch.asinh(restored), torch.zeros(2, 1, 32, 32)], 1)


def test_brightness_is_one_away_from_sources():
    bright = Denoiser(Raw()).brightness(bright_condition())
    assert (bright[1] == 1).all()
    assert float(bright[0, 0, 16, 16]) == pytest.approx(98, rel=1e-4)
    assert (bright[0, 0, :11] == 1).all() and (bright[0, 0, 11:22, 11:22] > 1).all()


def test_units_follow_the_brightness():
    """Where the image is b times as bright, sigma_data is sqrt(b) times as large."""
    net, d, s = Raw(), 0.25, 0.7
    x = normal(2, 1, 32, 32)
    got = Denoiser(net, d)(x, torch.full((2,), s), bright_condition(), torch.zeros(2, 2))
    local = d * math.sqrt(98)
    skip, out = local**2 / (s**2 + local**2), s * local / math.hypot(s, local)
    pixel = (0, 0, 16, 16)
    scaled = x[pixel] / math.hypot(s, local)
    torch.testing.assert_close(got[pixel], skip * x[pixel] + out * torch.sin(3 * scaled))
    # The network is shown the restored image in those units beside the condition.
    assert float(net.seen[1][0, 2, 16, 16]) == pytest.approx(100 / 98, rel=1e-4)


def test_reach_covers_the_brightness():
    """Outside of its reach nothing changes the output."""
    from casa_ddpm.network import UNet

    torch.manual_seed(0)
    denoiser = Denoiser(UNet((8, 8), 1))
    for parameter in denoiser.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    condition = torch.zeros(1, 2, 128, 128, requires_grad=True)
    clean = denoiser(torch.zeros(1, 1, 128, 128), torch.ones(1), condition + 2, torch.zeros(1, 2))
    clean[0, 0, 64, 64].backward()
    far = torch.ones(128, 128, dtype=torch.bool)
    reach = denoiser.reach
    far[64 - reach : 65 + reach, 64 - reach : 65 + reach] = False
    assert not condition.grad[0, :, far].any()
    assert condition.grad.any()
