"""Webhooks: the outbox makes deliveries (in the operator), the dispatcher sends them (a process of its own)."""
