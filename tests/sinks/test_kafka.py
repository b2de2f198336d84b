"""Records in a broker: a mock cluster for most, a real Apache Kafka for what must hold."""

from __future__ import annotations

import asyncio
import builtins
import time
from contextlib import asynccontextmanager
from types import SimpleNamespace

import confluent_kafka
import httpx
import pytest
import structlog
from confluent_kafka import KafkaError

from pace import until
from relay.client import connect
from relay.config import load
from relay.errors import ConfigError
from relay.model.track import TrackInfo
from relay.net.trust import DialTls
from relay.path import Path
from relay.peer.reading import ReadFrame
from relay.server.relay import Relay
from relay.sinks.copying import Record
from relay.sinks.kafka import COMPLAINT, Complaints, Kafka, topic_of
from relay.sinks.settings import SinkSettings

NOWHERE = "127.0.0.1:9"


def settings(address=NOWHERE, **more):
    given = {"kind": "kafka", "brokers": [address], "tracks": ["a:t"], "drain": 0.2} | more
    return SinkSettings.model_validate(given)


def record(group=0, frame=0, payload=b"x", broadcast="plant/a", track="t"):
    return Record(Path(broadcast), track, ReadFrame(group, frame, 1234, 1000, payload))


class Said(list):
    def __call__(self, event, **facts):
        self.append(facts.get("detail", event))


@asynccontextmanager
async def running(outlet):
    task = asyncio.ensure_future(outlet.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def test_a_record_carries_where_it_came_from(mock, consume):
    async def main():
        outlet = Kafka("lake", settings(mock, acks="1", compression="zstd"), Said())
        async with running(outlet):
            for group in range(3):
                outlet.put(record(group, 7, b"%d" % group))
            await until(lambda: outlet.delivered == 3)
        return outlet

    outlet = asyncio.run(main())
    assert (outlet.taken, outlet.dropped, outlet.failed, outlet.unsent) == (3, 0, 0, 0)
    found = consume(mock, "plant.t", 3)
    assert [each.value() for each in found] == [b"0", b"1", b"2"]
    assert {each.key() for each in found} == {b"plant/a/t"}
    assert dict(found[2].headers()) == {
        "group": b"2",
        "frame": b"7",
        "timestamp": b"1234",
        "timescale": b"1000",
    }


def test_while_nobody_answers_the_buffer_is_all_it_costs():
    async def main():
        said = Said()
        outlet = Kafka("lake", settings(buffer_bytes=1_048_576), said)
        async with running(outlet):
            began = time.monotonic()
            for number in range(400):
                outlet.put(record(number, payload=b"x" * 10_000))
            assert time.monotonic() - began < 10  # nobody waits for an answer
            assert 90 < outlet.taken < 110
            assert outlet.dropped == 400 - outlet.taken
            assert outlet.waiting == outlet.taken
            assert said[0].startswith("sinks.lake: no room for records: buffer_bytes (1048576)")
            await until(lambda: len(said) == 2)
            await asyncio.sleep(0.3)
        outlet._producer.poll(0)
        return outlet, said

    outlet, said = asyncio.run(main())
    assert outlet.unsent == outlet.taken
    assert outlet.waiting == 0
    assert (outlet.delivered, outlet.failed) == (0, 0)
    assert len(said) == 3, said
    assert "brokers do not answer" in said[1]
    assert f"{outlet.taken} records were not delivered" in said[2]


def test_many_small_records_are_bounded_too():
    async def main():
        outlet = Kafka("lake", settings(buffer_bytes=1_048_576, drain=0.0), Said())
        async with running(outlet):
            for number in range(5000):
                outlet.put(record(number))
            assert outlet.taken == 2048

    asyncio.run(main())


def test_a_record_that_the_brokers_refuse_is_told_with_its_topic():
    said = Said()
    outlet = Kafka("lake", settings(), said)
    message = SimpleNamespace(topic=lambda: "plant.t")
    outlet._reported(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART), message)
    assert outlet.failed == 1
    assert said[0].startswith("sinks.lake: records not accepted: plant.t: Broker: Unknown topic")


def test_a_frame_that_is_too_long_is_not_copied(mock):
    async def main():
        said = Said()
        outlet = Kafka("lake", settings(mock, max_message_bytes=1000), said)
        async with running(outlet):
            outlet.put(record(payload=b"x" * 2000))
            outlet.put(record(payload=b"x" * 200))
            await until(lambda: outlet.delivered == 1)
        assert outlet.failed == 1
        assert ["records not accepted: plant.t: " in each for each in said] == [True]

    asyncio.run(main())


def test_a_trouble_is_told_at_first_and_then_now_and_then():
    told, now = [], [0.0]
    complaints = Complaints(lambda why, count: told.append((why, count)), lambda: now[0])
    for _ in range(5):
        complaints.add("a")
    now[0] = COMPLAINT
    complaints.add("b")
    assert told == [("a", 1), ("b", 5)]
    assert complaints.count == 6


@pytest.mark.parametrize(
    ("template", "broadcast", "track", "topic"),
    [
        ("{tenant}.{track}", "plant/a", "t/v1", "plant.t.v1"),
        ("moq-{broadcast}", "plant/a b", "t", "moq-plant.a_b"),
        ("{track}", "a", "..", "_"),
        ("{tenant}", "", "t", "_"),
        ("{track}", "a", "x" * 300, "x" * 249),
    ],
)
def test_a_topic_is_one_whatever_a_track_is_called(template, broadcast, track, topic):
    assert topic_of(template, Path(broadcast), track) == topic


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"sasl": {"mechanism": "PLAIN", "username": "u", "password_env": "NONE"}}, "in NONE"),
        ({"sasl": {"mechanism": "PLAIN", "username": "u", "password_file": "/no"}}, "not readable"),
        ({"tls": {"root": "/no/ca.pem"}}, "tls.root: /no/ca.pem: not readable"),
    ],
)
def test_what_cannot_be_used_is_said_at_the_start(more, said):
    with pytest.raises(ConfigError, match=said):
        Kafka("lake", settings(**more), Said(), {})


def test_a_password_comes_from_the_environment_and_is_never_shown(monkeypatch):
    told, real = [], confluent_kafka.Producer
    monkeypatch.setattr(
        confluent_kafka, "Producer", lambda config: told.append({**config}) or real(config)
    )
    sasl = {"mechanism": "SCRAM-SHA-512", "username": "u", "password_env": "PASSWORD"}
    said = settings(sasl=sasl, tls={})
    outlet = Kafka("lake", said, Said(), {"PASSWORD": "hidden"})
    assert [each["sasl.password"] for each in told] == ["hidden"]
    assert "hidden" not in repr(said) + repr(vars(outlet))


def test_without_the_client_the_relay_does_not_start(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "confluent_kafka":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"sinks\.lake\.kind: .*install the extra: .*\[kafka\]"):
        Relay(configured(tmp_path, NOWHERE))


def configured(folder, address, **more):
    lines = "".join(f"{name} = {value}\n" for name, value in more.items())
    (folder / "relay.toml").write_text(
        '[server]\nlisten = "127.0.0.1:0"\n[auth]\npublic = "anon"\n[ingest]\nlinger = 60\n'
        f'[sinks.lake]\nkind = "kafka"\nbrokers = ["{address}"]\n'
        f'tracks = ["anon/**:t"]\ntopic = "{folder.name}"\n{lines}'
    )
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    return load(folder / "relay.toml", environ={}).settings


@asynccontextmanager
async def relayed(folder, address, **more):
    relay = Relay(configured(folder, address, **more))
    async with relay.running():
        url = f"http://127.0.0.1:{relay.http_addresses[0][1]}/publish/"
        async with httpx.AsyncClient(base_url=url) as web:
            web.quic = relay.quic_address[1]
            yield relay.sinks["lake"], web


async def publish(web, numbers):
    for number in numbers:
        answer = await web.post("anon/a/t", json={"n": number})
        assert answer.status_code == 202


def test_a_relay_copies_what_is_published(tmp_path, mock, consume):
    async def main():
        async with relayed(tmp_path, mock) as (sink, web):
            await publish(web, range(5))
            await web.post("anon/a/other", json={})
            await until(lambda: sink.outlet.delivered == 5)

    asyncio.run(main())
    found = consume(mock, tmp_path.name, 5)
    assert [each.value() for each in found] == [b'{"n":%d}' % n for n in range(5)]
    now = time.time() * 1e6
    assert all(abs(int(dict(each.headers())["timestamp"]) - now) < 60e6 for each in found)


def test_a_body_is_copied_whole_however_little_of_it_is_kept(tmp_path, mock, consume):
    """The first one of a broadcast, and of a track, is there before anybody can have asked."""

    async def main():
        async with relayed(tmp_path, mock) as (sink, web):
            for broadcast in "ab":
                await web.post("anon/b/other", json={})
                records = [{"n": number} for number in range(100)]
                answer = await web.post(f"anon/{broadcast}/t", json=records)
                assert answer.status_code == 202
            await until(lambda: sink.outlet.delivered == 200)
            assert sink.outlet.taken == 200

    asyncio.run(main())
    found = consume(mock, tmp_path.name, 200)
    for key in (b"anon/a/t", b"anon/b/t"):
        values = [each.value() for each in found if each.key() == key]
        assert values == [b'{"n":%d}' % n for n in range(100)]


def test_whoever_takes_a_path_over_is_copied_in_turn(tmp_path, mock, consume):
    async def main():
        async with relayed(tmp_path, mock) as (sink, web):
            await publish(web, range(3))
            url = f"https://127.0.0.1:{web.quic}/anon"
            async with connect(url, tls=DialTls(disable_verify=True)) as client:
                track = client.create_broadcast("a").create_track("t", TrackInfo())
                track.append_group()
                track.write_frame(b"s", 1)
                track.finish_group()
                await until(lambda: sink.outlet.taken == 4)
                await publish(web, range(2))  # behind the session, where viewers do not look
                await until(lambda: sink.outlet.taken == 6)
            await publish(web, range(1))
            await until(lambda: sink.outlet.delivered == 7)

    asyncio.run(main())
    found = [each.value() for each in consume(mock, tmp_path.name, 7)]
    assert found == [*(b'{"n":%d}' % n for n in range(3)), b"s", b'{"n":0}', b'{"n":1}', b'{"n":0}']


@pytest.mark.parametrize("scheme", ["https", "moqt"])
def test_a_relay_copies_what_a_session_publishes(tmp_path, mock, consume, scheme):
    async def main():
        async with relayed(tmp_path, mock) as (sink, web):
            url = f"{scheme}://127.0.0.1:{web.quic}/anon"
            async with connect(url, tls=DialTls(disable_verify=True)) as client:
                track = client.create_broadcast("a").create_track("t", TrackInfo(timescale=48000))
                for group in range(4):
                    track.append_group()
                    track.write_frame(b"%d" % group, 960 * group)
                    track.write_frame(b"%d" % group, 960 * group + 480)
                    track.finish_group()
                    if not group:  # whoever publishes decides what the first subscription gets
                        await until(lambda: sink.outlet.taken == 2)
                await until(lambda: sink.outlet.delivered == 8)

    asyncio.run(main())
    found = [dict(each.headers()) for each in consume(mock, tmp_path.name, 8)]
    places = [tuple(int(each[name]) for name in ("group", "frame", "timestamp")) for each in found]
    assert sorted(places) == [(g, f, 960 * g + 480 * f) for g in range(4) for f in (0, 1)]
    assert {each["timescale"] for each in found} == {b"48000"}


def test_a_dead_broker_does_not_hold_up_a_relay_nor_its_end(tmp_path):
    async def main():
        async with relayed(tmp_path, NOWHERE, drain=0.5) as (sink, web):
            began = time.monotonic()
            await publish(web, range(20))
            assert time.monotonic() - began < 20
            await until(lambda: sink.outlet.waiting == 20)
            ends = time.monotonic()
        assert time.monotonic() - ends < 20
        assert sink.outlet.unsent == 20

    asyncio.run(main())


@pytest.mark.slow
def test_a_real_broker_that_dies_gets_everything_when_it_is_back(tmp_path, kafka, consume):
    async def main():
        async with relayed(tmp_path, kafka.address, compression='"lz4"') as (sink, web):
            await publish(web, range(10))
            await until(lambda: sink.outlet.delivered == 10, 60)
            await asyncio.to_thread(kafka.stop)
            await publish(web, range(10, 30))
            assert sink.outlet.delivered < 30
            await asyncio.to_thread(kafka.start)
            await until(lambda: sink.outlet.delivered == 30, 60)
            assert (sink.outlet.dropped, sink.outlet.failed) == (0, 0)

    asyncio.run(main())
    found = consume(kafka.address, tmp_path.name, 30)
    seen = [each.value() for each in found]
    assert list(dict.fromkeys(seen)) == [b'{"n":%d}' % n for n in range(30)]
    assert {each.key() for each in found} == {b"anon/a/t"}


def secretly(secured, mechanism="SCRAM-SHA-512", root="ca.pem", password=None):
    """Settings of a sink that reaches the secured broker, or does not."""
    file = secured.folder / "password"
    file.write_text(f"{password or secured.password}\n")
    return {
        "tls": f'{{ root = "{secured.folder / root}" }}',
        "sasl": f'{{ mechanism = "{mechanism}", username = "relay", password_file = "{file}" }}',
    }


@pytest.mark.slow
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_a_real_broker_behind_tls_and_a_password(tmp_path, secured, consume, mechanism):
    async def main():
        more = secretly(secured, mechanism)
        async with relayed(tmp_path, secured.address, **more) as (sink, web):
            sink.outlet._log = said = Said()
            await publish(web, range(5))
            await until(lambda: sink.outlet.delivered == 5, 60)
            assert not said

    asyncio.run(main())
    found = consume(
        secured.address,
        tmp_path.name,
        5,
        security_protocol="SASL_SSL",
        sasl_mechanism="PLAIN",
        sasl_username="relay",
        sasl_password=secured.password,
        ssl_ca_location=f"{secured.folder}/ca.pem",
    )
    assert [each.value() for each in found] == [b'{"n":%d}' % n for n in range(5)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"password": "let me in"},
            "sinks.lake: brokers do not take the user or the password (sasl)",
        ),
        (
            {"mechanism": "PLAIN", "password": "let me in"},
            "sinks.lake: brokers do not take the user or the password (sasl)",
        ),
        ({"root": "other.pem"}, "sinks.lake: no TLS with the brokers (tls.root)"),
    ],
)
def test_who_is_refused_by_a_real_broker_says_why_and_goes_on(tmp_path, secured, wrong, said):
    lines = Said()

    async def main():
        more = secretly(secured, **wrong) | {"drain": 0.2}
        async with relayed(tmp_path, secured.address, **more) as (sink, web):
            sink.outlet._log = lines
            await publish(web, range(3))
            await until(lambda: any(line.startswith(said) for line in lines), 30)
            assert (await web.get(f"http://127.0.0.1:{web.base_url.port}/health")).text == "ok\n"
            assert (sink.outlet.delivered, sink.outlet.waiting) == (0, 3)
        assert sink.outlet.unsent == 3

    asyncio.run(main())
    assert not any("let me in" in line or secured.password in line for line in lines)
    assert len(lines) <= 4
