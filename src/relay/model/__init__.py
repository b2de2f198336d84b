"""What is shared between sessions: origin, broadcasts, tracks, groups and their cache.

Plain objects and plain calls; ``now`` is always an argument (monotonic seconds). This room must not
know bytes on the wire, versions, rights, clocks or event loops.
"""

from relay.model.audience import Viewer
from relay.model.board import Watch, Watcher
from relay.model.broadcast import Broadcast, FetchSource, Route, Source
from relay.model.demand import Demand, TrackInfo
from relay.model.fetch import Fetcher
from relay.model.group import Encoding, Group, Log, Reader, Transcode
from relay.model.origin import Origin
from relay.model.scope import Scope, ScopeWatch
from relay.model.settings import CacheSettings
from relay.model.track import Asker, Track

__all__ = [
    "Asker",
    "Broadcast",
    "CacheSettings",
    "Demand",
    "Encoding",
    "FetchSource",
    "Fetcher",
    "Group",
    "Log",
    "Origin",
    "Reader",
    "Route",
    "Scope",
    "ScopeWatch",
    "Source",
    "Track",
    "TrackInfo",
    "Transcode",
    "Viewer",
    "Watch",
    "Watcher",
]
