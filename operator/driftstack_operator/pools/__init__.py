"""Warm pods: how many there are, which session gets one, and what replaces it."""
