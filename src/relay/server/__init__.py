"""The relay, assembled: settings in, a running relay out, a clean end when told to."""
