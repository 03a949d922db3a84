"""Folders of reports: nothing that exists is written into."""

from __future__ import annotations

import pytest

from casa_ddpm import folders


def test_new_or_empty(tmp_path):
    assert folders.new(str(tmp_path / "a")) == tmp_path / "a"
    assert folders.new(str(tmp_path)) == tmp_path
    assert not (tmp_path / "a").exists()


def test_what_holds_something_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for taken in (tmp_path, tmp_path / "file"):
        with pytest.raises(FileExistsError, match="is not empty and is not overwritten"):
            folders.new(str(taken))
