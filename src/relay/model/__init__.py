"""What is shared between sessions: origin, broadcasts, tracks, groups and their cache.

Plain objects and plain calls; ``now`` is always an argument (monotonic seconds). This room must not
know bytes on the wire, versions, rights, clocks or event loops.
"""
