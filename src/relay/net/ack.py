"""Reading an ACK frame, as far as a tidy one goes (RFC 9000, 19.3)."""

from __future__ import annotations

_UNTIDY = 64
"""Ranges of an ACK frame up to which it is read here."""


def read_ack(plain: bytes, at: int) -> tuple[list[tuple[int, int]], int, int] | None:
    """The ACK frame at ``at``; ``None`` when it is no tidy one.

    Answers the ranges from the highest down (first and last number), the encoded delay and where
    the frame ends.
    """
    at += 1
    numbers: list[int] = []
    wanted = 4
    try:
        while len(numbers) < wanted:
            first = plain[at]
            length = 1 << (first >> 6)
            if length == 1:
                numbers.append(first)
            else:
                if at + length > len(plain):
                    return None
                value = int.from_bytes(plain[at : at + length], "big")
                numbers.append(value & ((1 << (8 * length - 2)) - 1))
            at += length
            if len(numbers) == 3:
                if numbers[2] > _UNTIDY:
                    return None
                wanted += 2 * numbers[2]
    except IndexError:
        return None
    last = numbers[0]
    first = last - numbers[3]
    ranges = [(first, last)]
    for index in range(4, wanted, 2):
        last = first - numbers[index] - 2
        first = last - numbers[index + 1]
        ranges.append((first, last))
    if first < 0:
        return None
    return ranges, numbers[1], at
