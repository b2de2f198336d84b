"""Peers that break the rules, or stretch them: others do not notice, and nothing is kept of it."""

from __future__ import annotations

import pytest

from relay.moqt.drafts import Draft
from relay.session import events

from .conftest import World
from .test_interpreter import frames, head, objects, publishing, serving

PAYLOADS = [0x2F, 0xAF, 0x6F]
"""First bytes of streams that bring a SETUP, in one way to write integers or the other."""


@pytest.mark.parametrize("byte", PAYLOADS)
def test_a_group_may_go_on_with_any_byte(draft: Draft, byte: int) -> None:
    world = World(1)  # each byte comes alone
    peer, viewer, asked = publishing(world, draft)
    serving(peer, asked)
    payload = bytes([byte] * 8)
    peer.bring(head(draft, 7, 0), objects(draft, payload, payload))
    assert frames(viewer) == b"\x08" + payload + b"\x08" + payload
    assert len(viewer.take(events.GroupFinished)) == 1
