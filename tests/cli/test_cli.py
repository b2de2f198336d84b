"""The front door: exit statuses, one-line complaints, and the whole way round once."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import click
import pytest
from click.testing import CliRunner

import relay.cli
from relay.errors import ConfigError, Dropped, Forbidden, RemoteError, SessionLost

RELAY = [sys.executable, "-m", "relay"]


def clean_environment(**more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MOQ_")}
    return kept | more


def call(*words, **options):
    return subprocess.run(
        [*RELAY, *words],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=clean_environment(),
        **options,
    )


@contextlib.contextmanager
def alone():
    """Called without any words."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["relay"])
        yield


def status_of(capsys, error):
    """How the process would end, and what it would say, if a command raised this."""

    @click.command()
    def failing():
        raise error

    with alone(), pytest.raises(SystemExit) as caught:
        relay.cli._enter(failing, "relay")
    return caught.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (ConfigError("a: b\nc: d"), 2, "relay: a: b\nrelay: c: d\n"),
        (SessionLost("gone"), 1, "relay: gone\n"),
        (Forbidden(), 1, "relay: Forbidden\n"),
        (RemoteError(Dropped.code), 1, "relay: the peer said 24 (the publisher is gone)\n"),
        (RemoteError(4711), 1, "relay: the peer said 4711\n"),
        (ExceptionGroup("", [ExceptionGroup("", [SessionLost("gone")])]), 1, "relay: gone\n"),
        (ExceptionGroup("", [ConfigError("x")]), 2, "relay: x\n"),
        (KeyboardInterrupt(), 130, None),
        (click.Abort(), 130, ""),
    ],
)
def test_a_failure_is_one_line_and_a_status(capsys, error, status, said):
    code, err = status_of(capsys, error)
    assert code == status
    assert said is None or err == said
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "error", [ValueError("bug"), ExceptionGroup("", [SessionLost("x"), ValueError("bug")])]
)
def test_a_bug_is_not_hidden(error):
    @click.command()
    def failing():
        raise error

    with alone(), pytest.raises(type(error)):
        relay.cli._enter(failing, "relay")


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (["records", "revoke", "--sub", b"caf\xe9"], 2, "relay: argument 4 is not UTF-8 text"),
        (["quotas", "clear", b"caf\xe9"], 2, "relay: argument 3 is not UTF-8 text"),
        (["token", "generate", "--root", b"\xff"], 2, "relay: argument 4 is not UTF-8 text"),
        (["admin", "--url", "http://[", "sessions", "list"], 2, "Error: --url: expected a URL"),
        (["routes", "http://["], 2, "Error: the URL is malformed: Invalid IPv6 URL"),
        (["routes", "http://h:x/"], 2, "Error: the URL is malformed: "),
        (["check", "a" * 300], 2, "Error: no such file: aaa"),
    ],
)
def test_what_no_shell_should_hand_over_is_one_line(words, status, line):
    done = call(*words)
    assert done.returncode == status
    assert done.stderr.splitlines()[-1].startswith(line)
    assert "Traceback" not in done.stderr


def test_other_letters_are_welcome():
    done = call("token", "generate", "--root", "café/🎥", "--publish", "")
    assert (done.returncode, done.stderr) == (0, "")


def test_help_names_the_words_that_an_option_takes():
    said = CliRunner().invoke(relay.cli.relay, ["admin", "--help"]).output
    assert "List, show, kick, narrow." in said
    said = CliRunner().invoke(relay.cli.relay, ["admin", "revocations", "create", "--help"]).output
    assert "--by jti|sub|kid|tenant|all" in said


def test_help_says_what_every_option_is_for():
    def mute(command, name):
        if isinstance(command, click.Group):
            within = click.Context(command)
            inner = {
                each: command.get_command(within, each) for each in command.list_commands(within)
            }
            return [line for each, one in inner.items() for line in mute(one, f"{name} {each}")]
        options = (each for each in command.params if isinstance(each, click.Option))
        said = ((each.opts[-1], (each.help or "").removesuffix("Repeatable.")) for each in options)
        return [f"{name} {option}" for option, text in said if not text.strip()]

    assert mute(relay.cli.relay, "relay") == []


def test_help_names_the_commands():
    said = CliRunner().invoke(relay.cli.relay, ["--help"]).output
    assert all(f"  {name} " in said for name in ("run", "publish", "subscribe", "token"))


def groups(command, *words):
    """The groups of commands."""
    if isinstance(command, click.Group):
        yield words
        for name in command.list_commands(click.Context(command)):
            yield from groups(command.get_command(click.Context(command), name), *words, name)


@pytest.mark.parametrize("words", list(groups(relay.cli.relay)), ids=" ".join)
def test_help_says_in_whole_words_what_each_command_is_for(words):
    said = CliRunner().invoke(relay.cli.relay, [*words, "--help"], terminal_width=78).output
    assert [line for line in said.partition("Commands:")[2].splitlines() if "..." in line] == []


def test_an_unknown_command_is_a_usage_error():
    done = call("fly")
    assert done.returncode == 2
    assert "No such command" in done.stderr


def test_a_token_needs_no_network_code():
    code = (
        "import sys; sys.argv = ['relay', 'token', '--help']\n"
        "import relay.cli\n"
        "try: relay.cli.main()\n"
        "except SystemExit: pass\n"
        "loaded = {'aioquic', 'uvicorn', 'starlette'} & set(sys.modules)\n"
        "sys.exit(f'loaded {loaded}' if loaded else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("entry", "word", "shows"),
    [
        ("moq_relay", "--help", "--auth-key"),
        ("moq_token", "-h", "verify"),
        ("moq_relay", "--version", "moq-relay, version"),
        ("moq_token", "--version", "moq-token, version"),
    ],
)
def test_upstreams_names_are_doors_too(entry, word, shows):
    code = f"import sys, relay.cli; sys.argv = ['x', '{word}']; relay.cli.{entry}()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert shows in done.stdout


def test_a_reader_that_leaves_is_no_failure_worth_a_word():
    code = (
        "import asyncio, sys, relay.cli, click\n"
        "@click.command()\n"
        "def talk():\n"
        "    async def run():\n"
        "        async with asyncio.TaskGroup() as group:\n"
        "            group.create_task(say())\n"
        "    async def say():\n"
        "        while True:\n"
        "            sys.stdout.buffer.write(b'x' * 4096); sys.stdout.buffer.flush()\n"
        "    asyncio.run(run())\n"
        "sys.argv = ['x']; relay.cli._enter(talk, 'x')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        running.stdout.read(10)
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait(10) == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("words", [["--help"], ["hash-token"], ["token", "generate"]])
def test_no_room_for_what_is_printed_is_one_line(words):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*RELAY, *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.stderr == "relay: standard output: No space left on device\n"
    assert done.returncode == 1


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_what_was_closed_before_the_start_is_nobody_elses(closed):
    code = (
        f"import os; [os.close(number) for number in {closed}]\n"
        f"os.execv({sys.executable!r}, [{sys.executable!r}, '-c', {INNER!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=30, check=False)
    assert done.returncode == 7


def test_a_letter_that_the_locale_has_not_is_no_failure():
    """As with LANG=de_DE.ISO-8859-1."""
    done = subprocess.run(
        [*RELAY, "explain", "/café"],
        env=os.environ | {"PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == b""
    assert b"/caf\xe9" in done.stdout
    assert b"\\u2713" in done.stdout


INNER = """
import os, socket, sys, click, relay.cli
@click.command()
def serve():
    number = socket.socket().fileno()
    print(1); print(2, file=sys.stderr); sys.stdin.read(0)
    raise click.exceptions.Exit(7 if number > 2 else 1)
sys.argv = ['x']; relay.cli._enter(serve, 'x')
"""
"""A program that looks which number its first socket has."""


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["run"], "relay: auth: no key and nothing public"),
        (["run", "no.toml"], "relay: no.toml: No such file"),
        (["run", "--auth-public", "", "--listen", "x"], "relay: flag for server.listen: expected"),
        (["run", "--auth-domain", "*.x.com"], "relay: flag for auth.domain: expected names"),
        (["run", "--auth-key-dir", "no"], "relay: flag for auth.key_dir: no such folder: no"),
        (["run", "--file", "no.toml"], "relay: no.toml: No such file"),
        (["run", "--auth-public", "", "--demo"], "relay: --demo: no configured key can sign"),
        (["run", "--auth-public", "anon,"], "--auth-public: one of the items is empty"),
        (["run", "--auth-public", "anon,a/*"], "auth.public: expected a prefix; of patterns only"),
        (["publish", "ftp://x", "a", "b"], "Error: expected a URL"),
        (["subscribe", "http://127.0.0.1:1"], "relay: no certificate hash at http://127.0.0.1:1/"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(tmp_path, words, line):
    done = call(*words, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert line in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def running(tmp_path):
    """A relay process with a public prefix; yields what its ready line says."""
    (tmp_path / "relay.toml").write_text(
        '[server]\nlisten = "127.0.0.1:0"\ntls.generate = ["127.0.0.1"]\n[auth]\npublic = "anon"\n'
    )
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [*RELAY, "run", "relay.toml"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=clean_environment(RELAY_READY="1"),
        )
        try:
            line = process.stdout.readline()
            assert line.startswith("ready "), (tmp_path / "log").read_text()
            yield json.loads(line.removeprefix("ready ")), process
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def test_a_publisher_that_is_terminated_says_goodbye(running):
    ready, _ = running
    host, port = ready["http"]
    url = f"http://{host}:{port}/anon"
    with subprocess.Popen(
        [*RELAY, "publish", url, "chat", "text"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(),
    ) as publisher:
        assert call("subscribe", url, "--count", "1").stdout == "+ chat\n"
        publisher.terminate()
        assert publisher.wait(10) == 128 + signal.SIGTERM
        assert publisher.stderr.read() == b""


def test_once_round_and_a_quiet_end(running):
    ready, process = running
    host, port = ready["http"]
    assert ready["quic"] == [host, port]
    assert ready["https"] is None
    url = f"http://{host}:{port}/anon"
    with subprocess.Popen(
        [*RELAY, "publish", url, "chat", "text"], stdin=subprocess.PIPE, env=clean_environment()
    ) as publisher:
        publisher.stdin.write(b"first\n")
        publisher.stdin.flush()
        seen = call("subscribe", url, "--count", "1")
        assert seen.stdout == "+ chat\n"
        with subprocess.Popen(
            [*RELAY, "subscribe", url, "chat", "text"],
            stdout=subprocess.PIPE,
            env=clean_environment(),
        ) as subscriber:
            assert subscriber.stdout.readline() == b"first\n"
            publisher.stdin.write(b"second\n")
            publisher.stdin.flush()
            assert subscriber.stdout.readline() == b"second\n"
            subscriber.send_signal(signal.SIGINT)
            assert subscriber.wait(10) == 130
        publisher.stdin.close()
        assert publisher.wait(20) == 0
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0


def test_a_port_in_use_is_one_line(running, tmp_path):
    ready, _ = running
    host, port = ready["http"]
    done = call("run", "--auth-public", "", "--listen", f"{host}:{port}", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert str(port) in done.stderr.splitlines()[-1]


def test_a_lost_relay_ends_the_client(running):
    ready, process = running
    host, port = ready["http"]
    with subprocess.Popen(
        [*RELAY, "subscribe", f"http://{host}:{port}/anon", "never", "comes"],
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    ) as client:
        time.sleep(1.0)
        process.send_signal(signal.SIGTERM)
        assert client.wait(15) == 1
        said = client.stderr.read()
    assert said.startswith("relay: ")
    assert "Traceback" not in said
