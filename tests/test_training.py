"""Training: resumable to the bit, on time, with crops that keep their beam."""

import argparse
import csv
import itertools
import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from casa_ddpm import checkpoint, simulator, training
from casa_ddpm.dirty import Beam
from casa_ddpm.normalisation import Normalisation
from casa_ddpm.psf import ellipse, gaussian
from casa_ddpm.training import Examples, Plan, Pool, Trainer, draw, steps

FIELDS = simulator.Settings(npix=32, arrays=("alma.cycle5.3", "vla.d"), most_visibilities=300)
PLAN = Plan(seed=3, batch=4, crop=16, pool=8, fresh=4, validation=4, interval=2)
SETTINGS = checkpoint.Settings(widths=(4, 4), depth=1)


def run(trainer, pool, n):
    values = []
    for value in steps(trainer, pool, time.monotonic() + 60):
        values.append(value)
        if len(values) == n:
            return values
    raise AssertionError("steps ended early")


def weights(trainer):
    return {name: [t.clone() for t in ts] for name, ts in trainer._states().items()}


def assert_same(one, two):
    assert one.keys() == two.keys()
    for name in one:
        for a, b in zip(one[name], two[name], strict=True):
            assert torch.equal(a, b), name


@pytest.mark.parametrize("first", [0, 2])
@pytest.mark.parametrize("plan", [PLAN, replace(PLAN, pool=6)])
def test_resumes_to_the_bit(tmp_path, plan, first):
    whole = Trainer(SETTINGS, plan, "cpu")
    expected = run(whole, Pool(plan, FIELDS, 0, "cpu"), 4)
    part = Trainer(SETTINGS, plan, "cpu")
    got = run(part, Pool(plan, FIELDS, 0, "cpu"), first) if first else []
    part.save(tmp_path, 0.5)
    again = Trainer(SETTINGS, plan, "cpu")
    again.resume(tmp_path)
    assert again.step == first
    got += run(again, Pool(plan, FIELDS, first, "cpu"), 4 - first)
    assert got == expected
    assert_same(weights(again), weights(whole))


def test_seeds_differ():
    losses = [Trainer(SETTINGS, replace(PLAN, seed=s), "cpu") for s in (0, 1)]
    first, second = (t._states()["weights"] for t in losses)
    assert not all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_workers_draw_the_same_fields():
    alone = Pool(PLAN, FIELDS, 0, "cpu")
    with ThreadPoolExecutor(2) as executor:
        helped = Pool(PLAN, FIELDS, 0, "cpu", executor)
        for step in range(3):
            alone.advance(step)
            helped.advance(step)
    torch.testing.assert_close(helped.examples.condition, alone.examples.condition)
    torch.testing.assert_close(helped.examples.target, alone.examples.target)


def test_pool_holds_the_latest_fields():
    pool = Pool(PLAN, FIELDS, 0, "cpu")
    pool.advance(0)
    expected = draw(range(4, 12), FIELDS, PLAN.seed, "train")
    order = [i % 8 for i in range(4, 12)]
    torch.testing.assert_close(pool.examples.shape[order], expected.shape)
    torch.testing.assert_close(pool.examples.target[order], expected.target, rtol=0, atol=1e-2)


def test_batches_depend_on_the_step_alone():
    pool = Pool(PLAN, FIELDS, 0, "cpu")
    one, two, other = pool.batch(5), pool.batch(5), pool.batch(6)
    assert one.condition.shape == (4, 2, 16, 16)
    assert one.target.shape == (4, 1, 16, 16)
    assert one.shape.shape == (4, 2)
    assert torch.equal(one.condition, two.condition)
    assert not torch.equal(one.condition, other.condition)


@pytest.mark.parametrize("turn", [0, 1])
@pytest.mark.parametrize("flip", [0, 1])
@pytest.mark.parametrize("mirror", [0, 1])
@pytest.mark.parametrize("pa", [0.0, 25.0, 100.0])
def test_crops_keep_their_beam(turn, flip, mirror, pa):
    """The ellipse of a turned and flipped crop describes what is in it."""
    beam = Beam(7.0, 4.0, pa)
    point = gaussian(beam.covariance(1.0), 48)
    pool = object.__new__(Pool)
    pool.plan = replace(PLAN, crop=40)
    pool.examples = Examples(
        torch.stack([point, point])[None], point[None, None], torch.tensor([ellipse(beam)])
    )
    crop = pool._crop(0, 4, 5, turn, flip, mirror)
    torch.testing.assert_close(crop.condition[:, :1], crop.target)
    image = crop.target[0, 0].double().numpy()
    grid = np.indices(image.shape).reshape(2, -1)
    covariance = np.cov(grid, aweights=image.ravel(), bias=True)
    seen = Beam.from_covariance(covariance, 1.0)
    np.testing.assert_allclose(crop.shape[0], ellipse(seen), atol=2e-3)


def test_first_average_is_the_weights():
    trainer = Trainer(SETTINGS, PLAN, "cpu")
    trainer.train(Pool(PLAN, FIELDS, 0, "cpu").batch(0))
    states = trainer._states()
    for mean, now in zip(states["average"], states["weights"], strict=True):
        torch.testing.assert_close(mean, now)


def test_learns():
    trainer = Trainer(SETTINGS, replace(PLAN, rate=1e-2), "cpu")
    examples = draw(range(8), FIELDS, 0, "train")
    before = trainer.validate(examples)
    for _ in range(60):
        trainer.train(examples)
    assert trainer.validate(examples) < 0.9 * before


def test_validation_is_repeatable_and_leaves_no_trace():
    trainer = Trainer(SETTINGS, PLAN, "cpu")
    examples = draw(range(4), FIELDS, 0, "validation")
    before = weights(trainer)
    assert trainer.validate(examples) == trainer.validate(examples)
    assert_same(weights(trainer), before)


class Clock:
    """A trainer and a pool whose steps take a second of `now`."""

    step, now = 0, 0.0

    def train(self, batch):
        self.step, self.now = self.step + 1, self.now + 1
        return 0.5

    def batch(self, step):
        return None

    def advance(self, step):
        assert step == self.step - 1


def test_stops_on_time(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(training.time, "monotonic", lambda: clock.now)
    assert list(steps(clock, clock, 4.5)) == [0.5] * 5
    assert list(steps(clock, clock, 4.5)) == []


def test_saved_network_loads(tmp_path):
    trainer = Trainer(SETTINGS, PLAN, "cpu")
    run(trainer, Pool(PLAN, FIELDS, 0, "cpu"), 1)
    trainer.save(tmp_path, 0.25)
    denoiser, settings = checkpoint.load(tmp_path / "network.safetensors")
    assert settings.history["step"] == 1
    assert settings.history["validation_loss"] == 0.25
    assert settings.history["seed"] == PLAN.seed
    for got, expected in zip(denoiser.parameters(), trainer.average.parameters(), strict=True):
        assert torch.equal(got, expected)
    assert not list(tmp_path.glob("*.part"))


def test_resume_from_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"resume folder '.*' lacks weights.safetensors, average"):
        Trainer(SETTINGS, PLAN, "cpu").resume(tmp_path)


def test_resume_from_mixed_steps(tmp_path):
    trainer = Trainer(SETTINGS, PLAN, "cpu")
    trainer.save(tmp_path, None)
    kept = (tmp_path / "moment1.safetensors").read_bytes()
    run(trainer, Pool(PLAN, FIELDS, 0, "cpu"), 1)
    trainer.save(tmp_path, None)
    (tmp_path / "moment1.safetensors").write_bytes(kept)
    with pytest.raises(ValueError, match=r"resume folder '.*' mixes the steps \[0, 1\]"):
        Trainer(SETTINGS, PLAN, "cpu").resume(tmp_path)


@pytest.mark.parametrize("renamed", range(5))
def test_resumes_where_a_save_was_cut_off(tmp_path, monkeypatch, renamed):
    """Between any two of its renames, and before the first."""
    trainer = Trainer(SETTINGS, PLAN, "cpu")
    trainer.save(tmp_path, None)
    run(trainer, Pool(PLAN, FIELDS, 0, "cpu"), 1)
    replace_, done = Path.replace, []

    def cut_off(path, target):
        if path.name.startswith(training._STATE):
            if len(done) == renamed:
                raise KeyboardInterrupt
            done.append(path.name)
        return replace_(path, target)

    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(Path, "replace", cut_off)
        trainer.save(tmp_path, None)
    assert len(done) == min(renamed, 4)
    again = Trainer(SETTINGS, PLAN, "cpu")
    again.resume(tmp_path)
    assert again.step == 1
    assert_same(weights(again), weights(trainer))


def test_resumes_where_the_parts_were_cut_off(tmp_path, monkeypatch):
    """The third is half written: the older state is whole."""
    trainer = Trainer(SETTINGS, PLAN, "cpu")
    trainer.save(tmp_path, None)
    before = weights(trainer)
    run(trainer, Pool(PLAN, FIELDS, 0, "cpu"), 1)

    def cut_off(tensors, path, header):
        save_file(tensors, path, header)
        if path.name == "moment1.part":
            path.write_bytes(path.read_bytes()[:-9])
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(training, "save_file", cut_off)
        trainer.save(tmp_path, None)
    assert (tmp_path / "weights.part").is_file()
    again = Trainer(SETTINGS, PLAN, "cpu")
    again.resume(tmp_path)
    assert again.step == 0
    assert_same(weights(again), before)


def test_what_is_logged_is_saved(tmp_path, monkeypatch):
    """A run that is killed and goes on writes no row twice."""
    ticks, steps_ = itertools.count(0, 0.25), []
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: next(ticks)))

    def logged(log, step, *_):
        steps_.append((step, training._newest(log.parent)[0]))

    monkeypatch.setattr(training, "_record", logged)
    assert training.run(arguments(tmp_path / "run")) == 0
    assert steps_ == [(2, 2), (4, 4)]


def test_resume_with_another_network(tmp_path):
    Trainer(SETTINGS, PLAN, "cpu").save(tmp_path, None)
    other = Trainer(replace(SETTINGS, widths=(8, 8)), PLAN, "cpu")
    with pytest.raises(ValueError, match=r"resume folder '.*' must have widths \(8, 8\), got"):
        other.resume(tmp_path)
    other = Trainer(replace(SETTINGS, normalisation=Normalisation(gamma=3.0)), PLAN, "cpu")
    with pytest.raises(ValueError, match=r"resume folder '.*' must have normalisation .*3.0.*2.0"):
        other.resume(tmp_path)


def test_what_goes_on_has_no_calibration_of_earlier_weights(tmp_path):
    calibrated = replace(SETTINGS, history={"law": "general", "calibration": {"fields": 3}})
    Trainer(calibrated, PLAN, "cpu").save(tmp_path, None)
    resumed, started = (Trainer(SETTINGS, PLAN, "cpu") for _ in range(2))
    resumed.resume(tmp_path)
    started.start(str(tmp_path / "network.safetensors"))
    for history in (resumed.settings.history, started.settings.history["start"]):
        assert history["law"] == "general" and "calibration" not in history


def test_memory_is_taken_up_again(tmp_path):
    settings = replace(SETTINGS, position=2, npix=16, memory=3)
    first = Trainer(settings, PLAN, "cpu")
    first.denoiser.network.remember(torch.randn(2, 3, 16, 16))
    first.average.load_state_dict(first.denoiser.state_dict())
    first.save(tmp_path, None)
    again = Trainer(settings, PLAN, "cpu")
    again.resume(tmp_path)
    for model in (again.denoiser, again.average):
        assert torch.equal(model.network.memory, first.denoiser.network.memory)


def arguments(out, *more):
    parser = argparse.ArgumentParser()
    training.add_arguments(parser)
    options = f"""--minutes 0.025 --out {out} --device cpu --widths 4,4 --depth 1 --npix 32
        --batch 2 --crop 16 --pool 4 --fresh 4 --validation 2 --interval 2"""
    return parser.parse_args([*options.split(), *more])


def test_command(tmp_path, monkeypatch):
    ticks = itertools.count(0, 0.25)  # a clock that a busy machine does not hurry
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    out = tmp_path / "run"
    assert training.run(arguments(out)) == 0
    _, settings = checkpoint.load(out / "network.safetensors")
    assert settings.history["step"] == 5  # 1.5 s
    with (out / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(2, settings.history["step"] + 1, 2))
    assert all(float(row["validation"]) > 0 for row in rows)
    assert training.run(arguments(out, "--resume", str(out))) == 0
    assert (
        checkpoint.load(out / "network.safetensors")[1].history["step"] > settings.history["step"]
    )
    with pytest.raises(ValueError, match=r"out '.*' holds a network; resume from it or name anot"):
        training.run(arguments(out))


@pytest.mark.parametrize("minutes", ["0", "-1", "nan"])
def test_minutes_must_be_positive(tmp_path, minutes):
    with pytest.raises(ValueError, match="minutes must be positive, got"):
        training.run(arguments(tmp_path / "run", f"--minutes={minutes}"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("device", "message"),
    [("mps", "device must be auto, cpu or cuda"), ("cuda:77", "device 'cuda:77' is not available")],
)
def test_device_must_be_there(tmp_path, device, message):
    with pytest.raises(ValueError, match=message):
        training.run(arguments(tmp_path / "run", "--device", device))
    assert not (tmp_path / "run").exists()


def test_nothing_is_left_where_there_is_nothing_to_resume(tmp_path):
    with pytest.raises(ValueError, match="resume folder .* lacks"):
        training.run(arguments(tmp_path / "run", "--resume", str(tmp_path / "none")))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--batch 0", "batch must be positive, got 0"),
        ("--interval 0", "interval must be positive, got 0"),
        ("--flat -1", "flat must be positive, got -1"),
        ("--seed -1", "seed must be at least 0, got -1"),
        ("--widths a", "widths must be positive whole numbers separated by commas, got 'a'"),
        ("--widths 0,0,0", "widths must be positive whole numbers separated by commas, got '0,0,"),
        ("--threads -1", "threads must be at least 0, got -1"),
        ("--workers -1", "workers must be at least 0, got -1"),
        ("--depth 0", "depth must be at least 1, got 0"),
        ("--depth -1", "depth must be at least 1, got -1"),
        ("--fresh 9", "fresh must be at most pool=4, got 9"),
        ("--crop 17", "crop must be a multiple of 4, got 17"),
        ("--resume a --start default", "start must not be given with resume, got 'default'"),
        ("--minutes 1e-9", "minutes must be enough for a step after the fields, got 1e-09"),
    ],
)
def test_what_cannot_be_trained(tmp_path, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        training.run(arguments(tmp_path / "run", *options.split()))
    assert not list(tmp_path.rglob("*.safetensors"))


def test_no_run_is_overwritten_whatever_its_folder_is_called(tmp_path, monkeypatch):
    Trainer(SETTINGS, PLAN, "cpu").save(tmp_path, None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="holds a network; resume from it or name another"):
        training.run(arguments("."))
    ticks = itertools.count(0, 0.5)
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    assert training.run(arguments(".", "--resume", str(tmp_path))) == 0  # the same folder


def test_what_is_not_finite_does_not_spoil_the_weights():
    trainer = Trainer(SETTINGS, PLAN, "cpu")
    examples = draw(range(2), simulator.Settings(npix=16), 0, "train")
    examples.target[:] = float("nan")
    with pytest.raises(RuntimeError, match="non-finite"):
        trainer.train(examples)
    assert trainer.step == 0
    assert all(parameter.isfinite().all() for parameter in trainer.denoiser.parameters())


def test_start_takes_the_weights_of_a_network(tmp_path):
    first = Trainer(SETTINGS, PLAN, "cpu")
    first.save(tmp_path, None)
    other = Trainer(SETTINGS, replace(PLAN, seed=PLAN.seed + 1), "cpu")
    other.start(str(tmp_path / "network.safetensors"))
    for model in (other.denoiser, other.average):
        for mine, theirs in zip(model.parameters(), first.average.parameters(), strict=True):
            assert torch.equal(mine, theirs)
    assert other.step == 0
    assert other.settings.history["start"]["seed"] == PLAN.seed
    wider = Trainer(replace(SETTINGS, widths=(8, 8)), PLAN, "cpu")
    with pytest.raises(ValueError, match=r"start '.*' must have widths \(8, 8\), got"):
        wider.start(str(tmp_path / "network.safetensors"))
