"""The lab itself: its delays, losses, cuts and counts are what it says, and it goes away."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from fleet import until
from netlab import Host, Lab, LabError, missing, namespaces

PORT = 7000
HEAD = 28
"""Bytes of the headers of IP and UDP."""

HERE = Path(__file__).resolve().parent


@contextmanager
def sink(host: Host, echo: bool = False) -> Iterator[list[bytes]]:
    """UDP datagrams that arrive at a host; with ``echo`` they are sent back."""
    came: list[bytes] = []
    with host.inside():
        taker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    taker.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    taker.bind(("0.0.0.0", PORT))

    def take() -> None:
        while True:
            data, sender = taker.recvfrom(2048)
            if not data:
                return
            came.append(data)
            if echo:
                taker.sendto(data, sender)

    thread = threading.Thread(target=take)
    thread.start()
    try:
        yield came
    finally:
        with host.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stop:
            stop.sendto(b"", ("127.0.0.1", PORT))
        thread.join()
        taker.close()


@contextmanager
def caller(host: Host, timeout: float = 10.0) -> Iterator[socket.socket]:
    """A UDP socket of a host."""
    with host.inside():
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with made:
        made.settimeout(timeout)
        yield made


def round_trips(here: Host, there: Host, count: int) -> list[float]:
    """Seconds there and back, one at a time."""
    took = []
    with sink(there, echo=True), caller(here) as call:
        for number in range(count):
            start = time.monotonic()
            call.sendto(number.to_bytes(4, "big"), (there.address, PORT))
            assert int.from_bytes(call.recv(2048), "big") == number
            took.append(time.monotonic() - start)
    return took


def send(here: Host, there: Host, count: int, size: int = 100, gap: float = 0.0) -> None:
    """Numbered datagrams."""
    with caller(here) as call:
        for number in range(count):
            call.sendto(number.to_bytes(4, "big") + bytes(size - 4), (there.address, PORT))
            if gap:
                time.sleep(gap)


def arrived(came: list[bytes], count: int = 0) -> list[int]:
    """The numbers of what came, once there are ``count``; without one, once nothing more has come
    for a while."""
    if count:
        until(lambda: len(came) >= count, 10, f"{count} datagrams")
        return numbers(came)
    seen, quiet = -1, time.monotonic()
    while time.monotonic() - quiet < 0.5:
        if len(came) != seen:
            seen, quiet = len(came), time.monotonic()
        time.sleep(0.01)
    return numbers(came)


def numbers(came: list[bytes]) -> list[int]:
    """Those that `send` gave them."""
    return [int.from_bytes(data[:4], "big") for data in came]


def test_the_delay_is_the_one_asked_for(lab, record_property):
    a, b = lab.host("a"), lab.host("b")
    link = lab.link(a, b, delay=0.02)
    took = min(round_trips(a, b, 30))  # what is more than the least is the machine's
    record_property("round_trip_over_40_ms", took)
    assert 0.040 <= took < 0.048
    link.change(delay=0.0)
    assert min(round_trips(a, b, 300)) < 0.008
    link.change(a, delay=0.03)
    assert 0.030 <= min(round_trips(a, b, 60)) < 0.038


def test_the_loss_is_the_one_asked_for_and_the_same_for_the_same_seed(networks):
    runs = []
    for seed in (1, 1, 2):
        with Lab(seed) as lab:
            a, b = lab.host("a"), lab.host("b")
            link = lab.link(a, b, loss=0.2)
            with sink(b) as came:
                send(a, b, 1000, gap=0.0002)
                until(lambda: link.counts(a).lost == 1000 - len(came), 10)  # noqa: B023
                runs.append(arrived(came))
            assert link.counts(a).lost == 1000 - len(runs[-1])
    assert runs[0] == runs[1] != runs[2]
    assert 740 < len(runs[0]) < 860


def test_a_cut_stops_everything_and_nobody_is_told(lab):
    a, b = lab.host("a"), lab.host("b")
    link = lab.link(a, b, delay=0.5)
    with sink(b) as came:
        send(a, b, 3)
        link.cut()  # what is under way is lost as well
        send(a, b, 3)
        until(lambda: link.counts(a).cut == 6, 10, "all that was sent")
        assert came == []
        link.heal()
        send(a, b, 3)
        assert arrived(came, 3) == [0, 1, 2]
        link.cut(b)  # only what b sends
        send(a, b, 3)
        assert len(arrived(came, 6)) == 6


def test_counters_count_each_way(lab):
    a, b = lab.host("a"), lab.host("b")
    link = lab.link(a, b)
    with sink(b) as came:
        send(a, b, 50, size=1000)
        arrived(came, 50)
    assert (link.counts(a).packets, link.bytes(a)) == (50, 50 * (1000 + HEAD))
    assert link.bytes(b) == 0
    assert link.bytes() == link.bytes(a)


def test_reordered_packets_arrive_all_the_same(lab):
    a, b = lab.host("a"), lab.host("b")
    lab.link(a, b, delay=0.005, reorder=0.2)
    with sink(b) as came:
        send(a, b, 200, gap=0.001)
        order = arrived(came, 200)
    assert order != sorted(order) == list(range(200))


def test_a_rate_is_kept(lab):
    a, b = lab.host("a"), lab.host("b")
    link = lab.link(a, b, rate=4_000_000, queue=10)
    with sink(b) as came:
        took = []
        for _ in range(2):
            came.clear()
            start = time.monotonic()
            send(a, b, 400, size=1222)  # 500 kB with headers: one second
            assert len(arrived(came, 400)) == 400
            took.append(time.monotonic() - start)
        assert 1.0 <= min(took) < 1.3  # what is more than the least is the machine's
        link.change(queue=0.05)
        send(a, b, 400, size=1222)
        arrived(came)
    assert 0 < link.counts(a).dropped < 400


def test_who_is_not_linked_is_not_reached(lab):
    a, b, c = (lab.host(name) for name in "abc")
    lab.link(a, b)
    lab.link(b, c)
    with caller(a) as call, pytest.raises(OSError, match="unreachable"):
        call.sendto(b"x", (c.address, PORT))


def test_a_partition_cuts_between_the_sides_only(lab):
    a, b, c = (lab.host(name) for name in "abc")
    lab.link(a, b)
    lab.link(b, c)
    with lab.partition(a, b), sink(b) as came, sink(c) as nothing:
        send(a, b, 3)
        send(b, c, 3)
        assert len(arrived(came, 3)) == 3
        assert arrived(nothing) == []
    assert round_trips(b, c, 1)


def test_a_switch_joins_all_and_loses_one_who_is_cut_off(lab):
    a, b, c = (lab.host(name) for name in "abc")
    lan = lab.switch(a, b, c)
    for here, there in ((a, b), (b, c), (c, a)):
        assert min(round_trips(here, there, 100)) < 0.008
    before = lan.bytes(a)
    with sink(b) as came:
        send(a, b, 20, size=1000)
        arrived(came, 20)
        assert 20_000 < lan.bytes(a) - before < 23_000
        lan.cut(a)
        send(a, b, 3)
        assert len(arrived(came)) == 20
        lan.heal(a)
        send(a, b, 3)
        assert len(arrived(came, 23)) == 23


def test_programs_live_in_their_host(lab):
    a, b = lab.host("a"), lab.host("b")
    shown = a.run(["ip", "-br", "addr"]).stdout
    assert a.address in shown
    assert b.address not in shown
    assert a.run(["sh", "-c", "echo $WHO"], env={"WHO": "me"}).stdout == "me\n"
    with pytest.raises(LabError, match="3, no"):
        a.run(["sh", "-c", "echo no >&2; exit 3"])
    with pytest.raises(LabError, match="not done"):
        a.run(["sleep", "60"], timeout=0.2)


def test_kill_ends_children_too_and_nobody_else(lab):
    a, b = lab.host("a"), lab.host("b")
    family = a.popen(["sh", "-c", "sleep 60 & echo $!; wait"], stdout=subprocess.PIPE, text=True)
    child = int(family.stdout.readline())
    other = b.popen(["sleep", "60"])
    a.kill()
    assert family.wait(20) == -signal.SIGKILL
    assert not is_alive(child)
    assert other.poll() is None
    assert a.run(["echo", "up again"]).stdout == "up again\n"


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_nothing_stays_even_when_a_test_fails(networks):
    class Failed(Exception):
        pass

    def fail(lab: Lab) -> None:
        with lab:
            a, b = lab.host("a"), lab.host("b")
            lab.link(a, b)
            lab.switch(a, lab.host("c"))
            programs.extend((a.popen(["sleep", "60"]), lab.router.program))
            made = {host.namespace for host in lab.hosts.values()}
            assert made <= set(os.listdir(namespaces.FOLDER))
            raise Failed

    programs: list[subprocess.Popen[str]] = []
    with pytest.raises(Failed):
        fail(Lab())
    mine = f"lab-{os.getpid()}-"
    assert not [each for each in os.listdir(namespaces.FOLDER) if each.startswith(mine)]
    assert [program.poll() for program in programs] == [-signal.SIGKILL, 0]


def test_two_labs_do_not_meet(networks):
    with Lab() as one, Lab() as other:
        hosts = [(lab.host("a"), lab.host("b")) for lab in (one, other)]
        assert hosts[0][1].address == hosts[1][1].address
        for lab, (a, b) in zip((one, other), hosts, strict=True):
            lab.link(a, b)
        with sink(hosts[0][1]) as here, sink(hosts[1][1]) as there:
            send(*hosts[0], 5)
            assert len(arrived(here, 5)) == 5
            assert there == []


def test_what_a_killed_run_left_is_removed_and_what_lives_is_not(networks):
    script = """
        import sys
        from netlab import Lab
        with Lab() as lab:
            a = lab.host("a")
            a.popen(["sleep", "600"])
            print(a.namespace, a.programs[0].pid, lab.router.program.pid, flush=True)
            sys.stdin.read()
    """
    run = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, "PYTHONPATH": str(HERE)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with run:
        namespace, sleeper, router = run.stdout.readline().split()
        with Lab():
            assert namespace in os.listdir(namespaces.FOLDER)
        run.kill()
        run.wait()
        assert is_alive(int(sleeper))
        with Lab():
            assert namespace not in os.listdir(namespaces.FOLDER)
        deadline = time.monotonic() + 5
        while is_alive(int(sleeper)) or is_alive(int(router)):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_several_runs_sweep_at_once(networks):
    left = [f"lab-{2**22 + 1}-1-{serial}-a" for serial in range(8)]  # no pid is as high
    for each in left:
        namespaces.create(each)
    with ThreadPoolExecutor(4) as sweepers:
        swept = [sweepers.submit(namespaces.sweep) for _ in range(4)]
        found = [each for done in swept for each in done.result()]
    assert sorted(each for each in found if each in left) == left
    assert not set(left) & set(os.listdir(namespaces.FOLDER))


def test_a_pid_that_came_again_does_not_protect_the_dead(networks):
    pid, mine = os.getpid(), namespaces.name(0, "a")
    assert not namespaces.is_orphan(mine)
    assert namespaces.is_orphan(mine.replace(f"{pid}-", f"{pid}-1", 1))
    assert not namespaces.is_orphan("somebody-elses")


def test_what_is_missing_is_named(monkeypatch):
    for name, answer, what in (
        ("netlab.lab.os.geteuid", 1000, "root"),
        ("netlab.lab.namespaces.is_capable", False, "CAP_NET_ADMIN"),
        ("netlab.lab.shutil.which", None, "iproute2"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr("netlab.lab.os.geteuid", lambda: 0)
            patch.setattr("netlab.lab.namespaces.is_capable", lambda: True)
            patch.setattr(name, lambda *_, answer=answer: answer)
            assert what in (missing() or "")


@pytest.mark.parametrize("name", ["", "A", "a b", "x" * 12, "-a", "../a"])
def test_names_that_no_host_can_have(lab, name):
    with pytest.raises(LabError):
        lab.host(name)


def test_nobody_is_joined_twice(lab):
    a, b = lab.host("a"), lab.host("b")
    lab.link(a, b)
    with pytest.raises(LabError, match="joined"):
        lab.link(b, a)
    with pytest.raises(LabError, match="joined"):
        lab.switch(a, b)
    with pytest.raises(LabError, match="twice"):
        lab.host("a")
