"""How messages are written: bytes to messages and back, for every version of moq-lite.

Nothing here keeps a connection, and nothing waits: a parser gets bytes and answers with a message,
with ``None`` (more bytes are needed) or with a `relay.errors.ProtocolViolation`. Versions differ
only in tables (`version`, `lite`). This room must not know sessions, transports, rights or clocks.
"""
