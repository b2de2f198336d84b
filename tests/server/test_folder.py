"""The folder of a relay with workers: what the dead left is removed, what is another's is not."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from relay.errors import ConfigError
from relay.server.folder import MARK, own_folder, remove_left

LIVE = """
import sys, tempfile
from relay.server.folder import own_folder
with own_folder() as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where such folders are made."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_goes_with_its_relay_or_with_the_next_one(place: Path) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", LIVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with program:
        assert program.stdout is not None
        other = Path(program.stdout.readline().strip())
        (other / "key.pem").write_text("a secret")
        with own_folder() as mine:
            assert mine.stat().st_mode & 0o077 == 0
            assert {*place.iterdir()} == {mine, other}
            remove_left(place)
            assert {*place.iterdir()} == {mine, other}
        program.kill()
        program.wait()
        assert {*place.iterdir()} == {other}
        with own_folder() as mine:
            assert {*place.iterdir()} == {mine}
    assert not {*place.iterdir()}


def test_what_only_looks_like_one_stays(place: Path) -> None:
    elsewhere = place / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / MARK).touch()
    (place / "relay-link").symlink_to(elsewhere)
    (place / "relay-file").touch()
    (place / "relay-source").mkdir()
    before = {*place.iterdir()}
    with own_folder() as mine:
        assert {*place.iterdir()} == before | {mine}
    assert {*place.iterdir()} == before
    assert (elsewhere / MARK).exists()


def test_nor_is_that_of_another_user_touched(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "relay-theirs").mkdir()
    (place / "relay-theirs" / MARK).touch()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    remove_left(place)
    assert (place / "relay-theirs").exists()


def test_nowhere_to_make_one(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(place / "missing"))
    with (
        pytest.raises(ConfigError, match=r"^server\.workers: .*No such file.*TMPDIR"),
        own_folder(),
    ):
        pass
