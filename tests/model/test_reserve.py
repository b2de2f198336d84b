"""What only relays do in the model, whatever the windows of others are."""

from __future__ import annotations

import pytest

from relay.errors import Forbidden
from relay.model.origin import Origin
from relay.path import ROOT, Path
from relay.reserve import Reserve

ALL = (ROOT,)


def test_only_relays_publish_what_is_theirs(fakes):
    origin = Origin(1)
    origin.reserve = Reserve((Path("t/stats"),))
    guest, relay = (origin.scope(Path("t"), ALL, ALL, is_relay) for is_relay in (False, True))
    for path in map(Path, ("stats", "stats/node/x")):
        with pytest.raises(Forbidden, match="only relays publish below t/stats"):
            guest.announce(path, fakes.Source(), (8,), 0.0)
        assert not guest.allows_publish(path)
        assert guest.allows_subscribe(path)
        assert relay.allows_publish(path)
        assert relay.announce(path, fakes.Source(), (8,), 0.0) is not None
    assert guest.allows_publish(Path("statistics"))


def test_what_relays_tell_each_other_is_there_for_nobody_else(fakes):
    origin, news = Origin(1), Path(".internal/relays/1")
    guest, relay = (origin.scope(ROOT, ALL, ALL, is_relay) for is_relay in (False, True))
    with pytest.raises(Forbidden, match=r"only relays publish below \.internal"):
        guest.announce(news, fakes.Source(), (8,), 0.0)
    assert relay.announce(news, fakes.Source(), (8,), 0.0) is not None
    assert not guest.allows_publish(news)
    assert not guest.allows_subscribe(news)
    assert relay.allows_publish(news)
    assert relay.allows_subscribe(news)
    assert guest.seek(news) is None
    assert news not in set(guest.names())
    assert news in set(relay.names())


@pytest.mark.parametrize(("root", "talks"), [("t", True), ("", False)])
def test_relays_tell_each_other_nothing_where_a_name_is_anybodys(fakes, root, talks):
    origin, news, cam = Origin(1), Path(".internal/relays/1"), Path("cam")
    relay, watcher = origin.scope(Path(root), ALL, ALL, True, talks=talks), fakes.Watcher()
    relay.watch(ROOT, watcher)
    with pytest.raises(Forbidden, match="nothing below a path"):
        relay.announce(news, fakes.Source(), (8,), 0.0)
    for path in news, cam:
        origin.announce(Path(root).join(path), fakes.Source(), (8,), 0.0)
    assert [path for _, path, *_ in watcher.events] == [cam]
    assert list(relay.names()) == [cam]
    assert relay.seek(news) is None
    assert not relay.allows_publish(news)
    assert relay.seek(cam) is not None
