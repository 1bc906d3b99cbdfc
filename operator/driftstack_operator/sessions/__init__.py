"""The life of sessions: decide, act, archive."""
