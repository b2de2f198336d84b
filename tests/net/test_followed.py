"""Files that are followed: what is a change, and that each is one once."""

from __future__ import annotations

import os
from pathlib import Path

from relay.net.followed import Followed


def test_each_change_is_one_once(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("a")
    other.write_text("b")
    followed = Followed(one, other)
    assert followed.files == (one, other)
    for change in (
        lambda: one.write_text("c"),
        lambda: other.unlink(),
        lambda: other.mkdir(),
        lambda: other.rmdir(),
        lambda: other.write_text("b"),
    ):
        assert not followed.have_changed()
        change()
        assert followed.have_changed()
    assert not followed.have_changed()


def test_what_holds_the_same_has_not_changed(tmp_path: Path) -> None:
    file, fresh = tmp_path / "file", tmp_path / "fresh"
    file.write_text("a")
    followed = Followed(file)
    fresh.write_text("a")
    os.utime(fresh, (1, 1))
    fresh.replace(file)
    assert not followed.have_changed()


def test_what_one_file_gives_to_the_other_is_a_change(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("ab")
    other.write_text("c")
    followed = Followed(one, other)
    one.write_text("a")
    other.write_text("bc")
    assert followed.have_changed()


def test_no_files_never_change() -> None:
    assert not Followed().have_changed()
