"""A run that is killed with SIGKILL and called again ends like one that was not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import checksum

from casa_ddpm import ddpmclean

pytestmark = pytest.mark.casa

#: A run in a process of its own, which says when it begins to write and when it has ended. argv:
#: parameters; a function of casa_ddpm.casa on whose call the process kills itself, or nothing.
WORKER = """
import json, os, signal, sys
from casa_ddpm import ddpmclean, measures
measures.configure()
from casaconfig import config
config.logfile = os.devnull
from casa_ddpm import casa
unfinished = casa.unfinished
def begins(name):
    print("begins", flush=True)
    return unfinished(name)
casa.unfinished = begins
if sys.argv[2]:
    setattr(casa, sys.argv[2], lambda *_: os.kill(os.getpid(), signal.SIGKILL))
ddpmclean(**json.loads(sys.argv[1]))
print("ends", flush=True)
"""
SETTINGS = {
    "imsize": 96, "cell": "0.12arcsec", "device": "cpu", "pbcor": True, "savesamples": True,
    "nsamples": 3, "nsteps": 3, "nmajor": 2,
}  # fmt: skip
#: Of a run's duration, when it is killed.
MOMENTS = np.linspace(0.01, 0.95, 10)


def begin(values, end_in=""):
    """Start a run in a process of its own; returns when it begins to write."""
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, json.dumps(values), end_in],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        cwd=Path(values["imagename"]).parent.parent,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "begins\n"
    return process


def image(path):
    """Pixels, mask and header of an image, but for the memory that CASA found free."""
    from casatools import image as image_tool

    tool = image_tool()
    tool.open(path)
    try:
        info = {key: value for key, value in tool.miscinfo().items() if key != "memavail"}
        header = tool.brightnessunit(), tool.restoringbeam(), info
        return tool.getchunk(), tool.getchunk(getmask=True), header, tool.coordsys().torecord()
    finally:
        tool.done()


def components(path):
    """The components of a list, angles to 13 digits: CASA's last one is not reproducible."""
    from casatools import componentlist

    tool = componentlist()
    tool.open(path)
    try:
        return [_rounded(tool.getcomponent(k)) for k in range(tool.length())]
    finally:
        tool.done()


def _rounded(value):
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return float(f"{value:.12e}") if isinstance(value, float) else value


def assert_same_products(folder, other):
    """All files and images of a folder, bit for bit, but for histories."""
    names = sorted(os.listdir(other))
    assert sorted(os.listdir(folder)) == names
    assert "a.cl" in names and "a.samples" in names and "a.cat.ecsv" in names
    for name in names:
        mine, theirs = str(folder / name), str(other / name)
        if name.endswith(".cl"):
            np.testing.assert_equal(components(mine), components(theirs))
        elif os.path.isdir(mine):
            np.testing.assert_equal(image(mine), image(theirs), err_msg=name)
        else:
            assert Path(mine).read_bytes() == Path(theirs).read_bytes(), name


class Folders:
    """Folders of runs of the same parameters; 'whole' holds an undisturbed one.

    Runs that are `continued` find the products of an earlier one.
    """

    def __init__(self, parent, continued, **values):
        self.parent, self.continued, self.values = parent, continued, values
        if continued:
            ddpmclean(**self.new("earlier"))
        ddpmclean(**self.new("whole"))

    def new(self, name):
        """The parameters of a run in a new folder."""
        if self.continued and name != "earlier":
            shutil.copytree(self.parent / "earlier", self.parent / name)
        else:
            (self.parent / name).mkdir()
        return self.values | {"imagename": str(self.parent / name / "a")}


@pytest.fixture(scope="module")
def small(small_ms, tmp_path_factory):
    fast = {"vis": small_ms.path, "nsamples": 2, "nsteps": 2, "nmajor": 1}
    return Folders(tmp_path_factory.mktemp("small"), True, **(SETTINGS | fast))


def test_killed_while_it_writes(small):
    """The images are the new ones by then, and the earlier catalogue is gone."""
    before = checksum(small.values["vis"])
    values = small.new("killed")
    process = begin(values, end_in="write_components")
    assert process.wait() == -signal.SIGKILL
    assert (small.parent / "killed/a.unfinished").is_dir()
    ddpmclean(**values)
    assert_same_products(small.parent / "killed", small.parent / "whole")
    assert checksum(small.values["vis"]) == before


def test_an_error_at_the_end_leaves_the_earlier_run(small, monkeypatch):
    from casa_ddpm import casa

    values = small.new("failed")
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(casa, "write_history", lambda *_: 1 / 0)
        ddpmclean(**values)
    assert_same_products(small.parent / "failed", small.parent / "earlier")
    ddpmclean(**values)
    assert_same_products(small.parent / "failed", small.parent / "whole")


def timed(values):
    """Seconds that a run takes in a process of its own."""
    process = begin(values)
    started = time.monotonic()
    assert process.stdout.readline() == "ends\n"
    took = time.monotonic() - started
    assert process.wait() == 0
    return took


def is_killed(values, after):
    """Kill a run after some seconds; False if it has ended by itself."""
    process = begin(values)
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.kill()
    return process.wait() == -signal.SIGKILL and process.stdout.read() == ""


@pytest.mark.slow
@pytest.mark.parametrize("continued", [False, True], ids=["new name", "name that exists"])
def test_killed_at_ten_moments(small_ms, tmp_path, continued):
    runs = Folders(tmp_path, continued, vis=small_ms.path, **SETTINGS)
    before = checksum(small_ms.path)
    took = min(timed(runs.new(f"timed{number}")) for number in range(2))
    found = []
    for number, moment in enumerate(MOMENTS):
        after = moment * took
        # A run that ended, on a machine that is now faster, is of no use; nor is one that was
        # killed with all its products final, while it put away what there was before.
        while not is_killed(values := runs.new(f"killed{number}"), after) or (
            moment > 0.5 and not (tmp_path / f"killed{number}" / "a.unfinished").exists()
        ):
            shutil.rmtree(tmp_path / f"killed{number}")
            after *= 0.8
        found.append({path.name for path in (tmp_path / f"killed{number}").iterdir()})
        ddpmclean(**values)
        assert_same_products(tmp_path / f"killed{number}", tmp_path / "whole")
        assert checksum(small_ms.path) == before
    # The moments do differ: in what there was by then, of a new name also in its products.
    assert sum("a.unfinished" in names for names in found) >= 7
    assert len(set(map(frozenset, found))) >= (2 if continued else 3)


@pytest.mark.slow
def test_killed_again_and_again(small_ms, tmp_path):
    """Each run is killed and the next finds what it left."""
    runs = Folders(tmp_path, True, vis=small_ms.path, **SETTINGS)
    took, number = timed(runs.new("timed")), 0
    values = runs.new("killed0")
    while not all(is_killed(values, moment * took) for moment in (0.6, 0.2, 0.4, 0.05)):
        # A run has ended, on a machine that is now faster.
        took, number = 0.7 * took, number + 1
        values = runs.new(f"killed{number}")
    ddpmclean(**values)
    assert_same_products(tmp_path / f"killed{number}", tmp_path / "whole")
