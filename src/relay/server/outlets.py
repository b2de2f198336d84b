"""The sinks that the settings name, each between the origin and what takes its copies.

This module must not know how a record is sent.
"""

from __future__ import annotations

from relay.config import Settings
from relay.errors import ConfigError
from relay.ingest.station import Station
from relay.peer.house import House
from relay.sinks.choice import Choice
from relay.sinks.copying import Copying, Log
from relay.sinks.kafka import Kafka


def open_sinks(settings: Settings, house: House, station: Station, log: Log) -> dict[str, Copying]:
    """The sinks by name; each is to `run`. Raises `ConfigError` for one that cannot be used."""
    sinks = {}
    for name, said in settings.sinks.items():
        try:
            outlet = Kafka(name, said, log)
        except ConfigError as error:
            raise ConfigError(f"sinks.{name}.{error}") from None
        choices = [Choice.parse(each) for each in said.tracks]
        sinks[name] = Copying(
            choices,
            outlet,
            house.origin,
            house.clock,
            log,
            said.max_tracks,
            station.has_published,
        )
        station.takers.append(sinks[name].take)
    return sinks
