"""What an operator does with one session, done by the worker that has it.

The law: whatever changes anything is in the audit log before it is done. This module must not know
HTTP, nor who may be an operator.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from relay.auth.grant import Ceiling
from relay.control.admin import shapes
from relay.errors import BadRequest, NotFound, Unauthorized
from relay.path import Path, covering
from relay.peer.guest import Guest
from relay.records.office import Operator
from relay.server import showing

if TYPE_CHECKING:
    from relay.server.relay import Relay

Action = Callable[["Relay", str, str, Mapping[str, Any]], Awaitable[dict[str, Any]]]
"""Asked with the operator's name and address, and what was said. Raises `NotFound`, `BadRequest`,
`StoreError`."""


async def show(relay: Relay, name: str, address: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """What there is to see of it."""
    return _shown(relay, _guest(relay, said))


async def kick(relay: Relay, name: str, address: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """End it."""
    guest = _guest(relay, said)
    asked = shapes.Kick.model_validate(said)
    async with _doing(relay, Operator(name, address), "session.kick", guest, asked.reason):
        relay.house.log("ended by the operator", id=guest.id, why=asked.reason)
        guest.close(Unauthorized(f"ended by the operator (id {guest.id})"))
    return {"ended": 1}


async def narrow(relay: Relay, name: str, address: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """Take rights away for good; the session goes on with what is left."""
    guest = _guest(relay, said)
    asked = shapes.Narrowing.model_validate(said)
    grant = guest.grant
    if grant is None or not guest.opened:
        raise BadRequest("the session has no rights yet")
    ceiling = Ceiling(
        _narrowed(grant.publish, asked.publish, "publish"),
        _narrowed(grant.subscribe, asked.subscribe, "subscribe"),
    )
    left = ceiling.over(grant)
    detail = f"publish {list(left.publish)} subscribe {list(left.subscribe)}"
    async with _doing(relay, Operator(name, address), "session.narrow", guest, detail):
        guest.narrow(ceiling)
    return _shown(relay, guest)


ACTIONS: dict[str, Action] = {
    "session.show": show,
    "session.kick": kick,
    "session.narrow": narrow,
}
"""By their names in the audit log, and between workers."""


def _guest(relay: Relay, said: Mapping[str, Any]) -> Guest:
    guest = relay.door.guests.get(said["id"])
    if guest is None:
        raise NotFound("there is no such session here")
    return guest


def _shown(relay: Relay, guest: Guest) -> dict[str, Any]:
    return showing.session(guest, relay.house.clock()).model_dump(mode="json")


def _doing(relay: Relay, who: Operator, action: str, guest: Guest, detail: str) -> Any:
    jti, tenant = (guest.grant.jti, guest.grant.tenant) if guest.grant else (None, None)
    said = {"detail": detail, "jti": jti or "", "tenant": tenant or "", "id": guest.id}
    return relay.desk.office.doing(who, action, f"session {guest.id}", **said)


def _narrowed(
    had: tuple[Path, ...], wished: list[str] | None, verb: str
) -> tuple[Path, ...] | None:
    """Raises `BadRequest` for a prefix that is not below what there was."""
    if wished is None:
        return None
    prefixes = covering(map(Path, wished))
    for prefix in prefixes:
        if not any(prefix.is_under(each) for each in had):
            raise BadRequest(
                f"the session may not {verb} below {str(prefix)!r}: only less is given"
            )
    return prefixes
