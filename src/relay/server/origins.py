"""Where broadcasts come from: for each route who announces it, as far as this relay can tell.

It brings together what the rooms know apart: sessions and links, the mesh's names, and what was
published by HTTP. This module must not know who asks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from relay.control.admin import shapes
from relay.model.broadcast import Broadcast, Route
from relay.peer.guest import Guest
from relay.peer.source import PeerSource

if TYPE_CHECKING:
    from relay.server.relay import Relay


class Origins:
    """What is known of sources now; made anew for each question."""

    def __init__(self, relay: Relay) -> None:
        self._links = relay.door.links
        self._booths = {id(booth.route): booth for booth in relay.press.station.booths.values()}
        self._names = {
            connection["id"]: node["node"]
            for node in relay.cluster.nodes()["nodes"]
            for connection in node["connections"]
        }

    def routes(self, found: Broadcast, shown: Iterable[Route]) -> list[shapes.Route]:
        """Some of its routes; who watches is told by those who know."""
        return [self._route(route, found) for route in shown]

    def _route(self, route: Route, found: Broadcast) -> shapes.Route:
        shown = shapes.Route(
            path=found.path,
            serves=route is found.routes[0],
            by="self",
            id=None,
            node=None,
            subject=None,
            tenant=None,
            hops=[str(hop) for hop in route.hops],
            cost=route.price.cold,
            viewers=0,
        )
        if isinstance(route.source, PeerSource):
            return shown.model_copy(update=self._guest(route.source.host.guest))
        if (booth := self._booths.get(id(route))) is not None:
            known = {"subject": booth.grant.subject, "tenant": booth.tenant}
            return shown.model_copy(update={"by": "http"} | known)
        return shown

    def _guest(self, guest: Guest) -> dict[str, str | None]:
        grant = guest.grant
        if guest.id in self._links or (grant is not None and grant.cluster):
            return {"by": "relay", "id": guest.id, "node": self._names.get(guest.id)}
        told: dict[str, str | None] = {"by": "session", "id": guest.id}
        if grant is not None:
            told |= {"subject": grant.subject, "tenant": grant.tenant}
        return told
