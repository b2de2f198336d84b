"""The house as a whole: floors, ceilings of files and functions, and what newcomers are told."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
import tomli
from click.testing import CliRunner

from relay.cli import relay
from relay.config import Settings, load
from relay.config.names import SETTINGS

TOP = Path(__file__).parents[2]
SOURCES = sorted((TOP / "src" / "relay").rglob("*.py"))
TESTS = sorted((TOP / "tests").rglob("*.py"))
EXAMPLE = (TOP / "relay.toml.example").read_text()
README = (TOP / "README.md").read_text()

MAX_FILE = 500
MAX_FUNCTION = 60


def name(path):
    return str(path.relative_to(TOP))


def command(*words):
    """A program of this environment."""
    found = shutil.which(words[0], path=f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}")
    assert found, f"{words[0]} is not installed"
    return subprocess.run(
        [found, *words[1:]], cwd=TOP, capture_output=True, text=True, timeout=120, check=False
    )


def nodes(kind):
    """Everything of this kind in the sources, each with its file."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, kind):
                yield path, node


def test_stairs_go_down_only():
    done = command("lint-imports")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_a_file_says_what_it_is_for_and_stays_small(path):
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_FILE
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "no docstring"
    long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno + 1 > MAX_FUNCTION
    ]
    assert not long


@pytest.mark.parametrize("path", TESTS, ids=name)
def test_a_test_file_stays_small(path):
    assert len(path.read_text().splitlines()) <= 2 * MAX_FILE


def test_no_fog():
    fog = re.compile(r"(Manager|Handler|Helper|Util|Utils|Context|Base|Impl)$")
    foggy = [
        f"{name(path)}: {node.name}" for path, node in nodes(ast.ClassDef) if fog.search(node.name)
    ]
    assert not foggy


def test_no_list_is_made_by_a_name_for_its_type():
    """``list[int]()`` raises and swallows an `AttributeError` each time (PEP 585 has it so)."""
    found = [
        f"{name(path)}:{node.lineno}"
        for path, node in nodes(ast.Call)
        if isinstance(node.func, ast.Subscript)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in ("deque", "dict", "frozenset", "list", "set", "tuple")
    ]
    assert not found


def test_nothing_is_raised_within_a_handler_of_groups():
    """It comes in a group itself before Python 3.11.4, which is younger than Debian 12's."""
    wrapped = [
        f"{name(path)}:{node.lineno}"
        for path, group in nodes(ast.TryStar)
        for handler in group.handlers
        for node in ast.walk(handler)
        if isinstance(node, ast.Raise)
    ]
    assert not wrapped


def uncommented(marks):
    """The example with the lines that begin with one of the marks made real."""
    return "\n".join(
        next((line[len(mark) :] for mark in marks if re.match(rf"{mark}[a-z_]+ = ", line)), line)
        for line in EXAMPLE.splitlines()
    )


def named(tables, prefix=""):
    """Every dotted name in a parsed file."""
    for key, value in tables.items():
        yield prefix + key
        if isinstance(value, dict) and prefix + key not in SETTINGS:
            yield from named(value, f"{prefix}{key}.")


def test_the_example_loads_as_it_is(tmp_path):
    file = tmp_path / "relay.toml"
    file.write_text(EXAMPLE)
    loaded = load(file, {}, {})
    assert loaded.warnings == ()
    assert loaded.settings.auth.public.publish == ("anon",)


def test_the_example_shows_the_defaults(tmp_path):
    file = tmp_path / "relay.toml"
    file.write_text(uncommented(["#"]))
    shown = load(file, {}, {}).settings
    real = load(None, {"auth.public": "anon", "server.tls.generate": ["localhost"]}, {}).settings
    same = {"server": {"tls": real.server.tls}, "auth": {"public": real.auth.public}}
    shown = shown.model_copy(
        update={part: getattr(shown, part).model_copy(update=same[part]) for part in same}
    )
    assert shown == real


def test_the_example_names_every_setting_and_no_other():
    shown = set(named(tomli.loads(uncommented(["#: ", "#"]))))
    assert sorted(set(SETTINGS) - shown) == []
    sections = {each.rpartition(".")[0] for each in SETTINGS} | set(Settings.model_fields)
    assert sorted(shown - set(SETTINGS) - sections) == []


def test_the_readme_names_only_commands_that_exist():
    make = set(re.findall(r"^([a-z]+):", (TOP / "Makefile").read_text(), re.MULTILINE))
    told = set(re.findall(r"(?:^|`)make ([a-z]+)", README, re.MULTILINE))
    assert {"run", "test"} <= told <= make
    for words in set(re.findall(r"\brelay (run|publish|subscribe|token [a-z]+)", README)):
        assert told_by_help(words.split()), words


def test_the_readme_uses_only_flags_that_exist():
    lines = re.findall(r"^\.venv/bin/relay (.*)$", README, re.MULTILINE)
    assert len(lines) > 5
    for line in lines:
        assert set(re.findall(r"(--[a-z-]+)", line)) <= flags_along(line.split()), line


def flags_along(words):
    """The flags of the command that the words name, and of the groups on the way to it."""
    command, flags = relay, {"--help"}
    for word in ["relay", *words]:
        inner = command.get_command(None, word) if isinstance(command, click.Group) else None
        command = inner or command
        flags |= {flag for each in command.params for flag in (*each.opts, *each.secondary_opts)}
    return flags


def told_by_help(words):
    """What a command says about itself."""
    done = CliRunner().invoke(relay, [*words, "--help"])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_readmes_files_exist():
    for file in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (TOP / file).exists(), file


def test_the_readme_gives_each_dependency_its_reason():
    project = tomli.loads((TOP / "pyproject.toml").read_text())["project"]
    for wanted in project["dependencies"]:
        package = re.match(r"[A-Za-z0-9_-]+", wanted)[0]
        assert re.search(rf"^\| `{package}` \| \S", README, re.MULTILINE), package


def test_what_to_install_is_said_as_the_readme_says_it():
    said = [
        how
        for file in (TOP / "src/relay").rglob("*.py")
        for how in re.findall(r"pip install [^\n\"]+", file.read_text())
    ]
    told = " ".join(README.split())
    assert said
    assert [how for how in said if how not in told] == []


def test_the_drawing_of_the_floors_matches_the_contract():
    project = tomli.loads((TOP / "pyproject.toml").read_text())
    (layers,) = [c for c in project["tool"]["importlinter"]["contracts"] if c["type"] == "layers"]
    drawn = [set(re.findall(r"[a-z_]+", row)) for row in re.findall(r"^ \d  (.+?)  ", README, re.M)]
    rooms = {room for row in drawn for room in row}
    built = {path.stem if path.is_file() else path.name for path in (TOP / "src/relay").iterdir()}
    built -= {"__init__", "py", "__pycache__"}
    assert built <= rooms
    assert layers["exhaustive"]
