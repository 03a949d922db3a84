"""Programs that run beside this process, and whether they are there."""

import shutil

import pytest

from casa_ddpm import measures
from casa_ddpm.benchmark import programs


def test_a_program_that_fails_is_an_error(tmp_path):
    with pytest.raises(RuntimeError, match=r"sh failed in .*\nno sky today"):
        programs.execute(["/bin/sh", "-c", "echo no sky today; exit 3"], tmp_path)


def test_what_is_missing(monkeypatch):
    monkeypatch.setattr(measures, "installed", lambda name: name == "here")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert programs.missing("here") == ""
    assert (
        programs.missing("here", "away", programs=["wsclean"]) == "away and wsclean not installed"
    )
