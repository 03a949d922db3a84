"""The reconstruction on arrays: simulated fields, options, masks, no CASA."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from casa_ddpm import DirtyImage, checkpoint, passes, reconstruct, simulator, sky, workers
from casa_ddpm.arrays import load
from casa_ddpm.benchmark.field import simulated
from casa_ddpm.canvas import Canvas
from casa_ddpm.fields import as_dirty
from casa_ddpm.passes import _leftover, _Pass, _peel, _swept
from casa_ddpm.posterior import Sampling
from casa_ddpm.reconstruction import Options, reconstruct_cube
from casa_ddpm.scene import Scene
from casa_ddpm.uv import Observation

NPIX = 96
FAST = Sampling(nsamples=6, nsteps=6, device="cpu")
#: Noise of the fields [Jy/beam] and cell [arcsec].
NOISE, CELL = 5e-5, 0.25


@pytest.fixture(scope="module")
def optics():
    """ALMA 5.3, 20 minutes at transit, natural weighting."""
    uv = Observation(load("alma.cycle5.3"), 2.2, 0.0, 1200.0, 30.0).uv()
    return simulator.make_optics(torch.tensor(uv), NPIX)


def observe(optics, components, seed):
    """Dirty image of components, and the major cycle that knows the whole PSF."""
    _, seen = simulator.draw_sky(components, optics.scale, NPIX)
    noise = simulator.draw_noise(optics, NPIX, seed)
    data = simulator.convolve(seen, optics.psf) + noise
    dirty = as_dirty(data.numpy(), optics, CELL, NOISE)

    def major_cycle(model):
        return dirty.data - simulator.convolve(torch.from_numpy(model), optics.psf).numpy()

    return dirty, major_cycle


@pytest.fixture(scope="module")
def points(optics):
    """Four points of S/N 100, 40, 20, 12: truth, dirty image, major cycle and result."""
    where = np.array([[-3.1, 4.2], [5.3, 2.2], [0.4, -6.6], [-7.2, -3.7]])
    truth = sky.points(where, np.array([100.0, 40.0, 20.0, 12.0]))
    dirty, cycle = observe(optics, truth, 6)
    return truth, dirty, cycle, reconstruct(dirty, Options(sampling=FAST), cycle)


def test_residual_is_noise(points):
    _, _, _, found = points
    # A field of 500 beams: its own noise differs from the mean by 3 per cent.
    assert found.residual.std() == pytest.approx(NOISE, rel=0.1)
    assert np.abs(found.residual).max() < 5.5 * NOISE
    assert found.noise == pytest.approx(NOISE, rel=0.1)
    assert found.stop == "noise"


def test_fluxes_and_positions(points, optics):
    truth, _, _, found = points
    table = found.sources
    certain = table[table["prob"] > 0.9]
    assert len(certain) == 4
    for place, flux in zip(truth.position * optics.scale + NPIX // 2, truth.flux, strict=True):
        away = np.hypot(certain["y"].value - place[0], certain["x"].value - place[1])
        source = certain[np.argmin(away)]
        # Four times the errors that the noise allows, and what a short training leaves.
        assert away.min() < 4 * 0.425 * optics.scale / flux + 0.1
        assert source["flux"].value / NOISE == pytest.approx(flux, abs=4 + 0.1 * flux)


def test_sources_are_drawn_by_any_number_of_processes(points, monkeypatch):
    _, dirty, cycle, found = points
    used = []

    def shared(function, items, number):
        used.append(number)
        return spread(function, items, number)

    spread = workers._shared
    monkeypatch.setattr(workers, "_shared", shared)
    monkeypatch.setattr(workers, "_WORTH", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    other = reconstruct(dirty, Options(sampling=FAST), cycle)
    assert used == [2] * len(used) and used
    np.testing.assert_array_equal(other.samples, found.samples)
    np.testing.assert_array_equal(other.residual, found.residual)


def test_restored_image(points):
    """It is the model at the clean beam's resolution plus the residual."""
    truth, dirty, _, found = points
    y, x = np.rint(truth.position[0] * 4 + NPIX // 2).astype(int)
    assert found.restored[y - 1 : y + 2, x - 1 : x + 2].max() == pytest.approx(
        100 * NOISE, rel=0.06
    )
    assert found.restored.shape == dirty.data.shape


def test_shapes_and_ranges(points):
    _, dirty, cycle, found = points
    for image in (found.model, found.std, found.prob, found.residual):
        assert image.shape == dirty.data.shape and np.isfinite(image).all()
    assert found.samples.shape == (6, *dirty.data.shape)
    assert found.std.min() >= 0 and found.prob.min() >= 0 and found.prob.max() == 1


def test_noise_alone_gives_no_source(optics):
    nothing = sky.points(np.zeros((0, 2)), np.zeros(0))
    for seed in range(5):
        dirty, cycle = observe(optics, nothing, 100 + seed)
        found = reconstruct(dirty, Options(sampling=FAST), cycle)
        assert (found.sources["prob"] < 0.9).all()
        assert len(found.cycles) == 1


def test_scale_of_the_image_does_not_matter(points):
    """A thousand times the flux and half the cell: the same picture, a thousand times as bright."""
    _, dirty, cycle, found = points
    # In bfloat16 another rounding of the input is seen.
    options = Options(sampling=replace(FAST, precision="fp32"), nmajor=1)
    other = DirtyImage(
        dirty.data * 1000,
        dirty.psf,
        type(dirty.beam)(dirty.beam.major / 2, dirty.beam.minor / 2, dirty.beam.pa),
        dirty.cell / 2,
    )
    again = reconstruct(other, options)
    same = reconstruct(DirtyImage(dirty.data, dirty.psf, dirty.beam, dirty.cell), options)
    assert np.abs(again.model / 1000 - same.model).max() < 5e-3 * same.model.max()


def test_mask(points):
    _, dirty, _, _ = points
    allowed = np.zeros(dirty.data.shape, bool)
    allowed[:48] = True
    found = reconstruct(dirty, Options(sampling=FAST, nmajor=1), allowed=allowed)
    assert not found.model[48:].any()
    assert (found.sources["y"].value < 47.6).all() and len(found.sources)


def test_channels_of_a_cube_are_one_run(points, optics):
    """Each channel gets what it would alone; one without data stays empty."""
    _, dirty, cycle, found = points
    other, cycle2 = observe(optics, sky.points(np.array([[2.0, 2.0]]), np.array([30.0])), 7)
    asked = []

    def both(models):
        asked.append(models.copy())
        return np.stack([cycle(models[0]), np.zeros_like(models[1]), cycle2(models[2])])

    lines = []
    first, none, third = reconstruct_cube(
        [dirty, None, other], Options(sampling=FAST), both, log=lines.append
    )
    assert none is None and not any(models[1].any() for models in asked)
    np.testing.assert_array_equal(first.model, found.model)
    assert first.cycles[0]["noise"] == found.cycles[0]["noise"]
    certain = third.sources[third.sources["prob"] > 0.9]
    assert len(certain) == 1 and certain["flux"][0].value == pytest.approx(30 * NOISE, rel=0.2)
    assert any(line.startswith("channel 2: pass 1") for line in lines)
    # As many major cycles as the longest of them asks for, not their sum.
    distinct = [len(np.unique([models[k] for models in asked], axis=0)) for k in (0, 2)]
    assert min(distinct) > 1 and len(asked) <= max(distinct) + 1


def test_a_channel_without_data_keeps_its_model(points):
    _, dirty, cycle, _ = points
    start, asked = np.zeros((2, NPIX, NPIX), np.float32), []
    start[1, 20, 30] = 0.5

    def both(models):
        asked.append(models.copy())
        return np.stack([cycle(models[0]), np.zeros_like(models[1])])

    reconstruct_cube([dirty, None], Options(sampling=FAST, nmajor=1), both, start)
    assert asked
    for models in asked:
        np.testing.assert_array_equal(models[1], start[1])


def test_errors_name_their_channel(points):
    _, dirty, _, _ = points
    options = Options(sampling=FAST, nmajor=1)
    empty, coarse = replace(dirty, data=np.zeros_like(dirty.data)), replace(dirty, cell=1.0)
    for wrong, text in ((empty, "image must have noise"), (coarse, "cell must be at most half")):
        with pytest.raises(ValueError, match=f"^channel 2: {text}"):
            reconstruct_cube([dirty, None, wrong], options)
        with pytest.raises(ValueError, match=f"^{text}"):
            reconstruct(wrong, options)


def test_channels_have_noise_of_their_own(optics):
    """Two channels of the same data are two draws from the same posterior."""
    dirty, _ = observe(optics, sky.points(np.array([[2.0, 2.0]]), np.array([30.0])), 7)
    one, two = reconstruct_cube([dirty, dirty], Options(sampling=FAST, nmajor=1))
    assert not np.array_equal(one.samples, two.samples)
    assert one.model.sum() == pytest.approx(two.model.sum(), rel=0.2)


def test_mask_is_asked_again(points):
    """A mask that grows with the major cycles lets more in."""
    _, dirty, cycle, _ = points
    masks = [np.zeros((1, *dirty.data.shape), bool), np.ones((1, *dirty.data.shape), bool)]
    asked = iter([masks[0], *[masks[1]] * 9])
    (found,) = reconstruct_cube(
        [dirty], Options(sampling=FAST), lambda m: cycle(m[0])[None], mask=lambda: next(asked)
    )
    # Nothing was allowed at first, so that only the peel, if any, was subtracted.
    assert found.model.sum() == pytest.approx(172 * NOISE, rel=0.2)


def settled(run, cycle):
    """What a part of a pass returns, and the models that it asked to be subtracted."""
    asked, residual = [], None
    while True:
        try:
            asked.append(run.send(residual))
        except StopIteration as end:
            return end.value, asked
        residual = cycle(asked[-1])


def scene_of(dirty):
    _, settings = checkpoint.load("default")
    return Scene(dirty, settings, 8)


def test_sweeps_go_on_while_less_is_left(points, monkeypatch):
    """As long as the visibilities tell that it is not noise; what a sweep spoils is taken back."""
    _, dirty, cycle, found = points
    turns = []

    def sweep(self, skies, shown, sigma, minflux, seed, turn):
        turns.append(turn)
        return skies + (1, 0.4, 0.2, -2)[turn] * better

    monkeypatch.setattr(Canvas, "sweep", sweep)

    def run(thermal):
        scene = scene_of(replace(dirty, thermal=thermal))
        nothing = np.zeros_like(dirty.data)
        start = _Pass(nothing, dirty.data, torch.zeros(1, *scene.frame.canonical))
        options, log = Options(sampling=FAST), []
        end, asked = settled(_swept(scene, options, start, NOISE, (0, 0, 0), log.append), cycle)
        return end, asked, log

    canvas = scene_of(dirty).canvas
    better = 0.5 * canvas._drawn(torch.from_numpy(found.model))[None]
    for thermal, number in ((None, 1), (50 * NOISE, 1), (0.5 * NOISE, 4)):
        turns.clear()
        end, asked, log = run(thermal)
        assert turns == list(range(number))
        # The fourth is worse than the third, to which it returns.
        assert len(asked) == number + (number == 4) and len(log) == min(number, 3)
        assert asked[-1] is end.model
        np.testing.assert_array_equal(end.residual, cycle(end.model))
    assert torch.allclose(end.skies, 1.6 * better)


@pytest.mark.parametrize(
    ("growth", "drawn", "back"),
    [(0.99, 1.1, False), (1.01, 0.9, False), (1.01, 0.99, True), (1.03, 0.9, True)],
)
def test_a_pass_that_leaves_more_is_taken_back(points, monkeypatch, growth, drawn, back):
    """But not where it is hardly more, and the realisations leave less."""
    _, dirty, _, _ = points
    scene = scene_of(dirty)
    model = [np.full_like(dirty.data, number) for number in (1, 2)]

    def swept(scene, options, told, sigma, seed, log):
        yield from ()
        number = seed[-1]
        return _Pass(model[number], dirty.data * growth**number, told.skies)

    def leftover(scene, model, residual):
        yield from ()
        return model, residual

    monkeypatch.setattr(passes, "_draw", lambda scene, *rest: torch.zeros(1))
    monkeypatch.setattr(passes, "_swept", swept)
    monkeypatch.setattr(passes, "_leftover", leftover)
    monkeypatch.setattr(passes, "_result", lambda best, *rest: best)
    unexplained = iter([1.0, drawn])
    monkeypatch.setattr(Canvas, "unexplained", lambda *given: next(unexplained))
    log = []
    run = passes._passes(scene, None, Options(nmajor=2), 0, log.append, None)
    best, asked = settled(run, lambda _: dirty.data)
    assert best.model is model[not back]
    assert ("the residual has grown: back to the pass before" in log) == back
    assert not back or asked[-1] is model[0]


def test_peel_ends_where_it_brings_nothing(points):
    """What no model explains, as errors of a calibration, is as high after it as before."""
    _, dirty, _, _ = points
    scene = scene_of(dirty)
    nothing = np.zeros_like(dirty.data)
    for growth, cycles in ((0.99, 1), (1.02, 2)):
        left = iter([dirty.data * growth, dirty.data])
        end, asked = settled(_peel(scene, nothing, dirty.data), lambda _, left=left: next(left))
        assert len(asked) == cycles
        model, residual, peeled, _, _ = end
        assert peeled.any()
        # If it is worse than before, that is taken back.
        assert model.any() == (growth < 1) and asked[-1] is model
        np.testing.assert_array_equal(residual, dirty.data * min(growth, 1))


def test_start_is_part_of_the_model(points):
    """Going on from a model gives the whole sky, not the rest of it."""
    _, dirty, cycle, found = points
    explained = simulator.convolve(torch.from_numpy(found.model), torch.from_numpy(dirty.psf))
    rest = DirtyImage(dirty.data - explained.numpy(), dirty.psf, dirty.beam, dirty.cell)
    once = Options(sampling=FAST, nmajor=1)
    again, fresh = reconstruct(rest, once, start=found.model), reconstruct(dirty, once)
    # The PSF's image ends with the dirty image's, which leaves either 8 per cent uncertain.
    assert again.model.sum() == pytest.approx(fresh.model.sum(), rel=0.15)
    # What is left is no more than before; far sidelobes, beyond the PSF's edge, may go as well.
    assert 0.8 * rest.data.std() < again.residual.std() < 1.05 * rest.data.std()


def test_primary_beam_bounds_the_model(points):
    """A bright source in a small image: nothing outside, and noise is left inside."""
    _, dirty, cycle, _ = points
    y, x = np.mgrid[:NPIX, :NPIX] - NPIX // 2
    pb = np.where(np.hypot(y, x) < 40, 1.0, np.nan)
    seen = DirtyImage(dirty.data, dirty.psf, dirty.beam, dirty.cell, pb)
    found = reconstruct(seen, Options(sampling=FAST), cycle)
    assert not found.model[np.isnan(pb)].any()
    assert found.residual[pb > 0].std() == pytest.approx(NOISE, rel=0.12)


def test_source_at_the_edge_is_not_its_own_neighbour(optics):
    """The margin mirrors it; what is drawn there is cut away."""
    where = np.array([[0.0, 2 - NPIX // 2]]) / optics.scale
    dirty, cycle = observe(optics, sky.points(where, np.array([50.0])), 9)
    found = reconstruct(dirty, Options(sampling=FAST, nmajor=1), cycle).sources
    near = found[(found["prob"] > 0.5) & (np.abs(found["y"].value - NPIX // 2) < 4)]
    assert len(near) == 1
    assert near["flux"][0].value / NOISE < 55


def test_start_and_mask_have_the_shape_of_the_image(points):
    for name in ("start", "allowed"):
        with pytest.raises(ValueError, match=f"{name} must have the shape"):
            reconstruct(points[1], **{name: np.zeros((3, 3))})


def test_larger_than_a_tile(points):
    """Tiles change rounding only."""
    _, dirty, _, _ = points
    images = [
        reconstruct(
            dirty,
            Options(
                nmajor=1,
                sampling=Sampling(nsamples=2, nsteps=4, device="cpu", precision="fp32", tile=tile),
            ),
        ).samples
        for tile in (64, 512)
    ]
    assert np.abs(images[0] - images[1]).max() < 1e-5 * images[1].max()


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"aggregate": "mode"}, "aggregate must be one of"),
        ({"nmajor": 0}, "nmajor must be at least 1, got 0"),
        ({"minflux": 0}, "minflux must be positive, got 0"),
        ({"threshold": -1}, "threshold must not be negative"),
    ],
)
def test_wrong_options(values, text):
    with pytest.raises(ValueError, match=text):
        Options(**values)


def test_foreign_conditioning(points):
    with pytest.raises(ValueError, match="conditioning must be what network 'default' was trained"):
        reconstruct(points[1], Options(conditioning="dirty"))


def test_too_coarse(points):
    _, dirty, _, _ = points
    coarse = DirtyImage(dirty.data, dirty.psf, dirty.beam, dirty.beam.fwhm)
    with pytest.raises(ValueError, match="cell must be at most half of the beam"):
        reconstruct(coarse)


def test_image_without_noise(points):
    _, dirty, _, _ = points
    with pytest.raises(ValueError, match="noise"):
        reconstruct(DirtyImage(np.zeros_like(dirty.data), dirty.psf, dirty.beam, dirty.cell))


def leftover(dirty, cycle, model):
    """What `_leftover` makes of a model's residual, and the models that it asked about."""
    _, settings = checkpoint.load("default")
    scene = Scene(dirty, settings, 8)
    steps, asked = _leftover(scene, model, cycle(model)), []
    try:
        wanted = next(steps)
        while True:
            asked.append(wanted)
            wanted = steps.send(cycle(wanted))
    except StopIteration as end:
        return end.value, asked


def test_what_stands_out_of_the_residual_is_added(optics):
    """A source that the network has not drawn at all ends in the model."""
    dirty, cycle = observe(optics, sky.points(np.array([[2.0, 2.0]]), np.array([60.0])), 8)
    (model, residual), asked = leftover(dirty, cycle, np.zeros_like(dirty.data))
    assert model.sum() == pytest.approx(60 * NOISE, rel=0.15)
    assert np.abs(residual).max() < 5.5 * NOISE
    np.testing.assert_array_equal(residual, cycle(model))
    assert len(asked) <= 4


def test_noise_of_a_large_image_is_not_added():
    """Of tens of thousands of beams some are high: taken for structure, they would explain it."""
    field = simulated("empty", 0, 11, 512, 3.0)
    source = np.zeros_like(field.dirty.data)
    source[256, 256] = 30 * field.noise
    seen = field.dirty.data - field.major_cycle(source)
    dirty = replace(field.dirty, data=field.dirty.data + seen)
    (model, residual), _ = leftover(
        dirty, lambda model: field.major_cycle(model) + seen, np.zeros_like(seen)
    )
    # Of the source all but what a peak of noise may have is taken.
    assert 20 < model.sum() / field.noise < 32
    assert residual.std() == pytest.approx(field.dirty.data.std(), rel=0.01)


def test_noise_is_not_added(optics):
    dirty, cycle = observe(optics, sky.points(np.zeros((0, 2)), np.zeros(0)), 9)
    (model, residual), asked = leftover(dirty, cycle, np.zeros_like(dirty.data))
    assert not asked and not model.any()
    np.testing.assert_array_equal(residual, dirty.data)
