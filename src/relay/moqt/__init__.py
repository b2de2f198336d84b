"""moq-transport, the protocol of the IETF: how it is written, and how it is told as moq-lite."""
