"""The broadcasts that the relay owns: published record by record, withdrawn when nobody does.

The law: a broadcast belongs to the path it was published at, whoever publishes; a newer publisher
of the path takes it over as it would from anybody, and everything kept here is counted against a
limit. This module must not know how records come in or who may send them.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, NamedTuple

from jsonschema.protocols import Validator

from relay.auth.grant import Grant
from relay.errors import BadRequest, ConfigError, LimitExceeded, RelayError, TooLarge
from relay.ingest.cipher import CipherKeys, owner_of
from relay.ingest.records import Ready, bounded, dead_letter, load_schema, prepare, split
from relay.ingest.route import DEAD, Address, Declared, read
from relay.ingest.settings import IngestSettings, TrackRules
from relay.model.broadcast import Broadcast, Route
from relay.model.group import CHUNK_COST, GROUP_COST, Group
from relay.model.origin import Origin
from relay.model.track import Track, TrackInfo
from relay.path import ROOT, Path, may_fit_below
from relay.peer.local import MAX_GROUP, LocalBroadcast, LocalTrack
from relay.peer.reading import OVERHEAD, ReadFrame
from relay.quota import Tab
from relay.wire.frame import MAX_HEADER

MICROSECONDS = 1_000_000
"""Timestamp units per second of tracks published here: unix time by the relay's clock."""


Taker = Callable[[Path, str, Sequence[ReadFrame]], None]
"""Takes all frames of one body for a track. Must not raise nor wait."""

Plan = dict[str, list[list[Ready]]]
"""What is to be published: by track, the records of each group."""


class Sent(NamedTuple):
    """What became of one record."""

    track: str
    group: int
    frame: int
    error: str | None


class Checked(NamedTuple):
    """The records of a body as they are to be published."""

    name: str
    """The track, with its version."""
    ready: list[Ready]
    many: bool
    """Whether the body was an array."""


class Unfit(BadRequest):
    """Records that do not fit, where dead letters are not kept: ``errors`` by position."""

    def __init__(self, errors: Mapping[int, str]) -> None:
        super().__init__("records that do not fit; nothing was published")
        self.errors = errors


@dataclass
class Booth:
    """One broadcast published here."""

    local: LocalBroadcast
    published: float
    """When something was published last, monotonic seconds."""
    grant: Grant
    """What allowed it."""
    tenant: str | None
    """Whose bytes it keeps."""
    tab: Tab
    """What is counted for it on its tenant's account."""
    route: Route | None = None
    """How it is announced; ``None`` until it is."""
    sizes: dict[str, deque[int]] = field(default_factory=dict)
    """Bytes of the groups kept, by track."""


class Station:
    """Publishes what comes without a session. ``wall`` is unix seconds, ``clock`` monotonic ones.

    ``charge`` may refuse (grant, bytes that came, bytes that must find room in the cache) by
    raising `LimitExceeded`; ``enrol`` opens the tab of a new broadcast. Raises `ConfigError` for a
    schema that cannot be used.
    """

    def __init__(
        self,
        origin: Origin,
        settings: IngestSettings,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self.settings = settings
        self.keys: CipherKeys = {}
        self.charge: Callable[[Grant, int, int], None] = lambda grant, came, kept: None
        self.enrol: Callable[[Grant], Tab] = lambda grant: Tab.free()
        self.takers: list[Taker] = []
        """Who gets everything that is published here, however little of it is kept."""
        self.declared: dict[Declared, TrackRules] = {}
        self.booths: dict[Path, Booth] = {}
        self.kept: Counter[str | None] = Counter()
        """Bytes of the groups kept, by tenant."""
        self.open: Counter[str | None] = Counter()
        """Broadcasts, by tenant."""
        self._all_kept = 0
        self._schemas: dict[Declared, Validator] = {}
        self._origin = origin
        self._clock = clock
        self._wall = wall
        for name, rules in settings.tracks.items():
            route = Declared.parse(name)
            self.declared[route] = rules
            if rules.schema_file is not None:
                try:
                    self._schemas[route] = load_schema(rules.schema_file)
                except ConfigError as error:
                    raise ConfigError(f"ingest.tracks.{name}.schema: {error}") from None

    def address(self, path: str, track: str | None = None) -> Address:
        """What an address means; see `relay.ingest.route`. Raises `BadRequest`."""
        return read(path, self.declared, track)

    def resolved(self, address: Address, whole: Path) -> tuple[str, Declared | None]:
        """The track's name, its newest declared version filled in, and the rules it goes by."""
        known = [each for each in self.declared if each.track == address.track and each.fits(whole)]
        if address.version is None:
            newest = max(known, key=lambda each: each.order, default=None)
            if newest is None or newest.version is None:
                return address.track, newest
            return f"{address.track}/{newest.version}", newest
        exact = [each for each in known if each.version in (address.version, None)]
        return address.name, max(exact, key=lambda each: each.order, default=None)

    def check_json(
        self, grant: Grant, address: Address, body: bytes, at_once: bool = False
    ) -> Checked:
        """Read the records of a JSON body and make them ready. Takes long where the body is large
        or, unless ``at_once``, what its schema makes of it; and changes nothing: it may be called
        in any thread.

        Raises `Unfit` or another `BadRequest`, `Unavailable`; `TakesLong` only ``at_once``.
        """
        name, declared = self.resolved(address, grant.root)
        rules = self.declared[declared] if declared else TrackRules()
        now = self._wall()
        try:
            records, many = split(body, self.settings.max_records)
        except BadRequest as error:
            if not rules.dead_letters:
                raise
            text = None if rules.encrypt else body.decode(errors="replace")
            return Checked(name, [dead_letter(text, str(error), now)], False)
        schema = self._schemas.get(declared) if declared else None
        owner = owner_of(grant.root)
        with bounded(at_once):
            ready = [
                prepare(each, schema, rules.encrypt, self.keys, owner, now) for each in records
            ]
        unfit = {at: each.error for at, each in enumerate(ready) if each.error is not None}
        if unfit and not rules.dead_letters:
            raise Unfit(unfit)
        return Checked(name, ready, many)

    def publish_bytes(self, grant: Grant, address: Address, body: bytes) -> list[Sent]:
        """Publish a body as one frame. Raises `BadRequest` where the track takes JSON only."""
        name, declared = self.resolved(address, grant.root)
        if declared and (declared in self._schemas or self.declared[declared].encrypt):
            raise WrongType("this track takes application/json")
        return self.publish(grant, Checked(name, [Ready(body, None)], False), False)

    def publish(self, grant: Grant, checked: Checked, one_group: bool) -> list[Sent]:
        """Publish records, each in a group of its own or all in one; says what became of each.

        Raises `BadRequest`, `LimitExceeded`, `Forbidden`.
        """
        name, ready, _ = checked
        plan = _grouped(name, ready, one_group)
        came = sum(len(each.payload) for each in ready)
        room = max(sum(map(_size, ready)), self._largest(plan))
        booth = self.booths.get(grant.root)
        tenant = grant.tenant if booth is None else booth.tenant
        growth = self._growth(booth, plan)
        if self._all_kept + growth > self.settings.max_kept_bytes:
            raise LimitExceeded("the relay keeps ingest.max_kept_bytes already")
        if self.kept[tenant] + growth > self.settings.max_tenant_kept_bytes:
            raise LimitExceeded("the tenant keeps ingest.max_tenant_kept_bytes already")
        tab = self._tab(grant, booth, set(plan))
        self.charge(grant, came, room)
        booth = booth or self._open(grant, tab, set(plan))
        booth.published, booth.grant = self._clock(), grant
        sent: list[Sent] = []
        for track, groups in sorted(plan.items()):
            local = self._track(booth, track)
            frames: list[ReadFrame] = []
            for records in groups:
                group = local.append_group()
                self._keep_group(booth, track)
                for frame, each in enumerate(records):
                    stamp = int(self._wall() * MICROSECONDS)
                    local.write_frame(each.payload, stamp)
                    frames.append(ReadFrame(group, frame, stamp, MICROSECONDS, each.payload))
                    size = _size(each)
                    booth.sizes[track][-1] += size
                    self._count(booth, size)
                    sent.append(Sent(track, group, frame, each.error))
            local.finish_group()
            for take in self.takers:
                take(grant.root, track, frames)
        return _in_order(sent, ready)

    def has_published(self, broadcast: Broadcast) -> bool:
        """Whether it is one of those here, whoever leads to it."""
        booth = self.booths.get(broadcast.path)
        return booth is not None and broadcast.identity == booth.local.hops[0]

    def recall(self, path: Path, track: Track, start: int) -> None:
        """Somebody is about to watch from ``start`` on: what is kept from there is cached again,
        since a feed that runs for others already does not bring it a second time."""
        booth = self.booths.get(path)
        source = track.broadcast.fetch_source(None)
        if booth is None or source is not booth.local or track.is_elsewhere or not track.viewers:
            return
        local = booth.local.tracks.get(track.name)
        for group in tuple(local.groups) if local else ():
            if group.sequence >= start and group.sequence not in track.groups:
                track.fetch(group.sequence, _RECALLED, self._clock())

    def tick(self, now: float) -> None:
        """Withdraw what nobody published to for long."""
        for path, booth in tuple(self.booths.items()):
            if now - booth.published > self.settings.linger:
                self._withdraw(path, now)

    def recheck(self, struck: Callable[[Grant], str | None]) -> list[tuple[Path, Grant, str]]:
        """Withdraw what was published last by a grant that is struck; answers what, and why."""
        withdrawn = []
        for path, booth in tuple(self.booths.items()):
            if (why := struck(booth.grant)) is not None:
                withdrawn.append((path, booth.grant, why))
                self._withdraw(path, self._clock())
        return withdrawn

    def _growth(self, booth: Booth | None, plan: Plan) -> int:
        """By how many bytes more is kept once this is published, and the oldest groups of its
        tracks have left."""
        growth = 0
        for track, groups in plan.items():
            kept = booth.sizes.get(track, ()) if booth else ()
            sizes = [sum(map(_size, records)) for records in groups]
            surplus = max(0, len(kept) + len(sizes) - self.settings.keep_groups)
            growth += sum(sizes) - sum(islice(chain(kept, sizes), surplus))
        return growth

    def _largest(self, plan: Plan) -> int:
        """Bytes that the largest group takes where it is cached. Raises `TooLarge` for one that
        would break off there."""
        limit = min(MAX_GROUP, self._origin.stock.settings.max_group_bytes)
        largest = 0
        for records in chain(*plan.values()):
            size = sum(len(each.payload) + MAX_HEADER for each in records)
            if size > limit:
                raise TooLarge(f"more than a group may have ({limit} bytes)")
            largest = max(largest, GROUP_COST + size + CHUNK_COST * len(records))
        return largest

    def _keep_group(self, booth: Booth, track: str) -> None:
        """One more group, and the oldest leaves where there are enough."""
        sizes = booth.sizes.setdefault(track, deque())
        sizes.append(0)
        if len(sizes) > self.settings.keep_groups:
            self._count(booth, -sizes.popleft())

    def _count(self, booth: Booth, size: int) -> None:
        self._all_kept += size
        self.kept[booth.tenant] += size
        if not self.kept[booth.tenant]:
            del self.kept[booth.tenant]

    def _tab(self, grant: Grant, booth: Booth | None, names: set[str]) -> Tab:
        """What the broadcast is counted on, where it may have these tracks and be there: before
        any of its bytes is anybody's. Raises `LimitExceeded`, `OverQuota`."""
        now = self._clock()
        tracks = set(booth.local.tracks) if booth else set()
        if len(tracks | names) > self.settings.max_tracks:
            raise LimitExceeded(f"at ingest.max_tracks ({self.settings.max_tracks})")
        if booth is not None:
            return booth.tab
        if len(self.booths) >= self.settings.max_broadcasts:
            raise LimitExceeded(f"at ingest.max_broadcasts ({self.settings.max_broadcasts})")
        most = self.settings.max_tenant_broadcasts or -(-self.settings.max_broadcasts // 2)
        if self.open[grant.tenant] >= most:
            raise LimitExceeded(f"the tenant is at ingest.max_tenant_broadcasts ({most})")
        tab = self.enrol(grant)
        if not tab.may_announce(now):
            tab.announce(now)  # which says why
        return tab

    def _open(self, grant: Grant, tab: Tab, names: set[str]) -> Booth:
        """A broadcast at the grant's root. Raises `Forbidden`, `OverQuota`."""
        now = self._clock()
        scope = self._origin.scope(grant.root, grant.publish, (), tenant=grant.payer)
        tab.announce(now)
        local = LocalBroadcast(self._clock)
        for name in names:
            self._create(local, name)
        # Whoever hears of it may ask at once whether it is one of those here.
        booth = self.booths[grant.root] = Booth(local, now, grant, grant.tenant, tab)
        try:
            booth.route = scope.announce(ROOT, local, local.hops, now)
        except RelayError:
            del self.booths[grant.root]
            raise
        self.open[booth.tenant] += 1
        tab.add_broadcast()
        return booth

    def _track(self, booth: Booth, name: str) -> LocalTrack:
        return booth.local.tracks.get(name) or self._create(booth.local, name)

    def _create(self, local: LocalBroadcast, name: str) -> LocalTrack:
        return local.create_track(
            name, TrackInfo(timescale=MICROSECONDS), self.settings.keep_groups
        )

    def _withdraw(self, path: Path, now: float) -> None:
        booth = self.booths.pop(path)
        self.open[booth.tenant] -= 1
        if not self.open[booth.tenant]:
            del self.open[booth.tenant]
        booth.tab.close()
        self._count(booth, -sum(map(sum, booth.sizes.values())))
        for track in booth.local.tracks.values():
            track.finish()
        assert booth.route is not None  # nobody else is in its chain
        booth.route.withdraw(now)

    def listing(self, grant: Grant) -> dict[str, Any]:
        """What the grant covers of what is declared and published here."""
        declared = [
            {
                "broadcast": "/".join(each.pattern),
                "track": each.track,
                "version": each.version,
                "schema": each in self._schemas,
                "dead_letters": rules.dead_letters,
            }
            for each, rules in self.declared.items()
            if any(
                may_fit_below(grant.root.join(prefix), each.pattern)
                for prefix in grant.publish + grant.subscribe
            )
        ]
        published = [
            {"broadcast": path.relative_to(grant.root), "tracks": sorted(booth.local.tracks)}
            for path, booth in sorted(self.booths.items())
            if path.is_under(grant.root)
            and any(path.is_under(grant.root.join(p)) for p in grant.publish + grant.subscribe)
        ]
        return {"declared": declared, "published": published}


class _Recalled:
    """Nobody in particular wants the group: it is for those who find it cached."""

    def group_opened(self, group: Group) -> None:
        """It is."""

    def fetch_failed(self, error: RelayError) -> None:
        """There was no room for it."""


_RECALLED = _Recalled()


class WrongType(BadRequest):
    """A kind of body that the track does not take."""

    status = 415


def _size(record: Ready) -> int:
    return len(record.payload) + OVERHEAD


def _grouped(name: str, ready: list[Ready], one: bool) -> Plan:
    """Which records go where: what does not fit to the dead letters, each in a group of its own or
    all of a track in ``one``."""
    plan: Plan = {}
    for each in ready:
        groups = plan.setdefault(name if each.error is None else name + DEAD, [])
        if one and groups:
            groups[-1].append(each)
        else:
            groups.append([each])
    return plan


def _in_order(sent: list[Sent], ready: list[Ready]) -> list[Sent]:
    """As the records came, not track by track."""
    good = iter([each for each in sent if each.error is None])
    bad = iter([each for each in sent if each.error is not None])
    return [next(good if each.error is None else bad) for each in ready]
