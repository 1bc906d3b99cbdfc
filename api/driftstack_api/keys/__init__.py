"""API keys: what callers do with their own."""
