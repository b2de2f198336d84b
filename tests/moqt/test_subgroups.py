"""Heads of streams of objects: known bytes, every type number, what is cut off."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import DecodeError
from relay.moqt.drafts import DRAFTS, SubgroupHead
from relay.wire.buffer import MAX_VARINT

ALL = {draft.number: draft for draft in DRAFTS}
ints = st.integers(0, MAX_VARINT)

# draft-14, 10.4.2, table 7, and its examples in 10.4.2 and 10.5.
KNOWN = [
    ((14, 15, 16), "10 02 00 00", SubgroupHead(2, 0, 0, 0, False, False, True)),
    ((14, 15, 16), "11 02 00 80", SubgroupHead(2, 0, 0, 128, True, False, True)),
    ((14, 15, 16), "12 02 00 80", SubgroupHead(2, 0, None, 128, False, False, True, True)),
    ((14, 15, 16), "14 02 00 00 00", SubgroupHead(2, 0, 0, 0, False, False, True, True)),
    ((14, 15, 16), "1d 4064 05 07 ff", SubgroupHead(100, 5, 7, 255, True, True, True, True)),
    ((17,), "1d 8064 05 07 ff", SubgroupHead(100, 5, 7, 255, True, True, True, True)),
    ((18, 19, 20), "58 02 812c 7f", SubgroupHead(2, 300, 0, 127, False, True, True)),
    ((18, 19, 20), "72 02 00", SubgroupHead(2, 0, None, 128, False, False, True, True)),
    ((18, 19, 20), "18 02 00 00", SubgroupHead(2, 0, 0, 0, False, True, False)),
    ((15, 16, 17), "35 02 00 00", SubgroupHead(2, 0, 0, 128, True, False, True, True)),
    ((15, 16), "38 02 09", SubgroupHead(2, 9, 0, 128, False, True, True)),
]


@pytest.mark.parametrize(
    ("draft", "text", "head"),
    [(ALL[number], text, head) for numbers, text, head in KNOWN for number in numbers],
)
def test_known_heads(draft, text, head):
    wire = bytes.fromhex(text)
    assert draft.scan_subgroup_head(wire + b"rest") == (head, len(wire))
    assert draft.scan_subgroup_head(bytearray(wire)) == (head, len(wire))
    for size in range(len(wire)):
        assert draft.scan_subgroup_head(wire[:size]) is None


@pytest.mark.parametrize("draft", DRAFTS, ids=lambda draft: draft.name)
@given(alias=ints, group=ints, priority=st.integers(0, 255), has_any=st.booleans())
def test_what_is_written_is_read(draft, alias, group, priority, has_any):
    wire = draft.subgroup_head(alias, group, priority, has_any)
    head = SubgroupHead(alias, group, 0, priority, has_any, True, True)
    assert draft.scan_subgroup_head(wire) == (head, len(wire))


def test_what_is_written():
    assert ALL[14].subgroup_head(2, 300, 127, False).hex() == "1802412c7f"
    assert ALL[17].subgroup_head(2, 300, 127, True).hex() == "1902812c7f"
    assert ALL[18].subgroup_head(2, 300, 127, True).hex() == "5902812c7f"
    with pytest.raises(ValueError, match="byte"):
        ALL[14].subgroup_head(2, 300, 256, False)


def legal(number: int) -> set[int]:
    """Types of subgroup streams (draft-14, 15, 16: 10.4.2; draft-18: 11.4.2)."""
    low = [each for each in range(16) if each & 6 != 6]
    bases = [0x10] + [0x30] * (number >= 15) + [0x50, 0x70] * (number >= 18)
    return {base | each for base in bases for each in low}


@pytest.mark.parametrize("draft", DRAFTS, ids=lambda draft: draft.name)
def test_streams_of_another_type_are_refused(draft):
    for kind in range(0x400):
        wire = draft.encode_varint(kind) + bytes(4)
        if kind in legal(draft.number):
            assert draft.scan_subgroup_head(wire) is not None
        else:
            with pytest.raises(DecodeError, match=f"type {kind}"):
                draft.scan_subgroup_head(wire)
