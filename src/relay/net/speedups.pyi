# What `relay.net.protection` and, on Linux, `relay.net.udp` have in Python.
from relay.net import protection
from relay.net.udp import receive as receive

INTERFACE: int

class Sealer(protection.Sealer): ...
class Opener(protection.Opener): ...
