"""How things fail: the error tree that all rooms share, and what each failure is called outside.

Each class carries the number a peer sees on a stream (``code``), the number it sees when the whole
session ends (``session_code``) and the HTTP status of the same thought (``status``). Stream numbers
are those that moq-lite-01 to 05 defined; newer versions say them otherwise (`relay.wire.codes`).
Session numbers are those of the space that came with 06 and that current peers read on every
version (2 = unauthorized, 3 = violation). Unknown numbers from a peer are never an error. A room
may hang classes of its own into the tree. This module must not know who raises what, nor how a code
is mapped to a transport.

    RelayError                  anything this program raises on purpose
    ├── ProtocolViolation       the peer broke the rules: the session ends
    │   └── DecodeError         ... with bytes that are no message
    ├── LimitExceeded           the peer asked for more than a named ceiling allows
    │   └── OverQuota           ... a ceiling of its tenant's
    ├── Refused                 not permitted
    │   ├── BadRequest          the request itself is malformed
    │   ├── Unauthorized        no credential, or one that is not valid
    │   ├── Forbidden           a valid credential that does not reach so far
    │   └── Unavailable         what would have to be known cannot be looked up now
    ├── Gone                    what was asked for is not (or no longer) there
    │   ├── Cancelled           nobody wants it any more; routine, not a failure
    │   ├── Expired             too old to be worth sending
    │   ├── Lagged              the reader fell behind its byte budget
    │   ├── NotFound            the broadcast has no such track or group
    │   ├── Unroutable          no such broadcast
    │   ├── Dropped             the publisher vanished
    │   └── RemoteError         the peer refused or broke off with a number of its own
    ├── SessionLost             the connection below a session ended
    └── ConfigError             the operator's settings cannot be obeyed
"""

import math
from typing import Self


class RelayError(Exception):
    """Anything this program raises on purpose; any other exception that escapes is a bug."""

    code = 4
    session_code = 1
    status = 500
    denial_id = ""
    """What the stranger is told: the log has the reason under it. Empty where there is none."""

    @property
    def headers(self) -> dict[str, str]:
        """What an HTTP answer says beside the status."""
        return {}

    def known_as(self, id: str) -> Self:
        """This error, to be told with the id that the log explains."""
        self.denial_id = id
        return self


class ProtocolViolation(RelayError):
    """The peer broke the protocol; its session is closed with ``session_code``."""

    code = 15
    session_code = 3
    status = 400


class DecodeError(ProtocolViolation):
    """Bytes from the peer that are no message of the negotiated version."""

    code = 5


class LimitExceeded(RelayError):
    """The peer asked for more than a named ceiling allows; the message names the setting."""

    code = 4
    status = 429


class TooLarge(LimitExceeded):
    """One thing is larger than what is taken, or handed out, in one piece."""

    status = 413


class OverQuota(LimitExceeded):
    """A tenant asked for more than its quota; 413 for what is too large, 429 for the rest.

    Its number is one of those left to applications (64 and up), on streams as for sessions: 64 + 29
    says what 429 does.
    """

    code = 93
    session_code = 93

    def __init__(self, message: str, wait: float = 0.0, status: int = 429) -> None:
        """``wait`` is seconds after which to try again, where that is known to help."""
        super().__init__(message)
        self.wait = wait
        self.status = status

    @property
    def headers(self) -> dict[str, str]:
        """When to try again (RFC 9110, 10.2.3), where that is known."""
        return {"retry-after": str(math.ceil(self.wait))} if self.wait > 0.0 else {}


class Refused(RelayError):
    """Not permitted. The message is for the log, never for the stranger."""

    code = 6
    session_code = 2
    status = 403


class BadRequest(Refused):
    """The request is malformed, whoever sent it."""

    status = 400


class Unauthorized(Refused):
    """No credential where one is needed, or one that is not valid."""

    status = 401


class Forbidden(Refused):
    """The credential is valid and does not reach so far."""

    status = 403


class Unavailable(Refused):
    """Nobody can tell now whether it is permitted, so it is not."""

    session_code = 1
    status = 503


class Gone(RelayError):
    """What was asked for is not there, or no longer."""

    code = 13
    status = 404


class Cancelled(Gone):
    """Nobody wants it any more; routine."""

    code = 0


class Expired(Gone):
    """A group too old to be worth sending."""

    code = 2


class Lagged(Gone):
    """The reader fell behind its byte budget and lost the oldest groups."""

    code = 26


class NotFound(Gone):
    """The broadcast has no such track, or the track no such group."""

    code = 13


class Unroutable(Gone):
    """No broadcast is announced at that path."""

    code = 30


class Dropped(Gone):
    """The publisher vanished without saying goodbye."""

    code = 24


class RemoteError(Gone):
    """The peer refused or broke off with a number of its own; the number travels on unchanged."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the peer said {code}")
        self.code = code


class SessionLost(RelayError):
    """The connection below a session ended: by the peer, by a timeout, or by a refusal.

    ``session_code`` is what the peer said, ``status`` the HTTP status of a refused CONNECT. The
    message is one line of 500 characters at most, whatever the peer put into it.
    """

    def __init__(self, message: str, code: int = 0, status: int = 0) -> None:
        super().__init__(" ".join(message.split())[:500])
        self.session_code = code
        self.status = status


class ConfigError(RelayError):
    """A setting that cannot be obeyed: the message says which (dotted name), where and why."""


def first_of(error: BaseException) -> BaseException:
    """The first failure of a group, however deep; anything else is that itself."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def in_words(error: BaseException) -> str:
    """One line, of 200 characters at most, about what failed below us: what the system said,
    wherever that stands in the chain of causes, else the error's own text, or its kind where it has
    none."""
    told: BaseException | None = error
    while told is not None and getattr(told, "errno", None) is None:
        if isinstance(told, BaseExceptionGroup):
            told = told.exceptions[0]
        else:
            told = told.__cause__ or told.__context__
    said = error if told is None else told
    return " ".join(str(said).split())[:200] or type(said).__name__
