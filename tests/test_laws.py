"""What a network is trained on: by default any sky, the published protocol where asked for."""

import argparse
import itertools
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from casa_ddpm import checkpoint, laws, pointing, published, simulator, training
from casa_ddpm.pool import Plan, Pool


def arguments(*words):
    parser = argparse.ArgumentParser()
    training.add_arguments(parser)
    tiny = "--device cpu --widths 4,4 --depth 1 --batch 2 --pool 2 --fresh 1 --validation 2"
    return parser.parse_args(["--minutes", "0.05", *tiny.split(), "--interval", "2", *words])


def law(*words):
    args = arguments("--out", "nowhere", *words)
    return laws.LAWS[args.law](args)


def test_general_by_default():
    chosen = law()
    assert isinstance(chosen.fields, simulator.Settings)
    assert chosen.held_out.arrays == simulator.VALIDATION_ARRAYS
    assert chosen.settings == checkpoint.Settings(
        widths=(4, 4), depth=1, history={"law": "general"}
    )


@pytest.mark.parametrize("conditioning", ["dirty", "uv"])
def test_published(conditioning):
    words = ("--law", "published", "--conditioning", conditioning, "--gamma", "10")
    chosen = law(*words, "--position", "3")
    assert chosen.fields == published.Settings(conditioning)
    assert chosen.npix == chosen.settings.npix == pointing.WINDOW
    settings = chosen.settings
    assert (settings.conditioning, settings.position) == (conditioning, 3)
    assert (settings.normalisation.kind, settings.normalisation.gamma) == ("published", 10)
    assert settings.history == {"law": "published", "pointings": 256}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("--conditioning uv", "conditioning must be restored or dirty for the law general, got 'u"),
        ("--law published", "conditioning must be 'dirty' or 'uv', got 'restored'"),
        ("--law published --conditioning uv --position 0", "position must be at least 1, got 0"),
        ("--law published --conditioning uv --memory -1", "memory must be at least 0, got -1"),
        (
            "--law published --conditioning uv --memory 5000",
            "memory must be at most 4096, got 5000",
        ),
        (
            "--law published --conditioning uv --memory 9 --memorised 4095",
            "memorised must be at least 4096, got 4095",
        ),
        ("--law published --conditioning uv --pointings 0", "pointings must be at least 1, got 0"),
        ("--crop 300", "crop must be at most npix=192, got 300"),
    ],
)
def test_what_a_law_does_not_allow(words, text):
    with pytest.raises(ValueError, match=text):
        law(*words.split())


def test_fields_of_the_published_protocol_lie_as_they_are():
    """A flipped field would have another noise than the one to be learned."""
    plan = Plan(batch=4, crop=pointing.WINDOW, pool=2, fresh=1)
    pool = Pool(plan, published.Settings(pointings=1), 0, "cpu")
    drawn = published.simulate([0, 1], published.Settings(pointings=1), 0, "train")
    for one in pool.batch(3).condition:
        assert any(torch.equal(one, other) for other in drawn.condition)


def three_steps(trainer, pool, until):
    """In place of training until a time."""
    for _ in range(3):
        yield trainer.train(pool.batch(trainer.step))
        pool.advance(trainer.step - 1)


def test_training_and_resuming(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "steps", three_steps)
    # The other pointings take time and are no different.
    words = ["--law", "published", "--conditioning", "uv", "--position", "2", "--pointings", "1"]
    out = str(tmp_path / "run")
    assert training.run(arguments("--out", out, *words)) == 0
    _, first = checkpoint.load(tmp_path / "run" / "network.safetensors")
    assert first.conditioning == "uv"
    assert first.history["law"] == "published"
    assert first.history["crop"] == pointing.WINDOW
    assert training.run(arguments("--out", out, "--resume", out, *words)) == 0
    denoiser, second = checkpoint.load(tmp_path / "run" / "network.safetensors")
    assert (first.history["step"], second.history["step"]) == (3, 6)
    assert denoiser.network.position.shape == (1, 2, pointing.WINDOW, pointing.WINDOW)
    started = training.Trainer(second, Plan(), "cpu")
    started.start(str(tmp_path / "run" / "network.safetensors"))
    assert torch.equal(started.denoiser.network.position, denoiser.network.position)
    words[3] = "dirty"
    with pytest.raises(ValueError, match=r"resume folder .* must have conditioning dirty"):
        training.run(arguments("--out", out, "--resume", out, *words))


def test_pointings_are_as_many_as_asked():
    chosen = law(*"--law published --conditioning uv --pointings 7".split())
    assert chosen.fields.pointings == chosen.held_out.pointings == 7


def test_memory_tells_the_sky_from_the_noise(monkeypatch):
    """Of the fields that it follows from; it is the same from any number of processes."""
    chosen = replace(law(*"--law published --conditioning uv --memory 32".split()), memorised=16)
    monkeypatch.setattr(laws, "_CHUNK", 5)
    one, two = chosen.settings.build(), chosen.settings.build()
    chosen.prepare(one, 0)
    chosen.prepare(two, 0, processes=2)
    torch.testing.assert_close(one.network.memory, two.network.memory)
    noise, sky, target = published.memorised(chosen.fields, 0, range(16))[:, :, None].unbind(1)
    got = one.network.recalled(noise + sky)
    assert float((got - target).norm()) < 0.05 * float(target.norm())
    assert float(one.network.recalled(noise).norm()) < 0.05 * float(target.norm())


def test_memory_is_in_the_network_that_is_written(tmp_path, monkeypatch):
    """As it was made before the training, in the averaged weights as well."""
    ticks = itertools.count(0, 0.5)
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    words = "--law published --conditioning uv --memory 2 --pointings 1"
    few = replace(law(*words.split()), memorised=2)
    monkeypatch.setitem(laws.LAWS, "published", lambda args: few)
    training.run(arguments("--out", str(tmp_path / "run"), *words.split()))
    trained, settings = checkpoint.load(tmp_path / "run" / "network.safetensors")
    wanted = few.settings.build()
    few.prepare(wanted, 0)
    torch.testing.assert_close(trained.network.memory, wanted.network.memory)
    assert settings.history["pointings"] == 1
