"""What outlives the process: credentials, revocations, quotas, keys and the audit log, behind one
interface for every store."""
