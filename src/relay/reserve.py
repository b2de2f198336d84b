"""Which paths are the relays' own: the only rule of that in the house.

The law: it stands above every grant, and whoever tells what a guest may do asks here. This module
must not know how somebody proves to be a relay.
"""

from __future__ import annotations

from dataclasses import dataclass

from relay.path import Path

INTERNAL = Path(".internal")
"""Where relays talk to each other, about each other. For nobody else it exists."""

NEWS = INTERNAL.join("relays")
"""Where each tells what it knows beside broadcasts, what it heard from others included, under the
number of its origin."""


@dataclass(frozen=True, slots=True)
class Reserve:
    """What only relays do, and where; paths are absolute."""

    published: tuple[Path, ...] = ()
    """Below these, too, only relays publish; others may watch."""

    def bars(self, verb: str, path: Path) -> str:
        """Why nobody but a relay may ``publish`` or ``subscribe`` at ``path``, in a sentence for
        the log; empty where others may."""
        for prefix in (INTERNAL, *self.published) if verb == "publish" else (INTERNAL,):
            if path.is_under(prefix):
                return f"only relays {verb} below {prefix}"
        return ""


NOTHING_MORE = Reserve()
"""Where relays publish nothing but what they tell each other."""


def of_every_relay(root: Path) -> tuple[Path, ...]:
    """What every relay that connects to ``root`` publishes and subscribes to, whatever else its
    grant covers: it is about the cluster and not about its broadcasts."""
    return () if root else (INTERNAL,)
