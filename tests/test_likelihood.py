"""The data's word against dense solutions, analytic shrinkage and the noise it claims."""

import math

import numpy as np
import pytest
import torch

from casa_ddpm.fourier import convolve
from casa_ddpm.likelihood import Likelihood
from casa_ddpm.psf import gaussian


def toeplitz(psf):
    """The matrix of linear convolution with a centred PSF of the image's shape."""
    ny, nx = psf.shape
    matrix = np.zeros((ny * nx, ny * nx))
    for i in range(ny * nx):
        for j in range(ny * nx):
            y, x = i // nx - j // nx + ny // 2, i % nx - j % nx + nx // 2
            if 0 <= y < ny and 0 <= x < nx:
                matrix[i, j] = psf[y, x]
    return matrix


def scene(shape=(9, 9), seed=0):
    """A sky, its prior variance, zero in places, a residual and a PSF, in double precision."""
    random = np.random.default_rng(seed)
    # A PSF that has died away at the edge, so that its matrix is symmetric and positive.
    psf = gaussian(np.array([[0.8, 0.1], [0.1, 0.6]]), max(shape)).double()
    top, left = (max(shape) // 2 - n // 2 for n in shape)
    psf = psf[top : top + shape[0], left : left + shape[1]]
    sky = torch.tensor(random.uniform(0, 3, shape))
    variance = torch.tensor(random.uniform(0.1, 2, shape) * (random.random(shape) < 0.7))
    return sky, variance, torch.tensor(random.normal(size=shape)), psf


@pytest.mark.parametrize("shape", [(8, 8), (9, 9), (8, 11)])
@pytest.mark.parametrize("noise", [0.05, 1.0])
def test_fit_is_the_dense_solution(shape, noise):
    sky, variance, residual, psf = scene(shape)
    free = variance.numpy().ravel() > 0
    matrix = toeplitz(psf.numpy())[np.ix_(free, free)] / noise**2
    matrix += np.diag(1 / variance.numpy().ravel()[free])
    expected = sky.numpy().copy().ravel()
    expected[free] += np.linalg.solve(matrix, residual.numpy().ravel()[free] / noise**2)
    got = Likelihood(psf, noise).fit(sky, variance, residual, 1000)
    np.testing.assert_allclose(got.numpy().ravel(), expected, atol=2e-3 * np.abs(expected).max())


def test_fit_of_drawn_skies_is_the_dense_solution():
    """With a kernel: (G^-1 B G^-1 / noise^2 + 1 / variance) d = G^-1 residual / noise^2."""
    sky, variance, residual, psf = scene((9, 9))
    noise, kernel = 0.7, 1.2
    likelihood = Likelihood(psf, noise, kernel)
    # The filters as matrices, column by column, on the padded plane's own frequencies.
    units = torch.eye(81, dtype=torch.float64).view(81, 9, 9)
    data = likelihood.predict(units).reshape(81, 81).T.numpy()  # B G^-1
    rows, columns = likelihood.shape
    v, u = np.fft.fftfreq(rows)[:, None], np.fft.fftfreq(columns)
    gain = np.exp((math.pi * kernel) ** 2 / (4 * math.log(2)) * (u**2 + v**2)).clip(max=10)

    def by_fourier(transfer):
        padded = np.zeros((81, rows, columns))
        padded[:, :9, :9] = units
        whole = np.fft.ifft2(np.fft.fft2(padded) * transfer).real
        return whole[:, :9, :9].reshape(81, 81).T

    kernel_plane = np.zeros((rows, columns))
    kernel_plane[:9, :9] = psf
    transfer = np.fft.fft2(np.roll(kernel_plane, (-4, -4), (0, 1))).real
    np.testing.assert_allclose(data, by_fourier(transfer * gain), atol=1e-7)
    free = variance.numpy().ravel() > 0
    matrix = by_fourier(transfer * gain**2)[np.ix_(free, free)] / noise**2
    matrix += np.diag(1 / variance.numpy().ravel()[free])
    right = (by_fourier(gain) @ residual.numpy().ravel())[free] / noise**2
    expected = sky.numpy().copy().ravel()
    expected[free] += np.linalg.solve(matrix, right)
    got = likelihood.fit(sky, variance, residual, 1000)
    np.testing.assert_allclose(got.numpy().ravel(), expected, atol=2e-3 * np.abs(expected).max())


def test_pixels_without_variance_stay():
    sky, variance, residual, psf = scene()
    variance[3] = 0
    likelihood = Likelihood(psf, 0.1)
    assert torch.equal(likelihood.fit(sky, variance, residual)[3], sky[3])
    assert torch.equal(likelihood.fit(sky, torch.zeros_like(sky), residual), sky)


def test_no_residual_no_change():
    sky, variance, residual, psf = scene()
    got = Likelihood(psf, 0.1).fit(sky, variance, torch.zeros_like(residual))
    assert torch.equal(got, sky)


@pytest.mark.parametrize(("width", "noise"), [(2.0, 0.1), (0.5, 0.5), (0.01, 1.0)])
def test_one_free_pixel_shrinks_as_the_formula_says(width, noise):
    # Model S, truth S + e, B = 1 at the source: d = e / (1 + noise^2 / width^2).
    psf = gaussian(np.eye(2) * 2.0, 32).double()
    sky, variance = torch.zeros(32, 32).double(), torch.zeros(32, 32).double()
    sky[12, 20], variance[12, 20] = 10.0, width**2
    error = torch.zeros_like(sky)
    error[12, 20] = 1.5
    got = Likelihood(psf, noise).fit(sky, variance, convolve(error, psf))
    assert float(got[12, 20] - 10) == pytest.approx(1.5 / (1 + (noise / width) ** 2), rel=1e-6)


def test_wide_prior_leaves_no_residual_where_it_is_wide():
    psf = gaussian(np.eye(2), 33).double()
    truth, variance = torch.zeros(33, 33).double(), torch.zeros(33, 33).double()
    truth[10, 10], truth[20, 15] = 5.0, 3.0
    variance[truth > 0] = 1e6
    got = Likelihood(psf, 0.01).fit(torch.zeros_like(truth), variance, convolve(truth, psf))
    torch.testing.assert_close(got, truth, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("seed", "brightest", "wild"), [(3, 9, True), (5, 9, True), (8, 9, True), (0, 30, False)]
)
def test_psf_that_ends_with_the_image_makes_no_wild_fit(seed, brightest, wild):
    """Sidelobes of a snapshot do not fall off, and their image's end is no uv coverage."""
    npix, kernel, rng = 48, 2.0, np.random.default_rng(seed)
    # Rings in the uv plane, so that sidelobes are high everywhere, about a beam of 4 pixels.
    u, v = np.meshgrid(np.fft.fftfreq(4 * npix), np.fft.fftfreq(4 * npix))
    measured = np.exp(-((np.hypot(u, v) - rng.uniform(0.03, 0.12, (12, 1, 1))) ** 2) / 2e-6).sum(0)
    wide = np.fft.fftshift(np.fft.ifft2(measured).real)
    psf = torch.tensor(wide / wide.max())[3 * npix // 2 :, 3 * npix // 2 :][:npix, :npix]
    likelihood = Likelihood(psf, 1.0, kernel)
    power = likelihood.transfer * likelihood.sharpen**2
    assert power.min() < -0.1 * power.max()
    y, x = np.indices((npix, npix))
    drawn = sum(
        f * np.exp(-((y - b) ** 2 + (x - a) ** 2) / 1.44)
        for f, a, b in zip(rng.uniform(2, brightest, 30), *rng.uniform(4, 44, (2, 30)), strict=True)
    )
    sky = torch.tensor(drawn)
    white = torch.tensor(rng.normal(size=likelihood.shape))
    residual = likelihood.predict(0.2 * sky) + likelihood.correlated(white)[:npix, :npix]
    variance = (0.5 * sky) ** 2
    fitted = likelihood.fit(sky, variance, residual, 30)
    assert (fitted - sky).abs().max() < 0.5 * sky.max()
    left = residual - likelihood.predict(fitted - sky)
    assert left.std() < 0.35 * residual.std()
    # Where much more than noise is left to be fitted all frequencies are needed.
    every = torch.ones_like(likelihood.transfer)
    whole = likelihood._fitted(sky, variance, residual, 30, every)
    assert torch.equal(fitted, whole) != wild
    if wild:
        assert (whole - sky).abs().max() > sky.max()


def test_images_of_a_batch_are_independent():
    sky, variance, residual, psf = scene()
    likelihood = Likelihood(psf, 0.3, 1.0)
    skies, residuals = torch.stack([sky, 2 * sky, sky]), torch.stack([residual, 0 * sky, sky])
    together = likelihood.fit(skies, variance, residuals, 40)
    for k in range(3):
        alone = likelihood.fit(skies[k], variance, residuals[k], 40)
        torch.testing.assert_close(together[k], alone, rtol=0, atol=1e-10)


def test_float32_stays_float32():
    sky, variance, residual, psf = (t.float() for t in scene())
    assert Likelihood(psf, 0.1, 1.0).fit(sky, variance, residual).dtype == torch.float32


@pytest.mark.parametrize("shape", [(24, 24), (25, 32)])
def test_predict_is_the_convolution(shape):
    random = torch.Generator().manual_seed(0)
    psf = gaussian(np.eye(2) * 3.0, max(shape) | 1).double()
    top, left = (psf.shape[0] // 2 - n // 2 for n in shape)
    psf = psf[top : top + shape[0], left : left + shape[1]]
    sky = torch.rand(2, *shape, generator=random).double()
    got = Likelihood(psf, 1.0).predict(sky)
    torch.testing.assert_close(got, convolve(sky, psf), rtol=0, atol=1e-4)


def test_predict_undoes_the_drawing_kernel():
    """G^-1 turns a drawn point back into a point, as far as the beam can tell."""
    beam, kernel = np.eye(2) * 3.0, np.eye(2) * 2.0**2 / (8 * math.log(2))
    psf = gaussian(beam, 48).double()
    drawn = gaussian(kernel, 48).double() * 7 / (2 * math.pi * kernel[0, 0])
    got = Likelihood(psf, 1.0, 2.0).predict(drawn)
    torch.testing.assert_close(got, 7 * psf, rtol=0, atol=0.01)


def test_correlated_noise_has_the_covariance_of_the_image():
    psf = gaussian(np.array([[3.0, 0.6], [0.6, 1.5]]), 32).double()
    likelihood = Likelihood(psf, 0.5)
    random = torch.Generator().manual_seed(1)
    n = 600
    white = torch.randn(n, *likelihood.shape, generator=random).double()
    fields = likelihood.correlated(white)[:, :32, :32]
    # As strong in the corners as in the middle.
    power = fields.square().mean(0)
    for part in (power, power[:4, :4], power[-4:, -4:], power[14:18, 14:18]):
        assert float(part.mean()) == pytest.approx(0.25, rel=5 * math.sqrt(2 / n / 1.5))
    products = (fields[:, 16:17, 16:17] * fields).mean(0) / 0.25
    assert float((products - psf).abs().max()) < 5 * math.sqrt(2 / n)


@pytest.mark.parametrize("shape", [(40, 40), (33, 41)])
def test_sidelobes_are_the_rms_beyond_a_square(shape):
    y, x = (np.arange(n) - n // 2 for n in shape)
    psf = torch.from_numpy(np.cos(1.3 * y[:, None] + 0.7 * x))
    psf[np.ix_(abs(y) < 4, abs(x) < 4)] = 50
    found = Likelihood(psf, 1.0).sidelobes(6)
    beyond = np.maximum(abs(y)[:, None], abs(x)) > 6
    assert found == pytest.approx(np.sqrt((psf.numpy()[beyond] ** 2).sum() / psf.numel()), rel=0.03)
