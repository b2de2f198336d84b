"""The UDP socket, and every connection that lives on it.

A turn reads what is there, hands all of it to the connections, lets each of them speak once, and
sends; wakes from outside get a turn of their own in the same round of the event loop. What one
connection does wrong costs only itself. This module must not know what connections carry.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from errno import ECONNREFUSED
from time import monotonic

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.packet import QuicHeader

from relay.net import udp
from relay.net.authority import BadCertificate
from relay.net.codes import BAD_CERTIFICATE, CONNECTION_REFUSED
from relay.net.connection import Begin, Connection
from relay.net.engine import Engine
from relay.net.gate import CID_LENGTH, read_header
from relay.net.outbox import Outbox
from relay.net.patience import PORTION, Patience, turns
from relay.net.quic import QuicTransport
from relay.net.serving import Serving
from relay.net.settings import ListenSettings
from relay.net.stray import Strays
from relay.net.timers import Timers
from relay.net.udp import LARGE, Address, Run, Socket

OnError = Callable[[Exception], None]
"""Hears of every exception that cost a session."""

_log = logging.getLogger("relay.net")

_ID_END = 1 + CID_LENGTH
"""Where the connection id of a short header ends (RFC 9000, 17.3)."""


def log_error(error: Exception) -> None:
    """Report an error to the log; what an endpoint does unless told otherwise."""
    _log.error("a session was lost to an error of ours", exc_info=error)


class Endpoint:
    """Sockets, connections, timers; listening (`listen`) or dialling (`relay.net.dial`).

    Plain counters for whoever measures: ``datagrams_in``, ``bytes_in``, ``sessions`` (open now),
    ``handshakes_failed``; more are of its ``outbox`` and of the gate of ``serving``.
    """

    def __init__(
        self,
        settings: ListenSettings,
        serving: Serving | None = None,
        on_error: OnError = log_error,
    ) -> None:
        """Without ``serving`` it only dials; with it, it only listens."""
        self.settings = settings
        self.strays: Strays | None = None
        self.datagrams_in = self.bytes_in = 0
        self.sessions = self.handshakes_failed = 0
        self._serving = serving
        self._on_error = on_error
        self._loop = asyncio.get_running_loop()
        self._sockets: list[Socket] = []
        self._routes: dict[bytes, Connection] = {}
        self._lines: dict[Connection, _Line] = {}
        self.awake: dict[Connection, None] = {}
        speedups = settings.limits.speedups
        self._receive, send = udp.reader(speedups), udp.writer(speedups)
        self.outbox = Outbox(self._loop, settings.max_backlog, lambda: self._turn(()), send)
        self._timers = Timers(self._loop, self._timer_due, lambda: self._look_round(monotonic()))
        self._turn_due: asyncio.Handle | None = None
        self._patience = Patience(self._loop, self._listen)
        self.is_in_turn = False
        self._live = 0
        self._quiet = asyncio.Event()

    # For those who assemble the server

    def listen(self, sockets: Sequence[Socket], strays: Strays | None = None) -> tuple[str, int]:
        """Take sessions on bound sockets, which are this endpoint's from now on; answers the first
        address. ``strays`` come from the other workers where several have the port."""
        for sock in sockets:
            self.add_socket(sock)
        if strays is not None:
            self.strays = strays
            self._loop.add_reader(strays.sock.fileno(), self._strays_readable, strays)
        return udp.plain(sockets[0].getsockname())

    async def close(self, code: int = 0, reason: str = "", linger: float = 1.5) -> None:
        """End all sessions, wait at most ``linger`` seconds for goodbyes, free the sockets."""
        if self._serving is not None:
            self._serving.gate.is_open = False
        for connection in list(self._lines):
            if isinstance(connection.application, QuicTransport):
                connection.application.close(code, reason)
            else:
                connection.engine.end(0, reason, transport=True)
            self.wake(connection)
        self._quiet.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(linger):
                while self._live:
                    await self._quiet.wait()
        self._shut()

    @property
    def connections(self) -> int:
        """Connections that QUIC still knows, those saying goodbye included."""
        return len(self._lines)

    # For the dialling side

    def add_socket(self, sock: Socket) -> None:
        """Read from a socket from now on; it is closed with the endpoint."""
        self._sockets.append(sock)
        self._loop.add_reader(sock.fileno(), self._readable, sock)

    def connect(
        self, sock: Socket, address: Address, configuration: QuicConfiguration, begin: Begin
    ) -> Connection:
        """Begin a handshake on a socket that is connected to ``address``."""
        engine = Engine(configuration, self.settings.limits)
        connection = Connection(self, engine, self.settings.limits, address, begin)
        self._enter(connection, sock, address, engine.host_cid)
        engine.connect(address, self.now())
        self.wake(connection)
        return connection

    # What connections need (`relay.net.connection.Host`)

    def now(self) -> float:
        """The loop's clock, as it is now: a loop may look at it once in a round."""
        return monotonic()

    def wake(self, connection: Connection) -> None:
        """Flush the connection at the end of this turn, or in one of its own."""
        self.awake[connection] = None
        if not self.is_in_turn and self._turn_due is None and not self.outbox.waiting:
            self._turn_due = self._loop.call_soon(self._turn, ())

    def add_id(self, connection: Connection, cid: bytes) -> None:
        """Route a connection id."""
        self._routes[cid] = connection
        connection.ids.add(cid)

    def remove_id(self, connection: Connection, cid: bytes) -> None:
        """Route it no longer."""
        connection.ids.discard(cid)
        self._routes.pop(cid, None)

    def handshake_done(self, connection: Connection) -> None:
        """Count a session."""
        if self._serving is not None:
            try:
                self._serving.examine(connection)
            except BadCertificate as error:
                connection.engine.end(BAD_CERTIFICATE, str(error), transport=True)
                error.remote = connection.remote[0]
                self.failed(error)
                return
            self._serving.gate.pass_through()
        self._lines[connection].is_session = True
        self.sessions += 1

    def ended(self, connection: Connection) -> None:
        """Count it no longer."""
        line = self._lines.get(connection)
        if line is None or line.has_ended:
            return
        line.has_ended = True
        self._live -= 1
        if line.is_session:
            self.sessions -= 1
        else:
            self.handshakes_failed += 1
        if self._serving is not None:
            self._serving.gate.leave(line.address, line.is_session)

    def failed(self, error: Exception) -> None:
        """Report an error that cost a session."""
        try:
            self._on_error(error)
        except Exception:
            _log.exception("the error hook raised")

    # Turns

    def _readable(self, sock: Socket) -> None:
        if self._patience.left and self._patience.is_over(sock):
            return  # what came before has its turn first
        runs, trouble = self._receive(sock, self.settings.read_batch, CID_LENGTH)
        if trouble:
            self._troubled(sock, trouble)
        if self.strays is not None:
            runs = self.strays.keep(self._sockets.index(sock), runs)
        if len(runs) == 1 and not self._patience.left and self._listen_to_one(*runs[0]):
            return
        self._hear(sock, sock, runs)

    def _strays_readable(self, strays: Strays) -> None:
        if self._patience.is_over(strays):
            return
        for line, runs in strays.receive(self.settings.read_batch):
            if line < len(self._sockets):
                self._hear(strays, self._sockets[line], runs)

    def _hear(self, source: object, sock: Socket, runs: Sequence[Run]) -> None:
        for _, datagrams in runs:
            self.bytes_in += sum(map(len, datagrams))
            self.datagrams_in += len(datagrams)
        self._patience.hear(source, sock, runs)

    def _listen_to_one(self, address: Address, datagrams: list[bytes]) -> bool:
        """A little that one known connection sent, and nothing else came: a frame, mostly, or an
        acknowledgement. The same as `_listen`; False, and nothing is done, where it is not so."""
        first, size = datagrams[0], sum(map(len, datagrams))
        connection = self._routes.get(first[1:_ID_END]) if first and first[0] < 0x80 else None
        if connection is None or len(datagrams) > PORTION or size >= PORTION * LARGE:
            return False
        self.bytes_in += size
        self.datagrams_in += len(datagrams)
        engine, now = connection.engine, monotonic()
        try:
            engine.receive(datagrams, address, now)
        except Exception as error:
            connection.fail(error)
        if engine.has_news:
            self._turn((connection,))
        else:
            if connection.deadline is not None or engine.is_impatient:
                self._timers.arm(connection, len(self._lines))
            if self.awake:
                self._turn(())
        if now >= self._timers.round_at:
            self._look_round(now)
        return True

    def _listen(self, sock: Socket, runs: Sequence[Run], until: float) -> Sequence[Run]:
        now = monotonic()
        held: list[Run] = []
        heard_by: dict[Connection, Run] = {}
        unknown: list[Run] = []
        for place, run in enumerate(runs):
            if held or monotonic() > until:
                held.extend(runs[place:])
                break
            address, datagrams = run
            first = datagrams[0]
            if not first or first[0] >= 0x80:
                for at, data in enumerate(datagrams):
                    if at and monotonic() > until:
                        held.append((address, datagrams[at:]))
                        break
                    if (connection := self._take(sock, data, address, now)) is not None:
                        heard_by.setdefault(connection, (address, []))
                continue
            connection = self._routes.get(first[1:_ID_END])
            if connection is None:
                unknown.append(run)
                continue
            begun = heard_by.setdefault(connection, run)
            if begun is run:
                continue
            if begun[0] == address:
                begun[1].extend(datagrams)
            elif left := connection.feed_until(until, datagrams, address, now):
                held.append((address, left))
        heard: list[Connection] = []
        unheard: list[Run] = []
        late: list[Run] = []
        for connection, (address, datagrams) in heard_by.items():
            is_little = len(datagrams) <= PORTION and sum(map(len, datagrams)) < PORTION * LARGE
            if is_little and monotonic() <= until:
                try:  # as `Connection.feed`, for each frame and acknowledgement
                    connection.engine.receive(datagrams, address, now)
                except Exception as error:
                    connection.fail(error)
            elif left := connection.feed_until(until, datagrams, address, now):
                (unheard if left is datagrams else late).append((address, left))
            if connection.engine.has_news:
                heard.append(connection)
            elif connection.deadline is not None or connection.engine.is_impatient:
                self._timers.arm(connection, len(self._lines))
        for address, datagrams in unknown:  # what came before a reset is heard before it
            for data in datagrams:
                self._disown(sock, data, address, now)
        if heard or self.awake:
            self._turn(heard)
        if now >= self._timers.round_at:
            self._look_round(now)
        rest = unheard + held
        return turns(rest, late, self._whose) if late else rest

    def _whose(self, run: Run) -> Connection | None:
        return self._routes.get(run[1][0][1:_ID_END])

    def _timer_due(self) -> None:
        now = self.now()
        due = []
        for connection in self._timers.expired(now):
            if connection.fire(now):
                due.append(connection)
            else:
                self._timers.arm(connection, len(self._lines))
        self._turn(due)

    def _look_round(self, now: float) -> None:
        """Look at the connections with traffic: some have become quiet, some have waited."""
        timers, population = self._timers, len(self._lines)
        due = []
        for connection in list(timers.busy):
            if connection.deadline is None and connection.engine.is_fresh(now):
                continue  # by far the most frequent
            if connection.is_quiet:
                del timers.busy[connection]
                if connection.armed is None:
                    timers.arm(connection, population)
            elif connection.fire(now):
                due.append(connection)
        timers.next_round(now)
        if due:
            self._turn(due)

    def _turn(self, heard: Sequence[Connection]) -> None:
        """Events of all first, then one flush of each: what fans out leaves in one go."""
        if self._turn_due is not None:
            self._turn_due.cancel()
            self._turn_due = None
        self.is_in_turn = True
        try:
            for connection in heard:
                try:
                    connection.take_events()
                except Exception as error:
                    connection.fail(error)  # what it did not hand up is lost
                self.awake[connection] = None
            awake, self.awake = self.awake, {}
            self._flush(awake, monotonic())
        finally:
            self.is_in_turn = False
        if not self._live:
            # Every goodbye has been said and sent, which is all `close` waits for.
            self._quiet.set()
            if self._serving is None:
                self._shut()
        if self.awake and not self.outbox.waiting:
            self._turn_due = self._loop.call_soon(self._turn, ())

    def _flush(self, awake: Iterable[Connection], now: float) -> None:
        is_connected = self._serving is None  # by sockets we dial from
        outbox, lines, busy = self.outbox, self._lines, self._timers.busy
        send = outbox.way
        for connection in awake:
            line, engine = lines.get(connection), connection.engine
            if outbox.waiting and line is not None and not connection.is_terminated:
                # The kernel is full. Packets would only wait; the outbox calls when it is empty.
                self.awake[connection] = None
                continue
            try:
                if connection.is_due or not engine.is_settled:
                    connection.speak()
                try:
                    departures = engine.departures(now)
                except Exception as error:
                    departures = connection.fall_silent(error)
                if engine.events:
                    connection.tell_ids()
                if line is None:
                    continue
                for data, size, address in departures:  # as `Outbox.send`, for each frame
                    to = None if is_connected else address
                    done = 0 if outbox.waiting else send(line.sock, data, size, to)
                    outbox.datagrams += -(-done // size)
                    outbox.bytes += done
                    if done != len(data):
                        outbox.keep(line.sock, data, size, to, done)
                if connection.is_terminated:
                    self._forget(connection)
                elif connection.deadline is not None or engine.is_impatient:
                    self._timers.arm(connection, len(lines))
                elif connection not in busy:
                    self._timers.look_at(connection, now)
            except Exception as error:
                # The last net: whatever goes wrong with one, the others have their turn.
                self.failed(error)

    # Packets

    def _take(self, sock: Socket, data: bytes, address: Address, now: float) -> Connection | None:
        """Feed a datagram with a long header to the connection it belongs to, and name that."""
        header = read_header(data)
        if header is None:
            return None
        connection = self._routes.get(header.destination_cid)
        if connection is not None:
            connection.feed([data], address, now)
            return connection
        return self._knock(sock, header, data, address, now)

    def _disown(self, sock: Socket, data: bytes, address: Address, now: float) -> None:
        """Nothing is known of the connection that a packet is for: say so, or hear that the other
        side says it of the one we dialled."""
        if self._serving is not None:
            if (reset := self._serving.resets.answer(data, now)) is not None:
                self.outbox.send(sock, reset, len(reset), address)
            return
        for connection, line in self._lines.items():
            if line.sock is sock and connection.engine.hear_reset(data, now):
                self.wake(connection)

    def _knock(
        self, sock: Socket, header: QuicHeader, data: bytes, address: Address, now: float
    ) -> Connection | None:
        if self._serving is None:
            return None
        answer = self._serving.knock(self, header, data, address, now)
        if isinstance(answer, bytes):
            self.outbox.send(sock, answer, len(answer), address)
        elif answer is not None:
            self._enter(answer, sock, address, header.destination_cid, answer.engine.host_cid)
            return answer
        return None

    def _troubled(self, sock: Socket, trouble: int) -> None:
        """The kernel told of an error. Of a dialled port that is closed: its connection need not
        wait for the timeout."""
        if sock in self._sockets:
            # uvloop stops reading from a socket with an error, whatever comes afterwards.
            self._loop.remove_reader(sock.fileno())
            self._loop.add_reader(sock.fileno(), self._readable, sock)
        for connection, line in list(self._lines.items()) if trouble == ECONNREFUSED else ():
            if line.sock is sock and self._serving is None and not line.is_session:
                connection.engine.end(CONNECTION_REFUSED, "connection refused", transport=True)
                self.wake(connection)

    # Connections

    def _enter(self, connection: Connection, sock: Socket, address: Address, *ids: bytes) -> None:
        self._lines[connection] = _Line(sock, address)
        self._live += 1
        for cid in ids:
            self.add_id(connection, cid)

    def _forget(self, connection: Connection) -> None:
        self.ended(connection)
        for cid in list(connection.ids):
            self.remove_id(connection, cid)
        del self._lines[connection]
        self._timers.disarm(connection, len(self._lines))

    def _shut(self) -> None:
        for connection in list(self._lines):
            connection.is_terminated = True
            self._forget(connection)
        self._timers.close()
        self.outbox.clear()
        for sock in self._sockets:
            self._loop.remove_reader(sock.fileno())
            sock.close()
        self._sockets.clear()
        self._patience.clear()
        if self.strays is not None:
            self._loop.remove_reader(self.strays.sock.fileno())
            self.strays.close()
            self.strays = None


class _Line:
    """What the endpoint notes of one connection."""

    __slots__ = ("address", "has_ended", "is_session", "sock")

    def __init__(self, sock: Socket, address: Address) -> None:
        self.sock = sock
        self.address = address
        self.is_session = False
        self.has_ended = False
