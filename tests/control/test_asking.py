"""What a request says, wherever it is asked."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from relay.control.asking import remote


@pytest.mark.parametrize(
    ("client", "shown"),
    [
        (("192.0.2.7", 4000), "192.0.2.7"),
        (("::ffff:192.0.2.7", 4000), "192.0.2.7"),  # a socket of both families says it so
        (("2001:db8::7", 4000), "2001:db8::7"),
        (None, ""),
    ],
)
def test_an_address_is_written_as_that_of_a_session(client, shown):
    assert remote(Request({"type": "http", "client": client})) == shown
