"""The command line: parsing, dispatch and errors."""

import importlib
import sys
from types import SimpleNamespace

import pytest

import casa_ddpm
from casa_ddpm import arrays, cli
from casa_ddpm.tasks import parameters


@pytest.fixture
def called(monkeypatch):
    """The keyword arguments with which `clean` calls the task."""
    called = {}
    module = importlib.import_module("casa_ddpm.tasks.ddpmclean")
    monkeypatch.setattr(module, "ddpmclean", called.update)
    return called


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-1", -1),
        ("0.5", 0.5),
        ("1e-4", 1e-4),
        ("True", True),
        ("false", False),
        ("[512, 512]", [512, 512]),
        ("['a.ms','b.ms']", ["a.ms", "b.ms"]),
        ("'a b'", "a b"),
        ("target.ms", "target.ms"),
        ("0.1arcsec", "0.1arcsec"),
        ("0:5~61;70~80", "0:5~61;70~80"),
        (">4klambda", ">4klambda"),
        ("", ""),
        ("None", "None"),
        ("{'a': 1}", "{'a': 1}"),
        ("__import__('os')", "__import__('os')"),
    ],
)
def test_values(text, value):
    parsed = cli.parse_value(text)
    assert parsed == value
    assert type(parsed) is type(value)


def test_clean_calls_the_task(called):
    words = ["vis=a.ms", "imagename=2026", "cell=0.1arcsec", "imsize=[512,512]", "field=0"]
    words += ["pbcor=true", "spw=0:3~9", "nsigma=3", "seed=7"]
    assert cli.main(["clean", *words]) == 0
    assert called == {
        "vis": "a.ms",
        "imagename": "2026",
        "cell": "0.1arcsec",
        "imsize": [512, 512],
        "field": "0",
        "pbcor": True,
        "spw": "0:3~9",
        "nsigma": 3,
        "seed": 7,
    }


@pytest.mark.parametrize(
    ("word", "value"),
    [
        # Words: the text itself, unless it is quoted or a list.
        ("spw=0,1", "0,1"),
        ("scan=1,2", "1,2"),
        ("antenna=1,2", "1,2"),
        ("observation=0,1", "0,1"),
        ("timerange=(1)", "(1)"),
        ("field='0,1'", "0,1"),
        ("field=['0','1']", ["0", "1"]),
        ("vis='a.ms','b.ms'", ("a.ms", "b.ms")),
        ("mask=[1pix", "[1pix"),
        ("imagename=007", "007"),
        ("uvtaper=5", "5"),
        # A number where one is taken beside a word.
        ("phasecenter=1", 1),
        ("psfphasecenter=1", 1),
        ("observation=1", 1),
        ("phasecenter=true", "true"),
        ("phasecenter=J2000 1deg 2deg", "J2000 1deg 2deg"),
        # Numbers and anything: literals.
        ("cell=0.1,0.2", (0.1, 0.2)),
        ("imsize=512,256", (512, 256)),
        ("start=3", 3),
    ],
)
def test_values_by_their_types(called, word, value):
    name = word.partition("=")[0]
    assert cli.main(["clean", word]) == 0
    assert called == {name: value} and type(called[name]) is type(value)
    parameters.check(parameters.task().parameters[name], called[name])


def test_every_parameter_of_the_task(called):
    known = parameters.task().parameters
    texts = {n: v if isinstance(v, str) else repr(v) for n, v in parameters.defaults().items()}
    cli.main(["clean", *(f"{name}={text}" for name, text in texts.items())])
    checked = {name: parameters.check(known[name], value) for name, value in called.items()}
    assert checked == parameters.defaults()


def test_value_with_equals_sign(called):
    cli.main(["clean", "mask=circle[[1pix,2pix],r=3]"])
    assert called == {"mask": "circle[[1pix,2pix],r=3]"}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["vis"], "casa-ddpm clean: arguments must be written KEY=VALUE, got 'vis'"),
        (["=3"], "arguments must be written KEY=VALUE, got '=3'"),
        (["seed=1", "seed=2"], "seed must be given once, got it again in 'seed=2'"),
        (["--", "--vis=a.ms"], "ddpmclean has no parameter '--vis'; did you mean 'vis'?"),
        (["viz=a.ms"], "ddpmclean has no parameter 'viz'; did you mean 'vis'?"),
        (["imagename=x"], "exactly one of vis and dirtyimage must be given, got neither"),
        (["vis=none.ms", "imagename=x", "cell=1"], "vis must name an existing MeasurementSet"),
    ],
)
def test_errors_are_one_line(words, text, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["clean", *words]) == 2
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_debug_shows_the_error():
    with pytest.raises(ValueError, match="KEY=VALUE"):
        cli.main(["clean", "vis", "--debug"])


def test_other_errors_name_their_class(monkeypatch, capsys):
    monkeypatch.setattr(arrays, "build", lambda *a: (_ for _ in ()).throw(OSError("disk\nfull")))
    assert cli.main(["arrays", "--casadata", "x"]) == 2
    assert capsys.readouterr().err == "casa-ddpm arrays: OSError: disk full\n"


def test_interrupt(monkeypatch, capsys):
    monkeypatch.setattr(arrays, "build", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
    assert cli.main(["arrays", "--casadata", "x"]) == 130
    assert capsys.readouterr().err == "casa-ddpm: interrupted\n"


def test_parameters_are_explained(capsys):
    assert cli.main(["clean", "--parameters"]) == 0
    assert "nsamples : default 20" in capsys.readouterr().out


def test_demo(monkeypatch):
    calls = []
    demo = SimpleNamespace(run=lambda out, seed: calls.append((out, seed)))
    monkeypatch.setitem(sys.modules, "casa_ddpm.demo", demo)
    monkeypatch.setattr(casa_ddpm, "demo", demo, raising=False)
    assert cli.main(["demo", "--out", "here", "--seed", "4"]) == 0
    assert calls == [("here", 4)]


@pytest.mark.parametrize(("command", "name"), [("train", "training"), ("simulate", "fields")])
def test_commands_of_modules(monkeypatch, command, name):
    seen = []
    module = SimpleNamespace(
        add_arguments=lambda parser: parser.add_argument("--minutes", type=float),
        run=lambda args: seen.append(args.minutes),
    )
    monkeypatch.setitem(sys.modules, f"casa_ddpm.{name}", module)
    assert cli.main([command, "--minutes", "2"]) == 0
    assert seen == [2.0]


def test_exit_code_of_doctor(monkeypatch):
    doctor = SimpleNamespace(main=lambda: 1)
    monkeypatch.setitem(sys.modules, "casa_ddpm.doctor", doctor)
    monkeypatch.setattr(casa_ddpm, "doctor", doctor, raising=False)
    assert cli.main(["doctor"]) == 1


def test_arrays_builds_the_library(tmp_path, capsys):
    lines = "".join(f"{10 * n} {n * n} 0 12 A{n}\n" for n in range(5))
    (tmp_path / "alma.five.cfg").write_text(f"# observatory=ALMA\n# coordsys=LOC\n{lines}")
    out = tmp_path / "arrays.npz"
    assert cli.main(["arrays", "--casadata", str(tmp_path), "--out", str(out)]) == 0
    assert "1 array configurations" in capsys.readouterr().out
    assert out.is_file()


@pytest.mark.parametrize("words", [[], ["paint"], ["clean", "--no-such-option"]])
def test_usage(words, capsys):
    with pytest.raises(SystemExit) as error:
        cli.main(words)
    assert error.value.code == 2
    assert "usage: casa-ddpm" in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit) as error:
        cli.main(["--version"])
    assert error.value.code == 0
    assert capsys.readouterr().out == f"casa-ddpm {casa_ddpm.__version__}\n"


@pytest.mark.parametrize("command", ["clean", "demo", "arrays", "register", "doctor"])
def test_no_option_is_called_config(command):
    parser = cli._parser([command])
    options = parser._subparsers._group_actions[0].choices[command]._option_string_actions
    assert not [option for option in options if option.startswith("--config")]
