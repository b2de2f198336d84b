"""Somebody guesses the operator's key a thousand times a second: sessions do not feel it."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from typing import Any

import httpx
import pytest

from relay.auth.credentials import derivation, derive, make_key

KEY = make_key()
SECONDS = 4.0
RATE = 1000

GUESSER = """
import asyncio, json, sys, time
port, rate, seconds, salt = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
HEAD = "GET /admin/v1/nodes HTTP/1.1\\r\\nhost:\\r\\nauthorization: Bearer guess%d.%s\\r\\n\\r\\n"
counts = {}
async def guess(number, end):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    due = time.monotonic()
    while time.monotonic() < end:
        writer.write((HEAD % (number, salt)).encode())
        number += 1000
        head = await reader.readuntil(b"\\r\\n\\r\\n")
        size = int(head.lower().split(b"content-length: ")[1].split(b"\\r\\n")[0])
        await reader.readexactly(size)
        status = head.split(b" ")[1].decode()
        counts[status] = counts.get(status, 0) + 1
        due += 10 / rate
        await asyncio.sleep(max(0.0, due - time.monotonic()))
    writer.close()
async def main():
    end = time.monotonic() + seconds
    await asyncio.gather(*(guess(number, end) for number in range(10)))
asyncio.run(main())
print(json.dumps(counts))
"""


def cost_of_one() -> float:
    """CPU seconds of this thread that one look at a key takes."""
    work = derivation(KEY.bearer, [KEY.hash])
    assert work is not None
    began = time.thread_time()
    derive(work)
    return time.thread_time() - began


async def longest_hold(seconds: float) -> float:
    """CPU seconds that whatever held the loop longest took: what any session would feel."""
    loop = asyncio.get_running_loop()
    end, before, longest = loop.time() + seconds, time.thread_time(), 0.0
    while loop.time() < end:
        await asyncio.sleep(0.005)
        now = time.thread_time()
        longest, before = max(longest, now - before), now
    return longest


@pytest.mark.slow
def test_sessions_do_not_feel_it(running: Any) -> None:
    async def main() -> None:
        async with running(f'[admin]\napi_key = "{KEY.hash}"\n') as relay:
            derived: list[str] = []
            check = relay.guard._check

            async def counted(bearer: str) -> bool:
                derived.append(bearer)
                return bool(await check(bearer))

            relay.guard._check = counted
            program = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", GUESSER, f"{relay.http_addresses[0][1]}"),
                *(f"{RATE}", f"{SECONDS}", KEY.bearer.partition(".")[2]),
                stdout=asyncio.subprocess.PIPE,
            )
            await asyncio.sleep(0.5)
            gc.collect()
            gc.freeze()  # as a relay does; looking through all that tests have made takes longer
            try:
                held = await longest_hold(SECONDS - 1.0)
            finally:
                gc.unfreeze()
            out, _ = await asyncio.wait_for(program.communicate(), 20)
            counts = json.loads(out)
            assert counts.keys() <= {"401", "429"}
            assert sum(counts.values()) > RATE * SECONDS / 20  # a slow machine guesses less
            assert len(derived) < 12
            assert held < cost_of_one() / 2
            async with httpx.AsyncClient() as web:  # and the operator still gets in, from elsewhere
                await relay.guard.require(KEY.bearer, "192.0.2.1")
                url = f"http://127.0.0.1:{relay.http_addresses[0][1]}/admin/v1/sessions"
                answer = await web.get(url, headers={"authorization": f"Bearer {KEY.bearer}"})
                assert answer.status_code == 200

    asyncio.run(main())
