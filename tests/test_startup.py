"""The startup file: our lines come once and go without a trace, the rest stays as it is."""

import argparse
import ast
import os
import sys
from types import SimpleNamespace

import pytest

from casa_ddpm import cli, measures, startup

#: What users may have in the file.
CONTENTS = {
    "text": b"import numpy as np\nprint('hello')\n",
    "no line end": b"import numpy as np",
    "empty lines": b"\n\nx = 1\n\n\n",
    "other line ends": b"import numpy as np\r\nx = 1\r\n",
    "future": b"from __future__ import annotations\nx: nothing = 1\n",
    "not utf-8": b"# caf\xe9\nx = 1\n",
    "other block": b"# >>> conda >>>\nx = 1\n# <<< conda <<<\n",
    "half of ours": b"# >>> casa_ddpm >>> and no end\nx = 1\n",
}


@pytest.fixture
def file(tmp_path):
    return tmp_path / "casa" / "startup.py"


def written(file, content):
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    return file


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_added_once_and_removed_without_a_trace(file, content):
    written(file, content)
    assert startup.register(file)
    added = file.read_bytes()
    assert added.startswith(content)
    assert not startup.register(file)
    assert file.read_bytes() == added
    assert added.count(b"from casa_ddpm import ddpmclean") == 1
    assert startup.remove(file)
    assert file.read_bytes() == content
    assert not startup.remove(file)


@pytest.mark.parametrize("name", [n for n in CONTENTS if n not in ("half of ours", "not utf-8")])
def test_file_stays_python(file, name):
    startup.register(written(file, CONTENTS[name]))
    ast.parse(file.read_bytes())


def test_made_and_removed_where_there_is_none(file):
    assert startup.register(file)
    assert [path.name for path in file.parent.iterdir()] == ["startup.py"]
    assert startup.remove(file)
    assert not file.exists()
    assert not startup.remove(file)


@pytest.mark.parametrize("content", [b"x = 1\n", b"x = 1"])
def test_what_was_added_after_our_lines_stays(file, content):
    startup.register(written(file, content))
    with file.open("ab") as stream:
        stream.write(b"y = 2\n")
    assert not startup.register(file)
    startup.remove(file)
    assert file.read_bytes() == b"x = 1\ny = 2\n"


def test_lines_of_another_version_are_replaced(file):
    old = b"# >>> casa_ddpm >>> of old\nimport casa_ddpm\n# <<< casa_ddpm <<<\n"
    written(file, b"x = 1\n\n" + old + b"y = 2\n\n" + old)
    assert startup.register(file)
    assert b"of old" not in file.read_bytes()
    startup.remove(file)
    assert file.read_bytes() == b"x = 1\ny = 2\n"


def test_link_and_permissions_stay(file, tmp_path):
    real = tmp_path / "dotfiles.py"
    real.write_bytes(b"x = 1\n")
    real.chmod(0o600)
    file.parent.mkdir()
    file.symlink_to(real)
    startup.register(file)
    assert file.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o600
    startup.remove(file)
    assert real.read_bytes() == b"x = 1\n"


def test_lines_run_and_say_what_is_missing(file, capsys, monkeypatch):
    startup.register(file)
    names = {}
    exec(file.read_bytes(), names)
    assert repr(names["ddpmclean"]) == "<CASA task ddpmclean>"
    monkeypatch.setitem(sys.modules, "casa_ddpm", None)
    exec(file.read_bytes(), {})
    assert "The task ddpmclean is not there" in capsys.readouterr().out


# --- which file ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (None, "~/.casa/startup.py"),
        (SimpleNamespace(), "~/.casa/startup.py"),
        (SimpleNamespace(startupfile="/some/where/mine.py"), "/some/where/mine.py"),
    ],
)
def test_path_is_what_casa_is_configured_for(config, expected, monkeypatch):
    monkeypatch.setattr(measures, "casa_config", lambda: config)
    assert str(startup.path()) == os.path.expanduser(expected)


def test_no_startup_file_is_an_error(monkeypatch):
    monkeypatch.setattr(measures, "casa_config", lambda: SimpleNamespace(startupfile=None))
    with pytest.raises(ValueError, match="startupfile must be a path in CASA's config.py, got no"):
        startup.path()


def test_command(file, capsys):
    words = ["register", "--startupfile", str(file)]
    said = [f"ddpmclean is {what} {file}" for what in ("added to", "in", "taken out of", "not in")]
    for more in ([], [], ["--remove"], ["--remove"]):
        assert cli.main([*words, *more]) == 0
    assert capsys.readouterr().out.splitlines() == said


def test_command_takes_casas_file(file, monkeypatch):
    monkeypatch.setattr(measures, "casa_config", lambda: SimpleNamespace(startupfile=str(file)))
    startup.run(argparse.Namespace(startupfile="", remove=False))
    assert file.exists()
