"""The exceptions of the shared package.

DriftstackError
 ├─ SettingsError        the configuration can't work; the message says what to change
 ├─ hosts.InvalidHost     no host, or one that no browser would take
 ├─ webhooks.targets.TargetError … where deliveries can't go
 ├─ kube.errors.KubeError …   the API server's answers
 └─ agent_client.AgentError … the agent's answers
"""

from __future__ import annotations


class DriftstackError(Exception):
    """Base of every exception that Driftstack raises on purpose."""


class SettingsError(DriftstackError):
    """A setting is missing or can't work; the message says which and what to do."""
