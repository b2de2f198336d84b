"""What leaves the relay for systems that are no readers of broadcasts: copies of chosen tracks.

Its law: whoever takes the copies can be slow, wrong or gone, and costs the relay one bounded buffer
and a line in the log now and then. This room must not know who published, or who may read.
"""
