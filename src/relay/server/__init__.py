"""The relay, assembled: settings in, a running relay out, a clean end when told to."""

from relay.server.crew import Crew
from relay.server.log import LEVELS, write_log
from relay.server.parts import draw_id, load_certificates, transcode
from relay.server.relay import Relay
from relay.server.running import run, serve

__all__ = [
    "LEVELS",
    "Crew",
    "Relay",
    "draw_id",
    "load_certificates",
    "run",
    "serve",
    "transcode",
    "write_log",
]
