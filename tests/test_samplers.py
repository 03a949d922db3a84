"""Samplers against a posterior in closed form: Gaussian prior, linear data, exact denoiser."""

import math

import pytest
import torch

from casa_ddpm.samplers import SAMPLERS, ancestral, dpm, euler, heun, schedule

D = torch.float64
#: Prior of three pixels, an instrument of two data, and its noise.
MEAN = torch.tensor([0.5, -0.2, 1.0], dtype=D)
PRIOR = torch.tensor([[1.0, 0.5, 0.1], [0.5, 0.8, -0.2], [0.1, -0.2, 0.6]], dtype=D)
INSTRUMENT = torch.tensor([[1.0, 0.6, 0.2], [0.1, 0.5, 1.0]], dtype=D)
NOISE = 0.4
#: Steps at which each sampler's own error is below the test's Monte-Carlo error.
STEPS = {"dpm++": 60, "heun": 40, "ddim": 500, "ddpm": 500}


def posterior(data):
    """Mean (n, 3) and covariance by Kalman's gain."""
    gain = PRIOR @ INSTRUMENT.T @ torch.linalg.inv(
        INSTRUMENT @ PRIOR @ INSTRUMENT.T + NOISE**2 * torch.eye(2, dtype=D)
    )  # fmt: skip
    mean = MEAN + (data - MEAN @ INSTRUMENT.T) @ gain.T
    return mean, PRIOR - gain @ INSTRUMENT @ PRIOR


def exact(data):
    """E[x0 | x_sigma, data] by adding up precisions; states (n, k, 3), data (n, 2)."""
    precision = torch.linalg.inv(PRIOR) + INSTRUMENT.T @ INSTRUMENT / NOISE**2
    pull = torch.linalg.inv(PRIOR) @ MEAN + data @ INSTRUMENT / NOISE**2

    def denoise(x, sigma):
        inverse = torch.linalg.inv(precision + torch.eye(3, dtype=D) / sigma**2)
        return (pull[:, None] + x / sigma**2) @ inverse

    return denoise


@pytest.fixture(scope="module", params=list(STEPS))
def drawn(request):
    """For 600 skies from the prior: the truth, the data, and 100 realisations each."""
    random = torch.Generator().manual_seed(5)

    def white(*shape):
        return torch.randn(*shape, generator=random, dtype=D)

    truth = MEAN + white(600, 3) @ torch.linalg.cholesky(PRIOR).T
    data = truth @ INSTRUMENT.T + NOISE * white(600, 2)
    mean, covariance = posterior(data)
    sigmas = schedule(STEPS[request.param], 20.0, 0.01)
    start = mean[:, None] + white(600, 100, 3) @ torch.linalg.cholesky(covariance).T
    x = start + sigmas[0] * white(600, 100, 3)
    sampler = SAMPLERS[request.param]
    *_, samples = sampler(exact(data), x, sigmas, lambda: white(600, 100, 3))
    return truth, mean, covariance, samples


def test_exact_denoiser_is_the_posterior_mean_when_blind():
    data = torch.tensor([[0.3, 1.1]], dtype=D)
    got = exact(data)(torch.zeros(1, 1, 3, dtype=D), 1e6)
    torch.testing.assert_close(got[:, 0], posterior(data)[0])


def test_mean(drawn):
    _, mean, covariance, samples = drawn
    error = (samples - mean[:, None]).mean((0, 1))
    allowed = 4.5 * (covariance.diagonal() / samples[..., 0].numel()).sqrt()
    assert (error.abs() < allowed).all()


def test_covariance(drawn):
    _, mean, covariance, samples = drawn
    off = (samples - mean[:, None]).flatten(0, 1)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), off.T, upper=False)
    got = white @ white.T / len(off)
    # Entries of the unit matrix scatter by sqrt(2 / n) on the diagonal and sqrt(1 / n) off it;
    # a further 1 per cent for the steps.
    assert (got - torch.eye(3, dtype=D)).abs().max() < 4.5 * math.sqrt(2 / len(off)) + 0.01


def test_coverage_of_the_central_68_per_cent(drawn):
    truth, _, _, samples = drawn
    # The rank of the truth among 100 realisations is uniform on 0..100.
    rank = (samples < truth[:, None]).sum(1)
    inside = ((rank >= 16) & (rank < 85)).double().mean(0)
    expected = 69 / 101
    allowed = 4 * math.sqrt(expected * (1 - expected) / len(truth))
    assert ((inside - expected).abs() < allowed).all()


def test_realisations_are_gaussian(drawn):
    _, mean, covariance, samples = drawn
    z = (samples - mean[:, None]) / covariance.diagonal().sqrt()
    n = z[..., 0].numel()
    assert (z**3).mean((0, 1)).abs().max() < 5 * math.sqrt(15 / n)
    assert ((z**4).mean((0, 1)) - 3).abs().max() < 5 * math.sqrt(96 / n) + 0.1


@pytest.mark.parametrize(
    ("nsteps", "high", "low", "rho"), [(2, 5.0, 0.02, 7), (18, 80.0, 0.002, 3)]
)
def test_schedule(nsteps, high, low, rho):
    sigmas = schedule(nsteps, high, low, rho)
    assert len(sigmas) == nsteps + 1
    assert sigmas[0] == pytest.approx(high)
    assert sigmas[-2] == pytest.approx(low)
    assert sigmas[-1] == 0
    assert all(a > b for a, b in zip(sigmas[:-1], sigmas[1:], strict=True))
    # Karras et al. (2022), eq. 5.
    for i, sigma in enumerate(sigmas[:-1]):
        root = high ** (1 / rho) + i / (nsteps - 1) * (low ** (1 / rho) - high ** (1 / rho))
        assert sigma == pytest.approx(root**rho)


def scaled_error(sampler, nsteps, spread=0.5):
    """Error of the probability-flow ODE of a Gaussian of `spread`, whose solution is known."""
    sigmas = schedule(nsteps, 10.0, 0.1)[:-1]
    x = torch.tensor([3.0], dtype=D)

    def denoise(x, sigma):
        return x * spread**2 / (spread**2 + sigma**2)

    exact = x * math.sqrt((spread**2 + sigmas[-1] ** 2) / (spread**2 + sigmas[0] ** 2))
    *_, last = sampler(denoise, x, sigmas)
    return float((last - exact).abs())


@pytest.mark.parametrize(("sampler", "order"), [(euler, 1), (heun, 2), (dpm, 2)])
def test_order_of_convergence(sampler, order):
    errors = [scaled_error(sampler, n) for n in (81, 161, 321)]
    for coarse, fine in zip(errors[:-1], errors[1:], strict=True):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.25)


def test_second_order_pays():
    first = scaled_error(euler, 21)
    assert scaled_error(dpm, 21) < first / 5
    assert scaled_error(heun, 21) < first / 5


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_each_step_is_yielded_and_the_last_is_clean(name):
    calls = []

    def denoise(x, sigma):
        calls.append(sigma)
        return torch.full_like(x, 7.0)

    sigmas = schedule(5, 3.0, 0.1)
    states = list(SAMPLERS[name](denoise, torch.ones(2), sigmas, lambda: torch.ones(2)))
    assert len(states) == 5
    torch.testing.assert_close(states[-1], torch.full((2,), 7.0))
    assert len(calls) == (9 if name == "heun" else 5)
    assert all(sigma > 0 for sigma in calls)


def test_only_the_ancestral_sampler_takes_noise():
    taken = []

    def noise():
        taken.append(1)
        return torch.zeros(2)

    for name in SAMPLERS:
        list(SAMPLERS[name](lambda x, s: x * 0, torch.ones(2), schedule(6, 3.0, 0.1), noise))
    assert len(taken) == 5


def test_ancestral_step_keeps_the_noise_level():
    """From x0 + a white noise to x0 + b white noise when x0 is known (Ho et al. 2020, eq. 6)."""
    random = torch.Generator().manual_seed(0)
    x = 2 + 5 * torch.randn(100_000, generator=random)
    (step, *_) = ancestral(
        lambda x, s: torch.full_like(x, 2.0), x, [5.0, 3.0],
        lambda: torch.randn(100_000, generator=random),
    )  # fmt: skip
    assert float(step.mean()) == pytest.approx(2, abs=0.05)
    assert float(step.std()) == pytest.approx(3, rel=0.01)
