"""Files of keys that are replaced, broken, mended and removed while they are watched."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from relay.auth import keys as keymaking
from relay.auth.keys import Key, KeySet
from relay.errors import ConfigError
from relay.keyring import files
from relay.keyring.files import MISSED, KeyFile, KeyFolder

Keys = dict[str, Key]


class Log:
    """Remembers what was said."""

    def __init__(self) -> None:
        self.said: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, event: str, **facts: Any) -> None:
        self.said.append((event, facts))

    def events(self) -> list[str]:
        return [event for event, _ in self.said]


@pytest.fixture
def log() -> Log:
    return Log()


def kids(source: KeyFile | KeyFolder) -> list[str | None]:
    return [key.kid for key in source.keys.keys]


def watched(tmp_path: Path, key: Key, log: Log) -> tuple[Path, KeyFile]:
    path = tmp_path / "key.jwk"
    path.write_bytes(key.dump())
    source = KeyFile(str(path), 100.0, log)
    source.load(0.0)
    return path, source


def test_a_file_as_it_is(tmp_path: Path, keys: Keys, log: Log) -> None:
    _, source = watched(tmp_path, keys["one"], log)
    before = source.keys
    source.look(1.0)
    source.look(2.0)
    assert source.keys is before
    assert before.single
    assert (source.problem, source.confirmed, source.failures) == (None, 2.0, 0)
    assert not log.said


def test_an_old_file_is_not_read_again(tmp_path: Path, keys: Keys, log: Log) -> None:
    path, source = watched(tmp_path, keys["one"], log)
    os.utime(path, (1000, 1000))
    source.look(1.0)
    read = source.fetches
    for now in range(2, 9):
        source.look(now)
    assert source.fetches == read
    path.write_bytes(keys["two"].dump())
    source.look(9.0)
    assert kids(source) == ["two"]


def test_a_change_that_hides_behind_its_time_stamp(
    tmp_path: Path, keys: Keys, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, source = watched(tmp_path, keys["one"], log)
    frozen = files._signature(str(path))
    monkeypatch.setattr(files, "_signature", lambda path: frozen)
    source.look(1.0)
    path.write_bytes(keys["two"].dump())
    source.look(2.0)
    assert kids(source) == ["two"]


@pytest.mark.parametrize("how", ["in place", "renamed over", "linked"])
def test_a_new_key(tmp_path: Path, keys: Keys, log: Log, how: str) -> None:
    path, source = watched(tmp_path, keys["one"], log)
    if how == "in place":
        path.write_bytes(keys["two"].dump())
    elif how == "renamed over":
        (tmp_path / "new").write_bytes(keys["two"].dump())
        (tmp_path / "new").rename(path)
    else:
        (tmp_path / "new").write_bytes(keys["two"].dump())
        path.unlink()
        path.symlink_to(tmp_path / "new")
    source.look(1.0)
    assert kids(source) == ["two"]


@pytest.mark.parametrize("broken", [b"", b"{", b'{"kty":"oct"}', b"x" * (2 << 20)])
def test_a_broken_file_keeps_its_keys_for_a_while(
    tmp_path: Path, keys: Keys, log: Log, broken: bytes
) -> None:
    path, source = watched(tmp_path, keys["one"], log)
    path.write_bytes(broken)
    for now in range(1, 100):
        source.look(now)
    assert kids(source) == ["one"]
    assert log.events() == ["key file not usable"]
    assert source.problem
    assert source.confirmed == 0.0
    for now in range(100, 105):
        source.look(now)
    assert kids(source) == []
    assert log.events() == ["key file not usable", "keys forgotten"]
    path.write_bytes(keys["one"].dump())
    source.look(106.0)
    assert kids(source) == ["one"]
    assert log.events()[2:] == ["key file readable again"]
    assert source.problem is None


def test_a_file_is_missed_before_it_is_gone(tmp_path: Path, keys: Keys, log: Log) -> None:
    path, source = watched(tmp_path, keys["one"], log)
    before = source.keys
    path.unlink()
    for now in range(MISSED - 1):
        source.look(now)
        assert source.keys is before
    path.write_bytes(keys["one"].dump())
    source.look(2.0)
    assert source.keys is before
    assert not log.said
    path.unlink()
    for now in range(MISSED):
        source.look(now)
    assert kids(source) == []
    assert source.gone
    assert log.events() == ["keys forgotten"]
    path.write_bytes(keys["one"].dump())
    source.look(9.0)
    assert kids(source) == ["one"]
    assert not source.gone


def test_what_stops_the_start(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "bad.jwk").write_text("{}")
    for name, words in (
        ("none.jwk", "No such file"),
        (".", "not a file"),
        ("pipe", "not a file"),
        ("bad.jwk", "no usable key"),
    ):
        with pytest.raises(ConfigError, match=words) as caught:
            KeyFile(str(tmp_path / name), 1.0).load(0.0)
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="No such file"):
        KeyFolder(str(tmp_path / "none"), 1.0).load(0.0)
    with pytest.raises(ConfigError, match="Not a directory"):
        KeyFolder(str(tmp_path / "bad.jwk"), 1.0).load(0.0)


def file(folder: Path, key: Key, name: str | None = None) -> None:
    (folder / f"{name or key.kid}.jwk").write_bytes(key.dump())


def test_a_folder(tmp_path: Path, keys: Keys, log: Log) -> None:
    for name in ("one", "two"):
        file(tmp_path, keys[name])
    (tmp_path / "README").write_text("hello")
    (tmp_path / ".one.jwk").write_text("an editor was here")
    source = KeyFolder(str(tmp_path), 100.0, log)
    source.load(0.0)
    assert kids(source) == ["one", "two"]
    before = source.keys
    source.look(1.0)
    assert source.keys is before
    file(tmp_path, keys["three"])
    source.look(2.0)
    assert kids(source) == ["one", "two", "three"]
    (tmp_path / "one.jwk").unlink()
    source.look(3.0)
    assert "one" in kids(source)
    source.look(4.0)
    assert kids(source) == ["two", "three"]
    assert log.events() == ["keys forgotten"]
    assert source.confirmed == 4.0


def test_a_file_must_hold_the_key_it_is_named_after(tmp_path: Path, keys: Keys, log: Log) -> None:
    file(tmp_path, keys["one"])
    file(tmp_path, keys["two"], "other")
    (tmp_path / "both.jwk").write_bytes(
        b'{"keys":[%s,%s]}' % (keys["one"].dump(), keys["two"].dump())
    )
    (tmp_path / "a b.jwk").write_bytes(keys["three"].dump())
    (tmp_path / "nameless.jwk").write_bytes(keys["four"].dump().replace(b'"kid":"four",', b""))
    source = KeyFolder(str(tmp_path), 100.0, log)
    source.load(0.0)
    assert kids(source) == ["nameless", "one"]
    why = " ".join(str(facts["why"]) for _, facts in log.said)
    assert "its kid is two" in why
    assert "2 keys instead of one" in why
    assert "its name is no key id" in why
    source.look(1.0)
    assert len(log.said) == 3
    file(tmp_path, keys["three"], "three")
    source.look(2.0)
    assert "three" in kids(source)


def test_a_folder_that_cannot_be_listed_is_missed_like_its_files(
    tmp_path: Path, keys: Keys, log: Log
) -> None:
    folder = tmp_path / "keys"
    folder.mkdir()
    file(folder, keys["one"])
    source = KeyFolder(str(folder), 100.0, log)
    source.load(0.0)
    folder.rename(tmp_path / "away")
    source.look(1.0)
    assert kids(source) == ["one"]
    assert source.problem
    (tmp_path / "away").rename(folder)
    source.look(2.0)
    assert kids(source) == ["one"]
    assert source.problem is None
    assert log.events() == ["key folder not readable", "key folder readable again"]
    folder.rename(tmp_path / "away")
    for now in (3.0, 4.0):
        source.look(now)
    assert kids(source) == []


def test_a_folder_has_a_ceiling(
    tmp_path: Path, keys: Keys, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_FOLDER", 2)
    for name in ("one", "two", "three"):
        file(tmp_path, keys[name])
    source = KeyFolder(str(tmp_path), 100.0, log)
    source.load(0.0)
    assert kids(source) == ["one", "three"]
    assert [facts["why"] for _, facts in log.said] == ["too many keys"]


def test_a_folder_takes_what_a_file_takes(tmp_path: Path, secret: Key) -> None:
    (tmp_path / "secret.jwk").write_bytes(secret.dump(base64=True))
    source = KeyFolder(str(tmp_path), 100.0)
    source.load(0.0)
    (key,) = source.keys.keys
    assert isinstance(source.keys, KeySet)
    assert key.can_sign
    assert keymaking.is_kid(key.kid)
