from __future__ import annotations

import pytest
from pydantic import ValidationError

from relay.cluster.cluster import SIGNS
from relay.cluster.settings import ClusterSettings
from relay.model.demand import TrackInfo


def test_one_address_may_stand_alone() -> None:
    assert ClusterSettings(connect="https://a/").connect == ("https://a/",)


def test_upstreams_older_mesh_names_the_node() -> None:
    for name in ("https://me/", "me:4443", "me.example.com"):
        settings = ClusterSettings(mesh=name)
        assert (settings.mesh, settings.node) == (True, name)
    assert ClusterSettings(mesh="https://me/", node="https://me/").node == "https://me/"
    with pytest.raises(ValidationError, match="the same URL"):
        ClusterSettings(mesh="https://me/", node="https://other/")


def test_a_mesh_needs_a_node() -> None:
    with pytest.raises(ValidationError, match="expected node"):
        ClusterSettings(mesh=True)


@pytest.mark.parametrize("number", [0, -1, 2**62])
def test_numbers_that_no_chain_can_hold(number: int) -> None:
    with pytest.raises(ValidationError):
        ClusterSettings(id=number)


def test_a_dead_relay_is_gone_round_before_what_it_had_is_forgotten() -> None:
    """A sign of life that nobody answers begins the time of silence anew (RFC 9000, 10.1)."""
    noticed = ClusterSettings().silence * (1 + 1 / SIGNS)
    assert noticed < TrackInfo().max_latency / 1000
