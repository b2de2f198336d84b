"""The limits of tenants as values: what the operator's file says, and what was said since.

The law: 0 is unlimited everywhere; what is not said of a tenant is as for all of them; what was
said at run time comes before the file. This module must not know what is counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

MAX_LIMIT = 2**53
"""Largest limit; beyond it numbers are no longer exact everywhere. Whoever needs more says 0."""

MAX_TENANTS = 10_000
"""Tenants with limits of their own, in the file and in the store each. The next one is refused."""

MAX_TENANT = 512
"""Characters of a tenant's name."""

_CLOSED = ConfigDict(frozen=True, extra="forbid")


def _number(value: Any) -> Any:
    """A whole number, or the text of one as the environment has it."""
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        return int(value[:20])
    return value


Limit = Annotated[int, BeforeValidator(_number), Field(ge=0, le=MAX_LIMIT, strict=True)]


class Quota(BaseModel):
    """What one tenant may use at a time or in a second, over all its sessions of one relay.

    0 is unlimited. Of a rate one second's worth may come at once.
    """

    model_config = _CLOSED

    sessions: Limit = 0
    """Sessions at a time. More: 429 at the door."""

    publishers: Limit = 0
    """Sessions at a time that have anything announced. More: what they announce is heard by nobody
    until there is room."""

    subscribers: Limit = 0
    """Sessions at a time that watch anything. More: subscriptions are refused."""

    broadcasts: Limit = 0
    """Broadcasts announced at a time. More: the next is heard by nobody until there is room."""

    tracks: Limit = 0
    """Subscriptions at a time. More: refused."""

    announces_per_second: Limit = 0
    """Announcements. More: they wait, in order, and are heard as the rate allows; a session that
    lets too many wait is closed."""

    sessions_per_second: Limit = 0
    """New sessions and HTTP requests together. More: 429 with Retry-After."""

    ingress_bits: Limit = 0
    """Bits of groups a second that come in. More: the group that goes beyond is stopped, as are new
    ones until the rate allows."""

    egress_bits: Limit = 0
    """Bits of groups a second that go out. More: they wait, shared among the tenant's sessions, and
    the oldest are dropped as for a slow subscriber; over HTTP: 429."""

    cached_bytes: Limit = 0
    """Bytes of cached groups, bookkeeping included, by the first segment of their broadcast's path,
    or the tenant that its publisher's token says. More: the tenant's own oldest groups leave; one
    HTTP body larger than this: 413."""


Said = Annotated[int | None, Field(default=None, ge=0, le=MAX_LIMIT, strict=True)]


class Override(BaseModel):
    """What is said of one tenant: each limit, or ``None`` where it is as for all."""

    model_config = _CLOSED

    sessions: Said
    publishers: Said
    subscribers: Said
    broadcasts: Said
    tracks: Said
    announces_per_second: Said
    sessions_per_second: Said
    ingress_bits: Said
    egress_bits: Said
    cached_bytes: Said

    def over(self, quota: Quota) -> Quota:
        """``quota`` with what is said here in its place."""
        return quota.model_copy(update=self.model_dump(exclude_none=True))


def wrong_tenant(name: str) -> str:
    """Why no tenant is called so; empty where one may be."""
    if len(name) > MAX_TENANT:
        return f"the name of a tenant has at most {MAX_TENANT} characters"
    return "the name of a tenant has no slashes" if "/" in name else ""


def _tenant(name: str) -> str:
    if wrong_tenant(name):
        raise ValueError(f"expected tenants' names: no slashes, at most {MAX_TENANT} characters")
    return name


class QuotaSettings(Quota):
    """``[quotas]``: what each tenant may use; a tenant is the first segment of a root."""

    tenants: dict[Annotated[str, AfterValidator(_tenant)], Override] = Field(
        default={}, max_length=MAX_TENANTS
    )
    """Tenants with other limits, ``[quotas.tenants.<name>]``; what is not said there is as for all.
    The tenant ``""`` is whoever comes in at the very top."""


class Limits:
    """Every tenant's quota. Immutable; a change makes another."""

    def __init__(
        self, settings: QuotaSettings | None = None, records: Mapping[str, Override] | None = None
    ) -> None:
        """``records`` are the overrides that were said at run time."""
        self.settings = settings or QuotaSettings()
        self.records = dict(records or {})
        self.others = Quota(**self.settings.model_dump(exclude={"tenants"}))
        """What holds for tenants that nothing is said of."""

    def of(self, tenant: str) -> Quota:
        """What holds for a tenant."""
        quota = self.others
        for said in (self.settings.tenants.get(tenant), self.records.get(tenant)):
            if said is not None:
                quota = said.over(quota)
        return quota

    def __iter__(self) -> Iterator[str]:
        """The tenants that anything is said of."""
        return iter(sorted({*self.settings.tenants, *self.records}))
