"""The Rust stack's own server as a relay: one shared origin, and a token for who brings one.

Its job is to be what ours is compared with; it prints a ``ready`` line. It must not know the load.
"""

from __future__ import annotations

import asyncio
import json
import sys
from urllib.parse import parse_qs

import jwt
import moq


async def serve(request: moq.Request, shared: moq.OriginProducer, secret: bytes) -> None:
    """One visitor, until the end of the session."""
    try:
        if token := parse_qs(request.query or "").get("jwt"):
            jwt.decode(token[-1], secret, algorithms=["HS256"])
        request.set_consume(shared)
        request.set_publish(shared)
        await (await request.accept()).closed()
    except (moq.Error, jwt.PyJWTError):
        return


async def main(port: int, secret: bytes) -> None:
    """Serve until killed."""
    shared = moq.OriginProducer()
    async with (
        moq.Server(f"127.0.0.1:{port}", tls_generate=["localhost"]) as server,
        asyncio.TaskGroup() as visitors,
    ):
        ready = {"fingerprint": server.cert_fingerprints()[0]}
        sys.stdout.write(f"ready {json.dumps(ready)}\n")
        sys.stdout.flush()
        async for request in server:
            visitors.create_task(serve(request, shared, secret))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), bytes.fromhex(sys.argv[2])))
