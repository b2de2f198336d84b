"""URLs of stores, as they are written, driven and shown."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlalchemy import make_url

from relay.errors import ConfigError
from relay.records.address import Address, beside, read_address, url_of
from relay.records.settings import RecordsSettings


def test_files() -> None:
    assert read_address("sqlite:///relay.db").file == Path("relay.db")
    found = read_address("sqlite:////var/lib/relay.db")
    assert found.file == Path("/var/lib/relay.db")
    assert found.driver == "sqlite+aiosqlite:////var/lib/relay.db"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_servers(scheme: str) -> None:
    found = read_address(f"{scheme}://relay:secret@db.example.com:5433/moq?ssl=require")
    assert found.driver == "postgresql+asyncpg://relay:secret@db.example.com:5433/moq?ssl=require"
    assert found.shown == "postgresql://relay@db.example.com:5433/moq"
    assert found.file is None
    assert "secret" not in repr(found)


@pytest.mark.parametrize("password", ["se/cr", "se?cr", "se#cr", "se?c#r/", "se?c=r", "a:b"])
def test_a_password_that_the_driver_takes_is_not_shown(password: str) -> None:
    """Unescaped, as generators of passwords make them."""
    found = read_address(f"postgresql://relay:{password}@db.example.com:5433/moq?ssl=require")
    driven = make_url(found.driver)
    assert (driven.password, driven.host) == (password, "db.example.com")
    assert found.shown == "postgresql://relay@db.example.com:5433/moq"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("u:p@ss@h/x", "u@h/x"),  # the driver takes ss@h for the host
        ("u:p@s/s@h/x", "u@h/x"),
        ("u:p@s?s@h/x", "u@h/x"),
        ("u@h/x?password=p@ss", "u@h/x"),
        ("h/x?password=p@ss", "h/x"),
        ("@/x?host=/run/pg", "/x"),
        ("u:p@[::1]:5433/x", "u@[::1]:5433/x"),
    ],
)
def test_what_is_shown_of_a_server(url: str, shown: str) -> None:
    assert read_address(f"postgresql://{url}").shown == f"postgresql://{shown}"


def test_a_query_that_the_driver_takes_for_a_password_is_refused() -> None:
    with pytest.raises(ConfigError, match="%40"):
        read_address("postgresql://h:5433/x?password=p@ss")


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "relay.db",
            "sqlite://",
            "sqlite:///",
            "sqlite:///:memory:",
            "sqlite:///a%00",
            "sqlite:///a?mode=ro",
        ),
        *("mysql://x/y", "postgresql+psycopg://x/y", "http://x", "postgresql://[x/y"),
    ],
)
def test_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="expected"):
        read_address(url)
    with pytest.raises(ValidationError, match="expected"):
        RecordsSettings(url=url)


def test_a_file_is_the_one_that_the_driver_opens() -> None:
    """Its mode is set beforehand, and it is looked for later."""
    for name in ("my%20store.db", "100%.db", "a%2525.db", "%3Fü b.db", "%ff.db"):
        found = read_address(f"sqlite:////var/{name}")
        assert found.file == Path(str(make_url(found.driver).database))


@pytest.mark.parametrize("name", ["100%41/%", "what?", "c#/", "plain ü", "/"])
def test_any_folder_can_hold_one(name: str) -> None:
    folder = Path("/", name)
    for url in (url_of(folder / "relay.db"), beside(folder, "sqlite:///relay.db")):
        assert read_address(url).file == folder / "relay.db"


def test_beside() -> None:
    folder = Path("/etc/relay")
    assert beside(folder, "sqlite:///relay.db") == "sqlite:////etc/relay/relay.db"
    for same in ("sqlite:////var/relay.db", "postgresql://x/y", "sqlite:///", "nonsense"):
        assert beside(folder, same) == same


def test_a_home_is_one_wherever_the_url_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/100%41")
    url = "sqlite:///~/relay.db"
    assert read_address(url).file == Path("/home/100%41/relay.db")
    assert read_address(beside(Path("/etc"), url)) == read_address(url)


def test_settings_show_no_password() -> None:
    assert "secret" not in repr(RecordsSettings(url="postgresql://u:secret@h/d"))


@given(st.text("sqlite:postgresql/@.?#[]%\x00é", max_size=40).map("postgresql://".__add__))
@settings(max_examples=200, deadline=None)
def test_any_text(url: str) -> None:
    with contextlib.suppress(ConfigError):
        assert isinstance(read_address(url), Address)
