# What `relay.net.protection` has in Python.
from relay.net import protection

INTERFACE: int

class Sealer(protection.Sealer): ...
class Opener(protection.Opener): ...
