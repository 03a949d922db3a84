"""The simulator against explicit DFTs, CASA, and the statistics of its noise."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from casa_ddpm import arrays, measures, simulator, sky
from casa_ddpm.dirty import Beam
from casa_ddpm.fourier import convolve
from casa_ddpm.psf import ellipse, smooth
from casa_ddpm.simulator import (
    CAP,
    KERNEL,
    STREAMS,
    VALIDATION_ARRAYS,
    Settings,
    draw_noise,
    draw_optics,
    draw_sky,
    generator,
    make_optics,
    simulate,
    training_arrays,
)
from casa_ddpm.uv import Observation, dirty

SMALL = Settings(npix=32, most_visibilities=1000)


def dft(uv, values, cell, npix):
    """Sum of Re[V exp(2 pi i (u l + v m))], east to the left."""
    pixel = (np.arange(npix) - npix // 2) * cell
    rows = np.exp(2j * np.pi * uv[:, 1:] * pixel)
    columns = np.exp(-2j * np.pi * uv[:, :1] * pixel)
    return np.einsum("k,ky,kx->yx", values, rows, columns, optimize=True).real


def alma(n=1500):
    """A thinned ALMA track [wavelength]."""
    uv = Observation(arrays.load("alma.cycle5.3"), -30.0, 0.5, 2400, 300).uv()
    return np.random.default_rng(0).permutation(uv)[:n]


CELL = 0.2 / 3600 * math.pi / 180  # about 5 pixels per beam for `alma`
SCALE = 5.0


# The sky


@pytest.mark.parametrize("offset", [(0.0, 0.0), (1.37, -2.81), (-3.125, 0.49)])
def test_point_source_through_the_instrument_is_the_explicit_transform(offset):
    npix, uv, flux = 72, alma(), 7.0
    y, x = (o * SCALE * CELL for o in offset)
    psf = torch.tensor(dft(uv, np.ones(len(uv)), CELL, 2 * npix) / len(uv), dtype=torch.float32)
    _, seen = draw_sky(sky.points(np.array([offset]), np.array([flux])), SCALE, npix)
    # x of the array is to the west: l = -x.
    visibilities = flux * np.exp(-2j * np.pi * (uv[:, 0] * -x + uv[:, 1] * y))
    expected = dft(uv, visibilities, CELL, npix) / len(uv)
    # As in a field, the margin is cut away: a band-limited point rings across the canvas edge.
    inner = (slice(12, -12),) * 2
    np.testing.assert_allclose(convolve(seen, psf)[inner], expected[inner], atol=2e-3 * flux)


def test_extended_source_through_the_instrument_is_the_explicit_transform():
    npix, uv, major, minor, pa = 48, alma(), 2.0, 1.0, 0.6
    source = sky.gaussians([[0.7, 1.1]], [20.0], [major], [minor], np.array([pa]))
    psf = torch.tensor(dft(uv, np.ones(len(uv)), CELL, 2 * npix) / len(uv), dtype=torch.float32)
    _, seen = draw_sky(source, SCALE, npix)
    y, x = 0.7 * SCALE * CELL, 1.1 * SCALE * CELL
    along = uv[:, 1] * math.cos(pa) + uv[:, 0] * math.sin(pa)  # east of north
    across = -uv[:, 1] * math.sin(pa) + uv[:, 0] * math.cos(pa)
    size = np.pi**2 / (4 * math.log(2)) * (SCALE * CELL) ** 2
    amplitude = 20.0 * np.exp(-size * ((major * along) ** 2 + (minor * across) ** 2))
    visibilities = amplitude * np.exp(-2j * np.pi * (uv[:, 0] * -x + uv[:, 1] * y))
    expected = dft(uv, visibilities, CELL, npix) / len(uv)
    np.testing.assert_allclose(convolve(seen, psf), expected, atol=1e-3 * expected.max())


@pytest.mark.parametrize("npix", [48, 50])
@pytest.mark.parametrize("scale", [3.8, 4.2])
def test_drawn_sky_is_the_analytic_gaussian(npix, scale):
    rng = np.random.default_rng(1)
    position, flux = rng.uniform(-3, 3, (5, 2)), rng.uniform(1, 10, 5)
    drawn, _ = draw_sky(sky.points(position, flux), scale, npix)
    y, x = np.indices((npix, npix)) - npix // 2
    variance = (KERNEL * scale) ** 2 / (8 * math.log(2))
    expected = sum(
        f * np.exp(-((y - p[0] * scale) ** 2 + (x - p[1] * scale) ** 2) / (2 * variance))
        for p, f in zip(position, flux, strict=True)
    ) / (2 * math.pi * variance)  # fmt: skip
    # Twice the pixels' sampling leaves 3e-4 of aliases.
    np.testing.assert_allclose(drawn, expected, atol=5e-4 * expected.max())


def test_flux_is_conserved():
    field = sky.gaussians([[0.3, 0.2], [-2, 1]], [5.0, 8.0], [0, 1.5], [0, 1], np.zeros(2))
    for image in draw_sky(field, 4.0, 64):
        assert float(image.sum()) == pytest.approx(13.0, rel=1e-4)


def test_smooth_is_a_gaussian_of_the_width_asked():
    image = torch.zeros(33, 33)
    image[16, 16] = 1
    y, x = np.indices((33, 33)) - 16
    sigma = 5.0 / math.sqrt(8 * math.log(2))
    expected = np.exp(-(y**2 + x**2) / (2 * sigma**2)) / (2 * math.pi * sigma**2)
    np.testing.assert_allclose(smooth(image, 5.0), expected, atol=1e-5)


# PSF and noise


@pytest.mark.parametrize("weighting", ["natural", "briggs", "uniform"])
def test_optics(weighting):
    optics = make_optics(torch.tensor(alma()), 32, weighting, 0.0)
    assert optics.psf.shape == optics.noise_psf.shape == (64, 64)
    assert float(optics.psf[32, 32]) == pytest.approx(1, abs=5e-3)
    assert float(optics.noise_psf[32, 32]) == pytest.approx(1, abs=1e-5)
    assert optics.beam.fwhm == pytest.approx(4.0, rel=0.02)
    if weighting == "natural":
        torch.testing.assert_close(optics.noise_psf, optics.psf / optics.psf[32, 32])


def test_optics_without_a_usable_beam():
    # An east-west array near the equator sees in one direction only.
    uv = Observation(arrays.load("atca_6c"), -3.0, 0.0, 3600, 60).uv()
    assert make_optics(torch.tensor(uv), 32) is None


def test_optics_are_explicit_transforms(monkeypatch):
    """The PSF weighs visibilities by w, the correlation of their noise by w^2."""
    uv, cells = alma(400), []
    weight = np.random.default_rng(2).uniform(0.2, 2, len(uv))
    grid = simulator.dirty
    monkeypatch.setattr(simulator, "weights", lambda *args: torch.tensor(weight).float())
    monkeypatch.setattr(
        simulator, "dirty", lambda uv, w, cell, n: cells.append(cell) or grid(uv, w, cell, n)
    )
    optics = make_optics(torch.tensor(uv), 32)
    psf = dft(uv, weight, cells[-1], 64) / weight.sum()
    np.testing.assert_allclose(optics.psf, psf, atol=1e-4)
    correlation = dft(uv, weight**2, cells[-1], 64) / (weight**2).sum()
    np.testing.assert_allclose(optics.noise_psf, correlation, atol=1e-4)


def noise_fields(optics, npix, n):
    """Noise of `n` fields, shape (n, npix, npix)."""
    return torch.stack([draw_noise(optics, npix, seed) for seed in range(n)]).double()


@pytest.mark.parametrize("n", [60, 1500])
def test_noise_has_the_correlation_of_the_weights(n):
    """Few visibilities have sidelobes all over the field: the noise must have them, too."""
    npix, number = 48, 400
    optics = make_optics(torch.tensor(alma(n)), npix)
    fields = noise_fields(optics, npix, number)
    centre = fields[:, 24:25, 24:25] * fields
    error = centre.mean(0) - optics.noise_psf[24:72, 24:72]
    # Products of two unit Gaussians scatter by sqrt(1 + correlation^2).
    assert float(error.abs().max()) < 5 * math.sqrt(2 / number)
    # All lags of a row at once, averaged over the field: far less Monte-Carlo error.
    power = torch.fft.rfft(fields, 2 * npix).abs().square().mean((0, 1))
    lagged = torch.fft.irfft(power)[:npix] / (npix - torch.arange(npix))
    expected = optics.noise_psf[npix, npix:]
    assert float((lagged - expected)[: npix // 2].square().mean().sqrt()) < 0.012


@pytest.mark.parametrize(("weighting", "robust"), [("natural", 0), ("briggs", 0.5)])
def test_noise_has_unit_rms_and_the_right_power_spectrum(weighting, robust):
    npix, n = 32, 200
    optics = make_optics(torch.tensor(alma()), npix, weighting, robust)
    fields = noise_fields(optics, npix, n)
    assert float(fields.square().mean().sqrt()) == pytest.approx(1, abs=0.01)
    # A cut-out of stationary noise: its mean periodogram is the transform of the
    # autocorrelation times the overlap of the cut-out with itself.
    power = torch.fft.fft2(fields).abs().square().mean(0) / npix**2
    overlap = (1 - (torch.arange(2 * npix) - npix).abs() / npix).clamp(min=0).double()
    lagged = torch.fft.ifftshift(optics.noise_psf * overlap[:, None] * overlap)
    expected = torch.fft.fft2(lagged).real[::2, ::2]
    strong = expected > 0.02 * expected.max()
    ratio = (power / expected)[strong]
    assert strong.sum() > 40
    # Each mode is exponential: its mean over n fields scatters by 1 / sqrt(n); halves are equal.
    assert float(ratio.mean()) == pytest.approx(1, abs=5 / math.sqrt(n * len(ratio) / 2))
    assert float(ratio.std()) == pytest.approx(1 / math.sqrt(n), rel=0.4)
    empty = expected < 1e-3 * expected.max()
    assert power[empty].mean() < 0.01 * expected.max()


@pytest.fixture
def empty_sky(monkeypatch):
    monkeypatch.setattr(simulator.sky, "draw", lambda rng, side: sky.Components.join([]))


def test_noise_of_two_hundred_fields_is_uncorrelated(empty_sky):
    settings = Settings(npix=32, peel=False, most_visibilities=500)
    fields = simulate(range(200), settings, 11, "train")
    assert not fields.target.any()
    noise = fields.dirty - fields.dirty.mean((1, 2), keepdim=True)
    flat = noise.flatten(1)
    flat = flat / flat.norm(dim=1, keepdim=True)
    coefficient = (flat @ flat.T)[torch.triu_indices(200, 200, 1).unbind()]
    # A field of 64 beams has about as many independent numbers; 19900 pairs are nearly independent.
    assert abs(float(coefficient.mean())) < 5 * float(coefficient.std()) / math.sqrt(19_900)
    assert float(coefficient.std()) < 0.25
    assert float(coefficient.abs().max()) < 0.9
    # Fields of one observation share the PSF, never the noise.
    shared = torch.stack([flat[i] @ flat[i + 1] for i in range(0, 200, simulator.SHARED)])
    assert abs(float(shared.mean())) < 5 * float(shared.std()) / math.sqrt(len(shared))


def test_noise_of_two_hundred_fields_has_unit_rms(empty_sky):
    settings = Settings(npix=32, peel=False, most_visibilities=500)
    fields = simulate(range(200), settings, 12, "train").dirty
    variance = fields.square().mean((1, 2))
    # The unit is off by 4 per cent at random, on purpose.
    assert float(variance.mean()) == pytest.approx(
        1, abs=5 * float(variance.std()) / math.sqrt(200)
    )


# Fields


def test_streams_share_no_generator_state():
    states = {}
    for seed in (0, 1, 2024):
        for stream in STREAMS:
            for index in (0, 1, 2, 100, 10**6):
                state = generator(seed, stream, index).bit_generator.state["state"]["state"]
                states[state] = (seed, stream, index)
    assert len(states) == 3 * len(STREAMS) * 5


def test_streams_share_no_field():
    images = [simulate([0], SMALL, 3, stream).dirty for stream in STREAMS]
    for i, one in enumerate(images):
        assert not any(torch.equal(one, other) for other in images[i + 1 :])


def test_validation_arrays_are_no_training_arrays():
    known, training = set(arrays.names()), set(training_arrays())
    assert set(VALIDATION_ARRAYS) <= known
    assert training <= known
    assert not training & set(VALIDATION_ARRAYS)
    assert not training & {"vlba", "aca.tp", "ngvla-revC"}


@pytest.mark.parametrize("name", VALIDATION_ARRAYS)
def test_validation_arrays_have_no_twin_under_another_name(name):
    """casadata ships one configuration under many names, such as alma.cycle8.4 and cycle9.4."""

    def lengths(array):
        return np.sort(np.linalg.norm(array.baselines, axis=1))

    held_out = lengths(arrays.load(name))
    twins = [
        other for other in training_arrays()
        if len(mine := lengths(arrays.load(other))) == len(held_out)
        and np.allclose(mine, held_out, rtol=0.01, atol=1)
    ]  # fmt: skip
    assert not twins


def test_observations_are_of_training_arrays_only(monkeypatch):
    seen = []
    draw = simulator.draw_observation
    monkeypatch.setattr(
        simulator, "draw_observation", lambda rng, name: seen.append(name) or draw(rng, name)
    )
    for i in range(10):
        draw_optics(np.random.default_rng(i), SMALL)
    draw_optics(np.random.default_rng(0), replace(SMALL, arrays=("meerkat",)))
    assert set(seen[:-1]) <= set(training_arrays())
    assert seen[-1] == "meerkat"


def test_fields_depend_on_their_number_alone():
    together = simulate(range(8), SMALL, 0, "train")
    again = simulate(range(8), SMALL, 0, "train")
    assert torch.equal(together.condition, again.condition)
    assert torch.equal(together.target, again.target)
    for k in range(8):
        alone = simulate([k], SMALL, 0, "train")
        torch.testing.assert_close(alone.dirty[0], together.dirty[k], rtol=0, atol=1e-3)
        torch.testing.assert_close(alone.target[0], together.target[k], rtol=0, atol=1e-2)
        torch.testing.assert_close(alone.condition[0], together.condition[k], rtol=0, atol=1e-3)


def test_fields():
    fields = simulate(range(3), SMALL, 1, "test")
    assert fields.dirty.shape == fields.target.shape == (3, 32, 32)
    assert fields.condition.shape == (3, 2, 32, 32)
    assert torch.isfinite(fields.condition).all()
    assert fields.target.min() >= 0
    for shape, optics in zip(fields.shape, fields.optics, strict=True):
        np.testing.assert_allclose(shape, ellipse(optics.beam), rtol=1e-6)


def test_unpeeled_fields_show_the_dirty_image():
    fields = simulate(range(3), replace(SMALL, peel=False), 1, "test")
    for channel in (0, 1):
        torch.testing.assert_close(fields.condition[:, channel], torch.asinh(fields.dirty))


@pytest.fixture
def one_bright(monkeypatch):
    """A single source of S/N 3 CAP on a pixel, and nothing known of it beforehand."""
    source = sky.points(np.zeros((1, 2)), np.array([3 * CAP]))
    monkeypatch.setattr(simulator.sky, "draw", lambda rng, side: source)
    monkeypatch.setattr(simulator, "_known_flux", lambda rng, c: np.zeros(len(c)))


def test_what_the_cap_holds_back_leaves_a_point_of_the_same_shape(one_bright):
    fields = simulate(range(8), replace(SMALL, npix=64), 5, "test")
    y, x = np.indices((64, 64)) - 32
    for target, optics in zip(fields.target.numpy(), fields.optics, strict=True):
        variance = (KERNEL * optics.scale) ** 2 / (8 * math.log(2))
        point = np.exp(-(y**2 + x**2) / (2 * variance)) / (2 * math.pi * variance)
        # Peeled to a few sigma, so the rest of the flux is the cap's but for the peel's gain.
        shown = target.sum()
        assert 0.9 * CAP < shown < 3.01 * CAP
        np.testing.assert_allclose(target, shown * point, atol=0.03 * shown * point.max())


# CASA


@pytest.fixture(scope="module")
def casa_images(small_ms, tmp_path_factory):
    """PSF and dirty images by tclean of noisy and noise-free data, and the uv points."""
    pytest.importorskip("casatasks")
    measures.configure()
    from casatasks import tclean
    from casatools import image, table
    from conftest import simulate as observe

    folder = tmp_path_factory.mktemp("simulator")
    clean = observe(folder / "clean.ms", small_ms.sources, seed=1, jy=1e-12)
    images = {}
    for name, ms in (("noisy", small_ms), ("clean", clean)):
        tclean(
            vis=ms.path, imagename=str(folder / name), imsize=160, cell="0.12arcsec", niter=0,
            weighting="natural", pblimit=-0.01,
        )  # fmt: skip
        for product in ("psf", "residual", "pb"):
            tool = image()
            tool.open(str(folder / f"{name}.{product}"))
            images[name, product] = tool.getchunk()[:, :, 0, 0].T
            tool.done()
        tool = table()
        tool.open(f"{ms.path}/SPECTRAL_WINDOW")
        frequency = float(tool.getcol("CHAN_FREQ").squeeze())
        tool.close()
        tool.open(ms.path)
        assert not tool.getcol("FLAG").any()
        # CASA's UVW runs from the second antenna to the first: its sign is opposite to ours.
        images[name, "uv"] = -tool.getcol("UVW")[:2].T * frequency / 299_792_458.0
        images[name, "data"] = tool.getcol("DATA").mean(0)[0]
        tool.close()
    return images


#: The inner quarter of an image of 160 pixels, and its cell [rad].
INNER = (slice(40, 120), slice(40, 120))
CASA_CELL = math.radians(0.12 / 3600)


@pytest.mark.casa
def test_psf_is_tcleans(casa_images):
    uv = torch.tensor(casa_images["clean", "uv"])
    psf = dirty(uv, torch.ones(len(uv), dtype=torch.float64), CASA_CELL, 160) / len(uv)
    expected = casa_images["clean", "psf"]
    np.testing.assert_allclose(psf[INNER], expected[INNER], atol=0.01)


@pytest.mark.casa
@pytest.mark.parametrize("name", ["noisy", "clean"])
def test_image_of_the_visibilities_is_tcleans(casa_images, name):
    uv = torch.tensor(casa_images[name, "uv"])
    got = dirty(uv, torch.tensor(casa_images[name, "data"]), CASA_CELL, 160) / len(uv)
    expected = casa_images[name, "residual"]
    np.testing.assert_allclose(got[INNER], expected[INNER], atol=0.01 * expected.max())


@pytest.mark.casa
def test_simulated_noise_free_image_is_tcleans(casa_images, small_ms):
    """The simulator's own chain: components, band-limited sky, PSF; from the uv points alone."""
    uv = torch.tensor(casa_images["clean", "uv"], dtype=torch.float32)
    psf = dirty(uv, torch.ones(len(uv)), CASA_CELL, 320) / len(uv)
    offsets = np.array([(north, -east) for east, north, _ in small_ms.sources]) / 0.12
    rows, columns = np.rint(offsets).astype(int).T + 80
    beam = casa_images["clean", "pb"][rows, columns]
    flux = np.array([source[2] for source in small_ms.sources]) * beam
    # In units where a beam is one arcsec.
    _, seen = draw_sky(sky.points(offsets * 0.12, flux), 1 / 0.12, 160)
    expected = casa_images["clean", "residual"]
    np.testing.assert_allclose(
        convolve(seen, psf)[INNER], expected[INNER], atol=0.01 * expected.max()
    )


@pytest.mark.casa
def test_canonical_optics_have_casas_beam(casa_images):
    from casa_ddpm.psf import fit_beam

    uv = torch.tensor(casa_images["clean", "uv"])
    optics = make_optics(uv, 64)
    expected = fit_beam(casa_images["clean", "psf"], 1.0)
    got = Beam(optics.beam.major, optics.beam.minor, optics.beam.pa)
    assert got.major / got.minor == pytest.approx(expected.major / expected.minor, rel=0.04)
    assert got.pa == pytest.approx(expected.pa, abs=3)
