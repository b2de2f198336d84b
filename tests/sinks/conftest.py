"""Brokers to test with: the mock cluster of librdkafka, and a real Apache Kafka for the run."""

from __future__ import annotations

import contextlib
import datetime
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from absent import missing
from ports import free_ports

TOP = Path(__file__).parents[2]
JARS = TOP / "build" / "kafka"
"""Where .ci/run has Maven put Apache Kafka (tests/sinks/broker/pom.xml)."""

CONFIG = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
log.dirs={folder}/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
"""


SECURED = """
listener.security.protocol.map=SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=SASL_SSL
sasl.mechanism.inter.broker.protocol=PLAIN
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.sasl_ssl.plain.sasl.jaas.config=\\
 org.apache.kafka.common.security.plain.PlainLoginModule required \\
 username="broker" password="among brokers" user_broker="among brokers" user_relay="{password}";
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=\\
 org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.type=PEM
ssl.keystore.location={folder}/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/ca.pem
"""


class Server:
    """One broker process, which can be stopped and started again on the same port."""

    host = "127.0.0.1"
    config = CONFIG
    users: tuple[str, ...] = ()
    password = ""
    """Of the user ``relay``, where one is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, controller = free_ports(2)
        text = self.config.format(
            port=self.port, controller=controller, folder=folder, password=self.password
        )
        (folder / "server.properties").write_text(text)
        words = ["format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c", "server.properties", *self.users]
        subprocess.run(self.java("kafka.tools.StorageTool", *words), check=True, **self.calm())
        self.start()

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def java(self, *words: str) -> list[str]:
        return ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", f"{JARS}/*", *words]

    def calm(self) -> dict[str, Any]:
        log = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return {"cwd": self.folder, "timeout": 60, **log}

    def start(self) -> None:
        """Until it takes connections."""
        with (self.folder / "log").open("ab") as log:
            self.program = subprocess.Popen(
                self.java("kafka.Kafka", "server.properties"),
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + 45
        while True:
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if time.monotonic() > until or self.program.poll() is not None:
                pytest.fail(f"Kafka did not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.1)

    def stop(self) -> None:
        """As if it had lost power."""
        self.program.send_signal(signal.SIGKILL)
        self.program.wait(10)


class Secured(Server):
    """A broker that takes TLS only, by an authority of its own, and asks for a password."""

    host = "localhost"
    config = CONFIG.replace("PLAINTEXT://127.0.0.1:{port}", "SASL_SSL://localhost:{port}") + SECURED
    password = "open sesame"
    users = ("--add-scram", f"SCRAM-SHA-512=[name=relay,password={password}]")

    def __init__(self, folder: Path) -> None:
        authority, key, certificate = issue()
        (folder / "ca.pem").write_bytes(authority)
        (folder / "other.pem").write_bytes(issue()[0])
        (folder / "broker.pem").write_bytes(key + certificate)
        super().__init__(folder)


S = TypeVar("S", bound=Server)


def issue() -> tuple[bytes, bytes, bytes]:
    """A fresh authority, and a key with a certificate for localhost by it (PEM)."""
    now = datetime.datetime.now(datetime.UTC)
    names, keys = [], []
    for name in ("authority", "localhost"):
        names.append(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        keys.append(ec.generate_private_key(ec.SECP256R1()))
    made = []
    for at, serves in enumerate((False, True)):
        builder = x509.CertificateBuilder(names[0], names[at], keys[at].public_key(), at + 1)
        builder = builder.not_valid_before(now - datetime.timedelta(hours=1))
        builder = builder.not_valid_after(now + datetime.timedelta(hours=1))
        basic = x509.BasicConstraints(ca=not serves, path_length=None)
        builder = builder.add_extension(basic, critical=True)
        if serves:
            here = x509.SubjectAlternativeName([x509.DNSName("localhost")])
            builder = builder.add_extension(here, critical=False)
        signed = builder.sign(keys[0], hashes.SHA256())
        made.append(signed.public_bytes(serialization.Encoding.PEM))
    key = keys[1].private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return made[0], key, made[1]


@pytest.fixture(scope="module")  # a broker that nobody asks for anything works all the same
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real broker."""
    with serving(Server, tmp_path_factory.mktemp("kafka")) as server:
        yield server


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """A real broker behind TLS and a password."""
    with serving(Secured, tmp_path_factory.mktemp("secured")) as server:
        yield server


@contextlib.contextmanager
def serving(kind: type[S], folder: Path) -> Iterator[S]:
    """A broker for the block."""
    require_kafka()
    server = kind(folder)
    yield server
    server.stop()


def require_kafka() -> None:
    if shutil.which("java") is None:
        missing("java")
    if not list(JARS.glob("kafka_2.13-*.jar")):
        missing("Apache Kafka in build/kafka (.ci/run puts it there)")


@pytest.fixture
def mock() -> Iterator[str]:
    """The address of a broker that the client library plays."""
    player = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "", "log_level": 0})
    broker = next(iter(player.list_topics(timeout=10).brokers.values()))
    yield f"{broker.host}:{broker.port}"
    del player


def read(address: str, topic: str, count: int, seconds: float = 30.0, **more: str) -> list[Any]:
    """That many records of a topic, from its beginning.

    It joins no group: the coordinator of the played broker was seen to let a member wait for ever.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": "none",  # the client asks for one
            "log_level": 0,
            **{name.replace("_", "."): value for name, value in more.items()},
        }
    )
    found: list[Any] = []
    until = time.monotonic() + seconds
    try:
        while not (
            (about := consumer.list_topics(timeout=10).topics.get(topic)) and about.partitions
        ):
            assert time.monotonic() < until, f"there is no topic {topic}"
            time.sleep(0.1)
        consumer.assign(
            [TopicPartition(topic, part, OFFSET_BEGINNING) for part in about.partitions]
        )
        while len(found) < count and time.monotonic() < until:
            message = consumer.poll(0.2)
            if message is not None and message.error() is None:
                found.append(message)
    finally:
        consumer.close()
    return found


@pytest.fixture
def consume() -> Any:
    """``consume(address, topic, count)``."""
    return read
