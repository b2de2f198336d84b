"""Records on their way to Kafka or Redpanda, through librdkafka, which sends from threads of its
own.

The law: a record that was taken is sent until a broker has it, in order and possibly twice; one for
which there is no room is counted and gone. This module must not know where records come from.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from relay.errors import ConfigError
from relay.path import Path
from relay.sinks.copying import Log, Record
from relay.sinks.settings import Sasl, SinkSettings

POLL = 0.05
"""Seconds between looks at what the brokers have said."""

COMPLAINT = 60.0
"""Seconds between two lines about the same trouble."""

FRAME = 512
"""Bytes that a waiting record is counted for at least."""

MAX_TOPIC = 249
"""Characters of a topic."""

MAX_NAMES = 4096
"""Topics and keys that are remembered."""

NOT_INSTALLED = "kind: Kafka is not installed here; install the extra: pip install -e '.[kafka]'"

_ODD = re.compile(r"[^A-Za-z0-9._-]")


class Complaints:
    """Troubles of one kind: the first is told, then one line every `COMPLAINT` seconds."""

    def __init__(
        self, told: Callable[[str, int], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.count = 0
        """All of them."""
        self._told = told
        self._clock = clock
        self._since = 0
        self._at: float | None = None

    def add(self, why: str) -> None:
        """One more."""
        self.count += 1
        self._since += 1
        now = self._clock()
        if self._at is None or now - self._at >= COMPLAINT:
            self._told(why, self._since)
            self._at, self._since = now, 0


class Kafka:
    """One producer (an `Outlet`). Raises `ConfigError`, without the sink's name, for settings that
    cannot be obeyed here."""

    def __init__(
        self,
        name: str,
        settings: SinkSettings,
        log: Log,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.settings = settings
        self.taken = 0
        """Records taken, delivered or not."""
        self.delivered = 0
        """Records that the brokers have."""
        self.unsent = 0
        """Records that waited in vain when the relay stopped."""
        self._name = name
        self._log = log
        self._names: dict[tuple[Path, str], tuple[str, bytes]] = {}
        self._dropped = Complaints(self._complaining("no room for records"))
        self._failed = Complaints(self._complaining("records not accepted"))
        self._silent = Complaints(self._complaining("brokers do not answer"))
        refused = self._complaining("brokers do not take the user or the password (sasl)")
        untrusted = self._complaining("no TLS with the brokers (tls.root)")
        try:
            from confluent_kafka import KafkaError, KafkaException, Producer
        except ImportError:
            raise ConfigError(NOT_INSTALLED) from None
        self._refusal = KafkaException
        self._troubles = {
            KafkaError._AUTHENTICATION: Complaints(refused),
            KafkaError._SSL: Complaints(untrusted),
        }
        self._had_trouble = False
        self._purged = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)
        config = _config(settings, environ)
        config |= {"error_cb": self._erred, "logger": _quiet_logger()}
        try:
            self._producer = Producer(config)
        except KafkaException as error:
            raise ConfigError(f"cannot be used: {error.args[0].str()}") from None

    @property
    def waiting(self) -> int:
        """Records that no broker has confirmed yet."""
        return self.taken - self.delivered - self.failed - self.unsent

    @property
    def dropped(self) -> int:
        """Records for which there was no room."""
        return self._dropped.count

    @property
    def failed(self) -> int:
        """Records that the brokers did not accept, or that are too long."""
        return self._failed.count

    @property
    def counts(self) -> Mapping[str, int]:
        """What became of records that do not wait."""
        lost = {"dropped": self.dropped, "failed": self.failed, "unsent": self.unsent}
        return {"delivered": self.delivered} | lost

    def put(self, record: Record) -> None:
        """Take one record, or count that there was no room for it."""
        topic, key = self._named(record.broadcast, record.track)
        frame = record.frame
        headers: list[tuple[str, str | bytes | None]] = [
            ("group", b"%d" % frame.group),
            ("frame", b"%d" % frame.number),
            ("timestamp", b"%d" % frame.timestamp),
            ("timescale", b"%d" % frame.timescale),
        ]
        try:
            self._producer.produce(
                topic, frame.payload, key, headers=headers, on_delivery=self._reported
            )
        except BufferError:
            self._dropped.add(f"buffer_bytes ({self.settings.buffer_bytes})")
            return
        except self._refusal as error:
            self.taken += 1
            self._failed.add(f"{topic}: {error.args[0].str()}")
            return
        self.taken += 1

    async def run(self) -> None:
        """Hear what the brokers say; when cancelled, give them a moment for what still waits."""
        try:
            while True:
                self._producer.poll(0)
                self._recovered()
                await asyncio.sleep(POLL)
        finally:
            await self._drain()

    async def _drain(self) -> None:
        await asyncio.to_thread(self._producer.flush, self.settings.drain)
        if left := self.waiting:
            self.unsent += left
            detail = f"sinks.{self._name}: {left} records were not delivered in time"
            self._log("warning", detail=detail)
            self._producer.purge()

    def _named(self, broadcast: Path, track: str) -> tuple[str, bytes]:
        """Topic and key of a track."""
        found = self._names.get((broadcast, track))
        if found is None:
            if len(self._names) >= MAX_NAMES:
                self._names.clear()
            named = topic_of(self.settings.topic, broadcast, track), f"{broadcast}/{track}".encode()
            found = self._names[broadcast, track] = named
        return found

    def _reported(self, error: Any, message: Any) -> None:
        """A record has arrived, or failed for good."""
        if error is None:
            self.delivered += 1
        elif error.code() not in self._purged:  # those are counted as unsent
            self._failed.add(f"{message.topic()}: {error.str()}")

    def _erred(self, error: Any) -> None:
        """Something about the brokers."""
        self._had_trouble = True
        self._troubles.get(error.code(), self._silent).add(error.str())

    def _recovered(self) -> None:
        if self._had_trouble and not self.waiting and self.taken:
            self._had_trouble = False
            self._log("sink up to date", sink=self._name, delivered=self.delivered)

    def _complaining(self, what: str) -> Callable[[str, int], None]:
        def told(why: str, count: int) -> None:
            detail = f"sinks.{self._name}: {what}: {why} ({count} times since the last such line)"
            self._log("warning", detail=detail)

        return told


def topic_of(template: str, broadcast: Path, track: str) -> str:
    """The topic of a track, in the letters that topics may have."""
    tenant = broadcast.segments[0] if broadcast else ""
    made = template.format(
        tenant=tenant, broadcast=broadcast.replace("/", "."), track=track.replace("/", ".")
    )
    topic = _ODD.sub("_", made)[:MAX_TOPIC]
    return topic if topic.strip(".") else "_"


def require_usable(settings: SinkSettings) -> None:
    """Raises `ConfigError` for what `Kafka` would, but nobody is dialled."""
    if find_spec("confluent_kafka") is None:
        raise ConfigError(NOT_INSTALLED)
    _config(settings, os.environ)


def _config(settings: SinkSettings, environ: Mapping[str, str]) -> dict[str, Any]:
    """What librdkafka calls those settings."""
    config: dict[str, Any] = {
        "bootstrap.servers": ",".join(settings.brokers),
        "client.id": "moq-relay",
        "acks": settings.acks,
        "compression.type": settings.compression,
        "queue.buffering.max.kbytes": settings.buffer_bytes // 1024,
        "queue.buffering.max.messages": settings.buffer_bytes // FRAME,
        "message.max.bytes": settings.max_message_bytes,
        # Until it is delivered, however long that takes; one request at a time keeps the order.
        "message.timeout.ms": 0,
        "max.in.flight.requests.per.connection": 1,
        "security.protocol": _protocol(settings),
    }
    if (tls := settings.tls) is not None:
        config["ssl.ca.location"] = "probe"
        files = {"ssl.ca.location": "root", "ssl.certificate.location": "cert"}
        for name, said in (files | {"ssl.key.location": "key"}).items():
            if (file := getattr(tls, said)) is not None:
                if not os.access(file, os.R_OK):
                    raise ConfigError(f"tls.{said}: {file}: not readable")
                config[name] = str(file)
    if (sasl := settings.sasl) is not None:
        config["sasl.mechanism"] = sasl.mechanism
        config["sasl.username"] = sasl.username
        config["sasl.password"] = _password(sasl, environ)
    return config


def _protocol(settings: SinkSettings) -> str:
    under = "SSL" if settings.tls is not None else "PLAINTEXT"
    return f"SASL_{under}" if settings.sasl is not None else under


def _password(sasl: Sasl, environ: Mapping[str, str]) -> str:
    """The password. Raises `ConfigError`, which does not quote it."""
    if sasl.password_file is not None:
        try:
            found = sasl.password_file.read_text().removesuffix("\n")
        except (OSError, UnicodeDecodeError):
            raise ConfigError(f"sasl.password_file: {sasl.password_file}: not readable") from None
    else:
        found = environ.get(sasl.password_env or "", "")
    if not found:
        raise ConfigError(f"sasl: no password in {sasl.password_file or sasl.password_env}")
    return found


def _quiet_logger() -> logging.Logger:
    """librdkafka's own log, which goes to standard error otherwise: errors reach us as well."""
    logger = logging.getLogger("relay.sinks.kafka")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    return logger
