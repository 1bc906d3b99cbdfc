"""A Kubernetes for a machine that has none, and the tool that installs Driftstack on it."""
