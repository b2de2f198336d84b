"""At the door: whoever speaks moq-transport comes in with an interpreter.

The law: those inside see a session of moq-lite, and the door decides as for any other. This module
must not know how that is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

from relay.moqt.drafts import DRAFT_14, by_identifier
from relay.moqt.inband import Undecided
from relay.moqt.interpreter import Interpreter
from relay.moqt.waits import Waits
from relay.session.settings import SessionSettings
from relay.session.transport import Knock, Receiver, Transport, Visit
from relay.wire.version import TRANSPORT, choose


class InterpretedVisit:
    """A knock, with an interpreter in its transport's place, or with who may call one."""

    def __init__(self, visit: Visit, interpreter: Interpreter | Undecided) -> None:
        self._visit = visit
        self._interpreter = interpreter
        self.knock: Knock = visit.knock
        self.transport = cast(Transport, interpreter)

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
    waits: Waits,
    denied: Callable[[Knock, str, str], None],
) -> Callable[[Visit], None]:
    """A door that has interpreters; ``versions`` are the protocol identifiers accepted there,
    ``waits`` is told the time, and ``denied`` hears what somebody may not publish, and why."""

    def answer(visit: Visit) -> None:
        offered = visit.knock.offered
        protocol = choose([each for each in offered if each in versions])
        unnamed = () if offered else DRAFT_14.identifiers  # what peers speak that name nothing
        is_inband = any(each in versions for each in unnamed)
        dialect = TRANSPORT.get(unnamed[0] if is_inband else protocol or "")
        if dialect is None:
            door(visit)
            return

        def interpreter() -> Interpreter:
            draft, tell = by_identifier(dialect.identifier), partial(denied, visit.knock)
            below = visit.transport
            return Interpreter(below, draft, dialect, settings, waits, tell, is_inband)

        who = Undecided(visit.transport, interpreter) if is_inband else interpreter()
        door(InterpretedVisit(visit, who))

    return answer
