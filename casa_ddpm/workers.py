"""The same work on many items, in one process or spread over several.

`each` is for commands, `share` for work within a session that is the user's.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import current_process, get_context, parent_process
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import TypeVar

import torch

#: Processes that share a session's work at most: each takes some 300 MB.
_MOST = 16
#: They end when they have had no work for so long [s].
_PATIENCE = 60
#: Work is shared from here on, as they take some seconds to start [s].
_WORTH = 20

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
    with pool(workers) as executor:
        yield from executor.map(function, items)


def pool(workers: int) -> ProcessPoolExecutor:
    """Processes of one thread each, which end with this one, also where that is killed."""
    # Never forked: CASA and torch do not survive it.
    return ProcessPoolExecutor(workers, get_context("spawn"), _begin)


def _begin() -> None:
    torch.set_num_threads(1)
    parent = parent_process()
    assert parent is not None
    Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    # Work that is queued would go on for nobody, and then wait for ever.
    parent.join()
    os._exit(1)


def share(
    function: Callable[[Item], Result], items: Sequence[Item], seconds: float
) -> list[Result]:
    """What a function makes of each item, by as many processes as torch has threads.

    Every process computes with one thread, so that the results are the same to the bit in
    any number of them. A user's script is not run again by the processes.

    Parameters
    ----------
    function : callable
        Picklable.
    items : sequence
    seconds : float
        About what all of it takes in one process; little is done in this one.
    """
    number = min(torch.get_num_threads(), len(items), _MOST)
    # A worker of somebody's pool may have no processes of its own.
    if number > 1 and seconds > _WORTH and not current_process().daemon:
        try:
            return _shared(function, items, number)
        except (BrokenExecutor, OSError, NotImplementedError) as error:
            # They were killed, or the system has no semaphores for them.
            warnings.warn(f"processes have ended, going on in one: {error}", stacklevel=2)
    with threads(1):
        return [function(item) for item in items]


def _shared(function: Callable[[Item], Result], items: Sequence[Item], number: int) -> list[Result]:
    # It takes a while to import.
    from loky import get_reusable_executor

    executor = get_reusable_executor(
        number, timeout=_PATIENCE, initializer=torch.set_num_threads, initargs=(1,)
    )
    try:
        return list(executor.map(function, items, chunksize=-(-len(items) // number)))
    except KeyboardInterrupt:
        executor.shutdown(wait=False, kill_workers=True)
        raise


@contextmanager
def threads(number: int) -> Iterator[None]:
    """So many threads of torch's in this process, and then as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
