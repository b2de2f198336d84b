"""Deciding for other relays over HTTP, and asking somebody else to decide for ours.

Both sides of two contracts live here: the POST of session events that answers with a grant, and the
older GET that answers with a key and what is public. The law: whoever cannot get a clear yes in
time has a no. This room must not know QUIC, sessions under way, or where keys are kept.
"""
