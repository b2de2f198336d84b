"""What each tenant may use up: values, rates that follow their limits, and the books of all.

Its law: everything is counted for the tenant that came in, a limit that changes counts from that
moment on, and whoever has no limit pays one addition. It must not know the clock, sessions, the
wire, or where limits come from: ``now`` is an argument.
"""

from relay.quota.account import Account
from relay.quota.borrowing import Borrower
from relay.quota.breach import Breach
from relay.quota.ledger import Ledger
from relay.quota.lending import Lender
from relay.quota.limits import Limits, Override, Quota, QuotaSettings
from relay.quota.tab import Tab

__all__ = [
    "Account",
    "Borrower",
    "Breach",
    "Ledger",
    "Lender",
    "Limits",
    "Override",
    "Quota",
    "QuotaSettings",
    "Tab",
]
