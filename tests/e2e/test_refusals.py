"""What was refused is over: it counts no longer for those who ask again and again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from relay.client import connect
from relay.errors import RemoteError
from relay.model.track import TrackInfo
from relay.net.trust import DialTls

TRUST = DialTls(disable_verify=True)


@pytest.mark.parametrize("scheme", ["https", "moqt"])
def test_whoever_was_refused_often_is_served_all_the_same(running: Any, scheme: str) -> None:
    async def main() -> None:
        async with running("[session]\nmax_requests = 8\n") as relay, asyncio.timeout(20):
            url = f"{scheme}://127.0.0.1:{relay.quic_address[1]}/anon"
            async with connect(url, tls=TRUST) as publisher, connect(url, tls=TRUST) as viewer:
                track = publisher.create_broadcast("cam").create_track("v", TrackInfo())
                track.append_group()
                track.write_frame(b"hello", 0)
                cam = await viewer.find("cam")
                for number in range(30):
                    with pytest.raises(RemoteError):
                        async for _ in viewer.frames(cam, f"none{number}").frames():
                            pass
                async for item in viewer.frames(cam, "v").frames():
                    assert item.payload == b"hello"
                    break

    asyncio.run(main())
