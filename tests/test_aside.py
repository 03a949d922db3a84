"""What is set aside comes back: model, realisations, catalogue, against closed forms."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from astropy.table import vstack

from casa_ddpm import arrays, aside, checkpoint, fields, simulator
from casa_ddpm.benchmark.field import NOISE, simulated
from casa_ddpm.bright import GAUSSIAN, Bright, Source
from casa_ddpm.posterior import Sampling
from casa_ddpm.reconstruction import Options, reconstruct
from casa_ddpm.scene import Scene
from casa_ddpm.sources import UNITS
from casa_ddpm.uv import Observation
from casa_ddpm.uv import dirty as uv_dirty

NPIX = 128
NETWORK, SETTINGS = checkpoint.load("default")


@pytest.fixture(scope="module")
def field():
    return simulated("dynamic-range", 0, 3, NPIX)


def bright_with(field, *sources):
    bright = Bright(Scene(field.dirty, SETTINGS, NETWORK.stride))
    bright.sources = list(sources)
    return bright


def test_errors_of_a_point_are_those_of_its_signal_to_noise(field):
    """Flux: the noise. Position: the noise over flux and the root of the PSF's curvature."""
    place = np.array([50.3, 70.8])
    bright = bright_with(field, Source(place, 1e4 * NOISE))
    covariance = bright.covariance(NOISE)
    row = aside.rows(bright, covariance, NOISE, 20)[0]
    assert row["flux_err"].value == pytest.approx(NOISE, rel=0.01)
    assert row["snr"] == pytest.approx(1e4, rel=1e-3)
    assert (row["x"].value, row["y"].value) == pytest.approx((70.8, 50.3))
    psf, middle = field.dirty.psf.astype(float), NPIX // 2
    # The PSF is a band-limited function: its second derivative by its Fourier transform.
    for name, axis in (("dec_err", 0), ("ra_err", 1)):
        frequency = np.fft.fftfreq(NPIX).reshape(-1, 1) if axis == 0 else np.fft.fftfreq(NPIX)
        spectrum = np.fft.fft2(np.fft.ifftshift(psf)).real
        curvature = (spectrum * (2 * np.pi * frequency) ** 2).sum() / NPIX**2
        assert psf[middle, middle] == 1
        expected = 1e-4 / np.sqrt(curvature) * field.dirty.cell
        assert row[name].value == pytest.approx(expected, rel=0.05)
    assert not row["resolved"] and row["major"].value == 0 and row["prob"] == 1


def crowd(seed, number=30):
    """Two bright points among `number` others of S/N 20 to 90, none near them: image and truth."""
    rng = np.random.default_rng(seed)
    track = Observation(arrays.load("alma.cycle5.3"), -13.0, 0.5, 1200, 30.0, (230e9,))
    optics = simulator.make_optics(torch.tensor(track.uv()), NPIX, "natural")
    places = rng.uniform(-0.38 * NPIX, 0.38 * NPIX, (2 + number, 2))
    for k in range(2, 2 + number):
        while min(np.hypot(*(places[k] - places[j])) for j in range(2)) < 16:
            places[k] = rng.uniform(-0.42 * NPIX, 0.42 * NPIX, 2)
    fluxes = np.concatenate([[150, 400], rng.uniform(20, 90, number)])
    uv = optics.uv.double().numpy()
    phase = np.outer(uv[:, 1], places[:, 0]) - np.outer(uv[:, 0], places[:, 1])
    visibilities = np.exp(-2j * np.pi * phase) @ fluxes
    noise = rng.normal(size=(2, len(visibilities))) * np.sqrt(len(visibilities))
    seen = torch.tensor(visibilities + noise[0] + 1j * noise[1])
    image = uv_dirty(optics.uv.double(), seen, 1.0, NPIX) / len(visibilities)
    observed = fields.observed(image.numpy().astype(np.float32), optics, 1 / optics.scale, 1.0)
    return *observed, places[:2] + NPIX // 2, fluxes[:2]


def test_errors_hold_beside_other_sources():
    """Whose sidelobes shifted them by many times their errors, before these were peeled."""
    fluxes, places = [], []
    for seed in range(2):
        dirty, cycle, where, true = crowd(seed)
        found = aside.set_aside(Scene(dirty, SETTINGS, NETWORK.stride))
        model = next(found)
        try:
            while True:
                model = found.send(cycle(model))
        except StopIteration as end:
            bright, _ = end.value
        table = aside.rows(bright, bright.covariance(max(1, bright.disturbance)), 1.0, 20)
        for (y, x), flux in zip(where, true, strict=True):
            row = table[np.hypot(table["x"].value - x, table["y"].value - y).argmin()]
            fluxes.append((row["flux"].value - flux) / row["flux_err"].value)
            places.append((row["x"].value - x) * dirty.cell / row["ra_err"].value)
            places.append((row["y"].value - y) * dirty.cell / row["dec_err"].value)
    assert 0.2 < np.sqrt(np.mean(np.square(fluxes))) < 2
    assert 0.5 < np.sqrt(np.mean(np.square(places))) < 2.2


def test_gaussian_row_has_its_axes_and_angle(field):
    """Axes of 6 and 3 pixels, the long one 30 degrees east of north."""
    angle, sigma = np.radians(30), np.array([6, 3]) / np.sqrt(8 * np.log(2))
    along, across = (
        np.array([np.cos(angle), -np.sin(angle)]),
        np.array([np.sin(angle), np.cos(angle)]),
    )
    shape = sigma[0] ** 2 * np.outer(along, along) + sigma[1] ** 2 * np.outer(across, across)
    source = Source(np.array([50.3, 70.8]), 1e4 * NOISE, shape[[0, 0, 1], [0, 1, 1]], GAUSSIAN)
    bright = bright_with(field, source)
    covariance = bright.covariance(NOISE)
    row = aside.rows(bright, covariance, NOISE, 20)[0]
    cell = field.dirty.cell
    assert row["major"].value / cell == pytest.approx(6, abs=1e-6)
    assert row["minor"].value / cell == pytest.approx(3, abs=1e-6)
    assert row["pa"].value == pytest.approx(30, abs=1e-6)
    assert row["resolved"] and row["flux_err"].value > NOISE
    beam = field.dirty.beam.covariance(cell)
    area = np.sqrt(np.linalg.det(beam + shape) / np.linalg.det(beam))
    assert row["peak"].value == pytest.approx(1e4 * NOISE / area)


def test_covariance_is_the_inverse_of_the_normal_matrix(field):
    """Also where that is indefinite it is a covariance."""
    bright = bright_with(
        field,
        Source(np.array([50.3, 70.8]), 1e4 * NOISE),
        Source(np.array([60.1, 80.2]), 1e4 * NOISE, np.array([2.0, 0, 1]), GAUSSIAN),
    )
    covariance = bright.covariance(NOISE)
    both = covariance @ bright.normal(bright.stamps()) / NOISE**2
    np.testing.assert_allclose(both, np.eye(9), atol=1e-6)
    bright.sources += [replace(bright.sources[0]) for _ in range(2)]
    values = np.linalg.eigvalsh(bright.covariance(NOISE))
    assert values.min() > 0


def test_realisations_scatter_as_the_errors_say(field):
    bright = bright_with(field, Source(np.array([50.3, 70.8]), 1e4 * NOISE))
    covariance = bright.covariance(NOISE)
    drawn = aside.realisations(bright, covariance, 400, np.random.default_rng(0))
    assert drawn.shape == (400, NPIX, NPIX) and drawn.dtype == np.float32
    flux = drawn.sum((1, 2), dtype=float)
    assert flux.mean() / NOISE == pytest.approx(1e4, abs=0.2)
    assert flux.std() / NOISE == pytest.approx(1, abs=0.12)
    x = (drawn.sum(1, dtype=float) @ np.arange(NPIX)) / flux
    assert x.std() == pytest.approx(np.sqrt(covariance[2, 2]) / (1e4 * NOISE), rel=0.12)


def test_realisations_are_made_one_by_one(field):
    """In float64 all of them would be twice what is returned."""
    bright = bright_with(field, Source(np.array([50.3, 70.8]), 1e4 * NOISE))
    covariance = bright.covariance(NOISE)
    tracemalloc.start()
    drawn = aside.realisations(bright, covariance, 60, np.random.default_rng(0))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.5 * drawn.nbytes


def test_what_is_found_at_a_bright_source_is_a_part_of_it(field):
    bright = bright_with(field, Source(np.array([50.0, 70.0]), 1e4 * NOISE))
    covariance = bright.covariance(NOISE)
    own = aside.rows(bright, covariance, NOISE, 20)
    piece, neighbour = own.copy(), own.copy()
    for row, away, flux in ((piece, 1.0, 100), (neighbour, 4.0, 50)):
        row["x"] += away * row["x"].unit
        for name in ("flux", "flux_err", "peak"):
            row[name] = flux * NOISE * row[name].unit * (0.03 if name == "flux_err" else 1)
    table, brightest = aside.joined(own, vstack([piece, neighbour]), bright.beam)
    assert table["flux"].value / NOISE == pytest.approx([10100, 50])
    assert table["x"].value == pytest.approx([70 + 100 / 10100, 74])
    assert table["flux_err"][0].value / NOISE == pytest.approx(np.hypot(1, 3), rel=0.01)
    assert table["snr"][0] == pytest.approx(10100, rel=1e-3)
    assert brightest.tolist() == [True, False]
    nothing, _ = aside.joined(own, piece[:0], bright.beam)
    assert len(nothing) == 1


def test_reconstruction_of_ten_thousand_to_one(field):
    """The residual is noise, both sources are in the catalogue, each within its errors."""
    # The errors of a point are statistical; so is what is found of S/N 10.
    options = Options(nmajor=2, sampling=Sampling(nsamples=6, nsteps=6))
    found = reconstruct(field.dirty, options, field.major_cycle)
    assert found.residual.std() / NOISE < 1.05
    top, truth = found.sources[0], field.truth()
    assert list(found.sources.colnames) == list(UNITS)
    assert abs(top["flux"].value / NOISE - 1e5) < 3 * top["flux_err"].value / NOISE
    assert top["prob"] == 1 and top["flux_err"].value / NOISE < 1.5
    assert np.hypot(top["x"].value - truth["x"][0], top["y"].value - truth["y"][0]) < 1e-3
    near = np.hypot(
        found.sources["x"].value - truth["x"][1], found.sources["y"].value - truth["y"][1]
    )
    faint = found.sources[int(np.argmin(near))]
    assert near.min() < 1.5 and faint["prob"] > 0.9
    assert abs(faint["flux"].value / NOISE - 10) < 3 * faint["flux_err"].value / NOISE
    assert (found.sources["flux"][2:] < 0.001 * top["flux"]).all()
    # Model, realisations and restored image hold it as well.
    y, x = round(truth["y"][0]), round(truth["x"][0])
    assert found.model.sum() / NOISE == pytest.approx(1e5, rel=1e-3)
    assert found.samples.sum((1, 2)).mean() / NOISE == pytest.approx(1e5, rel=2e-3)
    assert found.prob[y, x] == 1
    assert 0 < found.std[y, x] < 100 * NOISE
    scene = Scene(field.dirty, SETTINGS, NETWORK.stride)
    expected = scene.restore(found.model) + found.residual
    np.testing.assert_allclose(found.restored, expected, atol=2e-6 * expected.max())
    np.testing.assert_allclose(found.residual, field.major_cycle(found.model), atol=0.02 * NOISE)
    assert found.cycles[-1]["modelflux"] == pytest.approx(float(found.model.sum()), rel=1e-5)


def test_seed_decides_and_samples_are_left_out(field):
    sampling = Sampling(nsamples=2, nsteps=3)
    options = Options(nmajor=1, sampling=sampling, samples=False)
    one, same = (reconstruct(field.dirty, options, field.major_cycle) for _ in range(2))
    assert np.array_equal(one.std, same.std) and len(one.samples) == 0
    assert torch.equal(torch.tensor(one.model), torch.tensor(same.model))
    other = reconstruct(
        field.dirty, replace(options, sampling=replace(sampling, seed=5)), field.major_cycle
    )
    assert not np.array_equal(one.std, other.std)
