"""Settings as flags: ours, upstream's, and what a wrong one is answered with."""

from __future__ import annotations

import ast
from typing import Any

import click
import pytest
from click.testing import CliRunner

from relay.cli.flags import WithSettings, find, together
from relay.config import names


@click.command(cls=WithSettings)
@click.argument("file", required=False)
@click.option("--auth-key")
@click.option("--listen", "--server-bind")
def command(settings: dict[str, Any], **rest: Any) -> None:
    click.echo({"settings": settings, **{name: said for name, said in rest.items() if said}})


def called(*words: str) -> Any:
    done = CliRunner().invoke(command, words)
    assert done.exit_code == 0, done.output
    return ast.literal_eval(done.output)


def refused(*words: str) -> str:
    done = CliRunner().invoke(command, words)
    assert done.exit_code == 2
    return done.output


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        ("--auth-key-dir keys", {"auth.key_dir": "keys"}),
        ("--auth-key-dir=keys", {"auth.key_dir": "keys"}),
        ("--auth-api http://a", {"auth.api": "http://a"}),
        ("--auth-url http://a", {"auth.url": "http://a"}),
        ("--cluster-connect a,b", {"cluster.connect": ["a", "b"]}),
        ("--cluster-connect a --cluster-connect b,c", {"cluster.connect": ["a", "b", "c"]}),
        ("--stats-enabled", {"stats.enabled": "true"}),
        ("--stats-enabled=false", {"stats.enabled": "false"}),
        ("--tls-disable-verify", {"client.tls.disable_verify": "true"}),
        ("--tls-self-sign localhost", {"server.tls.generate": ["localhost"]}),
        ("--client-connect-timeout 5s", {"client.connect_timeout": "5s"}),
        ("--server-quic-gso", {"server.quic.gso": "true"}),
        ("--server-backend quinn", {"server.backend": "quinn"}),
        ("--iroh-enabled=true", {"iroh.enabled": "true"}),
        ("--auth-tls-disable-verify", {"auth.tls.disable_verify": "true"}),
        ("--auth-domain x.com", {"auth.domain": ["x.com"]}),
        ("--auth-public-api http://a", {"auth.public_api": "http://a"}),
    ],
)
def test_a_setting_is_a_flag(words: str, settings: dict[str, Any]) -> None:
    assert called(*words.split()) == {"settings": settings}


def test_what_the_command_lists_is_its_own_and_the_file_is_found_wherever_it_stands() -> None:
    expected = {"auth_key": "k", "listen": "x", "file": "relay.toml"}
    for words in (
        "relay.toml --auth-key k --stats-enabled --server-bind x",
        "--stats-enabled relay.toml --auth-key=k --listen x",
        "--listen x --auth-key k --stats-enabled -- relay.toml",
    ):
        assert called(*words.split()) == {"settings": {"stats.enabled": "true"}, **expected}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--auth-key-dir", "Option '--auth-key-dir' requires an argument"),
        ("--log-level debug --log-level warn", "--log-level is given twice"),
        ("--auth-keys [", "--auth-keys: not valid JSON"),
        ("--auth-public-publish anon,", "--auth-public-publish: one of the items is empty"),
        ("--auth-key-dirr x", "No such option '--auth-key-dirr'"),
        ("--cluster-conect x", "'--cluster-connect'"),
        ("--auth-max-tll=3", "Did you mean '--auth-max-ttl'?"),
        ("--lisen x", "Did you mean '--listen'?"),
    ],
)
def test_a_wrong_flag_is_one_line(words: str, line: str) -> None:
    assert line in refused(*words.split())


@pytest.mark.parametrize(
    ("texts", "value"),
    [
        (["anon"], "anon"),
        ([""], ""),
        (["anon, demo"], ["anon", "demo"]),
        (["anon", "a,b"], ["anon", "a", "b"]),
        (["anon", ""], ["anon", ""]),
    ],
)
def test_what_is_public_may_be_repeated_and_separated_by_commas(
    texts: list[str], value: Any
) -> None:
    assert together("auth.public", texts) == value


def test_every_setting_has_a_flag_and_comes_back_under_its_name() -> None:
    for name in names.SETTINGS:
        found = find("--" + name.replace(".", "-").replace("_", "-"))
        assert found is not None
        assert names.canonical(found.setting) == name
