"""Work that is spread over processes."""

import math
import multiprocessing
import os
import select
import signal
import subprocess
import sys

import pytest
import torch

from casa_ddpm.workers import each, share, threads

_KILLED = """
import os, signal, sys
from casa_ddpm.workers import each

def hang(path):
    with open(path, "w") as pipe:
        print(os.getpid(), file=pipe, flush=True)
        signal.pause()

if __name__ == "__main__":
    list(each(hang, sys.argv[1:], 1))
"""


@pytest.fixture
def two_threads():
    with threads(2):
        yield


@pytest.mark.parametrize("number", [0, 2])
def test_results_come_in_order(number):
    assert list(each(abs, [-3, 1, -2, 0], number)) == [3, 1, 2, 0]


def test_errors_come_back():
    with pytest.raises(ValueError, match="math domain error"):
        list(each(math.sqrt, [1.0, -1.0], 1))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="for POSIX")
def test_workers_end_with_a_process_that_is_killed(tmp_path):
    script, pipe = tmp_path / "script.py", tmp_path / "pipe"
    script.write_text(_KILLED)
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with subprocess.Popen([sys.executable, str(script), str(pipe)]) as parent:
        select.select([reader], [], [], 120)
        worker = int(os.read(reader, 100))
        parent.kill()
    try:
        select.select([reader], [], [], 120)  # until nobody has the other end open
        assert os.read(reader, 100) == b""
    except BlockingIOError:
        os.kill(worker, signal.SIGKILL)
        pytest.fail("the worker lives on")
    finally:
        os.close(reader)


def where(item):
    return item, os.getpid(), torch.get_num_threads()


@pytest.mark.parametrize("seconds", [1, 1000])
def test_little_work_stays_in_the_session(two_threads, seconds):
    done = share(where, [3, 1, 2], seconds)
    assert [item for item, _, _ in done] == [3, 1, 2]
    assert all((pid == os.getpid()) == (seconds == 1) for _, pid, _ in done)
    assert {number for _, _, number in done} == {1}
    assert torch.get_num_threads() == 2


def test_one_thread_has_no_processes(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert {pid for _, pid, _ in share(where, [1, 2], 1000)} == {os.getpid()}


def end_elsewhere(home):
    if os.getpid() != home:
        os._exit(3)
    return "done"


def test_goes_on_alone_where_processes_end(two_threads):
    with pytest.warns(UserWarning, match="processes have ended, going on in one"):
        assert share(end_elsewhere, [os.getpid()] * 2, 1000) == ["done"] * 2


@pytest.mark.parametrize("error", [OSError(38, "no semaphores"), NotImplementedError("too few")])
def test_goes_on_alone_where_no_process_can_start(two_threads, monkeypatch, error):
    def refuse(*_):
        raise error

    monkeypatch.setattr("casa_ddpm.workers._shared", refuse)
    with pytest.warns(UserWarning, match="going on in one: .*(semaphores|too few)"):
        assert share(abs, [-1, -2], 1000) == [1, 2]


def share_two(items):
    with threads(2):
        return share(abs, items, 1000)


def test_a_worker_of_a_pool_has_no_processes():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(share_two, [[-1, -2]]) == [[1, 2]]


def fail(item):
    raise ValueError(f"item {item} is wrong")


def test_errors_come_back_from_shared_work(two_threads):
    with pytest.raises(ValueError, match="item 1 is wrong"):
        share(fail, [1, 2], 1000)


def test_a_script_is_not_run_again(tmp_path):
    script = tmp_path / "recipe.py"
    script.write_text(
        "import torch\nfrom casa_ddpm.workers import share\nprint('recipe')\n"
        "torch.set_num_threads(2)\nprint(share(abs, [-1, -2], 1000))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["recipe", "[1, 2]"]
