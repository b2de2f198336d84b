"""The reception: what the relay answers over HTTP, plain or over TLS.

Its law: every answer about broadcasts passes the same decision as a session. It is handed a small
`House` and must not know QUIC, tokens or where broadcasts are kept.
"""
