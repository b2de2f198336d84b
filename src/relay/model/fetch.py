"""Single groups asked for by number: one question upstream per group, however many wait.

A group that a fetch brings stands in the cache, but is never taken for what the publisher sends
now. A question stands until its group is complete; when nobody wants that any more, the source is
told. This module must not know who asks or how a source gets hold of an old group.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from relay.errors import Cancelled, LimitExceeded, RelayError
from relay.model.group import Group

if TYPE_CHECKING:
    from relay.model.broadcast import FetchSource, Source
    from relay.model.track import Track

MAX_FETCHES = 4096
"""Groups of one track that are being fetched at a time; one more fails with `LimitExceeded`. What
one session may ask for is far less (`relay.peer.watching`), so that nobody takes it all."""


class Fetcher(Protocol):
    """Who wants one group; hashed by identity. Exactly one of the calls comes."""

    def group_opened(self, group: Group) -> None:
        """The group, from its first byte; it may still be arriving. Whoever reads no further says
        so with `Track.unfetch`, after it has let go of the group's log."""

    def fetch_failed(self, error: RelayError) -> None:
        """It cannot be had."""


class _Question:
    """One group that a source is asked for."""

    __slots__ = ("fetchers", "group", "is_live", "source")

    def __init__(self, source: FetchSource, fetcher: Fetcher) -> None:
        self.source = source
        self.fetchers: dict[Fetcher, None] = {fetcher: None}
        self.group: Group | None = None
        """What arrives."""
        self.is_live = False
        """Whether the feed has it as well: viewers count on it."""


class Fetches:
    """Who waits for which group of one track."""

    __slots__ = ("_questions", "_track")

    def __init__(self, track: Track) -> None:
        self._track = track
        self._questions: dict[int, _Question] = {}

    def __contains__(self, sequence: int) -> bool:
        return sequence in self._questions

    def __len__(self) -> int:
        return len(self._questions)

    def ask(self, sequence: int, fetcher: Fetcher, source: FetchSource) -> bool:
        """Wait for a group; True when ``source`` is to be asked, since nobody waited for it so far.

        Raises `LimitExceeded`.
        """
        question = self._questions.get(sequence)
        if question is not None:
            question.fetchers[fetcher] = None
            return False
        if len(self._questions) >= MAX_FETCHES:
            raise LimitExceeded(f"more than {MAX_FETCHES} fetches of one track")
        self._questions[sequence] = _Question(source, fetcher)
        return True

    def forget(self, sequence: int, fetcher: Fetcher) -> None:
        """Wait no longer. The last one takes the question back, unless others read the group."""
        question = self._questions.get(sequence)
        if question is None:
            return
        question.fetchers.pop(fetcher, None)
        if question.fetchers:
            return
        if question.group is None:
            self._withdraw(sequence)
        elif not question.is_live and not question.group.is_read:
            question.group.abort(Cancelled("nobody wants the group"))

    def open(self, group: Group) -> None:
        """The group begins to arrive from the source that was asked."""
        question = self._questions[group.sequence]
        question.group = group
        for fetcher in tuple(question.fetchers):
            if fetcher in question.fetchers:
                fetcher.group_opened(group)

    def deliver(self, group: Group) -> None:
        """The group came another way; the source need not answer any more."""
        question = self._questions.get(group.sequence)
        if question is not None and question.group is None:
            self._withdraw(group.sequence)
            for fetcher in question.fetchers:
                fetcher.group_opened(group)

    def confirm(self, sequence: int) -> None:
        """The feed has the group as well."""
        if (question := self._questions.get(sequence)) is not None:
            question.is_live = True

    def end(self, group: Group, error: RelayError | None) -> None:
        """A group is complete, or broke off, which the source need not have been the cause of."""
        question = self._questions.get(group.sequence)
        if question is None or question.group is not group:
            return
        if error is None:
            del self._questions[group.sequence]
        else:
            self._withdraw(group.sequence)

    def fail(self, sequence: int, error: RelayError) -> None:
        """The source cannot deliver the group."""
        question = self._questions.get(sequence)
        if question is not None and question.group is None:
            del self._questions[sequence]
            for fetcher in question.fetchers:
                fetcher.fetch_failed(error)

    def lose(self, source: Source | None, error: RelayError) -> None:
        """Nothing can be had from a source any more, or from none (``None``)."""
        for sequence, question in tuple(self._questions.items()):
            if source is not None and question.source is not source:
                continue
            if self._questions.get(sequence) is not question:
                continue
            self._withdraw(sequence)
            if question.group is not None:
                question.group.abort(error)
                continue
            for fetcher in question.fetchers:
                fetcher.fetch_failed(error)

    def _withdraw(self, sequence: int) -> None:
        question = self._questions.pop(sequence)
        question.source.cancel_fetch(self._track, sequence)
