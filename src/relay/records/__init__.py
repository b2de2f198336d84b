"""What outlives the process: API tokens, revocations, tickets, behind one small interface."""
