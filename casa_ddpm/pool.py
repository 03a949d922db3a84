"""The fields at hand while a network is trained, simulated ahead of their use."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from dataclasses import dataclass, fields

import numpy as np
import torch

from casa_ddpm import published, simulator

#: What fields are drawn from, by law.
Kind = simulator.Settings | published.Settings


@dataclass(frozen=True)
class Plan:
    """What is trained and how.

    Parameters
    ----------
    seed : int
        Of fields, crops, noise and initial weights.
    batch : int
        Crops of a step.
    crop : int
        Side of a crop [canonical pixel].
    pool : int
        Fields at hand; each step draws its crops from all of them.
    fresh : int
        New fields that enter the pool at each step; the oldest leave.
    rate : float
        Learning rate, falling as 1/sqrt(step) after `flat` steps.
    flat : int
    validation : int
        Validation fields; of the general law, on arrays that no training field uses.
    interval : int
        Steps between validations.

    Raises
    ------
    ValueError
        If a number is not positive, the seed is negative or more fields enter than there are.
    """

    seed: int = 0
    batch: int = 16
    crop: int = 96
    pool: int = 256
    fresh: int = 4
    rate: float = 1e-3
    flat: int = 3000
    validation: int = 32
    interval: int = 500

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")
        for name in ("batch", "crop", "pool", "fresh", "rate", "flat", "validation", "interval"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.fresh > self.pool:
            raise ValueError(f"fresh must be at most pool={self.pool}, got {self.fresh}")


@dataclass(frozen=True)
class Examples:
    """Fields as the network meets them: condition, normalised sky, beam ellipticity."""

    condition: torch.Tensor
    target: torch.Tensor
    shape: torch.Tensor

    def __getitem__(self, index) -> Examples:
        return Examples(self.condition[index], self.target[index], self.shape[index])

    def to(self, device) -> Examples:
        """The same on a device."""
        return Examples(*(t.to(device) for t in (self.condition, self.target, self.shape)))

    @classmethod
    def join(cls, parts: list[Examples]) -> Examples:
        """All examples of parts."""
        return cls(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(cls)))


def draw(indices, kind: Kind, seed: int, stream: str, device="cpu") -> Examples:
    """Simulate fields and keep what training needs."""
    drawn: simulator.Fields | published.Fields
    if isinstance(kind, published.Settings):
        drawn = published.simulate(indices, kind, seed, stream, device)
    else:
        drawn = simulator.simulate(indices, kind, seed, stream, device)
    return Examples(drawn.condition, drawn.target[:, None], drawn.shape)


class Pool:
    """The fields at hand at each step: the last `plan.pool` of the training stream.

    With an executor, fields for coming steps are simulated in other processes.
    """

    def __init__(self, plan: Plan, kind: Kind, step: int, device, executor=None):
        self.plan, self.kind, self.device = plan, kind, device
        self.executor: Executor | None = executor
        self.waiting: dict[int, Future] = {}
        start = step * plan.fresh
        whole = range(start, start + plan.pool)
        chunks = [whole[i : i + plan.fresh] for i in range(0, plan.pool, plan.fresh)]
        drawn = Examples.join([self._draw(chunk) for chunk in progress(chunks, "fields")])
        # Field i lives in slot i modulo the pool, also where a run is taken up again.
        slots = torch.tensor(whole, device=device) % plan.pool
        self.examples = drawn[torch.argsort(slots)]

    def _draw(self, indices) -> Examples:
        arguments = (list(indices), self.kind, self.plan.seed, "train")
        if self.executor is None:
            return draw(*arguments, self.device)
        future = self.waiting.pop(indices[0], None) or self.executor.submit(draw, *arguments)
        for ahead in range(1, 9):
            first = indices[0] + ahead * self.plan.fresh
            if first not in self.waiting:
                later = (list(range(first, first + self.plan.fresh)), *arguments[1:])
                self.waiting[first] = self.executor.submit(draw, *later)
        return future.result().to(self.device)

    def advance(self, step: int) -> None:
        """Replace the oldest fields by those that enter after `step`."""
        start = step * self.plan.fresh + self.plan.pool
        new = self._draw(range(start, start + self.plan.fresh))
        slots = torch.arange(start, start + self.plan.fresh, device=self.device) % self.plan.pool
        for f in fields(Examples):
            getattr(self.examples, f.name)[slots] = getattr(new, f.name)

    def batch(self, step: int) -> Examples:
        """Random crops of random fields, flipped and turned where their law allows it."""
        rng = np.random.default_rng([self.plan.seed, 7, step])
        index = rng.integers(0, self.plan.pool, self.plan.batch)
        side, crop = self.examples.target.shape[-1], self.plan.crop
        corners = rng.integers(0, side - crop + 1, (self.plan.batch, 2))
        turns = rng.integers(0, 2, (self.plan.batch, 3)) * self.kind.turned
        return Examples.join(
            [self._crop(i, *c, *t) for i, c, t in zip(index, corners, turns, strict=True)]
        )

    def _crop(self, index, y, x, turn, flip, mirror) -> Examples:
        crop = self.plan.crop
        one = self.examples[index : index + 1]
        images = [t[..., y : y + crop, x : x + crop] for t in (one.condition, one.target)]
        shape = one.shape
        if turn:  # by a right angle: the ellipse's double angle turns by half a circle
            images, shape = [torch.rot90(t, 1, (-2, -1)) for t in images], -shape
        if flip:
            images, shape = [t.flip(-2) for t in images], shape * shape.new_tensor([1, -1])
        if mirror:
            images, shape = [t.flip(-1) for t in images], shape * shape.new_tensor([1, -1])
        return Examples(images[0], images[1], shape)


def progress(iterable, description: str, **options):
    """A progress bar, where tqdm is installed."""
    try:
        from tqdm import tqdm
    except ImportError:
        return iterable
    return tqdm(iterable, description, **options)
