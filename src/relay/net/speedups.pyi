# What `relay.net.protection` and, on Linux, `relay.net.udp` have in Python.
from relay.net import protection
from relay.net.udp import Address, Socket
from relay.net.udp import receive as receive

INTERFACE: int

def send(sock: Socket, data: bytes, size: int, address: Address | None, in_trains: bool) -> int: ...

class Sealer(protection.Sealer): ...
class Opener(protection.Opener): ...
