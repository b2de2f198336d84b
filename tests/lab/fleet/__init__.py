"""Relays on the hosts of a lab, linked in some shape, and people who publish and watch there.

Relays are processes, started as an operator starts them and spoken to as strangers do. People are
threads of the test in the network of their host. `Fleet` is the entrance.
"""

from fleet.people import Arrival, Crowd, Observer, Publisher, Sighting, Viewer, until
from fleet.station import Fleet, Station

__all__ = [
    "Arrival",
    "Crowd",
    "Fleet",
    "Observer",
    "Publisher",
    "Sighting",
    "Station",
    "Viewer",
    "until",
]
