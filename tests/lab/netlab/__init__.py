"""A network on one machine: hosts, links with weather, partitions, byte counters, and clocks.

Hosts are network namespaces. A link is a pair of TUN devices with a program of ours between them,
the router, which delays, drops, reorders and counts IP packets. There is one kind of weather and
no fallback: the kernel's own (``sch_netem``) is missing from many kernels, has no seed, and treats
a burst of UDP segments as one packet.

    with Lab(seed=1) as lab:
        a, b = lab.host("a"), lab.host("b")
        link = lab.link(a, b, delay=0.02, loss=0.01)
        server = b.popen([...])
        a.run([..., b.address])
        link.cut()
        link.heal()
        link.change(loss=0.05)
        link.bytes(a)
        b.kill()
"""

from netlab.clock import Clock
from netlab.lab import Host, Lab, LabError, Link, Switch, missing
from netlab.weather import Counts, Weather

__all__ = ["Clock", "Counts", "Host", "Lab", "LabError", "Link", "Switch", "Weather", "missing"]
