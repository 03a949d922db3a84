"""Training: simulated fields in, a checkpoint out, for as many minutes as there are.

Everything follows from (seed, step): the fields in the pool, the crops, the
noise.  A run that is stopped and resumed ends with the weights of one that was
not.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from casa_ddpm import arguments, checkpoint, laws, workers
from casa_ddpm.device import arithmetic, choose_device, choose_precision, settle
from casa_ddpm.diffusion import Denoiser, loss
from casa_ddpm.pool import Examples, Plan, Pool, draw, progress

_STATE = ("weights", "average", "moment1", "moment2")


class Trainer:
    """The state of a run: weights, their running average, Adam's moments, the step."""

    def __init__(
        self, settings: checkpoint.Settings, plan: Plan, device: str | torch.device
    ) -> None:
        torch.manual_seed(plan.seed)
        self.settings, self.plan, self.device = settings, plan, torch.device(device)
        self.dtype = choose_precision("auto", self.device)
        self.denoiser = settle(settings.build(), self.device)
        self.average = settle(settings.build(), self.device).requires_grad_(False)
        self.average.load_state_dict(self.denoiser.state_dict())
        self.optimiser = torch.optim.Adam(self.denoiser.parameters(), plan.rate, betas=(0.9, 0.99))
        self.step = 0

    def _loss(
        self, denoiser: Denoiser, examples: Examples, seed: list[int], source: torch.device
    ) -> torch.Tensor:
        """Loss of each example; the noise is drawn on the device `source`."""
        random = np.random.default_rng(seed)
        generator = torch.Generator(source).manual_seed(int(random.integers(2**62)))
        target = self.settings.normalisation.forward(examples.target)
        normal = torch.randn(target.shape, generator=generator, device=source).to(self.device)
        n = len(target)
        uniform = (torch.arange(n, device=self.device) + random.random()) / n
        with arithmetic(self.device, self.dtype):
            return loss(denoiser, target, examples.condition, examples.shape, normal, uniform)

    def train(self, examples: Examples) -> float:
        """One step of Adam; returns the loss."""
        warm = min(1.0, (self.step + 1) / 200)
        rate = self.plan.rate * warm / math.sqrt(max(1.0, self.step / self.plan.flat))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        seed = [self.plan.seed, 8, self.step]
        value = self._loss(self.denoiser, examples, seed, self.device).mean()
        value.backward()
        # What is not finite would spoil the weights, and the state that is saved.
        torch.nn.utils.clip_grad_norm_(self.denoiser.parameters(), 1.0, error_if_nonfinite=True)
        self.optimiser.step()
        self.step += 1
        # Power-function average over about the last tenth of the run (Karras 2024, eq. 2).
        weight = 1 - (1 - 1 / self.step) ** 8
        for mean, now in zip(self.average.parameters(), self.denoiser.parameters(), strict=True):
            mean.lerp_(now.detach(), weight)
        return float(value.detach())

    @torch.no_grad()
    def validate(self, examples: Examples) -> float:
        """Loss of the averaged network on fixed fields and noise, the same on every device."""
        cpu = torch.device("cpu")
        parts = [
            self._loss(self.average, examples[i : i + 8], [self.plan.seed, 9, i], cpu)
            for i in range(0, len(examples.target), 8)
        ]
        return float(torch.cat(parts).mean())

    def _states(self) -> dict[str, list[torch.Tensor]]:
        adam = [self.optimiser.state[p] for p in self.denoiser.parameters()]
        zeros = [torch.zeros_like(p) for p in self.denoiser.parameters()]
        return {
            "weights": list(self.denoiser.parameters()),
            "average": list(self.average.parameters()),
            "moment1": [s["exp_avg"] for s in adam] if self.step else zeros,
            "moment2": [s["exp_avg_sq"] for s in adam] if self.step else zeros,
        }

    def save(self, folder: Path, validation: float | None) -> None:
        """Write the averaged network as a checkpoint, and the state, into `folder`."""
        history = self.settings.history | asdict(self.plan)
        history |= {"step": self.step, "validation_loss": validation}
        settings = replace(self.settings, history=history)
        checkpoint.save(folder / "network.safetensors", self.average, settings)
        for name, tensors in self._states().items():
            named = {str(i): t.detach().cpu().contiguous() for i, t in enumerate(tensors)}
            save_file(named, folder / f"{name}.part", {"step": str(self.step)})
        # Whenever this is cut off, what is there and its parts hold a whole state.
        for name in _STATE:
            (folder / f"{name}.part").replace(folder / f"{name}.safetensors")

    def start(self, network: str) -> None:
        """Begin with the weights of a trained network, shipped or from a path.

        Raises
        ------
        ValueError
            If there is no such network or it is built otherwise.
        """
        trained, settings = checkpoint.load(network)
        self._same_build(settings, f"start {network!r}")
        for model in (self.denoiser, self.average):
            model.load_state_dict(trained.state_dict())
        began = {"network": checkpoint.digest(network)} | _training_of(settings)
        self.settings = replace(self.settings, history=self.settings.history | {"start": began})

    def _same_build(self, settings: checkpoint.Settings, where: str) -> None:
        for name in ("widths", "depth", "conditioning", "normalisation", "position", "memory"):
            want, got = getattr(self.settings, name), getattr(settings, name)
            if want != got:
                raise ValueError(f"{where} must have {name} {want}, got {got}")

    def resume(self, folder: Path) -> None:
        """Take up the newest whole state in `folder`.

        Raises
        ------
        ValueError
            If the folder's files are missing, of different steps or of another network.
        """
        step, paths = _newest(folder)
        trained, settings = checkpoint.load(folder / "network.safetensors")
        self._same_build(settings, f"resume folder {str(folder)!r}")
        stored = {name: load_file(path) for name, path in paths.items()}
        self.step = step
        before = _training_of(settings)
        history = before | self.settings.history
        if "memorised" in before:  # its memory is the first run's
            history["memorised"] = before["memorised"]
        self.settings = replace(self.settings, history=history)
        for model in (self.denoiser, self.average):
            # What a network was told before its training is no parameter.
            for own, kept in zip(model.buffers(), trained.buffers(), strict=True):
                own.copy_(kept)
        with torch.no_grad():
            for i, (now, mean) in enumerate(
                zip(self.denoiser.parameters(), self.average.parameters(), strict=True)
            ):
                now.copy_(stored["weights"][str(i)])
                mean.copy_(stored["average"][str(i)])
                # In the weights' own order, which what is stored has lost.
                first, second = (
                    torch.empty_like(now).copy_(stored[name][str(i)])
                    for name in ("moment1", "moment2")
                )
                self.optimiser.state[now] = {
                    "step": torch.tensor(float(self.step)),
                    "exp_avg": first,
                    "exp_avg_sq": second,
                }


def _newest(folder: Path) -> tuple[int, dict[str, Path]]:
    """Step and files of the newest state that is whole, also where `save` was cut off.

    Raises
    ------
    ValueError
        If there is no such state, or no network beside it.
    """
    kept = {name: _kept(folder, name) for name in _STATE}
    missing = [f"{name}.safetensors" for name, steps in kept.items() if not steps]
    if not (folder / "network.safetensors").is_file():
        missing.append("network.safetensors")
    if missing:
        raise ValueError(f"resume folder {str(folder)!r} lacks {', '.join(missing)}")
    whole = set.intersection(*(set(steps) for steps in kept.values()))
    if not whole:
        steps = sorted({step for own in kept.values() for step in own})
        raise ValueError(f"resume folder {str(folder)!r} mixes the steps {steps}")
    step = max(whole)
    return step, {name: steps[step] for name, steps in kept.items()}


def _kept(folder: Path, name: str) -> dict[int, Path]:
    """The files of one part of the state by their steps: in its place, and not yet there."""
    found = {}
    for path in (folder / f"{name}.part", folder / f"{name}.safetensors"):
        try:
            with safe_open(path, "pt") as file:
                found[int(file.metadata()["step"])] = path
        except (SafetensorError, OSError):
            continue
    return found


def _training_of(settings: checkpoint.Settings) -> dict:
    """How a network was trained; the calibration in its history is of the weights it had."""
    return {k: v for k, v in settings.history.items() if k != "calibration"}


def steps(trainer: Trainer, pool: Pool, until: float) -> Iterator[float]:
    """Losses of training steps until the clock (time.monotonic) says `until`."""
    while time.monotonic() < until:
        value = trainer.train(pool.batch(trainer.step))
        pool.advance(trainer.step - 1)
        yield value


def plot(log: Path) -> None:
    """Draw the losses of log.csv beside it, where matplotlib is installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    with log.open() as file:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name in ("training", "validation"):
        axes.plot([r["step"] for r in rows], [r[name] for r in rows], label=name)
    axes.set(xlabel="step", ylabel="loss", yscale="log")
    axes.legend()
    figure.savefig(log.with_suffix(".png"), dpi=120)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``casa-ddpm train``."""
    parser.add_argument("--minutes", type=float, required=True, help="time to train, all told")
    parser.add_argument("--out", required=True, help="folder of the checkpoint and the log")
    parser.add_argument("--resume", help="folder of an earlier run to go on from")
    parser.add_argument("--start", help="network whose weights a new run begins with")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")
    parser.add_argument("--workers", type=int, default=0, help="processes that simulate fields")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: torch's choice")
    parser.add_argument("--widths", default="48,96,128", help="channels of the U-Net's levels")
    parser.add_argument("--depth", type=int, default=2, help="residual blocks a level")
    laws.add_arguments(parser)
    for name, default in asdict(Plan()).items():
        parser.add_argument(f"--{name}", type=type(default), default=default, help="see Plan")


def run(args: argparse.Namespace) -> int:
    """Train as the options say; returns 0.

    Raises
    ------
    ValueError
        If minutes is not positive or too few for a step, another number is wrong, the device is
        not there, the law does not allow what is asked or out holds another run's network.
    """
    started = time.monotonic()
    if not args.minutes > 0:
        raise ValueError(f"minutes must be positive, got {args.minutes}")
    arguments.at_least(args, {"depth": 1, "threads": 0, "workers": 0})
    arguments.numbers(args, "widths", int)
    if args.resume and args.start:
        raise ValueError(f"start must not be given with resume, got {args.start!r}")
    out = Path(args.out)
    goes_on = args.resume and Path(args.resume).resolve() == out.resolve()
    if (out / "network.safetensors").exists() and not goes_on:
        raise ValueError(f"out {args.out!r} holds a network; resume from it or name another")
    device = _device(args.device)
    if args.threads:
        torch.set_num_threads(args.threads)
    plan = Plan(**{name: getattr(args, name) for name in asdict(Plan())})
    law = laws.LAWS[args.law](args)
    # Where a network works on whole images alone, it is trained on such.
    plan = replace(plan, crop=law.settings.npix or min(plan.crop, law.npix))
    trainer = Trainer(law.settings, plan, device)
    if plan.crop % trainer.denoiser.stride:
        raise ValueError(f"crop must be a multiple of {trainer.denoiser.stride}, got {plan.crop}")
    if args.resume:
        trainer.resume(Path(args.resume))
    elif args.start:
        trainer.start(args.start)
    out.mkdir(parents=True, exist_ok=True)
    if not (args.resume or args.start):
        law.prepare(trainer.denoiser, plan.seed, args.workers)
        trainer.average.load_state_dict(trainer.denoiser.state_dict())
    before = trainer.step
    executor = workers.pool(args.workers) if args.workers else None
    try:
        _loop(trainer, law, executor, out, started + 60 * args.minutes)
    finally:
        if executor:
            executor.shutdown(cancel_futures=True)
    if trainer.step == before:
        raise ValueError(f"minutes must be enough for a step after the fields, got {args.minutes}")
    return 0


def _device(name: str) -> torch.device:
    """The device of a name; with 'auto' the CPU rather than MPS, which cannot train."""
    if name == "auto" and not torch.cuda.is_available():
        name = "cpu"
    if name.startswith("mps"):
        raise ValueError(f"device must be auto, cpu or cuda to train, got {name!r}")
    return choose_device(name)


def _loop(trainer: Trainer, law: laws.Law, executor, out: Path, until: float) -> None:
    plan = trainer.plan
    # On the CPU, where they are the same whatever the device.
    held_out = draw(range(plan.validation), law.held_out, plan.seed, "validation")
    held_out = held_out.to(trainer.device)
    pool = Pool(plan, law.fields, trainer.step, trainer.device, executor)
    recent: list[float] = []
    first, validation = trainer.step, None
    bar = progress(steps(trainer, pool, until), "training", initial=trainer.step, unit="step")
    try:
        for value in bar:
            recent.append(value)
            if trainer.step % plan.interval == 0:
                validation = trainer.validate(held_out)
                trainer.save(out, validation)
                # Not before: a run that goes on from an older state would write it again.
                _record(out / "log.csv", trainer.step, float(np.mean(recent)), validation)
                recent.clear()
                if hasattr(bar, "set_postfix"):
                    bar.set_postfix(validation=f"{validation:.4f}")
        if trainer.step % plan.interval:
            validation = trainer.validate(held_out)
    finally:  # what a Ctrl-C interrupts is kept as well
        if trainer.step > first:
            trainer.save(out, validation)
        if (out / "log.csv").exists():
            plot(out / "log.csv")


def _record(log: Path, step: int, training: float, validation: float) -> None:
    new = not log.exists()
    with log.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(["step", "training", "validation"])
        writer.writerow([step, f"{training:.6g}", f"{validation:.6g}"])
