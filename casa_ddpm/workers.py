"""The same work on many items, in one process or spread over several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[Result]:
    """What a function makes of item after item, in their order.

    Parameters
    ----------
    function : callable
        Picklable where there are workers.
    items : iterable
    workers : int
        Processes, each of one thread; 0: this process, with all of its threads.
    """
    if not workers:
        yield from map(function, items)
        return
    # Never forked: CASA and torch do not survive it.
    spawn = get_context("spawn")
    with ProcessPoolExecutor(workers, spawn, torch.set_num_threads, (1,)) as executor:
        yield from executor.map(function, items)
