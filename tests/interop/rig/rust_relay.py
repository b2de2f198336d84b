"""A relay made of the Rust stack's own server, for developing the rig: ``PUBLIC SECRET_HEX``.

Its job is to serve one shared origin per connection path and to turn people away by token, roughly
as a relay does: roots and roles are obeyed, prefixes below the root are not. It prints the same
``ready`` line as our relay. It must not know the tests.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from urllib.parse import parse_qs

import jwt
import moq

UNAUTHORIZED = 6
"""Session code of a session whose right to be there has ended."""


class House:
    """Who may come in, and the origin that each of them meets the others at."""

    def __init__(self, public: str, secret: bytes) -> None:
        self._public = public
        self._secret = secret
        self._origins: dict[str, moq.OriginProducer] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def decide(self, path: str, query: str | None) -> dict[str, object] | None:
        """The claims of a visitor, or ``None`` for somebody who has no right to be here."""
        token = parse_qs(query or "").get("jwt")
        if not token:
            everything = [""] if path == "" or path.split("/")[0] == self._public else []
            return {"put": everything, "get": everything} if everything else None
        try:
            claims: dict[str, object] = jwt.decode(token[-1], self._secret, algorithms=["HS256"])
        except jwt.PyJWTError:
            return None
        return claims if claims.get("root") == path else None

    async def serve(self, request: moq.Request) -> None:
        """One visitor, until the end of the session or of the token."""
        path = request.path.strip("/")
        claims = self.decide(path, request.query)
        if claims is None:
            await request.reject(401)
            return
        shared = self._origins.setdefault(path, moq.OriginProducer())
        request.set_consume(shared if claims.get("put") else moq.OriginProducer())
        request.set_publish(shared if claims.get("get") else moq.OriginProducer())
        session = await request.accept()
        expiry = claims.get("exp")
        left = float(str(expiry)) - time.time() if expiry is not None else None
        try:
            async with asyncio.timeout(left):
                await session.closed()
        except TimeoutError:
            session.cancel(UNAUTHORIZED)
        except moq.Error:
            return


async def main(public: str, secret: bytes) -> None:
    """Serve until killed."""
    house = House(public, secret)
    async with (
        moq.Server("127.0.0.1:0", tls_generate=["localhost"]) as server,
        asyncio.TaskGroup() as visitors,
    ):
        port = int(server.local_addr.rsplit(":", 1)[1])
        ready = {"quic": ["127.0.0.1", port], "fingerprint": server.cert_fingerprints()[0]}
        sys.stdout.write(f"ready {json.dumps(ready)}\n")
        sys.stdout.flush()
        async for request in server:
            visitors.create_task(house.serve(request))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], bytes.fromhex(sys.argv[2])))
