"""Webhooks: endpoints of an account, and what was sent to them."""
