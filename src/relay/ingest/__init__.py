"""What the relay publishes itself, and reads for those who have no session.

Its law: rights are decided before anything comes here, and everything kept has a named limit. This
room must not know HTTP, tokens or QUIC.
"""
