"""One conversation with one peer, in any dialect, without I/O."""
