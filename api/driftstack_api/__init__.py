"""Driftstack: api."""
