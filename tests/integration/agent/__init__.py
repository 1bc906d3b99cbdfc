"""The agent as a real process with a real Chromium, in a network namespace like a pod's."""
