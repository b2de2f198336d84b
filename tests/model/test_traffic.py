"""What has gone through a broadcast: counted by whole groups."""

from __future__ import annotations

from relay.model.traffic import Traffic


def test_groups_and_bytes_are_counted_each_way() -> None:
    traffic = Traffic()
    traffic.came(10)
    traffic.came(0)
    traffic.went(4)
    assert (traffic.groups_in, traffic.bytes_in) == (2, 10)
    assert (traffic.groups_out, traffic.bytes_out) == (1, 4)
