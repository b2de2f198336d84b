"""The wall towards the network: UDP, QUIC, WebTransport, TLS; WebSocket and plain streams.

This room moves bytes between peers and whoever sits above them, through the seam of
`relay.session.transport`. It is the only room that imports aioquic; everything it lets grow has a
ceiling in `relay.net.settings`. It must not know broadcasts, tokens or the messages on a stream.
"""
