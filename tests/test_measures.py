"""CASA finds its measures data offline, and what the user configured stays."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from casa_ddpm import doctor, measures

ROOT = Path(__file__).parent.parent
needs_casa = pytest.mark.skipif(
    not measures.installed("casaconfig"), reason="casaconfig is not installed"
)
needs_data = pytest.mark.skipif(not measures.casadata_path(), reason="casadata is not installed")

STATE = """
import json, sys
from casa_ddpm import measures
argv = list(sys.argv)
path = [measures.configure(), measures.configure()]
from casaconfig import config
print(json.dumps({
    "returned": path, "measurespath": config.measurespath, "datapath": config.datapath,
    "update": [config.measures_auto_update, config.data_auto_update],
    "configured": measures.user_configured(), "same argv": sys.argv == argv,
    "files": config.load_success()[1:],
}))
"""


@pytest.fixture
def run(tmp_path):
    """Run Python code in a new process with its own home; returns the last line, from JSON."""

    def run(code, *arguments, **environment):
        kept = {k: v for k, v in os.environ.items() if k != "CASASITECONFIG"}
        process = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=kept | {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)} | environment,
        )
        assert process.returncode == 0, process.stderr
        return json.loads(process.stdout.splitlines()[-1])

    return run


@needs_casa
@needs_data
def test_nothing_configured_takes_casadata(run):
    state = run(STATE)
    assert state["returned"] == [measures.casadata_path()] * 2
    assert state["measurespath"] == measures.casadata_path()
    assert state["datapath"] == [measures.casadata_path()]
    assert state["update"] == [False, False]


@needs_casa
@pytest.mark.parametrize("line", ["measurespath = '/elsewhere'", "nogui = True"])
def test_users_configuration_stays(run, tmp_path, line):
    (tmp_path / ".casa").mkdir()
    (tmp_path / ".casa" / "config.py").write_text(line)
    state = run(STATE)
    assert state["measurespath"] == (
        "/elsewhere" if "elsewhere" in line else str(tmp_path / ".casa" / "data")
    )
    assert state["update"] == [True, True]
    assert state["configured"]


@needs_casa
def test_site_configuration_stays(run, tmp_path):
    site = tmp_path / "site.py"
    site.write_text("measurespath = '/elsewhere'")
    assert run(STATE, CASASITECONFIG=str(site))["measurespath"] == "/elsewhere"


@needs_casa
def test_attributes_set_by_a_program_stay(run):
    state = run("from casaconfig import config; config.measurespath = '/elsewhere'\n" + STATE)
    assert state["returned"] == ["/elsewhere"] * 2


@needs_casa
def test_data_at_the_default_place_stay(run, tmp_path):
    place = tmp_path / ".casa" / "data"
    (place / measures.ESSENTIAL).mkdir(parents=True)
    assert run(STATE)["returned"] == [str(place)] * 2


@needs_casa
@pytest.mark.parametrize(
    "arguments", [["--co"], ["--config={file}"], ["--conf", "{file}"], ["--no"], ["--configfile"]]
)
def test_other_programs_arguments_are_not_casas(run, tmp_path, arguments):
    file = tmp_path / "not_for_casa.py"
    file.write_text("raise SystemExit('casaconfig has run a file that is not its own')")
    state = run(STATE, *(word.format(file=file) for word in arguments))
    assert state["files"] == []
    assert state["same argv"]


@needs_casa
def test_casas_own_arguments_stay(run, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("measurespath = '/mine'")
    state = run(STATE, "--configfile", str(file), "--other", "3")
    assert state["measurespath"] == "/mine"


def test_casa_arguments():
    argv = ["prog", "--noconfig", "-x", "--configfile=a", "b", "--configfile", "c", "--nositeconf"]
    expected = ["prog", "--noconfig", "--configfile=a", "--configfile", "c"]
    assert measures.casa_arguments(argv) == expected
    assert measures.casa_arguments([]) == []


@pytest.mark.casa
@needs_data
def test_casatools_import_offline(run):
    code = "from casa_ddpm import casa, measures; import casatools, json; "
    code += "print(json.dumps([casatools.ctsys.measurespath(), measures.user_configured()]))"
    assert run(code) == [measures.casadata_path(), True]


# --- casa-ddpm doctor ----------------------------------------------------------------------------


def test_report_names_every_part():
    rows = {name: (state, mend) for name, state, mend in doctor.report()}
    assert rows["torch"][0] and not rows["torch"][1]
    assert rows["device"][0].split(":")[0] in ("cpu", "cuda", "mps")
    for name in ("casatools", "casatasks", "astropy", "photutils", "measures data"):
        assert name in rows
    if measures.installed("casatasks") and measures.casadata_path():
        assert rows["CASA"][0].endswith("imports")
        assert measures.casadata_path() in rows["measures data"][0]


def test_report_without_casa(run):
    code = """
import importlib.metadata, json, sys
from casa_ddpm import doctor, measures
blocked = "casatools casatasks casaconfig casadata six".split()
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
version = importlib.metadata.version
def without(name):
    if name in blocked:
        raise importlib.metadata.PackageNotFoundError(name)
    return version(name)
importlib.metadata.version = without
rows = {name: rest for name, *rest in doctor.report()}
print(json.dumps([rows, doctor.main(), measures.configure()]))
"""
    rows, code, path = run(code)
    assert rows["casatasks"] == ["not installed", "pip install 'casa-ddpm[casa]'"]
    assert rows["measures data"] == ["not needed without CASA", ""]
    assert (code, path) == (1, "")


def test_main_prints_how_to_mend(monkeypatch, capsys):
    rows = [("torch", "2.0", ""), ("casatools", "not installed", "pip install casatools")]
    monkeypatch.setattr(doctor, "report", lambda: rows)
    assert doctor.main() == 1
    out = capsys.readouterr().out
    assert "mend: pip install casatools" in out and "1 of 2 need mending" in out
    monkeypatch.setattr(doctor, "report", lambda: rows[:1])
    assert doctor.main() == 0


def test_casa_by_itself(monkeypatch):
    """Casashell does not know of casadata: the report says so, and how to tell it."""
    failed = subprocess.CompletedProcess([], 1, "", "AutoUpdatesNotAllowed: ...")
    monkeypatch.setattr(doctor, "_run", lambda code: failed)
    monkeypatch.setattr(measures, "casadata_path", lambda: "/data")
    name, state, mend = doctor._casa_alone()
    assert name == "CASA by itself" and not mend
    assert "casashell" in state and "measurespath = '/data'" in state
    monkeypatch.setattr(doctor, "_run", lambda code: subprocess.CompletedProcess([], 0, "", ""))
    assert doctor._casa_alone()[1] == "imports"


@needs_casa
@needs_data
def test_casa_imports_after_the_task(run):
    """A script of self-calibration: the task first, CASA's own tasks after it."""
    code = "from casa_ddpm import ddpmclean; from casatasks import gaincal; print('[1]')"
    assert run(code) == [1]
