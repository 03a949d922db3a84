"""The journal: whatever ends a run, and whenever, its products are new or as before."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from pathlib import Path

import pytest

pytestmark = pytest.mark.casa

#: What an earlier run has left: folders as CASA's images are, and a file.
EARLIER = (".psf", ".model", ".image", ".prob", ".cat.ecsv", ".png")
#: What takes part in making and taking back a journal: a process can die before each of these.
STEPS = (
    (os, "mkdir"), (os, "rename"), (os, "unlink"), (os, "rmdir"), (shutil, "copyfile"),
    (Path, "write_text"),
)  # fmt: skip


class Killed(BaseException):
    """Stands for SIGKILL: nothing works afterwards, so no handler can mend anything."""


@pytest.fixture
def journal():
    from casa_ddpm.casa import journal

    return journal


@pytest.fixture
def kill(monkeypatch):
    """kill(n) makes the process die before its n-th step; kill(None) revives it."""

    def at(step):
        monkeypatch.undo()
        left = [step]

        def dying(function):
            def wrapped(*args, **kwargs):
                if left[0] == 0:
                    raise Killed
                left[0] -= 1
                return function(*args, **kwargs)

            return wrapped

        for module, name in STEPS if step is not None else ():
            monkeypatch.setattr(module, name, dying(getattr(module, name)))

    return at


def write(name, suffix, text):
    """A product: a folder with a file, or a file."""
    path = Path(name + suffix)
    if suffix in (".cat.ecsv", ".png"):
        path.write_text(text)
    else:
        path.mkdir(exist_ok=True)
        (path / "table.f0").write_text(text)


def earlier(name, suffixes=EARLIER):
    """Leave an earlier run's products in an empty folder, beside files that are not ours."""
    shutil.rmtree(os.path.dirname(name), ignore_errors=True)
    os.makedirs(os.path.dirname(name))
    for suffix in suffixes:
        write(name, suffix, f"earlier {suffix}")
    for other in (".ms", "_2.model"):
        write(name, other, "not ours")


def run(journal, name):
    """Do as the task does: go on from the model, write in place, replace, make new."""
    with journal.unfinished(name) as kept:
        old = Path(name + ".model/table.f0")
        start = old.read_text() if old.exists() else "nothing"
        for suffix in (".psf", ".residual", ".work.temp", ".model", ".mask"):
            write(name, suffix, f"half {suffix}")
            write(name, suffix, f"new {suffix} from {start}")
        shutil.rmtree(name + ".work.temp")
        kept.replace(".image", ".image.pbcor")
        write(name, ".image", "new image")
        kept.replace(".prob", ".samples", ".cat.ecsv", ".png")
        for suffix in (".prob", ".cat.ecsv"):
            write(name, suffix, f"new {suffix}")


def tree(name):
    """All files under the folder of a prefix and what is in them, but the lock."""
    folder = Path(name).parent
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {path: file.read_text() for path, file in files.items() if not path.endswith(".lock")}


def undisturbed(journal, name, suffixes=EARLIER):
    """The files before and after a run."""
    earlier(name, suffixes)
    before = tree(name)
    run(journal, name)
    return before, tree(name)


@pytest.mark.parametrize("suffixes", [(), EARLIER], ids=["new name", "name that exists"])
def test_a_kill_at_any_step_is_made_good(journal, kill, tmp_path, suffixes):
    name = str(tmp_path / "f" / "a")
    before, after = undisturbed(journal, name, suffixes)
    for step in range(1000):
        earlier(name, suffixes)
        kill(step)
        try:
            run(journal, name)
        except Killed:
            kill(None)
        else:
            break
        taken = journal.taken_back(name)
        left = {p: t for p, t in tree(name).items() if ".unfinished.part" not in p}
        # The last steps are after the end: the products are the new ones.
        assert left == before or (left == after and not taken), step
        if left == before:
            run(journal, name)
        assert {p: t for p, t in tree(name).items() if ".unfinished" not in p} == after, step
    assert 30 < step < 1000


def test_a_kill_while_taking_back_is_made_good(journal, kill, tmp_path):
    name = str(tmp_path / "f" / "a")
    before, after = undisturbed(journal, name)
    for step in range(1000):
        earlier(name)
        with pytest.raises(Killed), journal.unfinished(name) as kept:
            for suffix in (".model", ".psf", ".weight", ".work.temp"):
                write(name, suffix, "half")
            kept.replace(".image", ".png")
            write(name, ".image", "half")
            kill(0)
            raise Killed
        kill(step)
        try:
            assert journal.taken_back(name)
        except Killed:
            kill(None)
        else:
            break
        run(journal, name)
        assert tree(name) == after, step
    kill(None)
    assert 10 < step < 1000
    assert tree(name) == before


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("suffixes", [(), EARLIER], ids=["new name", "name that exists"])
def test_an_exception_leaves_all_as_it_was(journal, tmp_path, error, suffixes):
    name = str(tmp_path / "f" / "a")
    earlier(name, suffixes)
    before = tree(name)
    with pytest.raises(error), journal.unfinished(name) as kept:
        for suffix in (".psf", ".residual", ".model", ".samples", ".prev.mask"):
            write(name, suffix, "half")
        kept.replace(".image", ".samples", ".cat.ecsv")
        write(name, ".image", "half")
        raise error
    assert tree(name) == before
    assert sorted(os.listdir(tmp_path / "f")) == sorted({path.split("/")[0] for path in before})


def test_nothing_is_left_beside_the_products(journal, tmp_path):
    name = str(tmp_path / "f" / "a")
    earlier(name)
    run(journal, name)
    assert not [path for path in os.listdir(tmp_path / "f") if "unfinished" in path]


def test_products_that_are_not_replaced_stay(journal, tmp_path):
    name = str(tmp_path / "f" / "a")
    earlier(name)
    before = tree(name)
    with journal.unfinished(name):
        pass
    assert tree(name) == before


def test_a_folder_is_made_and_goes_again(journal, tmp_path):
    name = str(tmp_path / "new" / "a")
    with pytest.raises(ValueError), journal.unfinished(name):
        raise ValueError
    assert not os.listdir(tmp_path)
    with journal.unfinished(name):
        write(name, ".psf", "new")
    assert os.listdir(tmp_path / "new") == ["a.psf"]


def test_the_name_may_be_relative_and_the_folder_change(journal, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    earlier(str(tmp_path / "f" / "a"))
    before = tree(str(tmp_path / "f" / "a"))
    with pytest.raises(ValueError), journal.unfinished("f/a") as kept:
        os.chdir("elsewhere")
        kept.replace(".image")
        raise ValueError
    assert tree(str(tmp_path / "f" / "a")) == before


def test_a_product_may_be_a_link(journal, tmp_path):
    """Replaced, the link goes and comes back; what it points to is left alone."""
    name = str(tmp_path / "f" / "a")
    earlier(name, ())
    write(str(tmp_path / "far"), ".image", "far")
    os.symlink(tmp_path / "far.image", name + ".image")
    with pytest.raises(ValueError), journal.unfinished(name) as kept:
        kept.replace(".image")
        write(name, ".image", "half")
        raise ValueError
    assert os.readlink(name + ".image") == str(tmp_path / "far.image")
    assert Path(name + ".image/table.f0").read_text() == "far"


def test_replacing_twice_keeps_the_first(journal, tmp_path):
    name = str(tmp_path / "f" / "a")
    earlier(name)
    before = tree(name)
    with pytest.raises(ValueError), journal.unfinished(name) as kept:
        for _ in range(3):
            kept.replace(".image", ".png")
            write(name, ".image", "half")
            write(name, ".png", "half")
        raise ValueError
    assert tree(name) == before


def test_a_name_in_use_is_refused(journal, tmp_path):
    """The second does not take the first one's products for those of a run that was killed."""
    name = str(tmp_path / "f" / "a")
    earlier(name)
    with journal.unfinished(name):
        write(name, ".model", "half")
        text = f"is being written by process {os.getpid()} on .*another imagename"
        with pytest.raises(RuntimeError, match=text), journal.unfinished(name):
            pass
        assert Path(name + ".model/table.f0").read_text() == "half"
        with journal.unfinished(name + "_2"):
            pass
    run(journal, name)


def test_where_files_cannot_be_locked(journal, tmp_path, monkeypatch):
    """As on some network file systems: it works, with a warning."""
    said = []

    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    monkeypatch.setattr(journal, "log", lambda *message: said.append(message))
    with journal.unfinished(str(tmp_path / "a")):
        pass
    assert not os.listdir(tmp_path)
    assert any("cannot be locked" in text and "WARN" in rest for text, *rest in said)


def test_the_log_says_what_is_taken_back(journal, kill, tmp_path, monkeypatch):
    name = str(tmp_path / "f" / "a")
    earlier(name)
    with pytest.raises(Killed), journal.unfinished(name):
        write(name, ".weight", "half")
        kill(0)
        raise Killed
    kill(None)
    said = []
    monkeypatch.setattr(journal, "log", lambda *message: said.append(message))
    assert journal.taken_back(name) and not journal.taken_back(name)
    [(text, priority)] = said
    assert priority == "WARN"
    assert "did not finish" in text and "Removed: a.weight." in text and "a.model" in text


def test_a_folder_of_that_name_that_is_no_journal(journal, tmp_path):
    name = str(tmp_path / "f" / "a")
    earlier(name)
    os.mkdir(name + ".unfinished")
    before = tree(name)
    text = "must be the journal of a run of ddpmclean"
    with pytest.raises(ValueError, match=text), journal.unfinished(name):
        pass
    assert tree(name) == before


def test_counting_up_passes_over_a_run_that_was_killed(tmp_path):
    """All of its products may lie in the journal."""
    from casa_ddpm.casa import next_name

    name = str(tmp_path / "a")
    os.mkdir(name + ".unfinished")
    assert next_name(name) == name + "_2"
