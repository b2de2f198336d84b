"""Reading what is being written."""

from __future__ import annotations

from pathlib import Path

import pytest

from lines import whole_lines


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ('{"event": "sto', []),
        ("one\n", ["one"]),
        ("one\ntw", ["one"]),
        ("one\n\ntwo\u2028\n", ["one", "", "two\u2028"]),
    ],
)
def test_a_line_counts_once_its_end_is_there(tmp_path: Path, text: str, lines: list[str]) -> None:
    file = tmp_path / "log"
    file.write_bytes(text.encode())
    assert whole_lines(file) == lines


def test_half_a_character_is_no_fault(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes("one\né".encode()[:-1])
    assert whole_lines(file) == ["one"]
