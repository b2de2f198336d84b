# What `relay.net.protection` and, on Linux, `relay.net.udp` have in Python.
from relay.net import protection
from relay.net.udp import receive as receive
from relay.net.udp import send as send

INTERFACE: int

class Sealer(protection.Sealer): ...
class Opener(protection.Opener): ...
