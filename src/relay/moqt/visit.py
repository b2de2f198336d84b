"""At the door: whoever speaks moq-transport comes in with an interpreter.

The law: those inside see a session of moq-lite, and the door decides as for any other. This module
must not know how that is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from relay.moqt.drafts import by_identifier
from relay.moqt.interpreter import Interpreter
from relay.session.settings import SessionSettings
from relay.session.transport import Knock, Receiver, Transport, Visit
from relay.wire.version import TRANSPORT, choose


class InterpretedVisit:
    """A knock, with an interpreter in its transport's place."""

    def __init__(self, visit: Visit, interpreter: Interpreter) -> None:
        self._visit = visit
        self._interpreter = interpreter
        self.knock: Knock = visit.knock
        self.transport: Transport = interpreter

    @property
    def too_late(self) -> Callable[[], Sequence[tuple[str, str]]]:
        """As the visit's."""
        return self._visit.too_late

    @too_late.setter
    def too_late(self, late: Callable[[], Sequence[tuple[str, str]]]) -> None:
        self._visit.too_late = late

    def accept(self, receiver: Receiver, protocol: str | None) -> None:
        """Open the session, interpreted for ``receiver``."""
        self._interpreter.above = receiver
        self._visit.accept(self._interpreter, protocol)

    def refuse(self, status: int, headers: Sequence[tuple[str, str]] = ()) -> None:
        """Turn the peer away."""
        self._visit.refuse(status, headers)


def interpreted(
    door: Callable[[Visit], None],
    versions: Sequence[str],
    settings: SessionSettings,
    now: Callable[[], float],
    denied: Callable[[Knock, str, str], None],
) -> Callable[[Visit], None]:
    """A door that has interpreters; ``versions`` are the protocol identifiers accepted there,
    ``now`` answers seconds of any beginning, and ``denied`` hears what somebody may not publish,
    and why."""

    def answer(visit: Visit) -> None:
        protocol = choose([each for each in visit.knock.offered if each in versions])
        dialect = TRANSPORT.get(protocol or "")
        if dialect is None:
            door(visit)
            return
        draft = by_identifier(dialect.identifier)
        tell = partial(denied, visit.knock)
        interpreter = Interpreter(visit.transport, draft, dialect, settings, now, tell)
        door(InterpretedVisit(visit, interpreter))

    return answer
