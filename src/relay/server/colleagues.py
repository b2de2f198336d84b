"""What the workers of one relay ask each other: one question, one answer, over a unix socket.

Whatever has to be counted or listed over all workers is asked here with `ask_all` and put together
by whoever asked. The law: a worker that does not answer in time is left out, aloud, and costs the
others nothing; a question that makes no sense is answered with an error. This module must not know
what is asked.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path as File
from typing import Any

from relay import errors
from relay.errors import BadRequest, OverQuota, RelayError, Unavailable
from relay.net.listening import bind_unix
from relay.net.steer import WHOLE, Share

TIMEOUT = 5.0
"""Seconds that an answer may take, where one colleague is asked."""

PATIENCE = 1.0
"""Seconds that answers of all may take: who is silent is left out."""

MAX_TEXT = 64 << 20
"""Bytes of a question or an answer."""

_LENGTH = 4
"""Bytes of the length in front of each."""

Answer = Callable[..., Awaitable[Any]]
"""Answers one kind of question; arguments and answer are what JSON can say."""


class Answers(list[Any]):
    """What colleagues answered, in their order, and who did not."""

    def __init__(self, found: Iterable[tuple[int, Any]], silent: list[int]) -> None:
        """``found`` are answers with the workers they are from."""
        self.by_worker = dict(found)
        super().__init__(self.by_worker.values())
        self.silent = silent
        """The numbers of those that did not answer in time."""


class Colleagues:
    """The other workers of this relay; nobody where there is but one."""

    def __init__(
        self,
        share: Share = WHOLE,
        folder: File | None = None,
        log: Callable[..., None] = lambda event, **facts: None,
    ) -> None:
        """``folder`` is where the workers' sockets are."""
        self.share = share
        self._folder = folder or File()
        self._log = log
        self._answers: Mapping[str, Answer] = {}

    @property
    def others(self) -> list[int]:
        """The numbers of all workers but this one."""
        return [index for index in range(self.share.count) if index != self.share.index]

    async def listen(self, answers: Mapping[str, Answer]) -> asyncio.Server:
        """Answer the others from now on. Raises `OSError`."""
        self._answers = answers
        sock = bind_unix(self._place(self.share.index))
        return await asyncio.start_unix_server(self._hear, sock=sock)

    async def ask_all(self, name: str, *arguments: Any) -> Answers:
        """What the others answer, in their order; without those that cannot within `PATIENCE`.

        Raises the `RelayError` of a colleague who says that the question makes no sense.
        """
        answers = await asyncio.gather(
            *(self.ask(index, name, *arguments, patience=PATIENCE) for index in self.others),
            return_exceptions=True,
        )
        found, silent = [], []
        for index, answer in zip(self.others, answers, strict=True):
            if isinstance(answer, Unavailable):
                self._log("warning", detail=f"worker {index} did not answer: {answer}")
                silent.append(index)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                found.append((index, answer))
        return Answers(found, silent)

    async def ask(self, index: int, name: str, *arguments: Any, patience: float = TIMEOUT) -> Any:
        """What one colleague answers within so many seconds.

        Raises `Unavailable` when there is no answer, else whatever `RelayError` it answered.
        """
        try:
            async with asyncio.timeout(patience):
                reader, writer = await asyncio.open_unix_connection(self._place(index))
                try:
                    writer.write(_packed([name, *arguments]))
                    answer = await _read(reader)
                finally:
                    writer.close()
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            raise Unavailable(str(error) or type(error).__name__) from None
        if "error" in answer:
            raise _error(*answer["error"])
        return answer["answer"]

    def _place(self, index: int) -> str:
        return str(self._folder / f"ask-{index}")

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One question, and its answer."""
        try:
            async with asyncio.timeout(TIMEOUT):
                name, *arguments = await _read(reader)
                writer.write(await self._reply(name, arguments))
                await writer.drain()
        except (OSError, EOFError, ValueError, TypeError, TimeoutError):
            pass  # whoever asked has no answer, and says so
        except asyncio.CancelledError:
            pass  # the worker stops; Python 3.11's streams raise at a task that ends cancelled
        finally:
            writer.close()

    async def _reply(self, name: str, arguments: list[Any]) -> bytes:
        try:
            if name not in self._answers:
                raise BadRequest(f"no such question: {name!r}")
            return _packed({"answer": await self._answers[name](*arguments)})
        except RelayError as error:
            wait = getattr(error, "wait", 0.0)
            refusal = [type(error).__name__, str(error), error.denial_id, wait]
        except Exception as error:  # a mistake of ours, which is not to pass for silence
            self._log("internal error", error=f"{name}: {error!r}")
            refusal = [Unavailable.__name__, "internal error", ""]
        return _packed({"error": refusal})


def _packed(said: Any) -> bytes:
    text = json.dumps(said, separators=(",", ":")).encode()
    if len(text) > MAX_TEXT:
        raise ValueError(f"more than {MAX_TEXT} bytes")
    return len(text).to_bytes(_LENGTH, "big") + text


async def _read(reader: asyncio.StreamReader) -> Any:
    """Raises `ValueError`, `EOFError`."""
    size = int.from_bytes(await reader.readexactly(_LENGTH), "big")
    if size > MAX_TEXT:
        raise ValueError(f"more than {MAX_TEXT} bytes")
    return json.loads(await reader.readexactly(size))


def _error(name: str, text: str, denial_id: str = "", wait: float = 0.0) -> RelayError:
    """The error that a colleague met."""
    kind = getattr(errors, name, RelayError)
    if not (isinstance(kind, type) and issubclass(kind, RelayError)):
        kind = RelayError
    error = OverQuota(text, wait) if kind is OverQuota else kind(text)
    return error.known_as(denial_id)
