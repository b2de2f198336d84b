"""What every shape at the operator's counter is made of: kinds of members, and their limits.

This module must not know any question or answer.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from relay.auth.revocation import MAX_REASON, MAX_VALUE
from relay.path import MAX_LENGTH

MAX_ROWS = 1000
"""Rows of one page."""

MAX_PREFIXES = 16
"""Prefixes of one direction in one question."""

MAX_PREFIX = 1024
"""Characters of one of them, so that all together fit into a body (`relay.control.body`)."""

LATEST = 253_402_300_799.0
"""The last second of the year 9999: no moment lies behind it."""

PLAIN = r"^[^\u0000-\u001f\u007f]*$"
"""No control characters."""

KEPT = r"^[^\u0000]*$"
"""Whatever a credential or a path may say, and PostgreSQL can keep."""

ID = r"^[0-9A-Za-z_-]+$"
CIPHER = r"^\.*[A-Za-z0-9_-][A-Za-z0-9_.-]*$"
"""Not of dots alone: in a path those lead elsewhere."""

TENANT = r"^[^/\u0000]+$"
SPAN = r"^(0|[1-9][0-9]{0,8})[smhdw]$"
WHEN = r"^(|now(-[0-9]{1,9}[smhdw])?|[0-9]{1,12}(\.[0-9]{1,6})?)$"

MEANT = {
    PLAIN: "text without control characters",
    KEPT: "text without the character U+0000",
    ID: "letters, digits, - and _",
    CIPHER: "letters, digits, -, _ and dots, and not dots alone",
    TENANT: "a name without slashes and the character U+0000",
    SPAN: "a number with s, m, h, d or w, such as 24h",
    WHEN: "unix seconds, now, or such as now-1h",
}
"""What each pattern expects, in words."""

Text = Annotated[str, Field(max_length=512, pattern=PLAIN)]
Whose = Annotated[str, Field(max_length=MAX_VALUE, pattern=KEPT)]
"""What a credential says of itself."""
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=PLAIN)]
Id = Annotated[str, Field(min_length=1, max_length=64, pattern=ID)]
PathText = Annotated[str, Field(max_length=MAX_LENGTH, pattern=PLAIN)]
OnAir = Annotated[str, Field(max_length=MAX_LENGTH)]
"""A path that somebody announced, whatever characters they put in it."""
Prefix = Annotated[str, Field(max_length=MAX_PREFIX, pattern=PLAIN)]
Prefixes = Annotated[list[Prefix], Field(max_length=MAX_PREFIXES)]
CipherName = Annotated[str, Field(max_length=64, pattern=CIPHER)]
CipherNames = Annotated[list[CipherName], Field(max_length=MAX_PREFIXES)]
Moment = Annotated[float, Field(ge=0.0, le=LATEST, allow_inf_nan=False)]
Reason = Annotated[
    str, Field(max_length=MAX_REASON, pattern=PLAIN, description="Why, for the audit log.")
]
Rows = Annotated[int, Field(ge=1, le=MAX_ROWS, description="At most so many.")]


class Shape(BaseModel):
    """Members that are all there are; what is said of each here, is said to machines as well, and
    to whoever asks a command for help."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Told(Shape):
    """What is put together from all workers of the relay."""

    silent: list[int] = []
    """Workers that did not answer in time, whose part is missing."""


class Nothing(Shape):
    """Nothing more needs to be said."""
