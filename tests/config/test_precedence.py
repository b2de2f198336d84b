"""Flags before the environment before the file, for each kind of value; secrets are not echoed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from relay.config.load import load
from relay.config.names import SETTINGS, variable
from relay.config.shape import Address
from relay.config.sources import from_environment

OPEN = '[auth]\npublic = "anon"\n'

KINDS: dict[str, tuple[str, str, str, Any, tuple[Any, Any, Any]]] = {
    "bool": ("stats.enabled", "true", "false", True, (True, False, True)),
    "int": ("session.max_message", "1000", "2000", 3000, (1000, 2000, 3000)),
    "float": ("stats.interval", "0.5", "2.5", 4.0, (0.5, 2.5, 4.0)),
    "text": ("stats.node", '"a"', "b/1", "c", ("a", "b/1", "c")),
    "enum": ("log.level", '"warn"', "DEBUG", "error", ("warn", "debug", "error")),
    "list": ("server.tls.generate", '["a"]', "b,c", ("d",), (("a",), ("b", "c"), ("d",))),
    "address": (
        "server.listen",
        '"127.0.0.1:1"',
        "[::1]:2",
        "localhost:3",
        (Address("127.0.0.1", 1), Address("::1", 2), Address("localhost", 3)),
    ),
    "path": (
        "server.unix.listen",
        '"/a.pem"',
        "/b.pem",
        "/c.pem",
        (Path("/a.pem"), Path("/b.pem"), Path("/c.pem")),
    ),
}


def value(loaded: Any, dotted: str) -> Any:
    found = loaded.settings
    for part in dotted.split("."):
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_value_from_each_place(folder: Any, kind: str) -> None:
    dotted, written, said, given, expected = KINDS[kind]
    section, _, name = dotted.rpartition(".")
    text = f"{OPEN}[{section}]\n{name} = {written}\n"
    environ = {variable(dotted): said}
    flag = {dotted.replace(".", "__"): given}
    assert value(folder.load(text), dotted) == expected[0]
    assert value(folder.load(text, environ), dotted) == expected[1]
    assert value(folder.load(OPEN, environ), dotted) == expected[1]
    assert value(folder.load(text, environ, **flag), dotted) == expected[2]


def test_a_table_in_the_environment_is_json_and_replaces_that_of_the_file(folder: Any) -> None:
    text = OPEN + "[quotas.tenants.plant]\nsessions = 1\n"
    assert folder.load(text).settings.quotas.tenants["plant"].sessions == 1
    environ = {"MOQ_QUOTAS__TENANTS": '{"plant": {"sessions": 2}}'}
    assert folder.load(OPEN, environ).settings.quotas.tenants["plant"].sessions == 2


@pytest.mark.parametrize("dotted", SETTINGS)
def test_every_setting_has_its_variable(dotted: str) -> None:
    source = from_environment({variable(dotted): "[]"})
    assert not source.problems
    assert [entry for entry in source.entries if entry == dotted or dotted in str(entry)]


@pytest.mark.parametrize("dotted", ["admin.api_key", "audit.webhook_secret"])
def test_a_wrong_secret_in_a_variable_is_not_echoed(folder: Any, dotted: str) -> None:
    secret = "hunter2-hunter2.x"[:9]
    lines = folder.complaints(OPEN, {variable(dotted): secret})
    assert any(variable(dotted) in line for line in lines)
    assert not any("hunter2" in line for line in lines)


def test_the_operators_hash_comes_from_the_environment(folder: Any) -> None:
    hash = (
        "pbkdf2_sha256$600000$YWJjZGVmZ2hpamtsbW5vcA$1WmTzSB1l4OSaHTOFGL1kQCuH+D2iR5IT5cSKNL4CFc="
    )
    loaded = folder.load(OPEN, {"MOQ_ADMIN__API_KEY": hash})
    assert str(loaded.settings.admin.api_key) == hash
    assert "1WmTzSB1" not in repr(loaded.settings.admin)


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        ('[auth]\npublic = "demo"\npublic_subscribe = ["live/**"]\n', {}),
        ('[auth]\npublic_subscribe = "live"\npublic = ["demo"]\n', {}),
        ("", {"MOQ_AUTH_PUBLIC": "demo", "MOQ_AUTH_PUBLIC_SUBSCRIBE": "live"}),
        ("", {"MOQ_AUTH__PUBLIC": '["demo"]', "MOQ_AUTH__PUBLIC__SUBSCRIBE": "live"}),
    ],
)
def test_what_is_public_for_both_roles_and_for_one_adds_up_as_upstream(folder, text, environ):
    public = folder.load(text, environ).settings.auth.public
    assert (public.publish, public.subscribe) == (("demo",), ("demo", "live"))


def test_flags_for_both_roles_and_for_one_add_up():
    flags = {"auth.public": ("demo",), "auth.public.publish": ("live",)}
    public = load(None, flags, {}).settings.auth.public
    assert (public.publish, public.subscribe) == (("demo", "live"), ("demo",))


def test_what_is_public_for_both_roles_and_for_one_may_be_wrong(folder):
    complaints = folder.complaints('[auth]\npublic = 5\npublic_subscribe = "live"\n')
    assert len(complaints) == 2
    assert all("expected a prefix or a list of prefixes" in each for each in complaints)
