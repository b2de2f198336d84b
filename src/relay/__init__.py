"""A Media over QUIC relay with its authorization built in."""
