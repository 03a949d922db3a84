"""ddpmclean as a task of CASA's shell: with a stand-in for the shell, and in a real one."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import casa_ddpm
from casa_ddpm import measures
from casa_ddpm.tasks import ddpmclean, inputs, parameters, session


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """A stand-in for the shell: its globals, which task is active, and the extra modules."""
    shell = SimpleNamespace(names={"os": os}, state={"last": None}, extra_task_modules=[])
    stack = SimpleNamespace(
        find_frame=lambda: shell.names, find_local={"casa_inp_go_state": shell.state}.get
    )
    monkeypatch.setitem(sys.modules, "casashell", shell)
    monkeypatch.setitem(sys.modules, "casashell.private.stack_manip", stack)
    monkeypatch.chdir(tmp_path)
    return shell


# --- what a call means ---------------------------------------------------------------------------


def test_outside_of_a_shell_a_call_is_as_written():
    assert session.namespace() is None
    assert session.given({"vis": "a.ms", "seed": None}) == {"vis": "a.ms", "seed": None}


def test_without_arguments_the_globals_are_meant(shell):
    shell.names |= {"vis": "a.ms", "usemask": "pb"}
    expected = parameters.defaults() | {"vis": "a.ms", "usemask": "pb"}
    assert session.given({}) == expected | {"uvtaper": [], "pbmask": 0.2}
    assert session.given({"vis": None}) == session.given({})


def test_with_arguments_the_globals_do_not_count(shell):
    shell.names |= {"vis": "a.ms", "nsamples": 3}
    values = session.given({"vis": "b.ms", "seed": None})
    assert (values["vis"], values["nsamples"], values["seed"]) == ("b.ms", 20, 0)


def test_unknown_names_are_left_to_the_check(shell):
    with pytest.raises(TypeError, match="no parameter 'nsample'; did you mean 'nsamples'"):
        ddpmclean(vis="a.ms", nsample=3)


def test_a_run_takes_the_globals_and_writes_last(shell, monkeypatch):
    Path("a.ms").mkdir()
    Path("a.ms/table.dat").touch()
    body = SimpleNamespace(ddpmclean=lambda **values: {"values": values})
    log = SimpleNamespace(start_log=lambda *a: 0, end_log=lambda *a: 0, except_log=lambda *a: 0)
    monkeypatch.setattr(sys.modules[type(ddpmclean).__module__], "_task_logging", lambda: log)
    monkeypatch.setitem(sys.modules, "casa_ddpm.tasks.task_ddpmclean", body)
    shell.names |= {"vis": "a.ms", "imagename": "x", "cell": 1, "nsamples": 3}
    result = ddpmclean()
    assert result["values"]["nsamples"] == 3
    assert inputs.load("ddpmclean.last") == result["values"]


def test_a_run_that_is_refused_leaves_last_alone(shell):
    with pytest.raises(ValueError, match="exactly one of vis and dirtyimage"):
        ddpmclean()
    assert not Path("ddpmclean.last").exists()


def test_last_that_cannot_be_written_is_said(shell, capsys):
    Path("ddpmclean.last").mkdir()
    session.remember("ddpmclean", {"seed": 1})
    assert "ddpmclean.last is not written" in capsys.readouterr().out


def test_plain_python_writes_no_last(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    session.remember("ddpmclean", {"seed": 1})
    assert not list(tmp_path.iterdir())


# --- the verbs -----------------------------------------------------------------------------------


def test_inp_shows_the_globals(shell, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    shell.names["seed"] = 7
    ddpmclean.inp()
    assert capsys.readouterr().out == inputs.screen({"seed": 7}, 100) + "\n"


def test_default_forgets_the_parameters_only(shell):
    shell.names |= {"vis": "a.ms", "savesamples": True}
    ddpmclean.set_global_defaults()
    assert shell.names == {"os": os}
    assert shell.state["last"] is ddpmclean


def test_tput_and_tget(shell):
    shell.names |= {"vis": "a.ms", "nsamples": 3}
    ddpmclean.tput()
    ddpmclean.tput("mine.par")
    ddpmclean.set_global_defaults()
    shell.state["last"] = None
    ddpmclean.tget()
    assert (shell.names["vis"], shell.names["nsamples"]) == ("a.ms", 3)
    assert shell.state["last"] is ddpmclean
    shell.names["nsamples"] = 5
    ddpmclean.tget("mine.par")
    assert shell.names["nsamples"] == 3
    assert set(shell.names) == {"os", *parameters.task().parameters}


def test_tget_falls_back_to_saved(shell):
    inputs.save("ddpmclean.saved", {"seed": 4})
    ddpmclean.tget()
    assert shell.names["seed"] == 4


def test_tget_without_a_file_sets_the_defaults(shell, capsys):
    shell.names["seed"] = 4
    ddpmclean.tget()
    assert "seed" not in shell.names
    assert "no file ddpmclean.last or ddpmclean.saved" in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["inp", "set_global_defaults", "tget", "tput"])
def test_verbs_need_the_shell(verb, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inputs.save("ddpmclean.last", {})
    with pytest.raises(RuntimeError, match="must be used in CASA's shell; in Python call the task"):
        getattr(ddpmclean, verb)()


# --- how the shell gets the task -----------------------------------------------------------------


def test_offered_once(shell):
    session.offer(ddpmclean)
    session.offer(ddpmclean)
    assert shell.names["ddpmclean"] is ddpmclean
    assert shell.extra_task_modules == [casa_ddpm.tasks]
    assert casa_ddpm.tasks.ddpmclean._info_group_ == "imaging"


def test_offer_takes_no_name_that_is_the_users(shell):
    shell.names["ddpmclean"] = "mine"
    session.offer(ddpmclean)
    assert shell.names["ddpmclean"] == "mine"


def test_shell_is_not_imported(tmp_path):
    code = "import sys, casa_ddpm.tasks; print([m for m in sys.modules if 'casa' in m])"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    ).stdout
    assert "casa_ddpm.tasks.session" in found
    assert not re.search(r"'casa(shell|tools|tasks|config)", found)


# --- in CASA's shell -----------------------------------------------------------------------------

needs_shell = [
    pytest.mark.casa,
    pytest.mark.skipif(not measures.installed("casashell"), reason="casashell is not installed"),
]

RUN = """
ddpmclean.inp()
vis, imagename, imsize, cell = VIS, 'first', 64, '0.12arcsec'
nsamples, nsteps, nmajor, device = 2, 2, 1, 'cpu'
print('== inp')
inp ddpmclean
usemask = 'pb'
print('== bare inp')
inp
usemask = 'user'
print('== go')
go
print('== default')
default ddpmclean
print('vis' in globals(), 'nsamples' in globals())
print('== tget')
tget ddpmclean
print(imagename, nsamples, type(inp))
print('== bad')
nsamples = 0
inp(ddpmclean)
go ddpmclean
print('== tput')
tput ddpmclean
tput ddpmclean, 'mine.par'
print('== call')
r = ddpmclean(vis=vis, imagename='second', imsize=imsize, cell=cell, niter=0)
print(sorted(r['ddpm']))
print('== other task')
inp tclean
print('== bare inp again')
inp
print('== taskhelp')
taskhelp
print('== help')
help ddpmclean
print('== import')
from casa_ddpm import ddpmclean
print(ddpmclean)
print('== end')
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home whose CASA takes the measures data of these tests and a startup file of its own."""
    home = tmp_path_factory.mktemp("home")
    data = measures.configure()
    (home / "site.py").write_text(
        f"measurespath = {data!r}\ndatapath = [{data!r}]\n"
        "measures_auto_update = data_auto_update = False\n"
        f"startupfile = {str(home / 'casa' / 'start.py')!r}\n"
    )
    return home


def execute(words, home, folder, typed=""):
    """Run a Python command line with that home, and return what it prints."""
    import matplotlib

    environment = os.environ | {
        "HOME": str(home),
        "CASASITECONFIG": str(home / "site.py"),
        "COLUMNS": "100",
        "MPLCONFIGDIR": matplotlib.get_cachedir(),  # or else it looks for all fonts again
    }
    done = subprocess.run(
        [sys.executable, "-m", *words], input=typed, env=environment, cwd=folder,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


CASA = "casashell --nologger --nogui --agg --nologfile --colors NoColor".split()


@pytest.fixture(scope="module")
def transcript(home, small_ms, tmp_path_factory):
    """What a registered session prints, by the parts of `RUN`, and its folder."""
    folder = tmp_path_factory.mktemp("session")
    said = execute(["casa_ddpm", "register"], home, folder)
    assert said == f"ddpmclean is added to {home / 'casa' / 'start.py'}\n"
    printed = execute(CASA, home, folder, RUN.replace("VIS", repr(small_ms.path)))
    parts = re.split(r"== (.*)\n", printed)
    return dict(zip(["start", *parts[1::2]], parts[::2], strict=True)), folder


class TestSession:
    """One session, typed at the prompt."""

    pytestmark = needs_shell

    def test_startup(self, transcript):
        assert "# ddpmclean -- Image reconstruction" in transcript[0]["start"]

    def test_inp_typed(self, transcript):
        assert "\033[34m'first'" in transcript[0]["inp"]
        assert "\033[34m64" in transcript[0]["inp"]
        assert "\033[91m" not in transcript[0]["inp"]

    def test_bare_inp_typed(self, transcript):
        shown = transcript[0]["bare inp"]
        assert "\033[34m'pb'" in shown
        assert re.search(r"pbmask +=\S+ 0.2 ", shown)
        assert "mask " not in re.findall(r"92m(mask +)=", shown)

    def test_go(self, transcript):
        parts, folder = transcript
        assert "'stopcode'" in parts["go"]
        assert "Error" not in parts["go"]
        assert {"first.image", "first.cat.ecsv"} <= {p.name for p in folder.iterdir()}

    def test_default(self, transcript):
        assert "False False" in transcript[0]["default"]

    def test_tget_reads_last(self, transcript):
        assert "first 2 " in transcript[0]["tget"]

    def test_bad_value(self, transcript):
        assert re.search(r"nsamples +=\s\x1b\[91m0 ", transcript[0]["bad"])
        assert "ValueError: nsamples must be at least 1, got 0" in transcript[0]["bad"]

    def test_tput(self, transcript):
        saved = inputs.load(transcript[1] / "mine.par")
        assert (saved["nsamples"], saved["imagename"]) == (0, "first")

    def test_call_with_arguments(self, transcript):
        parts, folder = transcript
        assert "['imagename', 'seconds']" in parts["call"]
        assert (folder / "second.psf").exists()
        last = inputs.load(folder / "ddpmclean.last")
        assert (last["imagename"], last["nsamples"], last["niter"]) == ("second", 20, 0)

    def test_active_task_is_the_shells(self, transcript):
        assert "# tclean --" in transcript[0]["bare inp again"]

    def test_taskhelp(self, transcript):
        assert f"ddpmclean : {parameters.task().summary}" in transcript[0]["taskhelp"]

    def test_help(self, transcript):
        assert "nsamples : default 20" in transcript[0]["help"]

    def test_import_by_name(self, transcript):
        assert "<CASA task ddpmclean>" in transcript[0]["import"]

    def test_import_is_enough(self, transcript, home):
        code = ["import casa_ddpm", "inp('ddpmclean')"]
        printed = execute([*CASA, "--nostartupfile", "-c", *code], home, transcript[1])
        assert "# ddpmclean -- Image reconstruction" in printed
