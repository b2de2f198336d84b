"""What must be looked up: only what the credential needs, nothing for a request without form."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.auth.credentials import Derivation, make_moose_key, make_ticket, make_token
from relay.auth.keys import Key
from relay.auth.needs import Needs, needs
from relay.auth.request import Request
from relay.auth.settings import AuthSettings

TOKEN, TICKET, MOOSE = make_token(), make_ticket(), make_moose_key()
KEYS = AuthSettings.model_validate(
    {"api_keys": {"m": {"hash": str(MOOSE.hash), "publish": ""}}, "max_token_bytes": 1000}
)


def test_each_kind(keys: dict[str, Key], forge: Callable[..., str]) -> None:
    secret, salt = MOOSE.bearer.split(".")
    work = Derivation(secret.encode(), salt.encode(), 1000, 20)
    jwt = forge(keys["e1"], {"get": ""})
    nameless = forge(keys["nameless"], {"get": ""})
    assert needs(Request("/x"), KEYS) == Needs()
    assert needs(Request(f"/x?jwt={jwt}"), KEYS) == Needs(jwt=True, kid="e1")
    assert needs(Request(f"/x?jwt={nameless}"), KEYS) == Needs(jwt=True)
    assert needs(Request("/x", bearer=str(TOKEN)), KEYS) == Needs(token_prefix=TOKEN.prefix)
    assert needs(Request("/x", query=f"ticket={TICKET}"), KEYS) == Needs(ticket=TICKET)
    assert needs(Request("/x", bearer=MOOSE.bearer), KEYS) == Needs(derivation=work)
    assert needs(Request("/x", bearer=MOOSE.bearer), AuthSettings()) == Needs(jwt=True)


@pytest.mark.parametrize(
    "request_",
    [
        Request(f"/../x?ticket={TICKET}"),
        Request(f"/x?ticket={TICKET}&jwt=y"),
        Request(f"/x?ticket={TICKET}&ticket=z"),
        Request(f"/x?ticket={TICKET}", bearer="x"),
        Request(f"/x?ticket={TICKET}x"),
        Request("/x", bearer=f"{TOKEN}x"),
        Request("/x", bearer="mq_"),
        Request("/x", bearer="x" * 1001),
        Request("/x", query="x=" + "y" * 70000),
    ],
)
def test_without_form_there_is_no_need(request_: Request) -> None:
    assert needs(request_, KEYS) == Needs()


@pytest.mark.parametrize("kid", [5, "", "x" * 257, None, ["a"]])
def test_a_kid_that_is_none(kid: object, keys: dict[str, Key], forge: Callable[..., str]) -> None:
    request = Request("/", bearer=forge(keys["k1"], {}, {"kid": kid}))
    assert needs(request, AuthSettings()) == Needs(jwt=True)


@pytest.mark.parametrize(
    ("said", "parents"), [(["a", 5, "b"], ("a", "b")), ("a", ("a",)), (5, ()), ({"a": 1}, ())]
)
def test_keys_of_what_it_was_exchanged_for_matter_where_it_ends_with_them(
    said: object, parents: tuple[str, ...], keys: dict[str, Key], forge: Callable[..., str]
) -> None:
    request = Request("/", bearer=forge(keys["k1"], {"parent_kid": said}))
    close = AuthSettings(on_key_removed="close")
    assert needs(request, close) == Needs(jwt=True, kid="k1", parents=parents)
    assert needs(request, AuthSettings()) == Needs(jwt=True, kid="k1")


@given(target=st.text("/?jwt=ticket&.eyJ0\ud800", max_size=60), bearer=st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_request_has_needs(target: str, bearer: str) -> None:
    assert isinstance(needs(Request(target, bearer=bearer), KEYS), Needs)
