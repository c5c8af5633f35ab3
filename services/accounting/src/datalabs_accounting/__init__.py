"""The usage ledger and the limits."""
