"""``relay hash-token``: both halves, in both forms, and what the relay makes of them."""

from __future__ import annotations

import re

import pytest
import tomli
from click.testing import CliRunner

from relay.auth.credentials import ITERATIONS, MIN_ITERATIONS
from relay.auth.decide import Request, decide
from relay.auth.keys import KeySet
from relay.auth.settings import AuthSettings
from relay.cli.hash_token import hash_token

MOOSE = r"[0-9a-f]{40}"
OURS = r"pbkdf2_sha256\$%d\$[A-Za-z0-9]{22}\$[A-Za-z0-9+/]{43}="


@pytest.mark.parametrize(
    ("flags", "form"),
    [
        ([], OURS % ITERATIONS),
        (["--iterations", str(MIN_ITERATIONS)], OURS % MIN_ITERATIONS),
        (["--moose"], MOOSE),
    ],
)
def test_both_halves_fit(flags: list[str], form: str) -> None:
    done = CliRunner().invoke(hash_token, flags)
    assert done.exit_code == 0, done.output
    halves = tomli.loads(done.stdout)
    assert re.fullmatch(form, halves["hash"])
    auth = AuthSettings.model_validate({"api_keys": {"a": {"hash": halves["hash"], "publish": ""}}})
    assert decide(Request("/x", bearer=halves["bearer"]), KeySet(), auth, 0.0)
    assert not decide(Request("/x", bearer=halves["bearer"] + "x"), KeySet(), auth, 0.0)


@pytest.mark.parametrize("flags", [["--iterations", "1000"], ["--moose", "--iterations", "600000"]])
def test_refused(flags: list[str]) -> None:
    done = CliRunner().invoke(hash_token, flags)
    assert done.exit_code == 2
    assert not done.stdout
