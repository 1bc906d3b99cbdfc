"""The `driftstack` command, also `kubectl driftstack`: accounts and keys by Kubernetes, sessions by REST."""
