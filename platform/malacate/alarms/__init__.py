"""Alarms from raw readings: rules, incidents, an outbox in the ledger, and channels."""
