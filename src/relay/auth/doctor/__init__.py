"""Second opinions: how other readers of the field would judge a token, and why.

Its law: their rules are data about them, taken from their sources; they decide nothing here. This
room within the room must not know who is asking.
"""

from relay.auth.doctor.case import Bench, Case
from relay.auth.doctor.judges import JUDGES, Diagnosis, Opinion, diagnose

__all__ = ["JUDGES", "Bench", "Case", "Diagnosis", "Opinion", "diagnose"]
