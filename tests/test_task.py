"""The callable object ddpmclean: signature, help, order of checks and CASA's task logging."""

import importlib
import inspect
import sys
from types import SimpleNamespace

import pytest

import casa_ddpm
import casa_ddpm.tasks
from casa_ddpm.tasks import ddpmclean, parameters

module = importlib.import_module("casa_ddpm.tasks.ddpmclean")


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """What the task logs and runs, with CASA and the task's body replaced."""
    (tmp_path / "a.ms").mkdir()
    (tmp_path / "a.ms" / "table.dat").touch()
    monkeypatch.chdir(tmp_path)
    calls = []
    log = SimpleNamespace(
        start_log=lambda name, arguments: calls.append(("start", name, arguments)) or "state",
        end_log=lambda state, name, result: calls.append(("end", state, result)),
        except_log=lambda name, error: calls.append(("error", name, str(error))),
    )
    body = SimpleNamespace(ddpmclean=lambda **values: calls.append(("run", values)) or {"done": 1})
    monkeypatch.setattr(module, "_task_logging", lambda: log)
    monkeypatch.setitem(sys.modules, "casa_ddpm.tasks.task_ddpmclean", body)
    return calls


def test_one_object_under_both_names():
    assert casa_ddpm.ddpmclean is ddpmclean


def test_signature():
    signature = inspect.signature(ddpmclean)
    assert list(signature.parameters) == list(parameters.task().parameters)
    assert {n: p.default for n, p in signature.parameters.items()} == parameters.defaults()


def test_help_describes_every_parameter():
    for parameter in parameters.task().parameters.values():
        assert f"\n{parameter.name} : default {parameter.default!r}\n" in ddpmclean.__doc__


def test_runs_between_begin_and_end(calls):
    result = ddpmclean(vis="a.ms", imagename="out", cell=1, nsamples=3)
    assert result == {"done": 1}
    assert [call[0] for call in calls] == ["start", "run", "end"]
    assert "nsamples=3" in calls[0][2]
    assert calls[1][1] == parameters.validate(
        {"vis": "a.ms", "imagename": "out", "cell": 1, "nsamples": 3}
    )
    assert calls[2] == ("end", "state", {"done": 1})


def test_positions_are_tcleans(calls):
    ddpmclean("a.ms", True, "0", imagename="out", cell=1)
    assert calls[1][1]["field"] == "0"


def test_error_is_logged_and_raised(calls, monkeypatch):
    def fail(**values):
        raise RuntimeError("no memory")

    body = SimpleNamespace(ddpmclean=fail)
    monkeypatch.setitem(sys.modules, "casa_ddpm.tasks.task_ddpmclean", body)
    with pytest.raises(RuntimeError, match="no memory"):
        ddpmclean(vis="a.ms", imagename="out", cell=1)
    assert [call[0] for call in calls] == ["start", "error", "end"]


def test_errors_before_work(calls):
    with pytest.raises(ValueError, match="exactly one of vis and dirtyimage"):
        ddpmclean(imagename="out")
    assert calls == []


@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [
        (("a.ms",), {"vis": "b.ms"}, "vis must be given once, got it by position and by name"),
        (("",) * 200, {}, "ddpmclean takes at most 108 parameters, got 200"),
        ((), {"nsample": 3}, "no parameter 'nsample'; did you mean 'nsamples'"),
    ],
)
def test_wrong_arguments(calls, args, kwargs, text):
    with pytest.raises(TypeError, match=text):
        ddpmclean(*args, **kwargs)


def test_without_casa(tmp_path, monkeypatch):
    (tmp_path / "dirty.fits").touch()
    monkeypatch.chdir(tmp_path)
    for name in [n for n in sys.modules if n.split(".")[0] == "casatasks"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "casatasks", None)
    with pytest.raises(ImportError, match=r"'casatasks' is not installed: pip install 'casa-ddpm"):
        ddpmclean(dirtyimage="dirty.fits", imagename="out")
