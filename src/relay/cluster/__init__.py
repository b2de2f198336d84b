"""Doors to other relays: whom to dial, the links themselves, and what relays tell each other.

A link is a peer that we dialled: the same session driver and the same guest as for those who come
in, with a grant of its own. This room must not know QUIC packets, HTTP requests or tokens' claims.
"""
