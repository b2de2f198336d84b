"""The interop rig: foreign MoQ clients and a relay to point them at, in one vocabulary.

Its job is to let a test say "this client publishes, that one watches" without knowing whose code
runs; its law is that every wait has a deadline and that nothing is repaired on the way (what a
client delivered is what the test sees). It must not know what a test expects.
"""
