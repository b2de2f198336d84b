"""That there are no file descriptors left is told."""

from __future__ import annotations

from relay.server.descriptors import Descriptors


def test_each_change_is_told_once() -> None:
    said: list[str] = []
    spare = [True]

    def log(event: str, detail: str = "") -> None:
        said.append(detail or event)

    descriptors = Descriptors(log, lambda: spare[0])
    for spare[0] in (True, False, False, True, True):
        descriptors.look()
    assert said == [
        "no file descriptors left (ulimit -n): who comes over TCP is turned away",
        "file descriptors to spare again",
    ]
